"""Make the rows for every export: each key of a generation in force with its delivery and its rule.

They are those of Postfix's transport table, without the spellings in U-labels.
"""

from collections.abc import Iterator
from typing import NamedTuple

from closedmail.core.record import Entry
from closedmail.core.rule import Rule
from closedmail.exports.published_generation import PublishedGeneration
from closedmail.generation.generation import interleave
from closedmail.maps.protected_keys import ProtectedKeys
from closedmail.routes.delivery import CLOSED, OWN, Delivery, DeliveryKind, delivery_of, has_row, rendered


class ExportRow(NamedTuple):
    """The delivery of mail for a key, and the rule that the key is under; None for own domains."""

    delivery: Delivery
    rule: Rule | None

    @property
    def kind(self) -> DeliveryKind:
        """The kind of delivery."""
        return self.delivery.kind


Rows = Iterator[tuple[str, ExportRow]]


def all_rows(published: PublishedGeneration) -> Rows:
    """Yield all rows, sorted by key: records, closed domains, shielded own domains."""
    protected = ProtectedKeys(published.own, published.closed, published.entry)
    closed = [(key, ExportRow(CLOSED, published.rules[published.closed[domain]])) for key, domain in protected.guards()]
    own = [(key, ExportRow(OWN, None)) for key, _ in protected.shields()]
    extra = sorted((*closed, *own), key=lambda row: row[0])
    return interleave(rendered(published.records(), published.rules, _row), extra)


def outbound_rows(published: PublishedGeneration) -> Rows:
    """Yield the rows about outbound mail, sorted by key."""
    return (row for row in all_rows(published) if row[1].kind is not DeliveryKind.INBOUND_ONLY)


def says_something(published: PublishedGeneration, key: str) -> bool:
    """Check whether the record of exactly this key has a row."""
    return has_row(published.entry(key))


def _row(entry: Entry, rule: Rule) -> ExportRow:
    return ExportRow(delivery_of(entry, rule.outbound), rule)
