"""`closedmail demo`."""

import click

from closedmail.demo.demo import run_demo
from closedmail.errors import ClosedmailError


@click.command("demo")
def command() -> int:
    """Run a complete closed network on loopback, in a temporary directory, and show what passes and what does not."""
    if run_demo(click.echo):
        click.echo("\nEvery mail met the answer that it had to. Nothing is left behind.")
        return 0
    raise ClosedmailError("a mail did not meet the answer that it had to, see the table")
