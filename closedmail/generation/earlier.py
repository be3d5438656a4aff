"""Make the bases that `rollback` and `release` settle on: an earlier generation, and one without released domains."""

from collections.abc import Collection, Iterable, Mapping, Sequence

from closedmail.core.model import Config
from closedmail.core.record import Entry, State
from closedmail.generation.difference import Previous


class Without:
    """A generation without some of its records, as a `difference.Previous`."""

    def __init__(self, previous: Previous, keys: Collection[str]) -> None:
        """Hide the records of `keys` in `previous`."""
        self._previous, self._keys = previous, keys

    @property
    def networks(self) -> Sequence[str]:
        """The names of the networks by number."""
        return self._previous.networks

    def records(self) -> Iterable[tuple[str, Entry]]:
        """Yield all records but those."""
        return ((key, entry) for key, entry in self._previous.records() if key not in self._keys)

    def entry(self, key: str) -> Entry | None:
        """Find the record of exactly this key."""
        return None if key in self._keys else self._previous.entry(key)


class Earlier:
    """An earlier generation, as a `difference.Previous`: the records beyond its lists (`Generation.beyond`)."""

    def __init__(self, networks: Sequence[str], beyond: Mapping[str, Entry]) -> None:
        """Keep the records `beyond` the lists; `networks` are the names by number."""
        self.networks: Sequence[str] = networks
        self._beyond = beyond

    def records(self) -> Iterable[tuple[str, Entry]]:
        """Yield those records, in the order of their keys."""
        return sorted(self._beyond.items())

    def entry(self, key: str) -> Entry | None:
        """Find the record of exactly this key, where it is one of those."""
        return self._beyond.get(key)


def hold_anew(beyond: Mapping[str, Entry], networks: Sequence[str], config: Config, now: int) -> dict[str, Entry]:
    """Restart holds that have ended since then, for their network's `hold_for`; other records stay.

    An administrator who goes back wants the domains held that were held then, not released at once.
    """
    hold_for = {network.name: network.hold_for for network in config.networks}
    found = dict(beyond)
    for key, entry in beyond.items():
        if entry.state is State.HELD and 0 < entry.until <= now:
            seconds = hold_for.get(networks[entry.network]) if entry.network >= 0 else None
            found[key] = entry._replace(until=now + seconds if seconds is not None else 0)
    return found
