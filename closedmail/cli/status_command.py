"""`closedmail status`."""

import time
from pathlib import Path

import click

from closedmail.cli.main import Settings
from closedmail.cli.output import print_json
from closedmail.config import load
from closedmail.config.locations import TEXTFILE_END
from closedmail.errors import ClosedmailError
from closedmail.status.nagios import UNKNOWN, plugin_line, plugin_status, unknown_line
from closedmail.status.status import Status, find_status
from closedmail.status.textfile import write_textfile


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
    status = find_status(load(settings.config_path), now)
    if as_json:
        print_json(status.to_json())
    else:
        for line in status.lines():
            click.echo(line)
    if textfile is not None:
        _write(textfile, status, now)
    return 0 if status.state == "ok" else 1


def _plugin(settings: Settings, textfile: str | None, now: int) -> int:
    """Print one line on stdout whatever happens: the monitoring system shows nothing else."""
    try:
        status = find_status(load(settings.config_path), now)
        if textfile is not None:
            _write(textfile, status, now)
    except ClosedmailError as error:
        click.echo(unknown_line(str(error)))
        return UNKNOWN
    except OSError as error:
        click.echo(unknown_line(": ".join(filter(None, (error.filename, error.strerror or str(error))))))
        return UNKNOWN
    click.echo(plugin_line(status, now))
    return plugin_status(status.state)


def _write(textfile: str, status: Status, now: int) -> None:
    try:
        write_textfile(Path(textfile), status, now)
    except OSError as error:
        raise ClosedmailError(
            f"--textfile {textfile}: {error.strerror or error}; its folder must be writable"
        ) from None
