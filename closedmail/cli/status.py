"""`closedmail status`."""

import time

import click

from closedmail.care.status import find_status
from closedmail.cli.main import Settings
from closedmail.cli.output import print_json
from closedmail.config import load


@click.command("status")
@click.option("--json", "as_json", is_flag=True, help="One JSON object on stdout.")
@click.pass_obj
def command(settings: Settings, as_json: bool) -> int:
    """Say what is in force, how old it is and what is wrong; exit 1 unless everything is ok."""
    status = find_status(load(settings.config_path), int(time.time()))
    if as_json:
        print_json(status.to_json())
    else:
        for line in status.lines():
            click.echo(line)
    return 0 if status.state == "ok" else 1
