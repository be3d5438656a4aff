"""Nexthops and mail hosts: the one parser and the one spelling.

Source of the spellings: transport(5), "RESULT FORMAT": `[host]` switches MX look-ups off, `host:port` gives a port, an
IPv6 address is written in brackets without a prefix.
"""

import re
from typing import NamedTuple

from closedmail.core.host import looks_like_address, parse_domain, parse_literal
from closedmail.words import quote

_NEXTHOP = re.compile(r"(?:\[([^\[\]]+)\]|([^\[\]:]+))(?::([0-9]{1,5}))?")
_PREFIX = "ipv6:"  # RFC 5321, section 4.1.3; Postfix takes an address with and without it


class Nexthop(NamedTuple):
    """A nexthop in its parts. `host` is an A-label name, or an address without brackets; port 0 is the service's own.

    `mx` is true if its MX hosts are meant, which is so without brackets.
    """

    host: str
    port: int = 0
    mx: bool = False

    def __str__(self) -> str:
        """Spell it as Postfix reads it."""
        return f"{self.host if self.mx else f'[{self.host}]'}{f':{self.port}' if self.port else ''}"


class MailHost(NamedTuple):
    """One host of a route. `name` is an A-label name or an address; `mx` is true if its MX records count.

    Hosts of equal preference share their number, from 10 in steps of 10. Port 0 is SMTP's own.
    """

    name: str
    preference: int
    is_address: bool = False
    mx: bool = False
    port: int = 0

    def __str__(self) -> str:
        """Spell it as in a mailertable, without the port."""
        if self.mx:
            return self.name
        return f"[IPv6:{self.name}]" if ":" in self.name else f"[{self.name}]"

    @property
    def nexthop(self) -> str:
        """The host as Postfix spells it."""
        return str(Nexthop(self.name, self.port, self.mx))


def parse_nexthop(text: str) -> Nexthop:
    """Parse `host`, `[host]` or `[address]`, with or without `:port`.

    Raises ValueError with advice on what to write.
    """
    if re.search(r"[\s,]", text):
        raise ValueError(f"found {quote(text)}; each nexthop is an element of the array of its own, without blanks")
    found = _NEXTHOP.fullmatch(text)
    if not found:
        raise ValueError(
            f'found {quote(text)}; write "[host]:port", "[address]:port" or "host:port", the port a number or left out'
        )
    inner, bare = found[1], found[2]
    port = 0 if found[3] is None else int(found[3])
    if found[3] is not None and not 1 <= port <= 65535:
        raise ValueError(f"found {quote(text)}; ports are 1 to 65535")
    if inner is None:
        if looks_like_address(bare):
            # Without brackets Postfix would ask for MX records of a domain of that name.
            raise ValueError(f"found {quote(text)}; an address needs brackets, write {quote(str(Nexthop(bare, port)))}")
        return Nexthop(parse_domain(bare), port, mx=True)
    if ":" in inner:
        address = inner[len(_PREFIX) :] if inner.lower().startswith(_PREFIX) else inner
        return Nexthop(parse_literal(address, text), port)
    if looks_like_address(inner):
        return Nexthop(parse_literal(inner, text), port)
    return Nexthop(parse_domain(inner), port)


def mail_host(text: str, preference: int, port: int = 0) -> MailHost:
    """Parse a nexthop of the configuration (`outbound.smarthost`); `port` counts where it names none.

    Raises ValueError for what is no nexthop.
    """
    found = parse_nexthop(text)
    return MailHost(found.host, preference, looks_like_address(found.host), found.mx, found.port or port)
