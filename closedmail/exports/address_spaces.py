"""Render the keys of a generation as Exchange's address spaces: `x`, and `*.x` for a suffix."""

from collections.abc import Iterator

from closedmail.exports.export_rows import ExportRow, outbound_rows
from closedmail.exports.notes import Notes
from closedmail.exports.published_generation import PublishedGeneration
from closedmail.routes.delivery import DeliveryKind


def address_spaces(published: PublishedGeneration, notes: Notes) -> Iterator[tuple[str, ExportRow, str]]:
    """Yield each key but own domains, its row, and its address space; `notes` get what that changes."""
    for key, row in outbound_rows(published):
        if row.kind is DeliveryKind.OWN:
            notes.add("an own domain lies below a listed suffix or closed domain: keep it an accepted domain", key)
            continue
        if key.startswith(".") and published.entry(key[1:]) is None and key[1:] not in published.closed:
            notes.add("only what is below is listed, Exchange's *.d takes d itself, too", key)
        yield key, row, f"*{key}" if key.startswith(".") else key
