"""`closedmail replay`."""

import click

from closedmail.cli.main import Settings
from closedmail.cli.output import print_json, progress
from closedmail.config import load
from closedmail.replay.replay import replay
from closedmail.store.environment import store_path
from closedmail.store.snapshot import StoreReader
from closedmail.sync.rules import other_rules_note, rules_digest


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
    with StoreReader(store_path(config.gateway.state_dir)) as store:
        snapshot = store.current()
        with progress(len(logs), verbose=settings.verbose) as step:
            report = replay(logs, snapshot, step)
        manifest = snapshot.manifest
    if as_json:
        print_json({**report.to_json(), "configuration_changed": manifest.rules_digest != rules_digest(config)})
        return 0
    for line in report.lines():
        click.echo(line)
    if note := other_rules_note(config, manifest):
        click.echo(f"Note: {note}.")
    return 0
