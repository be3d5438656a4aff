"""`closedmail replay`."""

from contextlib import ExitStack
from pathlib import Path
from typing import Any

import click

from closedmail.cli.main import Settings
from closedmail.cli.output import print_json, progress
from closedmail.config import load
from closedmail.core.model import Config
from closedmail.owner import call_as_owner
from closedmail.replay.log_files import LogFile, open_logs
from closedmail.replay.replay import replay
from closedmail.store.environment import store_path
from closedmail.store.snapshot import StoreReader
from closedmail.sync.rules import other_rules_note, rules_digest

_PATIENCE = 86400.0  # seconds: logs of months, and nothing is said before their end


@click.command("replay")
@click.argument("logs", nargs=-1, required=True, type=click.Path(), metavar="MAILLOG...")
@click.option("--json", "as_json", is_flag=True, help="One JSON object on stdout.")
@click.pass_obj
def command(settings: Settings, logs: tuple[str, ...], as_json: bool) -> int:
    """Apply the rules to mail that was already received.

    All rules count as enforced. Reads Postfix's mail logs: classic syslog, RFC 3339, what journalctl -o export writes;
    plain or compressed (gz, xz, bz2); - is standard input. They are read in the order of their first times, in whatever
    order they are given.
    """
    config = load(settings.config_path)
    with ExitStack() as stack:
        files = open_logs(logs, stack)  # which root may read, but not the owner of the state directory
        state_dir = Path(config.gateway.state_dir)
        found = call_as_owner(state_dir, lambda: _replay(config, files, verbose=settings.verbose), _PATIENCE)
    if as_json:
        print_json(found["json"])
    else:
        for line in found["lines"]:
            click.echo(line)
    return 0


def _replay(config: Config, files: list[LogFile], *, verbose: bool) -> dict[str, Any]:
    """Judge by the generation in force: the report for programs and for people."""
    with StoreReader(store_path(config.gateway.state_dir)) as store:
        snapshot = store.current()
        with progress(len(files), verbose=verbose) as step:
            report = replay(files, snapshot, step)
        manifest = snapshot.manifest
        note = other_rules_note(config, manifest)
        return {
            "json": {**report.to_json(), "configuration_changed": manifest.rules_digest != rules_digest(config)},
            "lines": [*report.lines(), *([f"Note: {note}."] if note else [])],
        }
