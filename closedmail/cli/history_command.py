"""`closedmail history`."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click

from closedmail.cli.main import Settings
from closedmail.cli.output import print_json
from closedmail.config import load
from closedmail.core.model import Config
from closedmail.owner import call_as_owner
from closedmail.store.environment import store_path
from closedmail.store.snapshot import StoreReader
from closedmail.words import counted


@click.command("history")
@click.option("--json", "as_json", is_flag=True, help="One JSON object on stdout.")
@click.pass_obj
def command(settings: Settings, as_json: bool) -> None:
    """List the generations that are kept, newest first.

    closedmail rollback puts one of them back in force.
    """
    config = load(settings.config_path)
    generations = call_as_owner(Path(config.gateway.state_dir), lambda: _generations(config))
    if as_json:
        print_json({"generations": generations})
    else:
        for generation in generations:
            for text in _words(generation):
                click.echo(text)


def _generations(config: Config) -> list[dict[str, Any]]:
    with StoreReader(store_path(config.gateway.state_dir)) as store:
        snapshot = store.current()
        return [_line(number, snapshot.generation, line) for number, line in snapshot.history()]


def _line(number: int, in_force: int, line: dict[str, Any]) -> dict[str, Any]:
    """Return a generation as the public interface defines it; `rolled_back_to` is an addition."""
    return {
        "generation": number,
        "published_at": line["published_at"],
        "in_force": number == in_force,
        "reason": line["reason"],
        "rolled_back_to": line.get("rolled_back_to"),
        "networks": line["networks"],
    }


def _words(generation: dict[str, Any]) -> Iterator[str]:
    back_to = f" to {generation['rolled_back_to']}" if generation["rolled_back_to"] else ""
    now = ", in force" if generation["in_force"] else ""
    yield f"{generation['generation']}: {generation['published_at']}, {generation['reason']}{back_to}{now}"
    for name, network in generation["networks"].items():
        changes = f"+{network['added']} -{network['removed']} ~{network['changed']}"
        signed = f", signed {network['signed_at']}" if network["signed_at"] else ""
        yield f"  {name}: {counted(network['domains'], 'domain')} ({changes}){signed}"
