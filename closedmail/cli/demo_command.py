"""`closedmail demo`."""

import click

from closedmail.demo.demo import run_demo
from closedmail.errors import ClosedmailError


@click.command("demo")
def command() -> int:
    """Run a closed mail network on loopback.

    It lives in a temporary directory: nothing of this machine is changed, and nothing is left behind.
    """
    if run_demo(click.echo):
        click.echo("\nEvery mail got the expected answer. Nothing is left behind.")
        return 0
    raise ClosedmailError("a mail did not get the expected answer: see the table above")
