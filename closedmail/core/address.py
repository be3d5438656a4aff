"""Parse client addresses, which are hostile text, and look them up in sets of networks."""

from collections.abc import Iterable
from functools import lru_cache
from ipaddress import IPv4Address, IPv6Address, ip_address

from closedmail.core.model import IPNetwork

_LONGEST = 64  # an IPv6 address with a zone; nothing longer is parsed, logged or repeated


def parse_client(text: str) -> IPv4Address | IPv6Address | None:
    """Parse a client address as the MTA gives it; return None where it is missing, `unknown` or unparsable.

    An IPv4-mapped IPv6 address is its IPv4 address (RFC 4291 section 2.5.5.2).
    """
    return None if len(text) > _LONGEST else _parse(text)  # the cache must not keep what is longer


@lru_cache(maxsize=1024)
def _parse(text: str) -> IPv4Address | IPv6Address | None:
    try:
        address = ip_address(text)
    except ValueError:
        return None
    return getattr(address, "ipv4_mapped", None) or address


def client_text(text: str) -> str:
    """Render a client address for people: in its canonical spelling, or `unknown`."""
    return "unknown" if len(text) > _LONGEST else _spelled(text)


@lru_cache(maxsize=1024)
def _spelled(text: str) -> str:
    return str(_parse(text) or "unknown")


class AddressSet:
    """A set of networks that answers "is this address in it?" in one look-up for each prefix length."""

    __slots__ = ("_tables",)

    def __init__(self, networks: Iterable[IPNetwork]) -> None:
        tables: dict[tuple[int, int], set[int]] = {}
        for network in networks:
            shift = network.max_prefixlen - network.prefixlen
            tables.setdefault((network.version, shift), set()).add(int(network.network_address) >> shift)
        self._tables = [(version, shift, frozenset(prefixes)) for (version, shift), prefixes in tables.items()]

    def __bool__(self) -> bool:
        return bool(self._tables)

    def __contains__(self, address: IPv4Address | IPv6Address | None) -> bool:
        if address is None or not self._tables:
            return False
        version, number = address.version, int(address)
        for known, shift, prefixes in self._tables:  # noqa: SIM110, `any` costs twice as much in every decision
            if version == known and number >> shift in prefixes:
                return True
        return False
