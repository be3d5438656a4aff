"""Find the keys that get a row without a record of their own, for Postfix, Sendmail and exports alike.

A *guard* stands for a closed domain, and for all below it, that no route covers: no mail may go there by public DNS.
A *shield* stands for an own domain, and for all below it, that a row for a suffix or a guard above would route away.
"""

from collections.abc import Callable, Container, Iterator, Mapping
from dataclasses import dataclass

from closedmail.core.domain import DomainSet, parents
from closedmail.core.record import Entry
from closedmail.routes.delivery import has_row


@dataclass(frozen=True, slots=True)
class ProtectedKeys:
    """The guards and shields of a generation.

    `closed` are its closed domains with their networks' numbers, `entry` gives the record of exactly one key.
    `spellings` are keys that have a row for another domain's spelling, as Postfix folds it.
    """

    own: DomainSet
    closed: Mapping[str, int]
    entry: Callable[[str], Entry | None]
    spellings: Container[str] = ()

    def guards(self) -> Iterator[tuple[str, str]]:
        """Yield each key that gets a guard, with its closed domain."""
        for domain in self.closed:
            if not self._is_covered(domain):
                yield from ((key, domain) for key in (domain, "." + domain) if self._is_free(key))

    def is_guard(self, key: str) -> bool:
        """Check whether this key gets a guard."""
        domain = key.removeprefix(".")
        return domain in self.closed and self._is_free(key) and not self._is_covered(domain)

    def row_key(self, name: str) -> str | None:
        """Find the key of the row for a name, or for all below one (`.x`): a record's or a guard's, None for a shield.

        It is that of the exact name, else of the longest suffix.
        """
        own = self.own.covers(name)
        for key in (name, *("." + parent for parent in parents(name.removeprefix(".")))):
            if own and not self.own.covers(key):
                return None
            if has_row(self.entry(key)) or self.is_guard(key):
                return key
        return None

    def shields(self) -> Iterator[tuple[str, str]]:
        """Yield each key that gets a shield, with its own domain."""
        for name in self.own.names:
            if self._is_covered(name) or any(
                parent in self.closed or "." + parent in self.spellings for parent in parents(name)
            ):
                yield from ((key, name) for key in (name, "." + name) if not has_row(self.entry(key)))

    def _is_covered(self, name: str) -> bool:
        """Check whether a row for a suffix covers this name, as all that is below it."""
        return any(has_row(self.entry("." + parent)) for parent in parents(name))

    def _is_free(self, key: str) -> bool:
        return not has_row(self.entry(key)) and key not in self.spellings
