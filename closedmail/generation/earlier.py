"""Make the bases that `rollback` and `release` settle on: an earlier generation, and one without released domains."""

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace

from closedmail.core.hold_reason import Why
from closedmail.core.model import Config
from closedmail.core.record import Entry, State
from closedmail.core.rule import Rule
from closedmail.generation.difference import Previous
from closedmail.generation.generation import interleave


class Without:
    """A generation without some of its records, as a `difference.Previous`."""

    def __init__(self, previous: Previous, keys: Collection[str]) -> None:
        """Hide the records of `keys` in `previous`."""
        self._previous, self._keys = previous, keys
        self.rules: Sequence[Rule] = previous.rules
        self.guards: Mapping[str, int] = previous.guards
        self.standing: Collection[str] = previous.standing

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
    """An earlier generation over the one in force, as a `difference.Previous`.

    It has the records beyond the earlier one's lists (`Generation.beyond`), and all that is in force now, that has no
    such record, and that these lists do not give: what the earlier generation lacks is lost by going back to it, and
    not gone. Whose a listed domain is now does not matter.
    """

    def __init__(
        self,
        networks: Sequence[str],
        beyond: Mapping[str, Entry],
        rules: Sequence[Rule],
        in_force: Previous,
        now: int,
        listed: Collection[str] = (),
    ) -> None:
        """Keep the records `beyond` the lists, whose keys are `listed`.

        `networks` and `rules` are the earlier generation's by number.
        """
        self._listed = listed
        self.networks: Sequence[str] = (*networks, *(name for name in in_force.networks if name not in networks))
        self.rules: Sequence[Rule] = (*rules, *(replace(rule, partner="") for rule in in_force.rules))
        self.guards: Mapping[str, int] = {}
        self.standing: Collection[str] = in_force.standing
        self._beyond, self._in_force, self._now, self._first = beyond, in_force, now, len(rules)
        numbers = {name: number for number, name in enumerate(self.networks)}
        self._numbers = [numbers[name] for name in in_force.networks]
        self._guards = {key: number for domain, number in in_force.guards.items() for key in (domain, f".{domain}")}

    def records(self) -> Iterable[tuple[str, Entry]]:
        """Yield all these records, in the order of their keys."""
        return interleave(self._others(), sorted(self._beyond.items()))

    def entry(self, key: str) -> Entry | None:
        """Find the record of exactly this key."""
        found = self._beyond.get(key)
        if found is None and key not in self._listed:
            now = self._in_force.entry(key) or self._guard(key)
            found = now and self._later(now)
        return found

    def _others(self) -> Iterator[tuple[str, Entry]]:
        guards = ((key, guard) for key in sorted(self._guards) if (guard := self._guard(key)) is not None)
        for key, entry in interleave(self._in_force.records(), list(guards)):
            if key not in self._beyond and key not in self._listed and (later := self._later(entry)) is not None:
                yield key, later

    def _guard(self, key: str) -> Entry | None:
        """Make the record of a domain that is closed now; its own, where it has one, counts instead."""
        number = self._guards.get(key)
        if number is None or self._in_force.entry(key) is not None:
            return None
        return Entry(number, "")

    def _later(self, entry: Entry) -> Entry | None:
        """Give a record in force its new numbers; that of a table or closed domain is held, if it is lost."""
        rule = self._first + entry.rule
        if entry.network >= 0:
            return entry._replace(rule=rule, network=self._numbers[entry.network])
        if entry.state is State.INBOUND_ONLY:
            return None
        return entry._replace(rule=rule, state=State.HELD, why=Why.LOST, since=self._now, until=0)


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
