"""Which rule a sender's domain has, as rows of a Postfix access table: the decision's look-up, made once for each key.

Postfix asks for the whole address, then for the domain and its parents. By default a parent's row also stands for what
is below it (parent_domain_matches_subdomains has smtpd_access_maps), else only a row with a dot in front does. So that
both settings, and `x` and `.x`, are told apart, an exact domain's row has an `@` in front, which a regular expression
makes of the whole address, and what is below a name has a row without and one with a dot. What has an `@` row is
never looked up further.
"""

from collections.abc import Callable, Iterator

from closedmail.core.address import AddressSet
from closedmail.core.domain import DomainSet, fold, to_unicode
from closedmail.core.model import HeaderFrom, Rewriting
from closedmail.exports.edition import Edition
from closedmail.exports.notes import Notes
from closedmail.inbound.decision import claimed
from closedmail.inbound.partner import Match

NOT_OURS = "DUNNO"
_BELOW = "*."  # a label that no key has

Action = Callable[[Match], str]


class _Book:
    """An edition as the decision's look-up sees it (`decision.Rulebook`)."""

    exempt_sasl = True
    rewriting = Rewriting()
    header_from: HeaderFrom = "off"

    def __init__(self, edition: Edition) -> None:
        self.generation, self.own, self.trusted = edition.generation, edition.own, AddressSet(edition.trusted_clients)
        self._edition = edition
        self._guards = DomainSet(edition.closed)

    def get(self, key: str) -> Match | None:
        """The record of exactly this key."""
        entry = self._edition.entry(key)
        return None if entry is None else Match(key, self._edition.rules[entry.rule], entry.value)

    def closed(self, name: str) -> Match | None:
        """The guard that covers a name."""
        domain = self._guards.covering(name)
        return None if domain is None else Match(domain, self._edition.rules[self._edition.closed[domain]])


def sender_rows(edition: Edition, action: Action, notes: Notes) -> Iterator[tuple[str, str]]:
    """All rows, no key twice; `action` gives the right-hand side of a partner's row."""
    spelled: dict[str, str] = {}
    for key, value in _ascii_rows(edition, action):
        yield key, value
        international = to_unicode(key.removeprefix("@"))
        if international is None:
            continue
        folded = fold(international)
        if folded in spelled or edition.entry(folded) is not None:
            if not key.startswith((".", "@")) or spelled.get(folded) != key:
                notes.add("the U-label is, for Postfix, that of another domain: only the A-label is checked", key)
            continue
        spelled["@" * key.startswith("@") + folded] = key
        yield "@" * key.startswith("@") + international, value


def _ascii_rows(edition: Edition, action: Action) -> Iterator[tuple[str, str]]:
    book = _Book(edition)

    def told(name: str) -> str:
        found = claimed(name, book)
        return action(found) if isinstance(found, Match) else NOT_OURS

    asked = {*edition.closed, *edition.own.names}
    for key, entry in edition.records():
        name = key.removeprefix(".")
        value = action(Match(key, edition.rules[entry.rule], entry.value))
        if key != name:
            yield name, value
            yield key, value
            asked.add(name)
        else:
            yield "@" + key, value
            if edition.rules[entry.rule].inbound.subdomains and edition.entry("." + key) is None:
                yield from ((key, value), ("." + key, value))
    for name in sorted(asked):
        if edition.entry(name) is None:
            yield "@" + name, told(name)
    for name in sorted({*edition.closed, *edition.own.names}):
        own = edition.entry(name)
        if edition.entry("." + name) is None and not (own and edition.rules[own.rule].inbound.subdomains):
            value = told(_BELOW + name)
            yield from ((name, value), ("." + name, value))
