"""`closedmail policyd`."""

import click

from closedmail.cli.main import Settings
from closedmail.config import load
from closedmail.policyd.policy_daemon import run_policyd


@click.command("policyd")
@click.option("--listen", multiple=True, metavar="WHERE", help="inet:HOST:PORT or unix:PATH, in place of the file's.")
@click.pass_obj
def command(settings: Settings, listen: tuple[str, ...]) -> None:
    """Serve Postfix's policy requests.

    In the foreground, logging to stderr.
    """
    run_policyd(load(settings.config_path), listen)
