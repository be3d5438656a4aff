"""`closedmail milter`."""

import click

from closedmail.cli.main import Settings
from closedmail.config import load
from closedmail.milter.milter_daemon import run_milter


@click.command("milter")
@click.option("--listen", multiple=True, metavar="WHERE", help="inet:HOST:PORT or unix:PATH, in place of the file's.")
@click.pass_obj
def command(settings: Settings, listen: tuple[str, ...]) -> None:
    """Serve as a milter for Sendmail or Postfix.

    In the foreground, logging to stderr.
    """
    run_milter(load(settings.config_path), listen)
