"""Wrap a generation so that every rule has mode enforce: the same partners and proofs, another mode."""

from dataclasses import replace

from closedmail.core.address import AddressSet
from closedmail.core.domain import DomainSet
from closedmail.core.model import HeaderFrom, Mode, Rewriting
from closedmail.core.rule import Rule
from closedmail.inbound.partner import Match, Rulebook


class Enforced:
    """A rulebook in which every rule is enforced."""

    def __init__(self, book: Rulebook) -> None:
        """Wrap a generation."""
        self._book = book
        self._rules: dict[int, tuple[Rule, Rule]] = {}
        self._modes: dict[int, Mode] = {}
        self.generation: int = book.generation
        self.own: DomainSet = book.own
        self.trusted: AddressSet = book.trusted
        self.exempt_sasl: bool = book.exempt_sasl
        self.rewriting: Rewriting = book.rewriting
        self.header_from: HeaderFrom = book.header_from

    def get(self, key: str) -> Match | None:
        """Find the record of exactly this key."""
        return self._enforce(self._book.get(key))

    def closed(self, name: str) -> Match | None:
        """Find the entry of `closed_domains` that covers a name."""
        return self._enforce(self._book.closed(name))

    def mode(self, match: Match) -> Mode:
        """Return the real mode of the rule of a match that this rulebook returned."""
        return self._modes[id(match.rule)]

    def _enforce(self, match: Match | None) -> Match | None:
        if match is None:
            return None
        rule = match.rule
        pair = self._rules.get(id(rule))
        if pair is None:  # both are kept, and so are their ids
            pair = self._rules[id(rule)] = (rule, replace(rule, inbound=replace(rule.inbound, mode="enforce")))
            self._modes[id(pair[1])] = rule.inbound.mode
        return match._replace(rule=pair[1])
