"""Find the hosts behind a nexthop and their addresses, as an MTA does.

`[host]` and addresses need the system's resolver only. A name without brackets is expanded to its MX hosts first, for
which dnspython is needed (Debian: python3-dnspython; an extra of ours): Python can look up no MX records.
"""

import asyncio
import socket
from typing import NamedTuple

from closedmail.mta.client_settings import ClientSettings
from closedmail.routes.nexthop import parse_nexthop

_SMTP = 25
_MOST_HOSTS = 5  # as smtp_mx_address_limit of postconf(5)
_PATIENCE = 10.0  # seconds for all MX look-ups of one name
_FAMILIES = {"all": socket.AF_UNSPEC, "ipv4": socket.AF_INET, "ipv6": socket.AF_INET6}


class Unresolved(Exception):
    """A nexthop leads to no host; the message says why."""


class Destination(NamedTuple):
    """The parts of a nexthop. With `mx`, its MX hosts are meant (transport(5))."""

    name: str
    port: int
    mx: bool


class Address(NamedTuple):
    """An address to connect to."""

    family: socket.AddressFamily
    address: str
    port: int


def parse_destination(nexthop: str) -> Destination:
    """Parse a nexthop (transport(5)). Raises Unresolved."""
    try:
        found = parse_nexthop(nexthop)
    except ValueError:
        raise Unresolved(f"{nexthop} is not a host that can be probed") from None
    return Destination(found.host, found.port or _SMTP, found.mx)


async def mail_hosts(destination: Destination, settings: ClientSettings) -> list[str]:
    """Find the hosts behind a nexthop, in the order of their preference. Raises Unresolved."""
    if not (destination.mx and settings.looks_up_mx):
        return [destination.name]
    try:
        import dns.asyncresolver
        import dns.exception
        import dns.resolver
    except ImportError:
        raise Unresolved(
            f"the MX hosts of {destination.name} can't be looked up without dnspython: install python3-dnspython "
            "(in a virtual environment: pip install 'closedmail[dns]')"
        ) from None
    try:
        answer = await dns.asyncresolver.resolve(destination.name, "MX", lifetime=_PATIENCE, search=False)
    except dns.resolver.NoAnswer:
        return [destination.name]  # RFC 5321, section 5.1: then it is its own
    except dns.exception.DNSException as error:
        raise Unresolved(f"the MX hosts of {destination.name} can't be looked up: {error}") from None
    pairs = sorted((record.preference, record.exchange.to_text(omit_final_dot=True)) for record in answer)
    hosts = [host for _, host in pairs if host not in ("", ".", "@")]
    if not hosts:
        raise Unresolved(f"{destination.name} has a null MX record: it takes no mail")
    return list(dict.fromkeys(hosts))[:_MOST_HOSTS]


async def mx_signed(destination: Destination) -> bool:
    """Ask the system's resolver whether the MX records of a nexthop are signed (DNSSEC). Raises Unresolved.

    True also where it has or needs none: then everything depends on the host's own records."""
    if not destination.mx:
        return True
    import dns.asyncresolver  # `mail_hosts` has said so where it is missing
    import dns.exception
    import dns.flags
    import dns.resolver

    try:
        resolver = dns.asyncresolver.Resolver()
        resolver.flags = dns.flags.RD | dns.flags.AD  # RFC 6840, section 5.7
        answer = await resolver.resolve(destination.name, "MX", lifetime=_PATIENCE, search=False)
    except dns.resolver.NoAnswer:
        return True
    except dns.exception.DNSException as error:
        raise Unresolved(f"the MX hosts of {destination.name} can't be looked up: {error}") from None
    return bool(answer.response.flags & dns.flags.AD)


async def addresses_of(host: str, port: int, settings: ClientSettings) -> list[Address]:
    """Look up the addresses of a host. Raises Unresolved."""
    try:
        found = await asyncio.get_running_loop().getaddrinfo(
            host, port, family=_FAMILIES[settings.families], type=socket.SOCK_STREAM
        )
    except (OSError, UnicodeError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        raise Unresolved(f"{host} has no address: {reason}") from None
    addresses = [Address(family, str(where[0]), port) for family, _, _, _, where in found]
    return list(dict.fromkeys(addresses))[:_MOST_HOSTS]
