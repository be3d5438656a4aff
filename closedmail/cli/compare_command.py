"""`closedmail compare`."""

from pathlib import Path
from typing import Any

import click

from closedmail.cli.main import Settings
from closedmail.cli.output import print_json
from closedmail.compare.comparison import compare_rows
from closedmail.compare.old_map import read_map
from closedmail.compare.partner_toml import partner_tables
from closedmail.config import load
from closedmail.core.model import PostfixMaps
from closedmail.owner import call_as_owner
from closedmail.store.environment import store_path
from closedmail.store.snapshot import StoreReader


@click.command("compare")
@click.argument("maps", metavar="MAP...", nargs=-1, required=True)
@click.option("--toml", "as_toml", is_flag=True, help="Print [partner] tables for what only the old table has.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object on stdout.")
@click.pass_obj
def command(settings: Settings, maps: tuple[str, ...], as_toml: bool, as_json: bool) -> int:
    """Compare an old table of routes with the verified list.

    MAP is a Postfix table (hash:/etc/postfix/transport), a text file, or a mailertable. Exit 1 if anything differs.
    """
    if as_toml and as_json:
        raise click.UsageError("give either --toml or --json")
    config = load(settings.config_path)
    directory = (config.postfix or PostfixMaps()).config_directory
    rows: dict[str, str] = {}
    for name in maps:
        rows = {**read_map(name, directory), **rows}  # the first one counts, as in transport_maps

    def compare() -> dict[str, Any]:
        with StoreReader(store_path(config.gateway.state_dir)) as store:
            found = compare_rows(rows, store.current())
        lines = partner_tables(found.only_here) if as_toml else found.lines()
        return {"json": found.to_json(), "lines": list(lines), "equal": found.equal}

    found = call_as_owner(Path(config.gateway.state_dir), compare)
    if as_json:
        print_json(found["json"])
    else:
        for line in found["lines"]:
            click.echo(line)
    return 0 if found["equal"] else 1
