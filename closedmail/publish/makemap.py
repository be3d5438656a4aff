"""Build one Sendmail map aside and check it: text, makemap(8), and all of it read back.

makemap writes the good lines where it refuses others (exit 65), and of two rows with one key the first: what is in the
map is read back with `makemap -u`, and has to be the text, key by key, with its keys folded as makemap folds them.
"""

import itertools
import os
from collections.abc import Iterable, Iterator
from hashlib import blake2b
from pathlib import Path

from closedmail.errors import Refused
from closedmail.files import sync_path, write_synced
from closedmail.programs import ProgramError, run
from closedmail.words import printable

_CHUNK = 4096  # rows written at a time
_TIME_LIMIT = 600  # seconds


def build_map(folder: Path, name: str, header: str, rows: Iterable[tuple[str, str]], map_type: str) -> list[Path]:
    """Build a map in a folder of its own making and return its files, the indexed one first, the text last.

    Raises Refused(publish-failed) when makemap fails or the map differs from the text, OSError when the
    disk does.
    """
    text = folder / name
    write_synced(text, itertools.chain([header.encode()], _chunks(rows)))
    before = set(folder.iterdir())
    # The text comes on its standard input, the map gets its name and an ending.
    _makemap([map_type, str(text)], text)
    indexed = sorted(set(folder.iterdir()) - before)
    if not indexed:
        raise Refused("publish-failed", f"makemap made no file of map type {map_type!r}; choose another map_type")
    for path in indexed:
        path.chmod(0o644)
        sync_path(path)
    _check(text, map_type)
    return [*indexed, text]


def _chunks(rows: Iterable[tuple[str, str]]) -> Iterable[bytes]:
    lines = (f"{key}\t{value}\n" for key, value in rows)
    while chunk := "".join(itertools.islice(lines, _CHUNK)):
        yield chunk.encode("utf-8", "surrogateescape")


def _check(text: Path, map_type: str) -> None:
    """Read the map back: its rows, in whatever order, are those of the text.

    The rows are compared by the sum of their digests under a key of this run, so that a million need no memory.
    """
    dump, key = text.with_name(f"{text.name}.dump"), os.urandom(32)
    _makemap(["-u", map_type, str(text)], stdout=dump)
    with text.open("rb") as rows, dump.open("rb") as found:
        if _sum(_folded(rows), key) != _sum(found, key):
            rows.seek(0)
            found.seek(0)
            raise Refused("publish-failed", _first_difference(set(_folded(rows)), set(found)))
    dump.unlink()


def _folded(rows: Iterable[bytes]) -> Iterator[bytes]:
    """Yield the rows of a text as makemap keeps them."""
    for row in rows:
        if not row.startswith(b"#"):
            key, tab, value = row.partition(b"\t")
            yield key.lower() + tab + value  # of bytes: ASCII alone


def _sum(rows: Iterable[bytes], key: bytes) -> tuple[int, int]:
    number = total = 0
    for row in rows:
        number += 1
        total += int.from_bytes(blake2b(row, digest_size=16, key=key).digest(), "little")
    return number, total


def _first_difference(wanted: set[bytes], got: set[bytes]) -> str:
    row = min(wanted ^ got, default=b"a row twice")
    what = "is missing" if row in wanted else "was never asked for"
    shown = printable(row.strip())
    return f'the map that makemap made is not what it was given: "{shown}" {what}'


def _makemap(arguments: list[str], stdin: Path | None = None, stdout: Path | None = None) -> None:
    try:
        run(["makemap", *arguments], time_limit=_TIME_LIMIT, stdin=stdin or b"", stdout=stdout, package="Sendmail")
    except ProgramError as error:
        # Not the command, which has but paths of our own that are gone by now.
        words = error.words if error.words.startswith("makemap") else f"makemap: {error.words}"
        raise Refused("publish-failed", words) from None
