"""Run the `closedmail` command: its options, its subcommands, and how errors are printed."""

import sys
from contextlib import suppress
from importlib import import_module
from pathlib import Path

import click

from closedmail import __version__
from closedmail.cli.streams import status_after, take_over_streams
from closedmail.core.model import DEFAULT_PATH, closedmail_command
from closedmail.errors import ClosedmailError, ConfigError, Refused
from closedmail.words import one_line

DEFAULT_CONFIG = DEFAULT_PATH
# Each is `cli/NAME_command.py`, imported when it is called, so that `explain` does not pay for what `sync` needs.
_COMMANDS = (
    "check",
    "compare",
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

    def invoke(self, ctx: click.Context) -> object:
        """Run it; commands that an error proposes are given the same configuration file."""
        try:
            return super().invoke(ctx)
        except ClosedmailError as error:
            error.closedmail = closedmail_command(str(ctx.obj.config_path))
            raise


# What click does without a command differs by its version.
@click.group(
    cls=_Commands,
    invoke_without_command=True,
    subcommand_metavar="COMMAND [ARGS]...",
    context_settings={"help_option_names": ["-h", "--help"]},
)
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
def cli(ctx: click.Context, config_path: str, verbose: bool) -> int:
    """Route mail inside of closed mail networks, and refuse what comes around them."""
    ctx.obj = Settings(Path(config_path), verbose)
    if ctx.invoked_subcommand is None:
        click.echo(ctx.get_help(), err=True)
        return 2
    return 0


class Settings:
    """The options given before the subcommand."""

    def __init__(self, config_path: Path, verbose: bool) -> None:
        """Keep the options. Nothing is read yet: some commands need no configuration."""
        self.config_path = config_path
        self.verbose = verbose


def main() -> None:
    """Run the command line and exit: 0 done, 1 refused or failed, 2 usage or configuration error."""
    take_over_streams()
    status, lost = status_after(_run())
    if lost:
        _say(lost)
    sys.exit(status)


def _run() -> int:
    """Run the command line and return its exit status; what it raises becomes one line on stderr."""
    try:
        status = cli.main(prog_name="closedmail", standalone_mode=False)
    except click.exceptions.Abort:
        return _say("interrupted", 1)
    except click.ClickException as error:
        return _say(error.format_message(), 2)
    except ConfigError as error:
        return _say(str(error), 2)
    except Refused as error:
        return _say(f"{error.code}: {error.reason}", 1)
    except ClosedmailError as error:
        return _say(str(error), 1)
    except OSError as error:
        return _say(": ".join(filter(None, (str(error.filename or ""), error.strerror or str(error)))), 1)
    return status if isinstance(status, int) else 0


def _say(message: str, status: int = 1) -> int:
    """Print an error in one line and return the exit status."""
    with suppress(OSError):  # a terminal that accepts no output at the moment
        click.echo(f"closedmail: error: {one_line(message)}", err=True)
    return status
