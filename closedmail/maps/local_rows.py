"""Parse the administrator's own rows of a Sendmail table, written as makemap(8) reads them, into a dictionary.

Sendmail has one mailertable and one access table, so that these rows get into the tables that closedmail makes. They
win for their keys, and they are trusted: they may use any mailer and any rule.
"""

from collections.abc import Iterable, Mapping

from closedmail.core.domain import parents
from closedmail.generation.generation import Generation
from closedmail.mailertable.makemap_limits import MAX_LINE


class LocalRowError(ValueError):
    """A line that makemap would refuse; the message names it by its number."""


def parse_local_rows(lines: Iterable[bytes]) -> dict[str, str]:
    """Parse rows into a dictionary by their keys, folded as by makemap; of two rows with one key the first counts.

    Bytes that are not UTF-8 are kept (`surrogateescape`). Raises LocalRowError.
    """
    rows: dict[str, str] = {}
    for number, raw in enumerate(lines, 1):
        line = raw.rstrip(b"\r\n")
        if line.startswith(b"#") or not line.strip():
            continue
        if len(line) > MAX_LINE:
            raise LocalRowError(f"line {number} is longer than {MAX_LINE} bytes, which makemap would break apart")
        if line[:1].isspace():
            raise LocalRowError(f"line {number} begins with white space, which makemap refuses")
        fields = line.split(None, 1)
        if len(fields) < 2:
            raise LocalRowError(f"line {number} has no value after its key")
        if b"\0" in line:
            raise LocalRowError(f"line {number} has a NUL byte")
        key, value = (field.strip().decode("utf-8", "surrogateescape") for field in fields)
        rows.setdefault(fold_key(key), value)
    return rows


def note_local_rows(generation: Generation, own_mailertable: Mapping[str, str], own_access: Mapping[str, str]) -> None:
    """Note where the administrator's own rows replace a partner's."""
    for key in own_mailertable:
        _note(generation, key, f"sendmail.own_mailertable has a row of its own for {key}, which applies")
    for key in own_access:
        tag, colon, name = key.partition(":")
        if colon and tag == "tls_rcpt":
            _note(generation, name, f"sendmail.own_access has a row of its own for TLS_Rcpt:{name}, which applies")


def _note(generation: Generation, key: str, sentence: str) -> None:
    entry = generation.get(key)
    if entry:
        generation.changes[generation.rules[entry.rule].network].notes.append(sentence)


def fold_key(key: str) -> str:
    """Fold a key as makemap and Sendmail do: ASCII letters become lower case, all else stays (makemap without -f)."""
    return "".join(char.lower() if char.isascii() else char for char in key)


def covering(rows: Mapping[str, str], name: str) -> str | None:
    """Return the value that rows for suffixes (`.parent`, in the end `.`) give a name, None without one."""
    for parent in parents(name):
        if "." + parent in rows:
            return rows["." + parent]
    return rows.get(".")
