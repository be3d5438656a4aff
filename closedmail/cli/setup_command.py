"""`closedmail setup`."""

import os
import sys
from pathlib import Path

import click

from closedmail.cli.doctor_command import print_finding
from closedmail.cli.main import Settings
from closedmail.config import find_faults, find_state_dir, load
from closedmail.core.model import Gateway
from closedmail.doctor.finding import Finding
from closedmail.doctor.setup import Setup, undo_all
from closedmail.errors import ClosedmailError
from closedmail.programs import environment


@click.command("setup")
@click.option("--yes", is_flag=True, help="Apply everything without asking, except what an administrator must decide.")
@click.option("--undo", is_flag=True, help="Undo what setup did. Needs no configuration.")
@click.option("--release-queue", is_flag=True, help="With --undo: let partners' mail that waits leave by another way.")
@click.pass_obj
def command(settings: Settings, yes: bool, undo: bool, release_queue: bool) -> int:
    """Apply what closedmail doctor proposes.

    Asks before each step. Exit 1 if anything is left.
    """
    if release_queue and not undo:
        raise click.UsageError("--release-queue belongs to --undo")
    if os.geteuid() != 0:
        raise click.UsageError("setup changes the mail server's configuration: run it as root")
    os.environ.update(environment())
    if undo:
        return _undo(settings.config_path, release_queue=release_queue)
    config = load(settings.config_path)
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


def _undo(path: Path, *, release_queue: bool) -> int:
    """Undo by the record alone: a broken configuration, or none, must not keep what setup did in force."""
    state_dir, usual = find_state_dir(path), Gateway(own_domains=()).state_dir
    lines = 0
    for line in undo_all(Path(state_dir or usual), release_queue=release_queue):
        click.echo(line)
        lines += 1
    if not lines:
        click.echo("There is nothing to undo.")
        if not state_dir and (faults := find_faults(path)):
            raise ClosedmailError(
                f"{faults[0]}; state_dir is not known, and beside {usual} setup has recorded nothing",
                "if it was another folder, name a file that has it in [gateway] with --config",
            )
    return 0


def _announce(finding: Finding) -> bool:
    print_finding(finding)
    return True


def _ask(finding: Finding) -> bool:
    print_finding(finding)
    return click.confirm("Apply this?", default=not finding.by_hand)
