"""What the tests of the core share: short ways to networks, lists, generations in force, and one hypothesis profile."""

import io
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from importlib import resources

from hypothesis import settings

from closedmail.core.address import AddressSet
from closedmail.core.domain import DomainSet
from closedmail.core.hold_reason import Why
from closedmail.core.model import (
    Config,
    Gateway,
    HeaderFrom,
    Inbound,
    Network,
    OnRemoved,
    Outbound,
    Partner,
    PostfixMaps,
    Rewriting,
    SendmailMaps,
)
from closedmail.core.record import Entry, State, decode, encode
from closedmail.core.rule import Rule
from closedmail.core.suffixes import PublicSuffixes
from closedmail.generation.difference import NothingInForce, Previous, compare, report_changes
from closedmail.generation.generation import Generation
from closedmail.generation.settle import settle
from closedmail.inbound.partner import Match
from closedmail.mailertable.admission import Admission
from closedmail.mailertable.listing import Listing
from closedmail.mailertable.reader import read_mailertable
from closedmail.mailertable.route_hosts import RouteFaults

# Failures must repeat themselves, and a slow machine is no failure.
settings.register_profile("core", deadline=None, derandomize=True, max_examples=150)
settings.load_profile("core")

OWN = "city.example"
NOW = 1_800_000_000
DAY = 86400


@cache
def shipped_suffixes() -> PublicSuffixes:
    """The Public Suffix List that closedmail ships."""
    return PublicSuffixes(resources.files("closedmail").joinpath("data/public_suffix_list.dat").read_text("utf-8"))


def admission(
    own: Iterable[str] = (OWN,), admitted: Iterable[str] = (), within: Sequence[str] = (), ours: Iterable[str] = ()
) -> Admission:
    """Which keys a list may speak about, and where it may route: not to `ours`."""
    faults = RouteFaults(frozenset(ours))
    return Admission(DomainSet(own), shipped_suffixes(), frozenset(admitted), route_faults=faults).of_list(within)


def read(
    text: str | bytes,
    *,
    admitted: Iterable[str] = (),
    own: Iterable[str] = (OWN,),
    within: Sequence[str] = (),
    ours: Iterable[str] = (),
) -> Listing:
    """A mailertable, read; lines end with LF alone, as in a file."""
    data = text.encode() if isinstance(text, str) else text
    return read_mailertable(io.BytesIO(data), admission(own, admitted, within, ours))


def network(
    name: str = "ndb",
    outbound: Outbound | None = None,
    inbound: Inbound | None = None,
    *,
    on_removed: OnRemoved = "hold",
    hold_for: int | None = 7 * DAY,
    closed: Sequence[str] = (),
) -> Network:
    """A network that enforces, and encrypts."""
    return Network(
        name,
        inbound or Inbound("enforce"),
        outbound or Outbound("encrypt"),
        on_removed=on_removed,
        hold_for=hold_for,
        closed_domains=tuple(closed),
    )


# A route that Sendmail can't be told: 14 long host names make more than 500 bytes.
LONG_ROUTE = "esmtp:" + ":".join(f"[mail-gateway-number-{at:02}.hosting.example]" for at in range(14))


def configuration(
    *networks: Network, partners: Sequence[Partner] = (), own: Sequence[str] = (OWN,), sendmail: bool = False
) -> Config:
    """A configuration; without networks, one named `ndb`. With `sendmail`, the maps of both MTAs are made."""
    return Config(
        "",
        Gateway(tuple(own)),
        postfix=PostfixMaps() if sendmail else None,
        sendmail=SendmailMaps() if sendmail else None,
        networks=networks or (network(),),
        partners=tuple(partners),
    )


@dataclass
class InForce:
    """A generation in force, as the next one sees it; every record goes through its bytes."""

    networks: Sequence[str]
    table: dict[str, Entry]
    rules: Sequence[Rule] = ()
    guards: Mapping[str, int] = field(default_factory=dict)
    standing: Collection[str] = ()

    def records(self) -> Iterable[tuple[str, Entry]]:
        """All records, in the order of their keys."""
        return sorted(self.table.items())

    def entry(self, key: str) -> Entry | None:
        """The record of exactly this key."""
        return self.table.get(key)


def in_force(generation: Generation) -> InForce:
    """A generation, once it is published."""
    table = {key: decode(encode(entry)) for key, entry in generation.entries()}
    return InForce(generation.networks, table, generation.rules, generation.closed)


def advance(
    config: Config,
    *texts: str | Listing | None,
    previous: Previous | None = None,
    now: int = NOW,
    released: Mapping[str, str] | None = None,
    ends: Mapping[str, int] | None = None,
) -> Generation:
    """The next generation from one mailertable text (or listing) for each network, with what it changes."""
    admitted = [partner.key for partner in config.partners]
    listings = [
        read(text, admitted=admitted, own=config.gateway.own_domains) if isinstance(text, str) else text
        for text in texts
    ]
    before = previous or NothingInForce()
    comparison = compare(before, config, listings)
    generation = settle(config, listings, comparison, before, now, released, ends=ends)
    report_changes(generation, comparison.networks, before)
    return generation


def hold(generation: Generation, holds: Mapping[str, Why]) -> Generation:
    """Hold keys of a generation for these reasons, whatever it settled for them."""
    for key, why in holds.items():
        entry = generation.get(key) or Entry(0, "esmtp:[192.0.2.1]", 0)
        for entries in generation.listed:
            entries.pop(key, None)
        generation.special[key] = entry._replace(state=State.HELD, why=why, since=NOW)
    return generation


def routes(generation: Generation) -> dict[str, str]:
    """What is routed, by key: the mailertable values."""
    return {key: entry.value for key, entry in generation.entries() if entry.in_force}


def held(generation: Generation) -> list[str]:
    """The keys that are held."""
    return [key for key, entry in generation.entries() if entry.state is State.HELD]


@dataclass
class Book:
    """A rulebook for decisions, in memory."""

    table: Mapping[str, Match] = field(default_factory=dict)
    guards: Mapping[str, Match] = field(default_factory=dict)
    own: DomainSet = field(default_factory=lambda: DomainSet([OWN]))
    trusted: AddressSet = field(default_factory=lambda: AddressSet([]))
    exempt_sasl: bool = True
    rewriting: Rewriting = field(default_factory=lambda: Rewriting(myorigin=OWN))
    generation: int = 7
    header_from: HeaderFrom = "enforce"

    def get(self, key: str) -> Match | None:
        """The record of exactly this key."""
        return self.table.get(key)

    def closed(self, name: str) -> Match | None:
        """The guard that covers a name."""
        key = DomainSet(self.guards).covering(name)
        return None if key is None else self.guards[key]
