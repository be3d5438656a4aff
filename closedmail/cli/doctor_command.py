"""`closedmail doctor`."""

import os
import time

import click

from closedmail.cli.main import Settings
from closedmail.cli.output import print_json
from closedmail.config import load
from closedmail.doctor.doctor import find_findings
from closedmail.doctor.finding import Finding
from closedmail.programs import environment


@click.command("doctor")
@click.option("--json", "as_json", is_flag=True, help="One JSON object on stdout.")
@click.option(
    "--sendmail-cf",
    metavar="FILE",
    default="",
    help="Judge this sendmail.cf, for instance before it is installed; default: /etc/mail/sendmail.cf.",
)
@click.pass_obj
def command(settings: Settings, as_json: bool, sendmail_cf: str) -> int:
    """Check the mail server's configuration and what runs.

    Each finding comes with the command that fixes it. Exit 1 if anything is found.
    """
    config = load(settings.config_path)
    if sendmail_cf and not config.sendmail:
        raise click.UsageError(f"--sendmail-cf: {config.path} has no table [sendmail]; write one")
    os.environ.update(environment())
    findings = find_findings(config, int(time.time()), sendmail_cf)
    if as_json:
        print_json({"findings": [finding.to_json() for finding in findings]})
    else:
        for finding in findings:
            print_finding(finding)
        if not findings:
            click.echo("Nothing is wrong.")
    return 1 if findings else 0


def print_finding(finding: Finding) -> None:
    """Print a finding for people: its commands on lines of their own, to be copied."""
    click.echo(f"{finding.severity}: {finding.text} ({finding.id})")
    for line in finding.fix:
        click.echo(f"    {line}")
