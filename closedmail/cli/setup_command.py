"""`closedmail setup`."""

import os
import sys

import click

from closedmail.cli.doctor_command import print_finding
from closedmail.cli.main import Settings
from closedmail.config import load
from closedmail.doctor.finding import Finding
from closedmail.doctor.setup import Setup, take_back
from closedmail.programs import environment


@click.command("setup")
@click.option("--yes", is_flag=True, help="Apply everything without asking, except what an administrator must decide.")
@click.option("--undo", is_flag=True, help="Take back what setup did.")
@click.pass_obj
def command(settings: Settings, yes: bool, undo: bool) -> int:
    """Apply what closedmail doctor proposes.

    Asks before each step. Exit 1 if anything is left.
    """
    config = load(settings.config_path)
    if os.geteuid() != 0:
        raise click.UsageError("setup changes the mail server's configuration: run it as root")
    os.environ.update(environment())
    if undo:
        for line in take_back(config):
            click.echo(line)
        return 0
    if not yes and not sys.stdin.isatty():
        raise click.UsageError("setup asks before each step, and there is no terminal: add --yes, or see doctor")
    left = Setup(config, _announce if yes else _ask, click.echo, unattended=yes).run()
    if left:
        click.echo("Left for you to fix:")
        for finding in left:
            print_finding(finding)
    else:
        click.echo("Nothing is wrong.")
    return 1 if left else 0


def _announce(finding: Finding) -> bool:
    print_finding(finding)
    return True


def _ask(finding: Finding) -> bool:
    print_finding(finding)
    return click.confirm("Apply this?", default=not finding.by_hand)
