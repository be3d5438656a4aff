"""Parse and spell mail hosts as the nexthops of Postfix and of the configuration.

Source of the spellings: transport(5), "DESTINATION": `[host]` switches MX look-ups off, `host:port` gives a port, an
IPv6 address is written in brackets without a prefix.
"""

import re
from typing import NamedTuple

_NEXTHOP = re.compile(r"(?:\[(?P<inner>[^]]+)\]|(?P<bare>[^:\[\]]+))(?::(?P<port>\d+))?")


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
        spelled = self.name if self.mx else f"[{self.name}]"
        return f"{spelled}:{self.port}" if self.port else spelled


def parse_nexthop(text: str, preference: int, port: int = 0) -> MailHost:
    """Parse a nexthop of the configuration (`outbound.smarthost`); `port` counts where it names none.

    Raises ValueError for what is no nexthop.
    """
    match = _NEXTHOP.fullmatch(text)
    if match is None:
        raise ValueError(f"{text!r} is no nexthop")
    inner = match["inner"]
    port = int(match["port"] or port)
    if inner is None:
        return MailHost(match["bare"], preference, False, True, port)
    # No top-level domain is all digits (RFC 3696 section 2).
    return MailHost(inner, preference, ":" in inner or inner.rpartition(".")[2].isdigit(), False, port)
