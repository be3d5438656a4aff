"""Nexthops: what a mailertable value becomes in Postfix's transport table, single nexthop by single nexthop.

Source of the spellings: transport(5), "DESTINATION": `[host]` switches MX look-ups off, `host:port` gives a port, an
IPv6 address stands in brackets without a prefix, and since Postfix 3.5 several nexthops stand in a row with commas.
"""

import re
from functools import lru_cache
from typing import NamedTuple

from closedmail.core.model import Outbound
from closedmail.mailertable.grammar import Host, Refusal, parse_value
from closedmail.mailertable.listing import SMARTHOST

_ONE_HOST = re.compile(r"[a-z0-9]+:(\[[^]:]+\])")  # `mailer:[host]`, as nearly every canonical value
_WITH_PORT = re.compile(r"(\[[^]]*\]|[^:\[\]]+):\d+")
_LITERAL = re.compile(r"\[([0-9.]+|[0-9a-fA-F]*:[0-9a-fA-F:.]*)\](:\d+)?")


class Target(NamedTuple):
    """Where mail goes: the value of a transport row, and the single nexthops in it, each a key of the TLS policy."""

    transport: str
    nexthops: tuple[str, ...]


@lru_cache(maxsize=1 << 16)
def target(value: str, outbound: Outbound) -> Target:
    """What a canonical mailertable value becomes under a network's `outbound`.

    An `error:` value becomes Postfix's error or retry service (transport(5), error(8)) and has no nexthop.
    """
    one = _ONE_HOST.fullmatch(value)  # then nothing needs to be parsed
    parsed = None if one or value == SMARTHOST else parse_value(value)
    if isinstance(parsed, Refusal):
        service = "retry" if parsed.temporary else "error"
        return Target(f"{service}:{parsed.dsn} {_printable(parsed.text)}", ())
    if one and not outbound.smarthost:
        spelled: tuple[str, ...] = (one[1],)
    elif outbound.smarthost or parsed is None:
        spelled = outbound.smarthost
    else:
        spelled = tuple(_spell(host) for host in parsed.hosts)
    nexthops = tuple(dict.fromkeys(_with_port(nexthop, outbound.port) for nexthop in spelled))
    if not nexthops:  # `smtp:` alone would send the mail to its recipient's public MX
        return Target("retry:4.3.5 mail for this domain is held: no route to it is known", ())
    return Target(f"{outbound.transport}:{', '.join(nexthops)}", nexthops)


def is_literal(nexthop: str) -> bool:
    """Whether a nexthop is an address literal, with or without a port."""
    return bool(_LITERAL.fullmatch(nexthop))


def _spell(host: Host) -> str:
    return host.name if host.mx else f"[{host.name}]"


def _with_port(nexthop: str, port: int) -> str:
    return f"{nexthop}:{port}" if port and not _WITH_PORT.fullmatch(nexthop) else nexthop


def _printable(text: str) -> str:
    """A text that fits in an SMTP reply: printable ASCII."""
    return "".join(char if " " <= char <= "~" else "?" for char in text)
