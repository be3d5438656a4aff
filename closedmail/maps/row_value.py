"""Parse the value of a row, Postfix's or a mailertable's: the hosts that it routes to, or what else it does.

The two have one shape, `mailer:host`. `smtp:[192.0.2.1]:25` has a port in Postfix and is no value of a mailertable,
which has two hosts in `smtp:[192.0.2.1]:[192.0.2.2]`; Postfix separates hosts by commas or blanks (transport(5)).
"""

import re
from dataclasses import dataclass
from typing import Literal

from closedmail.mailertable.error_mailer import Refusal
from closedmail.mailertable.grammar import MailertableError, parse_value
from closedmail.mailertable.mailers import LOCAL_MAILERS
from closedmail.routes.delivery import Delivery, DeliveryKind
from closedmail.routes.nexthop import Nexthop, parse_nexthop

Kind = Literal["route", "held", "error", "other"]
_SMTP_PORT = 25
_HELD, _REFUSED = ("retry", "defer"), ("error",)
_ELSEWHERE = (*sorted(LOCAL_MAILERS), "discard", "maildrop", "dovecot", "pipe")


@dataclass(frozen=True, slots=True)
class RowValue:
    """What a row does: mail goes to `hosts`, waits, is refused, or something that no route of a partner does."""

    kind: Kind
    hosts: tuple[Nexthop, ...] = ()
    reason: str = ""


def parse_row_value(text: str) -> RowValue:
    """Parse a value; one that is not understood is of kind "other"."""
    text = re.sub(r":(?:smtp|25)(?=$|[\s,])", "", text.strip()) if "[" in text or "." in text else text.strip()
    service, colon, rest = text.partition(":")
    if not colon or not service:
        return RowValue("other", reason="it means no service of its own")
    if service.lower() in _HELD or service.lower() in _REFUSED:
        return _refusal(service.lower(), text)
    if service.lower() in _ELSEWHERE:
        return RowValue("other", reason=f"{service} delivers on this machine, or nowhere")
    try:
        found = parse_value(text)
    except MailertableError:
        return _postfix_route(rest)
    if isinstance(found, Refusal):
        return RowValue("held" if found.temporary else "error")
    return RowValue("route", tuple(Nexthop(host.name, 0, host.mx) for host in found.hosts))


def value_of(delivery: Delivery) -> RowValue:
    """Make the same of a delivery of ours."""
    match delivery.kind:
        case DeliveryKind.ROUTED:
            return RowValue("route", tuple(_usual(Nexthop(host.name, host.port, host.mx)) for host in delivery.hosts))
        case DeliveryKind.HELD:
            return RowValue("held")
        case DeliveryKind.REFUSED:
            return RowValue("error")
        case _:
            return RowValue("other")


def _refusal(service: str, text: str) -> RowValue:
    try:
        found = parse_value(text)
    except MailertableError:
        return RowValue("held" if service in _HELD else "error")
    return RowValue("held" if isinstance(found, Refusal) and found.temporary else "error")


def _postfix_route(rest: str) -> RowValue:
    items = [item for item in re.split(r"[\s,]+", rest) if item]
    if not items:
        return RowValue("other", reason="it names no host: mail goes to the domain's public MX")
    try:
        return RowValue("route", tuple(_usual(parse_nexthop(item)) for item in items))
    except ValueError as error:
        return RowValue("other", reason=str(error))


def _usual(host: Nexthop) -> Nexthop:
    return host._replace(port=0) if host.port == _SMTP_PORT else host
