"""`closedmail demo`."""

import click

from closedmail.demo.demo import run_demo
from closedmail.errors import ClosedmailError


@click.command("demo")
def command() -> int:
    """Run a closed mail network on loopback, and show what passes.

    It lives in a temporary directory: nothing of this machine is changed, and nothing is left behind.
    """
    if run_demo(click.echo):
        click.echo("\nEvery mail met the answer that it had to. Nothing is left behind.")
        return 0
    raise ClosedmailError("a mail did not meet the answer that it had to, see the table")
