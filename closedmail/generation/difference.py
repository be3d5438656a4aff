"""Compare what is in force with what is about to be: what each list lost or changes, and partners that nobody has now.

What was a partner never just vanishes, whatever took it away: a line that runs a program, a changed Public Suffix
List, a network that is no longer configured, a rollback, a lost policy store. It is lost, which the brakes count, or
a stray, and both are held. Own domains are let go; `[partner]` tables and `closed_domains` that the administrator has
taken out of the configuration go with what they were for.

A route that another `port` spells otherwise is not rerouted. Nor is one whose mailer is only renamed, `smtp:` to
`esmtp:`: Postfix delivers both by `outbound.transport`, in the order of the hosts, and Sendmail to the same hosts.
"""

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from closedmail.core.domain import DomainSet
from closedmail.core.hold_reason import Why
from closedmail.core.model import Config
from closedmail.core.record import Entry, State
from closedmail.core.rule import Rule
from closedmail.generation.generation import Generation
from closedmail.mailertable.listing import Listing
from closedmail.mailertable.mailers import ROUTING_MAILERS


class Previous(Protocol):
    """The generation that the next one is compared with and made on top of."""

    @property
    def networks(self) -> Sequence[str]:
        """Give the names of the networks by number."""

    @property
    def rules(self) -> Sequence[Rule]:
        """Give the rules by number."""

    @property
    def guards(self) -> Mapping[str, int]:
        """Give the closed domains, with the numbers of their networks."""

    @property
    def standing(self) -> Collection[str]:
        """Give the keys that only rows in `map_dir` know, and no store: nothing but the key is known."""

    def records(self) -> Iterable[tuple[str, Entry]]:
        """Give all records, in the order of their keys."""

    def entry(self, key: str) -> Entry | None:
        """Find the record of exactly this key."""


class NothingInForce:
    """Stands for the generation in force before the first one."""

    networks: Sequence[str] = ()
    rules: Sequence[Rule] = ()
    guards: Mapping[str, int] = {}
    standing: Collection[str] = ()

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
    `let_go` are own domains now. `matched` counts the keys of the new list that have a record of this network,
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
    let_go: list[str] = field(default_factory=list)

    @property
    def new(self) -> int:
        """Count the keys of the new list that nothing in force knows."""
        return self.offered - self.matched - self.elsewhere


@dataclass(slots=True)
class Comparison:
    """What is in force, compared with the lists: each network's difference, in the order of the configuration.

    `strays` are the records of partners that have no list any more: their network is no longer configured, or has no
    list, or nobody knows which network they are of. `closed_domains` of a network that is gone are among them.
    `suffixes` are the keys `.x` of which a configured network has a record, `shared` those of which one has a record
    and another one's list speaks: what `ownership` needs of all records.
    """

    networks: list[Difference]
    strays: dict[str, Entry] = field(default_factory=dict)
    suffixes: list[str] = field(default_factory=list)
    shared: set[str] = field(default_factory=set)


def compare(previous: Previous, config: Config, listings: Sequence[Listing | None]) -> Comparison:
    """Compare each network's new listing, in the order of the configuration, with what is in force."""
    differences = [Difference(offered=len(listing.entries) if listing else 0) for listing in listings]
    found = Comparison(differences)
    strays = found.strays
    own = DomainSet(set(config.gateway.own_domains))
    tables = {partner.key for partner in config.partners}
    positions = {network.name: number for number, network in enumerate(config.networks)}
    new_number = [positions.get(name, -1) for name in previous.networks]
    # By number, the other networks; behind the last number, which is -1, all.
    others = [
        [(listing, differences[at]) for at, listing in enumerate(listings) if listing and at != number]
        for number in range(len(listings) + 1)
    ]
    for key, entry in previous.records():
        number = new_number[entry.network] if entry.network >= 0 else -1
        for theirs, other in others[number]:
            if key in theirs.entries:
                other.elsewhere += 1
                found.shared.add(key)
            elif key in theirs.unclear:
                found.shared.add(key)
        if number >= 0 and key.startswith("."):
            found.suffixes.append(key)
        listing = listings[number] if number >= 0 else None
        if listing is None:
            if _needs_a_list(key, entry, previous) and (key in tables or not own.covers(key)):
                strays[key] = entry
            continue
        difference = differences[number]
        value, listed = listing.entries.get(key), entry.listed or key in previous.standing
        difference.total += listed
        if value is not None:
            difference.matched += 1
            if not entry.listed:
                difference.returned.append(key)
            elif value != entry.value and not _is_renamed(entry.value, value):
                difference.changed.append(key)
        elif key not in tables and own.covers(key):
            difference.let_go.append(key)
        elif listed:
            difference.lost[key] = entry
        else:
            difference.absent[key] = entry
    for domain, number in previous.guards.items():
        if new_number[number] < 0 and not own.covers(domain):
            for key in (domain, f".{domain}"):
                strays.setdefault(key, Entry(number, "", number, State.HELD, Why.LOST))
    return found


def _needs_a_list(key: str, entry: Entry, previous: Previous) -> bool:
    """Tell whether a record is none that a `[partner]` table or a closed domain gives by itself and takes along."""
    by_itself = previous.rules[entry.rule].partner or key.removeprefix(".") in previous.guards
    return entry.network >= 0 or not by_itself


def report_changes(generation: Generation, differences: Sequence[Difference], previous: Previous) -> None:
    """Fill in `added`, `removed` and `changed` of every network that has a list, as `sync` reports it.

    `differences` are those of the generation's listings against `previous`, in the order of its networks.
    """
    for number, (name, difference) in enumerate(zip(generation.networks, differences, strict=True)):
        changes = generation.changes[name]
        gone = (*difference.lost, *difference.let_go)
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
