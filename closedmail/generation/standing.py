"""Take partners from the rows that stand in `map_dir`, where the policy store knows less than these."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet

from closedmail.core.hold_reason import Why
from closedmail.core.model import Config
from closedmail.core.record import Entry, State
from closedmail.core.rule import Rule
from closedmail.generation.difference import Previous
from closedmail.generation.generation import interleave
from closedmail.generation.strays import UNKNOWN_RULE


class Standing:
    """What is in force by the store and by rows that it does not know, as a `difference.Previous`.

    Of a row only its key is sure. It counts as held, of the network that can be told: the one whose
    `outbound.transport` the row names, if it is one network's alone, else the only one that is configured. Where none
    can be told, its mail is held and nothing is asked of mail that comes from it. A `[partner]` table decides for
    itself.
    """

    def __init__(
        self, previous: Previous, rows: Mapping[str, str], config: Config, now: int, held: Collection[str] = ()
    ) -> None:
        """Add `rows` to `previous`: keys, each with the Postfix service that delivers, "" where it names none.

        `held` are those that were held already, which the brakes don't count.
        """
        doors: dict[str, list[str]] = {}
        for network in config.networks:
            doors.setdefault(network.outbound.transport, []).append(network.name)
        only = config.networks[0].name if len(config.networks) == 1 else ""
        known = {network.name: network for network in config.networks}
        tables = {partner.key for partner in config.partners}
        self.networks: Sequence[str] = (*previous.networks, *(name for name in known if name not in previous.networks))
        self.rules: Sequence[Rule] = (*previous.rules, UNKNOWN_RULE)
        self.guards: Mapping[str, int] = previous.guards
        numbers = {name: number for number, name in enumerate(self.networks)}
        self._previous, self._rows = previous, dict[str, Entry]()
        for key, service in rows.items():
            if key in tables or previous.entry(key) is not None:
                continue
            named = doors.get(service, [])
            name = named[0] if len(named) == 1 else only
            hold_for = known[name].hold_for if name else None
            until = now + hold_for if hold_for is not None else 0
            entry = Entry(len(previous.rules), "", numbers.get(name, -1), State.HELD, Why.LOST, now, until)
            self._rows[key] = entry
        self.standing: AbstractSet[str] = self._rows.keys() - set(held)

    def records(self) -> Iterable[tuple[str, Entry]]:
        """Yield all records, in the order of their keys."""
        return interleave(self._previous.records(), sorted(self._rows.items()))

    def entry(self, key: str) -> Entry | None:
        """Find the record of exactly this key."""
        return self._rows.get(key) or self._previous.entry(key)
