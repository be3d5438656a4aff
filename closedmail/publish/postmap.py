"""Build one Postfix table aside and check it: text, postmap(1), and every key looked up again.

postmap exits 0 for duplicates and for rows without a value, so its exit status is no verdict: the map is read back, and
must have what the text has. Postfix folds keys, which is why a key is looked up as the text spells it and
the answer has to be the text's row.
"""

import itertools
import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import BinaryIO

from closedmail.errors import Refused
from closedmail.files import sync_path, write_synced
from closedmail.mta.postconf import run_postfix
from closedmail.programs import ProgramError
from closedmail.words import printable

_CHUNK = 4096  # rows written at a time
_BLOCK = 1 << 20  # bytes compared at a time


def build_table(
    folder: Path, name: str, header: str, rows: Iterable[tuple[str, str]], types: Sequence[str], config_directory: str
) -> list[Path]:
    """Build a table in a folder of its own making and return its files, the indexed ones first, the text last.

    `types` are the map types in which it is made.

    Raises Refused(publish-failed) when postmap fails or the map differs from the text, OSError when the
    disk does.
    """
    if {"hash", "btree"} <= set(types):
        reason = f"{name}: map_type or Postfix's configuration name it as hash and as btree, which have one file"
        raise Refused("publish-failed", f"{reason}: choose one of the two")
    text = folder / name
    write_synced(text, itertools.chain([header.encode()], _chunks(rows)))
    before = set(folder.iterdir())
    for map_type in types:
        _postmap("-c", config_directory, f"{map_type}:{text}")
        indexed = sorted(set(folder.iterdir()) - before)
        if not indexed:
            raise Refused("publish-failed", f"postmap made no file of map type {map_type!r}; choose another map_type")
    for path in indexed:
        path.chmod(0o644)
        sync_path(path)
    for map_type in types:  # after all are made: two types may have one file
        _check(folder, text, len(header.encode()), map_type, config_directory)
    return [*indexed, text]


def _postmap(*arguments: str, stdin: Path | None = None, stdout: Path | None = None) -> None:
    try:
        run_postfix("postmap", *arguments, stdin=stdin, stdout=stdout)
    except ProgramError as error:
        raise Refused("publish-failed", str(error)) from None


def _chunks(rows: Iterable[tuple[str, str]]) -> Iterable[bytes]:
    lines = (f"{key}\t{value}\n" for key, value in rows)
    while chunk := "".join(itertools.islice(lines, _CHUNK)):
        yield chunk.encode()


def _check(folder: Path, text: Path, start: int, map_type: str, config_directory: str) -> None:
    """Look every key up again; the answers, in the order of the keys, are the rows, which begin at byte `start`."""
    keys, answers = folder / f"{text.name}.keys", folder / f"{text.name}.answers"
    with text.open("rb") as rows, keys.open("wb") as sink:
        rows.seek(start)
        sink.writelines(row.partition(b"\t")[0] + b"\n" for row in rows)
    with answers.open("wb") as room:  # postmap does not say that its answers did not fit on the disk
        os.posix_fallocate(room.fileno(), 0, max(1, text.stat().st_size - start))
    _postmap("-c", config_directory, "-q", "-", f"{map_type}:{text}", stdin=keys, stdout=answers)
    with text.open("rb") as rows, answers.open("rb") as found:
        rows.seek(start)
        while (block := rows.read(_BLOCK)) == found.read(_BLOCK) and block:
            pass
        if block or found.read(1):
            rows.seek(start)
            found.seek(0)
            raise Refused("publish-failed", _first_difference(rows, found))
    keys.unlink()
    answers.unlink()


def _first_difference(rows: BinaryIO, answers: BinaryIO) -> str:
    for row, answer in itertools.zip_longest(rows, answers, fillvalue=b""):
        if row != answer:
            break
    wanted, got = (printable(line.strip()) or "no row" for line in (row, answer))
    return f'the map that postmap made is not what it was given: "{wanted}" became "{got}"'
