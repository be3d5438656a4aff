"""Render the rule of each sender's domain as rows of a Postfix access table: the decision's look-up for each key.

Postfix asks for the whole address, then for the domain and its parents. By default a parent's row also stands for what
is below it (parent_domain_matches_subdomains has smtpd_access_maps), else only a row with a dot in front does. To
distinguish both settings, and `x` and `.x`, an exact domain's row has an `@` in front, which a regular expression
makes of the whole address, and names below one have a row without and one with a dot. A domain with an `@` row is
never looked up further.
"""

from collections.abc import Callable, Iterator

from closedmail.core.address import AddressSet
from closedmail.core.domain import DomainSet, fold, to_unicode
from closedmail.core.model import HeaderFrom, Rewriting
from closedmail.exports.notes import Notes
from closedmail.exports.published_generation import PublishedGeneration
from closedmail.inbound.decision import claimed
from closedmail.inbound.partner import Match

NOT_OURS = "DUNNO"
_BELOW = "*."  # a label that no key has

Action = Callable[[Match], str]


class _Book:
    """A generation as a `decision.Rulebook`."""

    exempt_sasl = True
    rewriting = Rewriting()
    header_from: HeaderFrom = "off"

    def __init__(self, published: PublishedGeneration) -> None:
        self.generation, self.own, self.trusted = (
            published.generation,
            published.own,
            AddressSet(published.trusted_clients),
        )
        self._published = published
        self._guards = DomainSet(published.closed)

    def get(self, key: str) -> Match | None:
        """Return the record of exactly this key."""
        entry = self._published.entry(key)
        return None if entry is None else Match(key, self._published.rules[entry.rule], entry.value)

    def closed(self, name: str) -> Match | None:
        """Return the guard that covers a name."""
        domain = self._guards.covering(name)
        return None if domain is None else Match(domain, self._published.rules[self._published.closed[domain]])


def sender_rows(published: PublishedGeneration, action: Action, notes: Notes) -> Iterator[tuple[str, str]]:
    """Yield all rows, no key twice; `action` returns the right-hand side of a partner's row."""
    spelled: dict[str, str] = {}
    for key, value in _ascii_rows(published, action):
        yield key, value
        international = to_unicode(key.removeprefix("@"))
        if international is None:
            continue
        folded = fold(international)
        if folded in spelled or published.entry(folded) is not None:
            if not key.startswith((".", "@")) or spelled.get(folded) != key:
                notes.add("the U-label is, for Postfix, that of another domain: only the A-label is checked", key)
            continue
        spelled["@" * key.startswith("@") + folded] = key
        yield "@" * key.startswith("@") + international, value


def _ascii_rows(published: PublishedGeneration, action: Action) -> Iterator[tuple[str, str]]:
    book = _Book(published)

    def row_value(name: str) -> str:
        found = claimed(name, book)
        return action(found) if isinstance(found, Match) else NOT_OURS

    asked = {*published.closed, *published.own.names}
    for key, entry in published.records():
        name = key.removeprefix(".")
        value = action(Match(key, published.rules[entry.rule], entry.value))
        if key != name:
            yield name, value
            yield key, value
            asked.add(name)
        else:
            yield "@" + key, value
            if published.rules[entry.rule].inbound.subdomains and published.entry("." + key) is None:
                yield from ((key, value), ("." + key, value))
    for name in sorted(asked):
        if published.entry(name) is None:
            yield "@" + name, row_value(name)
    for name in sorted({*published.closed, *published.own.names}):
        own = published.entry(name)
        if published.entry("." + name) is None and not (own and published.rules[own.rule].inbound.subdomains):
            value = row_value(_BELOW + name)
            yield from ((name, value), ("." + name, value))
