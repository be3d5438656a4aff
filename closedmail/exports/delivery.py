"""Where mail to a key goes, in words that every export can use; the rows are those of Postfix's transport table.

`maps/postfix_transport.py` makes Postfix's rows of a generation that is being settled, this module the same rows of one
that is in force, with hosts in place of nexthops.
"""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import Enum
from functools import lru_cache
from typing import NamedTuple

from closedmail.core.domain import parents
from closedmail.core.model import Outbound
from closedmail.core.record import Entry, State, Why
from closedmail.core.rule import Rule
from closedmail.exports.edition import Edition
from closedmail.generation.generation import interleave
from closedmail.mailertable.grammar import Refusal, parse_value
from closedmail.mailertable.listing import SMARTHOST
from closedmail.routes.nexthop import target

_NEXTHOP = re.compile(r"(?:\[(?P<inner>[^]]+)\]|(?P<bare>[^:\[\]]+))(?::(?P<port>\d+))?")
_ONE_ADDRESS = re.compile(r"[a-z0-9]+:(\[[0-9.]+\])")  # as a canonical value has it
_REMEMBERED = 1 << 16


class Kind(Enum):
    """What becomes of mail: it is routed, waits, is refused for good, goes as it would without us (`OWN`: it is one of
    our own domains), or the key has rules for inbound mail alone."""

    ROUTED = "routed"
    WAITS = "held"
    REFUSED = "error"
    OWN = "own"
    INBOUND_ONLY = "inbound-only"


@dataclass(frozen=True, slots=True)
class MailHost:
    """One host of a route. `name` is an A-label name or an address; `mx` tells whether its MX records count.

    Hosts of equal preference share their number, from 10 in steps of 10. Port 0 is SMTP's own.
    """

    name: str
    preference: int
    is_address: bool = False
    mx: bool = False
    port: int = 0

    def __str__(self) -> str:
        """As a mailertable spells it, without the port."""
        if self.mx:
            return self.name
        return f"[IPv6:{self.name}]" if ":" in self.name else f"[{self.name}]"


class Delivery(NamedTuple):
    """What a key's row says. `value` is the mailertable value of a routed key; `dsn` and `text` those of an answer."""

    kind: Kind
    rule: Rule | None
    hosts: tuple[MailHost, ...] = ()
    value: str = ""
    dsn: str = ""
    text: str = ""


# RFC 3463: 4.3.2 "system not accepting network messages", 4.7.5 "cryptographic failure", 5.4.4 "unable to route".
_HELD = {
    Why.NOTHING: ("4.3.2", "mail for this domain is held"),
    Why.LOST: ("4.3.2", "mail for this domain is held: the list of its closed network has lost it"),
    Why.UNCLEAR: ("4.3.2", "mail for this domain is held: its line in the closed network's list is not understood"),
    Why.TLS: ("4.7.5", "mail for this domain is held: its TLS policy can not be met"),
    Why.FOLDED: ("4.3.2", "mail for this domain is held: its spelling is also that of another domain"),
}
_NO_ROUTE = ("4.3.5", "mail for this domain is held: no route to it is known")
_CLOSED = ("5.4.4", "this domain is reached inside of its closed network only, and no route to it is known")
_NOWHERE = Outbound(tls="none")

Rows = Iterator[tuple[str, Delivery]]


def all_rows(edition: Edition) -> Rows:
    """All rows, sorted by key: records, closed domains, shielded own domains."""
    extra = sorted((*_guards(edition), *_shields(edition)), key=lambda row: row[0])
    return interleave(_records(edition), extra)


def deliveries(edition: Edition) -> Rows:
    """The rows that say something of outbound mail, sorted by key."""
    return (row for row in all_rows(edition) if row[1].kind is not Kind.INBOUND_ONLY)


def of_entry(entry: Entry, rule: Rule) -> Delivery:
    """What a record says."""
    if entry.state is State.INBOUND_ONLY:
        return Delivery(Kind.INBOUND_ONLY, rule)
    if entry.state is State.HELD:
        dsn, text = _HELD[entry.why]
        return Delivery(Kind.WAITS, rule, dsn=dsn, text=text)
    one = _ONE_ADDRESS.fullmatch(entry.value)
    if one and rule.outbound and not rule.outbound.smarthost:  # nearly all routes: nothing needs to be parsed
        return Delivery(Kind.ROUTED, rule, (_host(one[1], 10, rule.outbound.port),), entry.value)
    parsed = None if entry.value == SMARTHOST else parse_value(entry.value)
    if isinstance(parsed, Refusal):
        kind = Kind.WAITS if parsed.temporary else Kind.REFUSED
        return Delivery(kind, rule, dsn=parsed.dsn, text=parsed.text)
    hosts = _hosts(entry.value, rule.outbound or _NOWHERE)
    if not hosts:
        dsn, text = _NO_ROUTE
        return Delivery(Kind.WAITS, rule, dsn=dsn, text=text)
    smarthost = rule.outbound is not None and bool(rule.outbound.smarthost)
    value = "esmtp:" + ":".join(map(str, hosts)) if smarthost or parsed is None else entry.value
    return Delivery(Kind.ROUTED, rule, hosts, value)


def says_something(edition: Edition, key: str) -> bool:
    """Whether the record of exactly this key has a row."""
    entry = edition.entry(key)
    return entry is not None and entry.state is not State.INBOUND_ONLY


def _records(edition: Edition) -> Rows:
    known: dict[tuple[int, str], Delivery] = {}  # rules are slow to hash, and values repeat
    for key, entry in edition.records():
        if entry.state is not State.ROUTED:
            yield key, of_entry(entry, edition.rules[entry.rule])
            continue
        pair = (entry.rule, entry.value)
        found = known.get(pair)
        if found is None:
            if len(known) >= _REMEMBERED:
                known.clear()
            found = known[pair] = of_entry(entry, edition.rules[entry.rule])
        yield key, found


def _guards(edition: Edition) -> Rows:
    """Closed domains, and all below them, that no route covers."""
    dsn, text = _CLOSED
    for domain, number in edition.closed.items():
        if any(says_something(edition, "." + parent) for parent in parents(domain)):
            continue
        for key in (domain, "." + domain):
            if not says_something(edition, key):
                yield key, Delivery(Kind.REFUSED, edition.rules[number], dsn=dsn, text=text)


def _shields(edition: Edition) -> Rows:
    """Own domains, and all below them, that a suffix or a closed domain above them would take."""
    for name in edition.own.names:
        above = list(parents(name))
        if any(says_something(edition, "." + parent) or parent in edition.closed for parent in above):
            for key in (name, "." + name):
                if not says_something(edition, key):
                    yield key, Delivery(Kind.OWN, None)


def _hosts(value: str, outbound: Outbound) -> tuple[MailHost, ...]:
    """The hosts of a route in their order; a network's smarthosts stand for every route, as in Postfix."""
    spelled: Iterable[tuple[int, str]]
    if outbound.smarthost or value == SMARTHOST:
        spelled = [(number, nexthop) for number, nexthop in enumerate(target(value, outbound).nexthops, 1)]
    else:
        route = parse_value(value)
        if isinstance(route, Refusal):
            raise TypeError(f"{value} is no route")
        groups = enumerate(route.groups, 1)
        spelled = [(number, host.name if host.mx else f"[{host.name}]") for number, group in groups for host in group]
    found: dict[str, MailHost] = {}
    for number, nexthop in spelled:
        found.setdefault(nexthop, _host(nexthop, 10 * number, outbound.port))
    return tuple(found.values())


@lru_cache(maxsize=_REMEMBERED)
def _host(nexthop: str, preference: int, port: int) -> MailHost:
    match = _NEXTHOP.fullmatch(nexthop)
    if match is None:
        raise ValueError(f"{nexthop!r} is no nexthop")
    name = match["inner"] or match["bare"]
    is_address = match["inner"] is not None and (":" in name or name.rpartition(".")[2].isdigit())
    return MailHost(name, preference, is_address, match["bare"] is not None, int(match["port"] or port))
