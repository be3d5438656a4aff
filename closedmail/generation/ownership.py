"""Decide whose a domain is where several networks speak of it: no list takes or changes what another network has.

A network has a key that is in force from its list, held or not understood; with a listed `.suffix` all below it; and
with `closed_domains` these and all below. What nobody has in force goes to the first in the file that claims it. `over`
lets a network's exact entries lie below another one's suffixes, and `[partner]` tables decide for their own keys.
"""

from collections.abc import Iterator, Mapping, Sequence

from closedmail.core.domain import DomainSet, parents
from closedmail.core.model import Config
from closedmail.generation.difference import Comparison, Previous
from closedmail.generation.hold_times import HoldTimes
from closedmail.mailertable.listing import Listing

# So many ends a key is compared with one by one: that is quicker than to look each of its parents up.
_FEW = 32


class Ownership:
    """Whose each key is, by the lists that are about to be in force and the generation that is."""

    def __init__(
        self,
        config: Config,
        listings: Sequence[Listing | None],
        comparison: Comparison,
        previous: Previous,
        times: HoldTimes,
    ) -> None:
        """Collect who claims what. `listings` are in the file's order, `comparison` is theirs with `previous`."""
        self._networks, self._times = config.networks, times
        self._listings = [listing or Listing() for listing in listings]
        self._decided = {partner.key for partner in config.partners}
        self._guards = [DomainSet(network.closed_domains) for network in config.networks]
        numbers = {network.name: number for number, network in enumerate(config.networks)}
        self._over = [{numbers[name] for name in network.over} for network in config.networks]
        self._previous = previous
        self._number = [numbers.get(name) for name in previous.networks]
        # Suffixes that a network has in force, and keys of lists that another network has.
        self._suffixes: dict[str, int] = {}
        self._contested: set[str] = set()
        self._owners: dict[str, int | None] = {}
        if len(self._listings) > 1:
            self._look(comparison)

    def decisions(self) -> Iterator[tuple[int, str, int]]:
        """Yield the keys of each network's list that may be another one's: the network, the key, and whose it is."""
        if len(self._listings) < 2:
            return
        for number, listing in enumerate(self._listings):
            for keys in (listing.entries, listing.unclear):
                for key in self._doubtful(number, keys):
                    owner = self.owner(key)
                    if owner is not None:
                        yield number, key, owner

    def owner(self, key: str) -> int | None:
        """Return the number of the network that a key is of, None where none claims it."""
        if key not in self._owners:
            self._owners[key] = self._find_owner(key)
        return self._owners[key]

    def in_force(self, key: str) -> int | None:
        """Return the number of the network that has exactly this key in force, held or not understood."""
        entry = self._previous.entry(key)
        number = self._number[entry.network] if entry and entry.network >= 0 else None
        if entry is None or number is None:
            return None
        listing = self._listings[number]
        listed = key in listing.entries or key in listing.unclear
        return None if not listed and self._times.let_go(entry, self._networks[number]) else number

    def guards(self, number: int, key: str) -> bool:
        """Check whether a key belongs to a network because of its `closed_domains`."""
        return self._guard(key) == number

    def covering(self, number: int, key: str) -> str | None:
        """Return the suffix of another network that a network's key lies below, where that is the longest."""
        for parent in parents(key.removeprefix(".")):
            owner = self.owner(f".{parent}")
            if owner == number or (owner in self._over[number] and not key.startswith(".")):
                return None
            if owner is not None:
                return f".{parent}"
        return None

    def _look(self, comparison: Comparison) -> None:
        self._contested |= comparison.shared
        for key in comparison.suffixes:
            owner = self.in_force(key)
            if owner is not None:
                self._suffixes[key] = owner
        for number, listing in enumerate(self._listings):
            for key in (*listing.entries, *listing.unclear):
                if key.startswith("."):
                    self._suffixes.setdefault(key, number)
            for other in self._listings[number + 1 :]:
                for mine in (listing.entries.keys(), listing.unclear.keys()):
                    self._contested |= mine & other.entries.keys()
                    self._contested |= mine & other.unclear.keys()
        self._contested -= self._decided

    def _doubtful(self, number: int, keys: Mapping[str, str]) -> list[str]:
        """Find the keys that another network may have: all others are this one's."""
        found = self._contested & keys.keys()
        names = {name for at, guard in enumerate(self._guards) if at != number for name in guard.names}
        guarded = {f".{name}" for name in names}
        found |= (names | guarded) & keys.keys()
        others = guarded | {suffix for suffix, owner in self._suffixes.items() if owner != number}
        if len(others) <= _FEW:
            ends = tuple(others)
            found.update(key for key in keys if key.endswith(ends))
        else:
            found.update(
                key for key in keys if any(f".{parent}" in others for parent in parents(key.removeprefix(".")))
            )
        return sorted(found - self._decided)

    def _find_owner(self, key: str) -> int | None:
        keeps = self.in_force(key)
        claimed = [
            number
            for number, listing in enumerate(self._listings)
            if key in listing.entries or key in listing.unclear or number == keeps
        ]
        if not claimed:
            return None
        guard = self._guard(key)
        if guard is not None:
            return guard
        if keeps is not None:
            return keeps
        # Who stands first in the file is asked first; whose claim lies below another one's suffix has none.
        first = next((number for number in claimed if self.covering(number, key) is None), None)
        return first if first is not None else self.owner(self.covering(claimed[0], key) or "")

    def _guard(self, key: str) -> int | None:
        """Return the network whose closed domain lies nearest above a key, of several the first."""
        bare = key.removeprefix(".")
        for name in (bare, *parents(bare)):
            for number, guard in enumerate(self._guards):
                if name in guard.names:
                    return number
        return None
