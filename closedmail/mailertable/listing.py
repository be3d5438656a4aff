"""What a list says: its entries, and each line that was not taken with the reason.

Two kinds of lines are not taken. A *bad* line is not understood, counts for the brake `bad_line_limit`, and its
domain, where it can be told, keeps its route or is held. A line *skipped by rule* is understood and not wanted (own
domains, public suffixes, the catch-all, mailers that run programs or deliver locally): never held, never counted.
"""

import csv
import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from closedmail.core.domain import DomainError, DomainSet, parse_key
from closedmail.core.suffixes import PublicSuffixes
from closedmail.mailertable import grammar
from closedmail.mailertable.grammar import LocalMailerError, MailertableError

SMARTHOST = ""  # the value of an entry whose list names domains only: the network's smarthost routes it
_SHOWN = 1024  # characters of a line that a report shows
_MARK = 32  # hex digits that tell a bad line from another one


@dataclass(frozen=True, slots=True)
class SkippedLine:
    """A line that was not taken: its number (from 1), its text and why. `bad` tells the two kinds apart."""

    line: int
    text: str
    reason: str
    bad: bool

    def to_json(self) -> dict[str, Any]:
        """Give the line as the public interface writes it."""
        return {"line": self.line, "text": self.text, "reason": self.reason}


@dataclass(frozen=True, slots=True)
class Admission:
    """Which keys a list may speak about.

    `own` are the gateway's own domains, `admitted` the keys that have a `[partner]` table, which admits them.
    """

    own: DomainSet
    suffixes: PublicSuffixes
    admitted: frozenset[str] = frozenset()

    def why_not(self, key: str) -> str | None:
        """The rule by which a key is never taken, or None."""
        if key in self.admitted:
            return None
        if self.own.covers(key):
            return "an own domain is never taken from a list"
        if key.removeprefix(".") in self.suffixes:
            return "a public suffix is never taken from a list (a [partner] table admits it)"
        return None


@dataclass(slots=True)
class Listing:
    """A list as read.

    `entries` maps keys to canonical mailertable values (`SMARTHOST` where the format has none). `unclear` has the keys
    whose line is bad and that no other line gives, each with a mark that changes when the line does; `ruled_out` the
    keys that were skipped by rule. `rows` counts the lines that are neither blank nor comments, `lines` all.
    """

    entries: dict[str, str] = field(default_factory=dict)
    skipped: list[SkippedLine] = field(default_factory=list)
    unclear: dict[str, str] = field(default_factory=dict)
    ruled_out: set[str] = field(default_factory=set)
    rows: int = 0
    lines: int = 0

    @property
    def bad_lines(self) -> int:
        """How many lines were not understood."""
        return sum(skipped.bad for skipped in self.skipped)


def read_mailertable(lines: Iterable[bytes], admission: Admission) -> Listing:
    """Read a mailertable, given as its lines with their line ends."""
    listing = Listing()
    entries, ruled_out = listing.entries, listing.ruled_out
    why_not, parse_line = admission.why_not, grammar.parse_line
    number = 0
    for number, raw in enumerate(lines, 1):
        try:
            parsed = parse_line(raw)
        except MailertableError as error:
            _not_taken(listing, number, raw, error, why_not)
            continue
        if parsed is None:
            continue
        listing.rows += 1
        key, value = parsed
        reason = why_not(key)
        if reason:
            ruled_out.add(key)
            listing.skipped.append(_skipped(number, raw, reason, bad=False))
            continue
        if entries.setdefault(key, value) != value:
            listing.skipped.append(_skipped(number, raw, f"{key} has another route in an earlier line", bad=True))
    listing.lines = number
    for key in listing.unclear.keys() & entries.keys():
        del listing.unclear[key]
    return listing


def read_domains(lines: Iterable[bytes], admission: Admission) -> Listing:
    """Read a list of domains, one a line; `#` begins a comment line. Every entry's value is `SMARTHOST`."""
    return _read_names(((number, raw, raw) for number, raw in enumerate(lines, 1)), admission)


def read_csv(lines: Iterable[bytes], admission: Admission, column: str) -> Listing:
    """Read a CSV table with a header row; the cells of `column` are domains. Every entry's value is `SMARTHOST`.

    Raises MailertableError when the table has no such column. Rows with an empty cell count as blank.
    """
    rows = csv.DictReader((line.decode("utf-8-sig", "surrogateescape") for line in lines), strict=False)

    def cells() -> Iterator[tuple[int, bytes, bytes]]:
        if column not in (rows.fieldnames or ()):
            known = ", ".join(map(repr, rows.fieldnames or ())) or "none"
            raise MailertableError(f"the table has no column {column!r} (it has: {known})")
        for row in rows:
            yield rows.line_num, _row_text(row).encode("utf-8", "surrogateescape"), _cell(row, column)

    try:
        return _read_names(cells(), admission)
    except csv.Error as error:
        raise MailertableError(f"line {rows.line_num} is not CSV: {error}") from None


def _cell(row: Mapping[str, str | None], column: str) -> bytes:
    return (row[column] or "").strip().encode("utf-8", "surrogateescape")


def _row_text(row: Mapping[str, object]) -> str:
    return ",".join(str(cell) for cell in row.values())


def _read_names(names: Iterable[tuple[int, bytes, bytes]], admission: Admission) -> Listing:
    listing = Listing()
    number = 0
    for number, raw, name in names:
        try:
            fields = grammar.split_line(name.strip(b" \t\r\n"))
            if fields is None:
                continue
            key = parse_key(" ".join(fields).strip())
        except (MailertableError, DomainError) as error:
            listing.rows += 1
            listing.skipped.append(_skipped(number, raw, str(error), bad=True))
            continue
        listing.rows += 1
        reason = admission.why_not(key)
        if reason:
            listing.ruled_out.add(key)
            listing.skipped.append(_skipped(number, raw, reason, bad=False))
        else:
            listing.entries[key] = SMARTHOST
    listing.lines = number
    return listing


def _not_taken(
    listing: Listing, number: int, raw: bytes, error: MailertableError, why_not: Callable[[str], str | None]
) -> None:
    listing.rows += 1
    key = grammar.told_domain(raw)
    if raw.split(None, 1)[:1] == [b"."]:
        listing.skipped.append(_skipped(number, raw, "the catch-all '.' is never taken from a list", bad=False))
        return
    ruled = why_not(key) if key else None
    if ruled is None and isinstance(error, LocalMailerError):
        ruled = str(error)
    if ruled:
        if key:
            listing.ruled_out.add(key)
        listing.skipped.append(_skipped(number, raw, ruled, bad=False))
        return
    if key:
        seed = listing.unclear.get(key, "").encode() + raw.strip()
        listing.unclear[key] = hashlib.sha256(seed).hexdigest()[:_MARK]
    listing.skipped.append(_skipped(number, raw, str(error), bad=True))


def _skipped(number: int, raw: bytes, reason: str, *, bad: bool) -> SkippedLine:
    text = raw.rstrip(b"\r\n").decode("utf-8", "backslashreplace")
    if len(text) > _SHOWN:
        text = text[:_SHOWN] + "…"
    return SkippedLine(number, text, reason, bad)
