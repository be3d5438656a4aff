"""Become the owner of the state directory, in commands that write there."""

from pathlib import Path

import click

from closedmail.config.readable import find_unreadable
from closedmail.core.model import Config
from closedmail.owner import become_owner


def go_on_as_owner(config: Config) -> None:
    """Go on as the owner where this is root, and say on stderr what the owner can't read, though root could."""
    become_owner(Path(config.gateway.state_dir))
    if found := find_unreadable(Path(config.path)):
        click.echo(f"closedmail: note: {found.sentence}; {found.advice}", err=True)
