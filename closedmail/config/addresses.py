"""IP addresses and networks, domains, and what mail is routed by: mailertable values and Postfix nexthops."""

import re
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Interface, IPv6Network, ip_address, ip_interface

from closedmail.config.toml_table import Kind
from closedmail.config.values import parse_line
from closedmail.config.wording import quote
from closedmail.core.domain import DomainError, parse_key, parse_name
from closedmail.core.model import IPNetwork
from closedmail.mailertable.grammar import LocalMailerError, MailertableError, canonical
from closedmail.mailertable.makemap_limits import MAX_LINE


def parse_network(text: str) -> IPNetwork:
    """An IP network; a bare address is the network of it alone, an IPv4-mapped IPv6 network is its IPv4 network.

    0.0.0.0/0 and ::/0 are allowed: with `require = "cert"` beside them, or for a listener behind a firewall, "any
    client" may be just what is meant, and whoever writes it can see what it says.
    """
    interface = None
    # ip_interface() also takes zones and netmasks, of which 0.0.0.0 would be an open door that doesn't look like one.
    if re.fullmatch(r"[0-9A-Fa-f:.]+(?:/[0-9]{1,3})?", text):
        try:
            interface = ip_interface(text)
        except ValueError:
            interface = None
    if interface is None:
        raise ValueError(
            f"found {quote(text)}; write an IP address or network, such as "
            f'"192.0.2.1", "198.51.100.0/24" or "2001:db8::/32"'
        )
    if interface.ip != interface.network.network_address:
        raise ValueError(
            f'found {quote(text)}, which has host bits set; write "{interface.network}" for the network'
            f' or "{interface.ip}" for the one address'
        )
    if isinstance(interface, IPv6Interface):
        return _unmapped(interface.network)
    return interface.network


def _unmapped(network: IPv6Network) -> IPNetwork:
    # Clients that reach an IPv6 socket over IPv4 are compared by their IPv4 address.
    mapped = network.network_address.ipv4_mapped
    if mapped is None or network.prefixlen < 96:
        return network
    return IPv4Network((mapped, network.prefixlen - 96))


def parse_address(text: str) -> str:
    """An IP address, without brackets, port or zone, in its shortest spelling."""
    address = _address(text)
    if address is None:
        raise ValueError(
            f'found {quote(text)}; write an IP address, such as "192.0.2.53" or "2001:db8::53", without a port'
        )
    return str(address)


def parse_domain(text: str) -> str:
    """A domain name as lower-case A-labels; it is meant with all that is below it, and so has no leading dot."""
    if text.startswith(".") and len(text) > 1:
        raise ValueError(f"found {quote(text)}; write {quote(text[1:])}, all below it is meant anyway")
    try:
        return parse_name(parse_line(text))
    except DomainError as error:
        raise ValueError(f'found {quote(text)}, no domain name: {error}; write one such as "city.example"') from None


def parse_partner_key(text: str) -> str:
    """The name of a [partner] table, `x` or `.x`, as lower-case A-labels."""
    try:
        return parse_key(parse_line(text))
    except DomainError as error:
        raise ValueError(
            f'no domain name: {error}; write "klinik.example", or ".klinik.example" for all below'
        ) from None


def parse_route(text: str) -> str:
    """The value of a mailertable line in its canonical spelling, or "" for none."""
    if not text:
        return ""
    # An error: value carries text of its own into maps, one line each.
    parse_line(text)
    if len(text.encode()) > MAX_LINE - 256:
        raise ValueError(f"the route has {len(text.encode())} bytes; {MAX_LINE - 256} fit a line of a map, shorten it")
    try:
        return canonical(text)
    except LocalMailerError:
        raise ValueError(
            f'found {quote(text)}, which runs a program or delivers locally; write such as "esmtp:[192.0.2.20]"'
        ) from None
    except MailertableError as error:
        raise ValueError(f'found {quote(text)}: {error}; write such as "esmtp:[192.0.2.20]"') from None


def parse_nexthop(text: str) -> str:
    """A Postfix nexthop, `host`, `[host]` or `[address]` with or without `:port`, in one spelling."""
    if re.search(r"[\s,]", text):
        raise ValueError(f"found {quote(text)}; each nexthop is an element of the array of its own, without blanks")
    found = re.fullmatch(r"(?:\[([^\[\]]+)\]|([^\[\]:]+))(?::([0-9]{1,5}))?", text)
    if not found:
        raise ValueError(
            f'found {quote(text)}; write "[host]:port", "[address]:port" or "host:port", the port a number or left out'
        )
    inner, bare, port = found[1], found[2], found[3]
    if port is not None and not 1 <= int(port) <= 65535:
        raise ValueError(f"found {quote(text)}; ports are 1 to 65535")
    suffix = f":{int(port)}" if port is not None else ""
    if inner is None:
        if bare.rpartition(".")[2].isdigit():
            # Without brackets Postfix would ask for MX records of a domain of that name.
            raise ValueError(f"found {quote(text)}; an address needs brackets, write {quote(f'[{bare}]{suffix}')}")
        return parse_domain(bare) + suffix
    if ":" in inner:
        return f"[{parse_literal(inner[5:] if inner[:5].lower() == 'ipv6:' else inner, text)}]{suffix}"
    if inner.rpartition(".")[2].isdigit():
        return f"[{parse_literal(inner, text)}]{suffix}"
    return f"[{parse_domain(inner)}]{suffix}"


def parse_literal(text: str, whole: str) -> str:
    """The IP address that stands in `whole`, which the error shows, in its shortest spelling."""
    address = _address(text)
    if address is None:
        raise ValueError(f"found {quote(whole)}; {quote(text)} is no IP address, mend it")
    return str(address)


def _address(text: str) -> IPv4Address | IPv6Address | None:
    # ip_address() also takes zones (fe80::1%eth0), which mean something on one machine only.
    if not re.fullmatch(r"[0-9A-Fa-f:.]+", text):
        return None
    try:
        return ip_address(text)
    except ValueError:
        return None


NETWORK = Kind(parse_network, '"192.0.2.0/24"')
ADDRESS = Kind(parse_address, '"192.0.2.53"')
DOMAIN = Kind(parse_domain, '"city.example"')
ROUTE = Kind(parse_route, '"esmtp:[192.0.2.20]"')
NEXTHOP = Kind(parse_nexthop, '"[relay.example]:25"')
