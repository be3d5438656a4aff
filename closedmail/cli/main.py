"""The `closedmail` command: its options, its subcommands, and what an error looks like."""

import io
import os
import sys
from contextlib import suppress
from importlib import import_module
from pathlib import Path

import click

from closedmail import __version__
from closedmail.core.model import DEFAULT_PATH
from closedmail.errors import ClosedmailError, ConfigError, Refused

DEFAULT_CONFIG = DEFAULT_PATH
# Each is `cli/NAME_command.py`, imported when it is called, so that `explain` does not pay for what `sync` needs.
_COMMANDS = (
    "demo",
    "doctor",
    "explain",
    "export",
    "history",
    "lint",
    "milter",
    "policyd",
    "probe",
    "release",
    "replay",
    "report",
    "rollback",
    "setup",
    "status",
    "sync",
)


class _Commands(click.Group):
    """Subcommands by name; click's own errors and ours become one line on stderr and the exit status."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002
        return sorted(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        if cmd_name not in _COMMANDS:
            return None
        command = import_module(f"closedmail.cli.{cmd_name}_command").command
        if not isinstance(command, click.Command):
            raise TypeError(f"closedmail.cli.{cmd_name}_command has no command")
        return command


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.option(
    "--config",
    "config_path",
    type=click.Path(readable=False),
    envvar="CLOSEDMAIL_CONFIG",
    default=DEFAULT_CONFIG,
    show_default=True,
    metavar="FILE",
    help="The configuration file; the environment variable CLOSEDMAIL_CONFIG names it too.",
)
@click.option("-v", "--verbose", is_flag=True, help="Say more on stderr.")
@click.version_option(__version__, prog_name="closedmail")
@click.pass_context
def cli(ctx: click.Context, config_path: str, verbose: bool) -> None:
    """Route mail inside of closed mail networks, and refuse what comes around them."""
    ctx.obj = Settings(Path(config_path), verbose)


class Settings:
    """What stands before the subcommand."""

    def __init__(self, config_path: Path, verbose: bool) -> None:
        """Nothing is read yet: some commands need no configuration."""
        self.config_path = config_path
        self.verbose = verbose


def main() -> None:
    """Run the command line and exit: 0 done, 1 refused or failed, 2 usage or configuration error."""
    _mend_streams()
    try:
        status = cli.main(prog_name="closedmail", standalone_mode=False)
    except click.exceptions.Abort:
        fail("interrupted", 1)
    except click.ClickException as error:
        fail(error.format_message(), 2)
    except ConfigError as error:
        fail(str(error), 2)
    except Refused as error:
        fail(f"{error.code}: {error.reason}", 1)
    except ClosedmailError as error:
        fail(str(error), 1)
    except OSError as error:
        _forget_output()
        fail(": ".join(filter(None, (str(error.filename or ""), error.strerror or str(error)))), 1)
    sys.exit(status if isinstance(status, int) else 0)


def fail(message: str, status: int) -> None:
    """Print one line and exit."""
    line = " ".join(message.split())
    with suppress(OSError):  # nowhere to say it: the exit status stays true
        click.echo(f"closedmail: error: {line}", err=True)
    sys.exit(status)


def _mend_streams() -> None:
    """Make stdout and stderr take whatever is said: where they are closed, and in a locale that lacks characters."""
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is None:
            setattr(sys, name, open(os.devnull, "w", encoding="utf-8"))  # noqa: SIM115, to the end
        elif isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def _forget_output() -> None:
    """Drop what stdout could not take: Python would try once more at its end, and complain in its own words."""
    with suppress(OSError, ValueError), Path(os.devnull).open("w") as nowhere:
        os.dup2(nowhere.fileno(), sys.stdout.fileno())
