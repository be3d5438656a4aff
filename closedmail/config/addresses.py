"""Parse IP addresses, networks, domains, mailertable values and Postfix nexthops."""

import re
from ipaddress import IPv4Network, IPv6Interface, IPv6Network, ip_interface

from closedmail.config.toml_table import Kind
from closedmail.core.domain import DomainError, parse_key
from closedmail.core.host import parse_domain, parse_line, plain_address
from closedmail.core.model import IPNetwork
from closedmail.mailertable.grammar import LocalMailerError, MailertableError, canonical
from closedmail.mailertable.makemap_limits import MAX_LINE
from closedmail.routes.nexthop import parse_nexthop
from closedmail.words import quote


def parse_network(text: str) -> IPNetwork:
    """Parse an IP network; a bare address is a network of one, an IPv4-mapped IPv6 network becomes IPv4.

    0.0.0.0/0 and ::/0 are allowed: with `require = "cert"` beside them, or for a listener behind a firewall, "any
    client" may be just what is meant, and whoever writes it can see what it says.
    """
    interface = None
    # Postfix's mynetworks has IPv6 addresses in brackets, and that line is what gets copied here.
    text = re.sub(r"^\[([0-9A-Fa-f:.]*:[0-9A-Fa-f:.]*)\](?=$|/)", r"\1", text)
    # ip_interface() also takes zones and netmasks, of which 0.0.0.0 would admit everybody without looking so.
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
    """Parse an IP address, without brackets, port or zone, in its shortest spelling."""
    address = plain_address(text)
    if address is None:
        raise ValueError(
            f'found {quote(text)}; write an IP address, such as "192.0.2.53" or "2001:db8::53", without a port'
        )
    return str(address)


def parse_partner_key(text: str) -> str:
    """Parse the name of a [partner] table, `x` or `.x`, as lower-case A-labels."""
    try:
        return parse_key(parse_line(text))
    except DomainError as error:
        raise ValueError(
            f'no domain name: {error}; write "klinik.example", or ".klinik.example" for all below'
        ) from None


def parse_key_within(text: str) -> str:
    """Parse an element of `within`, `x` for x itself or `.x` for all below it, as lower-case A-labels."""
    try:
        return parse_key(parse_line(text))
    except DomainError as error:
        raise ValueError(
            f'found {quote(text)}, no domain name: {error}; write "city.example", or ".city.example" for all below'
        ) from None


def parse_route(text: str) -> str:
    """Parse the value of a mailertable line; return its canonical spelling, or "" for none."""
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


def check_nexthop(text: str) -> str:
    """Check a Postfix nexthop, and return its canonical spelling. Raises ValueError."""
    return str(parse_nexthop(text))


NETWORK = Kind(parse_network, '"192.0.2.0/24"')
ADDRESS = Kind(parse_address, '"192.0.2.53"')
KEY = Kind(parse_key_within, '".city.example"')
DOMAIN = Kind(parse_domain, '"city.example"')
ROUTE = Kind(parse_route, '"esmtp:[192.0.2.20]"')
NEXTHOP = Kind(check_nexthop, '"[relay.example]:25"')
