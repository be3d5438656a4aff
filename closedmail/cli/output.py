"""Print JSON and progress, for all subcommands."""

import json
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import click


def print_json(value: dict[str, Any]) -> None:
    """Print one JSON object, and nothing else on stdout."""
    unicode = getattr(sys.stdout, "encoding", None) in ("utf-8", None)
    text = json.dumps(value, ensure_ascii=not unicode, indent=2)
    if not text.replace("\n", "").isprintable():  # a list's lines may have anything in them, and stdout is a terminal
        text = "".join(char if char.isprintable() or char == "\n" else json.dumps(char)[1:-1] for char in text)
    click.echo(text)


@contextmanager
def progress(steps: int, *, verbose: bool) -> Iterator[Callable[[str], None]]:
    """Show the progress of a long command: a bar on a terminal, lines on stderr with --verbose, nothing elsewhere.

    Yields a function to call with each of the `steps` when it begins.
    """
    if verbose:
        yield lambda message: click.echo(f"closedmail: {message}", err=True)
    elif not sys.stderr.isatty():
        yield lambda _: None
    else:
        with click.progressbar(length=steps, show_eta=False, file=sys.stderr, item_show_func=_shown) as bar:
            yield lambda message: bar.update(1, message)


def _shown(step: str | None) -> str:
    return step or ""
