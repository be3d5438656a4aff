"""Find the partner that a domain belongs to."""

from typing import NamedTuple, Protocol

from closedmail.core.address import AddressSet
from closedmail.core.domain import DomainSet, parents
from closedmail.core.model import HeaderFrom, Rewriting
from closedmail.core.rule import Rule


class Match(NamedTuple):
    """A partner that was found: the key that matched, its rule and its mailertable value ("" where it has none)."""

    key: str
    rule: Rule
    value: str = ""


class Rulebook(Protocol):
    """A generation as the decision needs it."""

    @property
    def generation(self) -> int: ...
    @property
    def own(self) -> DomainSet: ...
    @property
    def trusted(self) -> AddressSet: ...
    @property
    def exempt_sasl(self) -> bool: ...
    @property
    def rewriting(self) -> Rewriting: ...
    @property
    def header_from(self) -> HeaderFrom:
        """The strictest demand of any rule on the header (`strongest_header_from`)."""

    def get(self, key: str) -> Match | None:
        """Return the record of exactly this key."""

    def closed(self, name: str) -> Match | None:
        """Return the guard of `closed_domains` that covers a name."""


def find_partner(name: str, book: Rulebook) -> Match | None:
    """Find the partner that a domain belongs to.

    The exact domain, else the longest suffix: an explicit `.x` before the `subdomains` of x; else a closed domain.
    """
    match = book.get(name)
    if match:
        return match
    for parent in parents(name):
        match = book.get("." + parent)
        if match:
            return match
        match = book.get(parent)
        if match and match.rule.inbound.subdomains:
            return match
    return book.closed(name)
