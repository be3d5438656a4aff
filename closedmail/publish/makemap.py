"""Building one Sendmail map aside and proving it: text, makemap(8), and all of it read back.

makemap writes the good lines where it refuses others (exit 65), and of two rows with one key the first: what is in the
map is read back with `makemap -u`, and has to be the text, key by key, with its keys folded as makemap folds them.
"""

import itertools
import os
import subprocess
from collections.abc import Iterable, Iterator
from hashlib import blake2b
from pathlib import Path

from closedmail.errors import Refused
from closedmail.files import sync_path, write_synced
from closedmail.words import printable

_CHUNK = 4096  # rows written at a time
_TIME_LIMIT = 600  # seconds


def build_map(folder: Path, name: str, header: str, rows: Iterable[tuple[str, str]], map_type: str) -> list[Path]:
    """Build a map in a folder of its own making and return its files, the indexed one first, the text last.

    Raises Refused(publish-failed) when makemap fails or the map says anything else than the text, OSError when the
    disk does.
    """
    text = folder / name
    write_synced(text, itertools.chain([header.encode()], _chunks(rows)))
    before = set(folder.iterdir())
    # The text comes on its standard input, the map gets its name and an ending.
    _makemap([map_type, str(text)], text, Path(os.devnull))
    indexed = sorted(set(folder.iterdir()) - before)
    if not indexed:
        raise Refused("publish-failed", f"makemap made no file of map type {map_type!r}; choose another map_type")
    for path in indexed:
        path.chmod(0o644)
        sync_path(path)
    _prove(text, map_type)
    return [*indexed, text]


def _chunks(rows: Iterable[tuple[str, str]]) -> Iterable[bytes]:
    lines = (f"{key}\t{value}\n" for key, value in rows)
    while chunk := "".join(itertools.islice(lines, _CHUNK)):
        yield chunk.encode("utf-8", "surrogateescape")


def _prove(text: Path, map_type: str) -> None:
    """Read the map back: its rows, in whatever order they lie, are those of the text.

    The rows are compared by the sum of their digests under a key of this run, so that a million need no memory.
    """
    dump, key = text.with_name(f"{text.name}.dump"), os.urandom(32)
    _makemap(["-u", map_type, str(text)], Path(os.devnull), dump)
    with text.open("rb") as rows, dump.open("rb") as found:
        if _sum(_folded(rows), key) != _sum(found, key):
            rows.seek(0)
            found.seek(0)
            raise Refused("publish-failed", _first_difference(set(_folded(rows)), set(found)))
    dump.unlink()


def _folded(rows: Iterable[bytes]) -> Iterator[bytes]:
    """The rows of a text as makemap keeps them."""
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


def _makemap(arguments: list[str], stdin: Path, stdout: Path) -> None:
    try:
        with stdin.open("rb") as source, stdout.open("ab") as sink:
            done = subprocess.run(
                ["makemap", *arguments],  # noqa: S607, found by PATH
                stdin=source,
                stdout=sink,
                stderr=subprocess.PIPE,
                timeout=_TIME_LIMIT,
                check=False,
            )
    except FileNotFoundError:
        raise Refused("publish-failed", "makemap is not to be found: is Sendmail installed?") from None
    except subprocess.TimeoutExpired:
        raise Refused("publish-failed", "makemap did not end in time") from None
    if done.returncode:
        end = f"killed by signal {-done.returncode}" if done.returncode < 0 else f"exit status {done.returncode}"
        words = done.stderr.decode("utf-8", "replace").strip().splitlines() or [end]
        raise Refused("publish-failed", words[0] if words[0].startswith("makemap") else f"makemap: {words[0]}")
