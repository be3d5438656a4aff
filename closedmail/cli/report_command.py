"""`closedmail report`."""

import time
from pathlib import Path

import click

from closedmail.cli.main import Settings
from closedmail.config import load
from closedmail.owner import stream_as_owner
from closedmail.report.report import render_report, write_report
from closedmail.status.status import find_status


@click.command("report")
@click.option(
    "--output",
    required=True,
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="The HTML page to write or replace.",
)
@click.pass_obj
def command(settings: Settings, output: Path) -> None:
    """Write the state of the gateway to one static HTML page.

    It has all that status, history, the counters and the last probe know, and needs no script and no other file. FILE
    is replaced in one step.
    """
    config, now = load(settings.config_path), int(time.time())
    state_dir = Path(config.gateway.state_dir)
    write_report(output, stream_as_owner(state_dir, lambda: render_report(config, find_status(config, now), now)))
