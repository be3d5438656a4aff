"""Compare an old table with the generation in force: the same, differs, only here, only there."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from closedmail.core.partner_keys import domain_key
from closedmail.maps.postfix_transport import transport_value
from closedmail.maps.protected_keys import ProtectedKeys
from closedmail.maps.row_value import RowValue, parse_row_value, value_of
from closedmail.routes.delivery import CLOSED, Delivery, delivery_of, has_row
from closedmail.store.snapshot import Snapshot
from closedmail.words import counted, printable

_SHOWN = 10


@dataclass(frozen=True, slots=True)
class OldRow:
    """A row as the old table has it, with what its value does."""

    key: str
    value: str
    parsed: RowValue


@dataclass(slots=True)
class MapComparison:
    """Keys of the list and of the old table.

    `differ` has the old row and the list's value, `only_here` the old row. `own` are rows of own domains, which no list
    routes; `other` are rows that no partner's route can be, each with the reason. Both stay in the old table.
    """

    same: list[str] = field(default_factory=list)
    differ: dict[str, tuple[OldRow, str]] = field(default_factory=dict)
    only_here: dict[str, OldRow] = field(default_factory=dict)
    only_list: list[str] = field(default_factory=list)
    own: list[str] = field(default_factory=list)
    other: dict[str, str] = field(default_factory=dict)

    @property
    def equal(self) -> bool:
        """Whether nothing differs."""
        return not (self.differ or self.only_here or self.only_list)

    def to_json(self) -> dict[str, Any]:
        """Make the object of the public interface."""
        return {
            "same": len(self.same),
            "differ": [{"domain": key, "here": row.value, "list": value} for key, (row, value) in self.differ.items()],
            "only_here": list(self.only_here),
            "only_list": self.only_list,
            "own": self.own,
            "other": [{"key": key, "reason": reason} for key, reason in self.other.items()],
        }

    def lines(self) -> Iterator[str]:
        """Render the comparison for people."""
        yield f"the same: {counted(len(self.same), 'domain')}: take these rows out of the old table"
        if self.differ:
            yield f"differs: {counted(len(self.differ), 'domain')}:"
        for key, (row, value) in self.differ.items():
            yield f"  {key}: here {printable(row.value)}, by the list {value}"
        if self.only_here:
            yield f"only here: {counted(len(self.only_here), 'domain')} (--toml prints [partner] tables for them):"
        for key, row in self.only_here.items():
            yield f"  {key}: {printable(row.value)}"
        if self.only_list:
            more = f", … and {len(self.only_list) - _SHOWN} more" if len(self.only_list) > _SHOWN else ""
            shown = ", ".join(self.only_list[:_SHOWN])
            yield f"only in the list: {counted(len(self.only_list), 'domain')}: {shown}{more}"
        if self.own:
            yield f"your own domains, which stay: {', '.join(self.own)}"
        for key, reason in self.other.items():
            yield f"not compared: {printable(key)}: {reason}"


def compare_rows(rows: Mapping[str, str], snapshot: Snapshot) -> MapComparison:
    """Compare the rows of an old table with what is in force."""
    found, seen = MapComparison(), set[str]()
    protected = ProtectedKeys(snapshot.own, snapshot.manifest.closed, snapshot.entry)
    for text, value in rows.items():
        key = "" if "@" in text else domain_key(text)
        if not key:
            found.other[text] = _why_no_domain(text)
            continue
        seen.add(key)
        ours = protected.row_key(key)
        row = OldRow(key, value, parse_row_value(value))
        if ours is not None:
            _place(found, row, _delivery(snapshot, ours))
        elif snapshot.own.covers(key):
            found.own.append(key)
        elif row.parsed.kind == "other":
            found.other[text] = row.parsed.reason
        else:
            found.only_here[key] = row
    found.only_list = [key for key, entry in snapshot.records() if has_row(entry) and key not in seen]
    return found


def _place(found: MapComparison, row: OldRow, delivery: Delivery) -> None:
    if row.parsed.kind != "other" and row.parsed == value_of(delivery):
        found.same.append(row.key)
    else:
        found.differ[row.key] = (row, transport_value(delivery) or "")


def _delivery(snapshot: Snapshot, key: str) -> Delivery:
    entry = snapshot.entry(key)
    return delivery_of(entry, snapshot.manifest.rules[entry.rule].outbound) if entry else CLOSED


def _why_no_domain(text: str) -> str:
    if "@" in text:
        return "a row for one address; if its domain is a partner's, that mail goes another way"
    return "the row for all other mail" if text in ("*", ".") else "not the name of a domain"
