"""What a list may speak about and where it may route: own domains, public suffixes, `within`, hosts."""

from collections.abc import Collection
from dataclasses import dataclass, field, replace

from closedmail.core.domain import DomainSet
from closedmail.core.suffixes import PublicSuffixes
from closedmail.mailertable.route_hosts import RouteFaults


class KeyBounds:
    """Keys that a list may speak about: `x` stands for x itself, `.x` for all below it and for the key `.x`."""

    __slots__ = ("_below", "_keys")

    def __init__(self, keys: Collection[str]) -> None:
        self._keys = frozenset(keys)
        self._below = tuple(key for key in self._keys if key.startswith("."))

    def __contains__(self, key: str) -> bool:
        return key in self._keys or key.endswith(self._below)


@dataclass(frozen=True, slots=True)
class Admission:
    """The keys that a list may have, and where it may route.

    `own` are the gateway's own domains, `admitted` the keys that have a `[partner]` table, which admits them. `within`
    are the bounds of one network's list, None for none.
    """

    own: DomainSet
    suffixes: PublicSuffixes
    admitted: frozenset[str] = frozenset()
    within: KeyBounds | None = None
    route_faults: RouteFaults = field(default_factory=RouteFaults)

    def of_list(self, within: Collection[str]) -> "Admission":
        """Give the admission of one network's list, by its `within`; () for no bounds."""
        return replace(self, within=KeyBounds(within)) if within else self

    def why_not(self, key: str) -> str | None:
        """Return the rule by which a key is not taken, or None."""
        if key not in self.admitted:
            if self.own.covers(key):
                return "an own domain is never taken from a list"
            if key.removeprefix(".") in self.suffixes:
                return "a public suffix is never taken from a list (a [partner] table admits it)"
        if self.within is not None and key not in self.within:
            return "outside of what may be taken from this list (within)"
        return None
