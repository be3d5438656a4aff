"""Decide where mail for a domain goes, or why it is held: made once from a record, and rendered by all others.

Postfix's and Sendmail's rows, exports and explain are made from `Delivery`; none of them parses another's text.
"""

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from enum import Enum
from functools import lru_cache
from typing import NamedTuple, TypeVar

from closedmail.core.hold_reason import Why
from closedmail.core.model import SHARED_TABLE, Outbound
from closedmail.core.record import Entry, State
from closedmail.core.rule import Rule
from closedmail.mailertable.error_mailer import Refusal
from closedmail.mailertable.grammar import parse_value
from closedmail.mailertable.listing import SMARTHOST
from closedmail.routes.nexthop import MailHost, mail_host
from closedmail.routes.tls_policy import Policy, policy_of, row_name
from closedmail.words import ascii_text

T = TypeVar("T")
# `mailer:[host]`, as nearly every canonical value; the second group is there for an IPv4 address.
_ONE_HOST = re.compile(r"[a-z0-9]+:\[(([0-9.]+)|[^]:]+)\]")
_REMEMBERED = 1 << 16  # values at a time


class DeliveryKind(Enum):
    """The kinds of delivery. The values are used in exports.

    Mail is routed, waits, is refused for good, goes as it would without us (`OWN`: it is one of our own domains), or
    the key has rules for inbound mail alone and no row.
    """

    ROUTED = "routed"
    HELD = "held"
    REFUSED = "error"
    OWN = "own"
    INBOUND_ONLY = "inbound-only"


class Delivery(NamedTuple):
    """The delivery of mail for a domain.

    Where it waits or is refused, `dsn` and `text` are the answer; `why` is set where we hold it ourselves, and not
    the list. Where it is routed, `hosts` are tried in their order, by Postfix's `service`, under the policy `tls`;
    `nexthops` are the hosts as Postfix spells them, each a key of the TLS policies in `table`; `value` is the route as
    the list spells it, "" where smart hosts replace it. `left_out` are hosts of the route that `service` can't take: an
    address of the IP version by which it does not deliver. Where nothing else is left, mail waits.
    """

    kind: DeliveryKind
    dsn: str = ""
    text: str = ""
    why: Why | None = None
    hosts: tuple[MailHost, ...] = ()
    nexthops: tuple[str, ...] = ()
    value: str = ""
    service: str = ""
    tls: Policy | None = None
    table: str = SHARED_TABLE
    left_out: tuple[MailHost, ...] = ()

    @property
    def rows(self) -> tuple[str, ...]:
        """The names of the rows that have the nexthops' TLS policies."""
        return tuple(row_name(self.table, nexthop) for nexthop in self.nexthops)

    @property
    def reply(self) -> str:
        """The text as it fits into an SMTP reply: printable ASCII."""
        return ascii_text(self.text)


HELD = {why: Delivery(DeliveryKind.HELD, why.reason.dsn, why.reason.reply, why) for why in Why}
# Without any host mail waits: a service alone would send it to its recipient's public MX.
NO_ROUTE = Delivery(DeliveryKind.HELD, "4.3.5", "mail for this domain is held: no route to it is known")
# RFC 3463: 5.4.4 is "unable to route".
CLOSED = Delivery(
    DeliveryKind.REFUSED,
    "5.4.4",
    "this domain is reached inside of its closed network only, and no route to it is known",
)
CLOSED_VALUE = f"error:{CLOSED.dsn}:{CLOSED.text}"  # the same as a value of a list
OWN = Delivery(DeliveryKind.OWN)
INBOUND_ONLY = Delivery(DeliveryKind.INBOUND_ONLY)
# A partner without a network may have a route `error:…` and no settings for delivery.
_NOWHERE = Outbound(tls="none")


def delivery_of(entry: Entry, outbound: Outbound | None) -> Delivery:
    """Decide the delivery of mail for a domain with this record, under its rule's `outbound`."""
    if entry.in_force:
        return _routes(outbound or _NOWHERE)[entry.value]
    return HELD[entry.why] if entry.state is State.HELD else INBOUND_ONLY


def has_row(entry: Entry | None) -> bool:
    """Check whether a record has an outbound row."""
    return entry is not None and entry.state is not State.INBOUND_ONLY


def route_of(value: str, outbound: Outbound) -> Delivery:
    """Decide the delivery for a canonical mailertable value under an `outbound`.

    Its smart hosts replace every route; `error:` is refused, or waits, with or without them.
    """
    return _routes(outbound)[value]


def rendered(
    entries: Iterable[tuple[str, Entry]], rules: Sequence[Rule], render: Callable[[Entry, Rule], T | None]
) -> Iterator[tuple[str, T]]:
    """Render each record under its rule; records that become None are left out.

    Plain records are rendered once for a rule and a value: values repeat, and an Outbound is slow to hash.
    """
    known: dict[tuple[int, str], T | None] = {}
    for key, entry in entries:
        if entry.state is State.ROUTED:
            pair = (entry.rule, entry.value)
            row = known.get(pair)
            if row is None:
                if len(known) >= _REMEMBERED:
                    known.clear()
                row = known[pair] = render(entry, rules[entry.rule])
        else:
            row = render(entry, rules[entry.rule])
        if row is not None:
            yield key, row


class _Routes(dict[str, Delivery]):
    """The deliveries for values under one `outbound`: a dictionary that computes missing ones."""

    def __init__(self, outbound: Outbound) -> None:
        super().__init__()
        self._service, self._port, self._tls = outbound.transport, outbound.port, policy_of(outbound)
        self._table, self._families = outbound.tls_table, outbound.families
        spelled = _distinct(mail_host(text, 0, outbound.port) for text in outbound.smarthost)
        self._smarthosts = tuple(host._replace(preference=10 * at) for at, host in enumerate(spelled, 1))

    def __missing__(self, value: str) -> Delivery:
        if len(self) >= _REMEMBERED:
            self.clear()
        found = self[value] = self._made(value)
        return found

    def _made(self, value: str) -> Delivery:
        one = None if self._smarthosts else _ONE_HOST.fullmatch(value)
        if one:  # then nothing needs to be parsed
            return self._routed((MailHost(one[1], 10, one[2] is not None, False, self._port),), value)
        parsed = None if value == SMARTHOST else parse_value(value)
        if isinstance(parsed, Refusal):
            kind = DeliveryKind.HELD if parsed.temporary else DeliveryKind.REFUSED
            return Delivery(kind, parsed.dsn, parsed.text)
        if self._smarthosts:
            return self._routed(self._smarthosts, "")
        if parsed is None:
            return NO_ROUTE
        hosts = _distinct(
            MailHost(host.name, 10 * number, host.is_address, host.mx, self._port)
            for number, group in enumerate(parsed.groups, 1)
            for host in group
        )
        return self._routed(hosts, value)

    def _routed(self, hosts: tuple[MailHost, ...], value: str) -> Delivery:
        left_out: tuple[MailHost, ...] = ()
        if self._families != "all":
            by_ipv6 = self._families == "ipv6"
            # Postfix bounces where the last host that it tries is one of these, also when the others are only down
            # for a moment (smtp_addr.c and smtp_connect.c: each host resets what is known of the one before).
            left_out = tuple(host for host in hosts if host.is_address and (":" in host.name) != by_ipv6)
            hosts = tuple(host for host in hosts if host not in left_out)
            if not hosts:
                return HELD[Why.FAMILY]._replace(left_out=left_out)
        nexthops = (hosts[0].nexthop,) if len(hosts) == 1 else tuple(host.nexthop for host in hosts)
        return Delivery(
            DeliveryKind.ROUTED, "", "", None, hosts, nexthops, value, self._service, self._tls, self._table, left_out
        )


_routes = lru_cache(maxsize=1024)(_Routes)


def _distinct(hosts: Iterable[MailHost]) -> tuple[MailHost, ...]:
    """Drop repeated hosts, keeping each at its first place."""
    found: dict[tuple[str, bool, int], MailHost] = {}
    for host in hosts:
        found.setdefault((host.name, host.mx, host.port), host)
    return tuple(found.values())
