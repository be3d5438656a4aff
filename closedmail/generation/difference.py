"""Compare a new list with the one in force, and report what changes.

List is compared with list, never configuration: a domain that the configuration rules out is not lost, and a route
that another `port` spells otherwise is not rerouted. Nor is one whose mailer is only renamed, `smtp:` to `esmtp:`:
Postfix delivers both by `outbound.transport`, in the order of the hosts, and Sendmail to the same hosts.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from closedmail.core.record import Entry
from closedmail.generation.generation import Generation
from closedmail.mailertable.listing import Listing
from closedmail.mailertable.mailers import ROUTING_MAILERS


class Previous(Protocol):
    """The generation that the next one is compared with and made on top of."""

    @property
    def networks(self) -> Sequence[str]:
        """Give the names of the networks by number."""

    def records(self) -> Iterable[tuple[str, Entry]]:
        """Give all records, in the order of their keys."""

    def entry(self, key: str) -> Entry | None:
        """Find the record of exactly this key."""


class NothingInForce:
    """Stands for the generation in force before the first one."""

    networks: Sequence[str] = ()

    def records(self) -> Iterable[tuple[str, Entry]]:
        """Give none."""
        return ()

    def entry(self, key: str) -> Entry | None:  # noqa: ARG002
        """Find none."""
        return None


@dataclass(slots=True)
class Difference:
    """The difference between a network's list in force and a new one.

    `total` domains are routed by the list in force. `lost` are routed now and not in the new list, `absent` were held
    or kept before and are still not in it, `changed` are rerouted, `returned` were held or kept and are listed again,
    `ruled_out` are no longer admitted. `matched` counts the keys of the new list that have a record of this network,
    whatever became of them, `elsewhere` those that have one of another network or of a partner, `offered` all of them.
    """

    total: int = 0
    offered: int = 0
    matched: int = 0
    elsewhere: int = 0
    lost: dict[str, Entry] = field(default_factory=dict)
    absent: dict[str, Entry] = field(default_factory=dict)
    changed: list[str] = field(default_factory=list)
    returned: list[str] = field(default_factory=list)
    ruled_out: list[str] = field(default_factory=list)

    @property
    def new(self) -> int:
        """Count the keys of the new list that nothing in force knows."""
        return self.offered - self.matched - self.elsewhere


def compare(previous: Previous, names: Sequence[str], listings: Sequence[Listing | None]) -> list[Difference]:
    """Compare each network's new listing with what is in force.

    `names` and `listings` are in the order of the configuration; a network of the generation in force that is no longer
    configured is left out.
    """
    differences = [Difference(offered=len(listing.entries) if listing else 0) for listing in listings]
    positions = {name: number for number, name in enumerate(names)}
    new_number = [positions.get(name, -1) for name in previous.networks]
    # By number, the other networks; behind the last number, which is -1, all.
    others = [
        [(listing.entries, differences[at]) for at, listing in enumerate(listings) if listing and at != number]
        for number in range(len(listings) + 1)
    ]
    for key, entry in previous.records():
        number = new_number[entry.network] if entry.network >= 0 else -1
        for entries, other in others[number]:
            other.elsewhere += key in entries
        listing = listings[number] if number >= 0 else None
        if listing is None:
            continue
        difference = differences[number]
        value, listed = listing.entries.get(key), entry.listed
        difference.total += listed
        if value is not None:
            difference.matched += 1
            if not listed:
                difference.returned.append(key)
            elif value != entry.value and not _is_renamed(entry.value, value):
                difference.changed.append(key)
        elif key in listing.ruled_out:
            difference.ruled_out.append(key)
        elif listed:
            difference.lost[key] = entry
        else:
            difference.absent[key] = entry
    return differences


def report_changes(generation: Generation, differences: Sequence[Difference], previous: Previous) -> None:
    """Fill in `added`, `removed` and `changed` of every network that has a list, as `sync` reports it.

    `differences` are those of the generation's listings against `previous`, in the order of its networks.
    """
    for number, (name, difference) in enumerate(zip(generation.networks, differences, strict=True)):
        changes = generation.changes[name]
        gone = (*difference.lost, *difference.ruled_out)
        changes.removed = sorted(key for key in gone if not _has(generation, number, key))
        changes.changed = sorted(key for key in difference.changed if _has(generation, number, key))
        if not previous.networks:
            changes.added = sorted(_keys(generation, number))
        elif difference.matched < difference.offered or difference.returned:
            returned = set(difference.returned)
            changes.added = sorted(
                key for key in _keys(generation, number) if key in returned or _is_new(key, name, previous)
            )


def _is_renamed(old: str, new: str) -> bool:
    """Tell whether Postfix does the same with two routes: each mailer is one to it, and so are `:` and `,`."""
    (mailer, _, hosts), (other, _, others) = old.partition(":"), new.partition(":")
    routes = mailer in ROUTING_MAILERS and other in ROUTING_MAILERS
    return routes and hosts.replace(",", ":") == others.replace(",", ":")


def _keys(generation: Generation, number: int) -> Iterator[str]:
    """List the keys that the network's list gives their value."""
    yield from generation.listed[number]
    yield from (key for key, entry in generation.special.items() if entry.network == number and entry.listed)


def _has(generation: Generation, number: int, key: str) -> bool:
    entry = generation.special.get(key)
    if entry is not None:
        return entry.network == number and entry.listed
    return key in generation.listed[number]


def _is_new(key: str, name: str, previous: Previous) -> bool:
    old = previous.entry(key)
    return old is None or (old.network >= 0 and previous.networks[old.network] != name)
