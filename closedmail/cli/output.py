"""Printing that the subcommands share."""

import json
import sys
from typing import Any

import click


def print_json(value: dict[str, Any]) -> None:
    """One JSON object, and nothing else on stdout."""
    click.echo(json.dumps(value, ensure_ascii=False, indent=2))


def step(message: str) -> None:
    """What a long command is at, on a terminal only; the next step takes its place."""
    if sys.stderr.isatty():
        click.echo(f"\r\x1b[K{message} …", nl=False, err=True)


def steps_done() -> None:
    """Take the last step off the terminal."""
    if sys.stderr.isatty():
        click.echo("\r\x1b[K", nl=False, err=True)
