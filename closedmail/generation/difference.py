"""Compare a new list with the one in force: the brakes that stop a list that changes too much, and the report.

List is compared with list, never configuration: a domain that the configuration rules out is not lost, and a route
that another `port` spells otherwise is not rerouted. Nor is one whose mailer is only renamed, `smtp:` to `esmtp:`:
Postfix delivers both by `outbound.transport`, in the order of the hosts, and Sendmail to the same hosts.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Protocol

from closedmail.core.model import Brakes
from closedmail.core.record import Entry
from closedmail.errors import Refused
from closedmail.generation.generation import Generation
from closedmail.mailertable.grammar import ROUTING_MAILERS
from closedmail.mailertable.listing import Listing

_NAMED = 5  # domains that a message names


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


def check_brakes(
    network: str,
    listing: Listing,
    difference: Difference | None,
    brakes: Brakes,
    previous: Previous,
    command: Callable[..., str],
) -> None:
    """Raise Refused (`empty`, `bad-lines`, `shrunk` or `grown`) for a list that changes too much to be believed.

    `difference` is the one against `previous`, or None while no list is in force; then only `empty` applies. `command`
    renders a closedmail command, as `Config.command` does.
    """
    accept = f"if the network confirms this list, accept it with: {command('sync', '--network', network, '--force')}"
    if not listing.entries:
        raise Refused("empty", f"the list of {network} has no entry that can be used; {accept}")
    if difference is None or not difference.total:
        return
    bad = listing.bad_lines
    if bad >= brakes.bad_line_floor and bad > _most(brakes.bad_line_limit, listing.rows):
        first = next(skipped for skipped in listing.skipped if skipped.bad)
        raise Refused(
            "bad-lines",
            f"{bad} of {listing.rows} lines of {network} are not understood (line {first.line}: {first.reason}), more "
            f"than bad_line_limit {brakes.bad_line_limit:.4g}; look with: {command('lint')} FILE; {accept}",
        )
    lost = [key for key in difference.lost if key not in listing.unclear]
    hit = len(lost) + len(difference.changed)
    if hit >= brakes.shrink_floor and hit > _most(brakes.shrink_limit, difference.total):
        raise Refused(
            "shrunk",
            f"of {difference.total} domains of {network}, {len(lost)} would be lost{_some(lost)} and "
            f"{len(difference.changed)} rerouted{_some(difference.changed)}, more than shrink_limit "
            f"{brakes.shrink_limit:.4g}; {accept}",
        )
    new = difference.new
    if new >= brakes.grow_floor and new > _most(brakes.grow_limit, difference.total):
        unknown = (key for key in listing.entries if previous.entry(key) is None)
        raise Refused(
            "grown",
            f"to {difference.total} domains of {network}, {new} would be added{_some([*islice(unknown, _NAMED + 1)])}, "
            f"more than grow_limit {brakes.grow_limit:.4g}; who has stolen a signing key could take domains of others "
            f"so; {accept}",
        )


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


def _most(share: float, total: int) -> float:
    """Count what a share of a total allows. In binary 0.29 of 100 is a little less than 29, which nobody means."""
    return round(share * total, 6)


def _is_renamed(old: str, new: str) -> bool:
    """Tell whether Postfix does the same with two routes: each mailer is one to it, and so are `:` and `,`."""
    (mailer, _, hosts), (other, _, others) = old.partition(":"), new.partition(":")
    routes = mailer in ROUTING_MAILERS and other in ROUTING_MAILERS
    return routes and hosts.replace(",", ":") == others.replace(",", ":")


def _some(keys: Sequence[str]) -> str:
    if not keys:
        return ""
    more = ", …" if len(keys) > _NAMED else ""
    return f" ({', '.join(keys[:_NAMED])}{more})"


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
