"""Reading lists: lines in a network's format become a `Listing`."""

import csv
import hashlib
from collections.abc import Iterable, Iterator, Mapping

from closedmail.core.domain import DomainError, parse_key
from closedmail.mailertable import grammar
from closedmail.mailertable.admission import Admission
from closedmail.mailertable.grammar import LocalMailerError, MailertableError
from closedmail.mailertable.listing import SMARTHOST, Listing, SkippedLine

_SHOWN = 1024  # characters of a line that a report shows
_MARK = 32  # hex digits that tell a bad line from another one
_OLD_LINE_ENDS = (
    "its lines end with CR alone, as on old Macs, and no line can be told from the next; ask the network to publish it "
    "with LF or CR LF (--force does not help)"
)


def read_mailertable(lines: Iterable[bytes], admission: Admission) -> Listing:
    """Read a mailertable, given as its lines with their line ends.

    Raises MailertableError for one whose lines end with CR alone.
    """
    listing = Listing()
    entries, faults = listing.entries, admission.route_faults
    why_not, parse_line = admission.why_not, grammar.parse_line
    number, raw = 0, b""
    for number, raw in enumerate(lines, 1):
        try:
            parsed = parse_line(raw)
        except MailertableError as error:
            _not_taken(listing, number, raw, error, admission)
            continue
        if parsed is None:
            continue
        key, value = parsed
        reason = why_not(key)
        if reason:
            listing.rows += 1
            listing.skipped.append(_skipped(number, raw, reason, bad=False))
            continue
        if faults[value]:
            _not_taken(listing, number, raw, MailertableError(faults[value]), admission)
            continue
        listing.rows += 1
        if entries.setdefault(key, value) != value:
            listing.skipped.append(_skipped(number, raw, f"{key} has another route in an earlier line", bad=True))
    listing.lines = number
    if not entries:
        _check_line_ends(listing, raw)
    for key in listing.unclear.keys() & entries.keys():
        del listing.unclear[key]
    return listing


def read_domains(lines: Iterable[bytes], admission: Admission) -> Listing:
    """Read a list of domains, one a line; `#` begins a comment line. Every entry's value is `SMARTHOST`.

    Raises MailertableError for one whose lines end with CR alone.
    """
    return _read_names(((number, raw, raw) for number, raw in enumerate(lines, 1)), admission)


def read_csv(lines: Iterable[bytes], admission: Admission, column: str) -> Listing:
    """Read a CSV table with a header row; the cells of `column` are domains. Every entry's value is `SMARTHOST`.

    Rows with an empty cell count as blank. Raises MailertableError when the table has no such column, or its lines end
    with CR alone.
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
        if "new-line character" in str(error):  # of the module csv, about a CR that no LF follows
            raise MailertableError(_OLD_LINE_ENDS) from None
        raise MailertableError(f"line {rows.line_num} is not CSV: {error}") from None


def _cell(row: Mapping[str, str | None], column: str) -> bytes:
    return (row[column] or "").strip().encode("utf-8", "surrogateescape")


def _row_text(row: Mapping[str, object]) -> str:
    return ",".join(str(cell) for cell in row.values())


def _read_names(names: Iterable[tuple[int, bytes, bytes]], admission: Admission) -> Listing:
    listing = Listing()
    number, raw = 0, b""
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
            listing.skipped.append(_skipped(number, raw, reason, bad=False))
        else:
            listing.entries[key] = SMARTHOST
    listing.lines = number
    if not listing.entries:
        _check_line_ends(listing, raw)
    return listing


def _check_line_ends(listing: Listing, last: bytes) -> None:
    """Raise MailertableError where a list has no entry because its lines end with CR alone. `last` is its last line.

    Such a list is one line, and where that begins with `#`, one comment.
    """
    one_line = listing.lines == 1 and b"\r" in last.rstrip(b"\r\n")
    if one_line or any("\r" in skipped.text.rstrip("\r") for skipped in listing.skipped):
        raise MailertableError(_OLD_LINE_ENDS)


def _not_taken(listing: Listing, number: int, raw: bytes, error: MailertableError, admission: Admission) -> None:
    listing.rows += 1
    key = grammar.told_domain(raw)
    if raw.split(None, 1)[:1] == [b"."]:
        listing.skipped.append(_skipped(number, raw, "the catch-all '.' is never taken from a list", bad=False))
        return
    ruled = admission.why_not(key) if key else None
    if key and ruled:
        listing.skipped.append(_skipped(number, raw, ruled, bad=False))
        return
    if isinstance(error, LocalMailerError):
        listing.skipped.append(_skipped(number, raw, str(error), bad=False))
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
