"""Hosts that no list may route to, since mail would come back to this machine, stay in its link or go nowhere.

Ranges: RFC 6890 (0.0.0.0/8, 127.0.0.0/8, 169.254.0.0/16, 255.255.255.255, ::, ::1, fe80::/10), RFC 5771 and RFC 4291
(multicast). An IPv6 address that carries an IPv4 address (RFC 4291, 2.5.5) is looked at as that one. The resolver
completes names without a dot with this machine's own domain (resolv.conf(5), `search`), and `localhost` is loopback, as
is all below it (RFC 6761, 6.3). Names are never resolved.

A `[partner]` table may route to any of them: that is the administrator's own word, such as a proxy on this machine.
"""

import re
from collections.abc import Set as AbstractSet
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address

from closedmail.mailertable.grammar import Host, Route, parse_value
from closedmail.mailertable.mailers import ROUTING_MAILERS

_RANGES = {
    "a loopback address": ("127.0.0.0/8", "::1/128"),
    "no host's address": ("0.0.0.0/8", "::/128"),
    "a link-local address": ("169.254.0.0/16", "fe80::/10"),
    "a multicast address": ("224.0.0.0/4", "ff00::/8"),
    "a broadcast address": ("255.255.255.255/32",),
}
_IPV4 = [(IPv4Network(text), what) for what, texts in _RANGES.items() for text in texts if ":" not in text]
_IPV6 = [(IPv6Network(text), what) for what, texts in _RANGES.items() for text in texts if ":" in text]
_IPV4_COMPATIBLE = IPv6Network("::/96")
# `localhost.localdomain` stands in the /etc/hosts of many systems.
_LOCAL_NAMES = frozenset({"localhost", "localhost.localdomain"})
# As nearly every value of a list: one address, whose first octet is in none of the ranges.
_is_common = re.compile(r"[a-z0-9]+:\[(?!0\.|127\.|169\.|2[2-5]\d\.)[0-9.]+\]").fullmatch
_REMEMBERED = 1 << 16  # values


class RouteFaults(dict[str, str]):
    """What is wrong with a route, by its canonical value, "" for nothing: a dictionary that makes what it lacks."""

    def __init__(self, own_addresses: AbstractSet[str] = frozenset()) -> None:
        """`own_addresses` are this host's, each in its shortest spelling."""
        super().__init__()
        self._own = own_addresses
        self._own_values = {f"{mailer}:[{address}]" for mailer in ROUTING_MAILERS for address in own_addresses}

    def __missing__(self, value: str) -> str:
        fault = "" if _is_common(value) and value not in self._own_values else self._fault(value)
        if len(self) < _REMEMBERED:
            self[value] = fault
        return fault

    def _fault(self, value: str) -> str:
        route = parse_value(value)
        if not isinstance(route, Route):
            return ""
        return next(filter(None, (self._why_not(host) for host in route.hosts)), "")

    def _why_not(self, host: Host) -> str:
        if not host.is_address:
            return _why_not_name(host.name)
        address = _carried(ip_address(host.name))
        what = _kind(address) or ("an address of this host" if str(address) in self._own else "")
        return f"the route leads to {host.name}, {what}" if what else ""


def _why_not_name(name: str) -> str:
    if name in _LOCAL_NAMES or name.endswith(".localhost"):
        return f"the route leads to {name}, which is this host"
    if "." not in name:
        return f"the route leads to {name!r}, a name without its domain"
    return ""


def _carried(address: IPv4Address | IPv6Address) -> IPv4Address | IPv6Address:
    """Take the IPv4 address out of an IPv6 address that carries one. `::` and `::1` are none."""
    if isinstance(address, IPv4Address):
        return address
    if address.ipv4_mapped is not None:
        return address.ipv4_mapped
    return IPv4Address(int(address)) if address in _IPV4_COMPATIBLE and int(address) > 1 else address


def _kind(address: IPv4Address | IPv6Address) -> str:
    """Tell in which of the ranges an address is, "" for none."""
    if isinstance(address, IPv4Address):
        return next((what for network, what in _IPV4 if address in network), "")
    return next((what for network, what in _IPV6 if address in network), "")
