"""Find the rows of the administrator's own Postfix tables that stand in front of closedmail's.

Source: trivial-rewrite's transport.c and mail_addr_find.c. A recipient is looked up by its address, by its domain, and
by `.parent` from the longest on; each key in all tables of `transport_maps`, in their order. So a row for a longer key
counts wherever its table stands, and of rows for one key that of the first table. Keys are folded.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

from closedmail.core.domain import parents, to_unicode
from closedmail.core.partner_keys import domain_key
from closedmail.maps.row_value import parse_row_value

# The user and the name below a suffix that are asked about where a table can't be listed.
USER, BELOW = "closedmail-asks", "closedmail-asks"
SHOWN = 10


@dataclass(frozen=True, slots=True, order=True)
class OwnRow:
    """A row that Postfix finds before ours. `key` and `value` are those of `table`, `ours` is the value that it hides.

    `partner` is the key of our row: a domain or `.suffix` in the transport table, a nexthop in that of TLS policies.
    """

    partner: str
    key: str
    table: str
    value: str
    ours: str
    kind: Literal["route", "tls"] = "route"

    @property
    def differs(self) -> bool:
        """Whether it means other hosts, or another TLS policy. A row that does not may still go by another service."""
        if self.kind == "tls":
            return " ".join(self.value.split()) != self.ours
        return parse_row_value(self.value) != parse_row_value(self.ours)

    def to_json(self) -> dict[str, Any]:
        """Make an object of it."""
        return asdict(self)

    def __str__(self) -> str:
        """Render the row and what it replaces, for people."""
        what = f"{self.key} {self.value}"
        return f"{what} (for {self.partner}: {self.ours})" if self.key != self.partner else f"{what} (for {self.ours})"


@dataclass(frozen=True, slots=True)
class OwnRows:
    """All rows in front of ours, and the tables that could not be read, each with the reason."""

    rows: tuple[OwnRow, ...] = ()
    unread: tuple[tuple[str, str], ...] = ()

    def __bool__(self) -> bool:
        return bool(self.rows or self.unread)

    def to_json(self) -> dict[str, Any]:
        """Make an object of it, for `from_json`."""
        return {"rows": [row.to_json() for row in self.rows], "unread": [list(item) for item in self.unread]}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> "OwnRows":
        """Read what `to_json` wrote. Raises KeyError, TypeError and ValueError for anything else."""
        rows = tuple(OwnRow(**item) for item in data["rows"])
        return cls(rows, tuple((str(table), str(reason)) for table, reason in data["unread"]))

    def sentences(self) -> Iterator[str]:
        """Name the rows, table by table, and what could not be read."""
        yield from self.row_sentences()
        for table, reason in self.unread:
            yield f"{table} can't be read ({reason}): whether it has rows in front of closedmail's is not known"

    def row_sentences(self) -> Iterator[str]:
        """Name the rows, table by table."""
        for table, rows in self.by_table().items():
            yield sentence(table, rows)

    def by_table(self) -> dict[str, list[OwnRow]]:
        """Sort the rows by their tables, those that differ from ours first."""
        found: dict[str, list[OwnRow]] = {}
        for row in sorted(self.rows, key=lambda row: (not row.differs, row)):
            found.setdefault(row.table, []).append(row)
        return found


def sentence(table: str, rows: Sequence[OwnRow]) -> str:
    """Name rows of one table, as many as one reads."""
    more = f", … and {len(rows) - SHOWN} more" if len(rows) > SHOWN else ""
    shown = ", ".join(map(str, rows[:SHOWN]))
    return f"{table} has rows in front of closedmail's, which Postfix uses instead: {shown}{more}"


def rows_in_front(
    rows: Iterable[tuple[str, str]], row_key: Callable[[str], str | None], *, first: bool, parents_match: bool = False
) -> Iterator[tuple[str, str, str]]:
    """Find the rows of a table that Postfix finds before ours, as (key of our row, key, value).

    `row_key` gives the key of our row for a domain, or for all below one (`.x`). `first` says that the table stands
    before ours; `parents_match`, that a key `x` stands for all below x as well (parent_domain_matches_subdomains).
    """
    for text, value in rows:
        whole = "@" in text
        key = domain_key(text.rpartition("@")[2])
        for each in (key, f".{key}") if parents_match and key and not whole and key[0] != "." else (key,):
            ours = row_key(each) if each else None
            if ours and (first or whole or each != ours):
                yield ours, text, value
                break


def keys_to_ask(keys: Iterable[str]) -> dict[str, str]:
    """Map what Postfix would ask a table about partners, whole addresses and domains, to the partners' keys."""
    asked: dict[str, str] = {}
    for key in keys:
        for spelled in filter(None, (key, to_unicode(key))):
            asked[f"{USER}@{BELOW if spelled.startswith('.') else ''}{spelled}"] = key
            asked[spelled] = key
    return asked


def shield_keys(key: str) -> list[str]:
    """List the keys by which Postfix would look for an own domain, or for all below it, if ours had no row."""
    return [key, *(f".{parent}" for parent in parents(key.removeprefix("."))), "*"]


def lookup_keys(address: str, delimiter: str, *, parents_match: bool = False) -> list[str]:
    """List the keys by which Postfix looks a recipient up, in their order; whole addresses come first."""
    local, _, domain = address.rpartition("@")
    short = min((local.find(char) for char in delimiter if local.find(char) > 0), default=0)
    below = parents(domain) if parents_match else (f".{parent}" for parent in parents(domain))
    return [address, *([f"{local[:short]}@{domain}"] if short else []), domain, *below]
