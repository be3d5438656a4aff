"""Build a `regexp:` table of Postfix aside, a text that needs no index, and ask Postfix what it answers."""

import os
from collections.abc import Mapping
from pathlib import Path

from closedmail.errors import Refused
from closedmail.files import write_synced
from closedmail.mta.postconf import run_postfix
from closedmail.programs import ProgramError
from closedmail.words import printable


def build_regexp_table(
    folder: Path, name: str, header: str, rules: bytes, answers: Mapping[str, str], config_directory: str
) -> Path:
    """Build the table in a folder and return it; `answers` are what it has to say of some keys, "" for nothing.

    Raises Refused(publish-failed) when Postfix reads it otherwise, OSError when the disk fails.
    """
    path, keys, found = (folder / f"{name}{end}" for end in ("", ".keys", ".answers"))
    write_synced(path, [header.encode(), rules])
    keys.write_text("".join(f"{key}\n" for key in answers), encoding="utf-8")
    with found.open("wb") as room:  # postmap does not say that its answers did not fit on the disk
        os.posix_fallocate(room.fileno(), 0, sum(len(f"{key}\t{answer}\n".encode()) for key, answer in answers.items()))
    try:
        run_postfix("postmap", "-c", config_directory, "-q", "-", f"regexp:{path}", stdin=keys, stdout=found)
    except ProgramError as error:
        raise Refused("publish-failed", str(error)) from None
    rows = found.read_text(encoding="utf-8", errors="replace").splitlines()
    got = dict(row.split("\t", 1) for row in rows if "\t" in row)
    wrong = next((key for key, answer in answers.items() if got.get(key, "") != answer), None)
    if wrong is not None:
        answer = printable(got.get(wrong, "")) or "nothing"
        raise Refused("publish-failed", f'Postfix answers {answer} for "{printable(wrong)}" in the new {name}')
    keys.unlink()
    found.unlink()
    return path
