"""Write the comment at the head of every export: what it was made from, what it could not express, how to apply it."""

from collections.abc import Iterable, Iterator
from textwrap import wrap

from closedmail.exports.notes import Notes
from closedmail.exports.published_generation import PublishedGeneration
from closedmail.words import printable

_WIDTH = 110
MARK = "closedmail export"


def header(
    target: str, published: PublishedGeneration, notes: Notes, applying: Iterable[str] = (), prefix: str = "# "
) -> Iterator[str]:
    """Yield the lines of the comment, each after `prefix`.

    `applying` are paragraphs; a line that begins with blanks is a command, and is not wrapped.
    """
    yield prefix + f"{MARK} {target}: generation {published.generation}, published {published.published_at}"
    yield prefix + "Made by a program: changes are lost with the next export."
    if notes:
        yield prefix.rstrip()
        yield prefix + "NOT EXPRESSED here:"
        for line in notes.lines():
            yield from _wrapped("- " + line, prefix)
    paragraphs = list(applying)
    if paragraphs:
        yield prefix.rstrip()
        for paragraph in paragraphs:
            yield from _wrapped(paragraph, prefix)


def _wrapped(text: str, prefix: str) -> Iterator[str]:
    # A control character would end the comment; no text should get here with one, but that is not relied on.
    text = printable(text)
    if text.startswith(" "):
        yield prefix + text
        return
    for line in wrap(text, _WIDTH, break_long_words=False, break_on_hyphens=False, subsequent_indent="  "):
        yield prefix + line
