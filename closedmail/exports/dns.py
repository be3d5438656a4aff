"""Decide the answers that DNS servers give in place of a partner's public MX records, and the names made for them.

An MX target is a name, never an address (RFC 1035 3.3.9), so that each address literal gets a name below
`closedmail.invalid`: nobody can own a name below `invalid` (RFC 6761 6.4), so that none can clash with them.

Mail that has to wait gets an MX whose address the server refuses: MTAs take that for a temporary failure and try
again, while a name that does not exist, or has no address, makes Postfix bounce the mail (postconf(5),
smtp_defer_if_no_mx_address_found). Mail that is refused gets the null MX `0 .` (RFC 7505), a failure for good.
"""

from collections.abc import Container, Iterator
from dataclasses import dataclass, field
from ipaddress import IPv6Address
from typing import assert_never

from closedmail.core.domain import DomainSet, parents
from closedmail.exports.export_rows import ExportRow, outbound_rows
from closedmail.exports.notes import Notes
from closedmail.exports.published_generation import PublishedGeneration
from closedmail.routes.delivery import DeliveryKind
from closedmail.routes.nexthop import MailHost

SUFFIX = "closedmail.invalid"
HELD = f"held.{SUFFIX}"
TTL = 300  # seconds: about as long as a closed list may be behind

# MX records as (preference, target without its last dot); None leaves a name as it is without us.
Answer = tuple[tuple[int, str], ...] | None
WAIT: Answer = ((10, HELD),)
NULL_MX: Answer = ((0, ""),)

_MADE = DomainSet([SUFFIX])


def made_name(address: str) -> str:
    """Make the name of an address: `ip-192-0-2-1.closedmail.invalid`."""
    if ":" not in address:  # nearly all of them, in canonical spelling
        return f"ip-{address.replace('.', '-')}.{SUFFIX}"
    return f"ip-{IPv6Address(address).exploded.replace(':', '-')}.{SUFFIX}"


def target_of(host: MailHost) -> str:
    """Return the MX target of a host."""
    return made_name(host.name) if host.is_address else host.name


def answer_of(row: ExportRow) -> Answer:
    """Decide a server's answer for the MX of a name with that row."""
    match row.kind:
        case DeliveryKind.ROUTED:
            return tuple((host.preference, target_of(host)) for host in row.delivery.hosts)
        case DeliveryKind.REFUSED:
            return NULL_MX
        case DeliveryKind.HELD:
            return WAIT
        case DeliveryKind.OWN | DeliveryKind.INBOUND_ONLY:
            return None
        case _:
            assert_never(row.kind)


def answers(published: PublishedGeneration) -> Iterator[tuple[str, Answer]]:
    """Yield all keys with their answers, sorted."""
    return ((key, answer_of(row)) for key, row in outbound_rows(published) if not _MADE.covers(key))


@dataclass
class Survey:
    """The facts that are needed before the first line is written.

    `suffixes` are the answers below a name, `addresses` those that need a made name, `targets` the names among the
    hosts. `covered` are the exact names below a suffix with their answers; among them `hosts`, which are no keys, but
    targets: where a suffix takes more than the MX, their addresses have to stay. `fill` is what a zone file must have
    beside all these (see `survey`).
    """

    notes: Notes = field(default_factory=Notes)
    suffixes: dict[str, Answer] = field(default_factory=dict)
    addresses: set[str] = field(default_factory=set)
    targets: set[str] = field(default_factory=set)
    covered: dict[str, Answer] = field(default_factory=dict)
    hosts: dict[str, Answer] = field(default_factory=dict)
    fill: dict[str, Answer] = field(default_factory=dict)

    def covering(self, name: str) -> str | None:
        """Return the longest suffix above a name."""
        return next((parent for parent in parents(name) if parent in self.suffixes), None)

    def names(self) -> list[tuple[str, str]]:
        """List the made names with their addresses, sorted by address."""
        return [(made_name(address), address) for address in sorted(self.addresses)]


def survey(published: PublishedGeneration) -> Survey:
    """Survey all rows.

    `fill`: in a zone file a wildcard stands for no name that exists, nor for anything below one (RFC 4592 2.2.1,
    4.1). So that `*.x` still answers for names beside and below a listed `a.b.x`, `b.x`, `*.b.x` and `*.a.b.x` get
    the answer of `*.x`, unless they have one of their own.
    """
    found = Survey()
    for key, row in outbound_rows(published):
        if _MADE.covers(key):
            found.notes.add(f"a name below {SUFFIX} is never looked up by anybody else: left out", key)
            continue
        _note(found.notes, key, row)
        for host in row.delivery.hosts:
            (found.addresses if host.is_address else found.targets).add(host.name)
        if key.startswith("."):
            found.suffixes[key[1:]] = answer_of(row)
    if found.suffixes:
        _cover(published, found)
    return found


def within(name: str, zones: Container[str]) -> bool:
    """Check whether a name is one of these zones, or lies in one."""
    return name in zones or any(parent in zones for parent in parents(name))


def exact_answers(published: PublishedGeneration, found: Survey) -> Iterator[tuple[str, Answer]]:
    """Yield the exact names with their answers: keys, and hosts of routes below a suffix."""
    yield from (row for row in answers(published) if not row[0].startswith("."))
    yield from found.hosts.items()


def _cover(published: PublishedGeneration, found: Survey) -> None:
    bases: dict[str, str] = {}
    for key, answer in answers(published):
        name = key.removeprefix(".")
        cover = found.covering(name)
        if cover is not None:
            bases[name] = cover
            if not key.startswith("."):
                found.covered[key] = answer
    for name in sorted(found.targets - found.covered.keys()):
        cover = found.covering(name)
        if cover is not None and not _MADE.covers(name):
            bases[name] = cover
            found.covered[name] = found.hosts[name] = found.suffixes[cover]
    for name, cover in bases.items():
        answer = found.suffixes[cover]
        for above in (name, *parents(name)):
            if above == cover:
                break
            if above not in found.covered:
                found.fill[above] = answer
            if above not in found.suffixes:
                found.fill["*." + above] = answer


def _note(notes: Notes, key: str, row: ExportRow) -> None:
    if row.kind is not DeliveryKind.ROUTED:
        return
    if any(host.port not in (0, 25) for host in row.delivery.hosts):
        notes.add("an MX record has no port: mail goes to port 25", key)
    if any(host.mx for host in row.delivery.hosts):
        notes.add("the route's host is written without brackets: its address is used, its own MX records are not", key)
    outbound = row.rule.outbound if row.rule else None
    if outbound and outbound.tls not in ("none", "may"):
        level = f"{outbound.tls} {' '.join(outbound.tls_match)}".strip()
        table = row.rule.table if row.rule else ""
        notes.add(f"DNS demands no TLS, [{table}] does: set {level!r} in the mail server", key)
