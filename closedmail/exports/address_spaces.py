"""The keys of a generation as Exchange's address spaces: `x`, and `*.x` for a suffix."""

from collections.abc import Iterator

from closedmail.exports.delivery import Delivery, Kind, deliveries
from closedmail.exports.edition import Edition
from closedmail.exports.notes import Notes


def address_spaces(edition: Edition, notes: Notes) -> Iterator[tuple[str, Delivery, str]]:
    """Each key but own domains, how its mail is delivered, and its address space; `notes` take what that changes."""
    for key, delivery in deliveries(edition):
        if delivery.kind is Kind.OWN:
            notes.add("an own domain lies below a listed suffix or closed domain: keep it an accepted domain", key)
            continue
        if key.startswith(".") and edition.entry(key[1:]) is None and key[1:] not in edition.closed:
            notes.add("only what is below is listed, Exchange's *.d takes d itself, too", key)
        yield key, delivery, f"*{key}" if key.startswith(".") else key
