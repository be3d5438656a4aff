"""Split main.cf and master.cf into entries with their continuation lines, and undo a change without touching others.

Source: postconf(5) and master(5): a line that begins with white space continues the one before; comments and empty
lines may come between. An entry is known by its parameter, or by its service and type.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field


@dataclass(slots=True)
class Taken:
    """The result of undoing a change: the text, and the keys that somebody has changed since."""

    text: str
    changed: list[str] = field(default_factory=list)


def entries(text: str, *, master: bool = False) -> Iterator[tuple[str, str]]:
    """Split a file into pieces, each with its key ("" for comments and empty lines); together they are the text."""
    piece, key, waiting = "", "", ""
    for line in re.findall(r"[^\n]*\n|[^\n]+", text):  # as Postfix: no other character ends a line
        blank = not line.strip() or line.lstrip().startswith("#")
        if blank:
            waiting += line  # inside an entry, if that goes on
        elif line[0].isspace() and piece:
            piece += waiting + line
            waiting = ""
        else:
            if piece:
                yield key, piece
            if waiting:
                yield "", waiting
            piece, waiting, key = line, "", _key(line, master=master)
    if piece:
        yield key, piece
    if waiting:
        yield "", waiting


def take_back(
    current: str, before: str, after: str, *, master: bool = False, earlier: frozenset[str] = frozenset()
) -> Taken:
    """Undo in a text what turned `before` into `after`, entry by entry.

    `earlier` are texts of entries, as `plain` has them, that are undone already. What is not as `after` has it stays.
    """
    old, new = _by_key(before, master=master), _by_key(after, master=master)
    changed = []
    for key in [key for key in {**old, **new} if _plain(old.get(key)) != _plain(new.get(key))]:
        now = _by_key(current, master=master).get(key, [])
        if _plain(now) == _plain(new.get(key)):
            current = _replace(current, key, old.get(key, []), master=master)
        elif _plain(now) != _plain(old.get(key)) and _mark(key, now) not in earlier:
            changed.append(key)
    return Taken(current, changed)


def marks(text: str, *, master: bool = False) -> frozenset[str]:
    """Collect all entries of a text, for `earlier` of `take_back`."""
    return frozenset(_mark(key, found) for key, found in _by_key(text, master=master).items())


def _mark(key: str, pieces: list[str]) -> str:
    return f"{key}\n{_plain(pieces)}"


def _key(line: str, *, master: bool) -> str:
    if master:
        return "/".join(line.split()[:2])
    return line.partition("=")[0].strip()


def _by_key(text: str, *, master: bool) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for key, piece in entries(text, master=master):
        if key:
            found.setdefault(key, []).append(piece)
    return found


def _plain(pieces: list[str] | None) -> str:
    return "\n".join(" ".join(piece.split()) for piece in pieces or ())


def _replace(text: str, key: str, pieces: list[str], *, master: bool) -> str:
    """Put the entries of a key in place of those that it has, at its end where it has none."""
    rest, found = list(pieces), ""
    for name, piece in entries(text, master=master):
        if name != key:
            found += piece
        elif rest:
            found += _ended("".join(map(_ended, rest)), piece)
            rest = []
    if rest:
        found = (_ended(found) if found else "") + "".join(map(_ended, rest))
    return found


def _ended(piece: str, like: str = "\n") -> str:
    """End it with a newline, unless what it replaces has none."""
    return piece.rstrip("\n") + ("\n" if like.endswith("\n") else "")
