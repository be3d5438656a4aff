"""`closedmail status`."""

import time
from pathlib import Path
from typing import Any

import click

from closedmail.cli.main import Settings
from closedmail.cli.output import print_json
from closedmail.config import load
from closedmail.config.locations import TEXTFILE_END
from closedmail.errors import ClosedmailError
from closedmail.owner import call_as_owner
from closedmail.status.nagios import UNKNOWN, plugin_line, plugin_status, unknown_line
from closedmail.status.status import find_status
from closedmail.status.textfile import render_textfile, write_textfile


@click.command("status")
@click.option("--json", "as_json", is_flag=True, help="One JSON object on stdout.")
@click.option("--nagios", is_flag=True, help="One line with performance data; exit 0, 1, 2 or 3 as a plugin does.")
@click.option(
    "--textfile", metavar="FILE", help="Write Prometheus metrics too, for node_exporter (FILE ends in .prom)."
)
@click.pass_obj
def command(settings: Settings, as_json: bool, nagios: bool, textfile: str | None) -> int:
    """Show what is in force, how old it is, and what is wrong.

    Exit 1 unless everything is ok.
    """
    if as_json and nagios:
        raise click.UsageError("give either --json or --nagios")
    if textfile is not None and not textfile.endswith(TEXTFILE_END):
        raise click.UsageError(f"--textfile {textfile}: node_exporter reads only files that end in {TEXTFILE_END}")
    now = int(time.time())
    if nagios:
        return _plugin(settings, textfile, now)
    status = _look(settings, now)
    if as_json:
        print_json(status["json"])
    else:
        for line in status["lines"]:
            click.echo(line)
    if textfile is not None:
        _write(textfile, status)
    return 0 if status["state"] == "ok" else 1


def _look(settings: Settings, now: int) -> dict[str, Any]:
    """Find the status as the owner of the state directory, in every form that may be shown."""

    def look() -> dict[str, Any]:
        status = find_status(config, now)
        return {
            "state": status.state,
            "json": status.to_json(),
            "lines": list(status.lines()),
            "plugin": plugin_line(status, now),
            "textfile": render_textfile(status, now),
        }

    config = load(settings.config_path)
    found: dict[str, Any] = call_as_owner(Path(config.gateway.state_dir), look)
    return found


def _plugin(settings: Settings, textfile: str | None, now: int) -> int:
    """Print one line on stdout whatever happens: the monitoring system shows nothing else."""
    try:
        status = _look(settings, now)
        if textfile is not None:
            _write(textfile, status)
    except ClosedmailError as error:
        click.echo(unknown_line(str(error)))
        return UNKNOWN
    except OSError as error:
        click.echo(unknown_line(": ".join(filter(None, (error.filename, error.strerror or str(error))))))
        return UNKNOWN
    click.echo(status["plugin"])
    return plugin_status(status["state"])


def _write(textfile: str, status: dict[str, Any]) -> None:
    try:
        write_textfile(Path(textfile), status["textfile"])
    except OSError as error:
        raise ClosedmailError(
            f"--textfile {textfile}: {error.strerror or error}; its folder must be writable"
        ) from None
