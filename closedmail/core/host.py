"""Parse hosts as administrators write them, a name or an address, into the canonical spelling that is compared."""

import re
from ipaddress import IPv4Address, IPv6Address, ip_address

from closedmail.core.domain import DomainError, parse_name
from closedmail.words import quote

# Fewer than `str.isprintable` is false for: a path may have an odd blank.
CONTROL = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")


def parse_line(text: str) -> str:
    """Check that a text has no control characters or line breaks. Raises ValueError."""
    if CONTROL.search(text):
        raise ValueError(f"found {quote(text)}; control characters and line breaks are not allowed here, remove them")
    return text


def plain_address(text: str) -> IPv4Address | IPv6Address | None:
    """Parse an IP address without brackets, port or zone; None for anything else."""
    # ip_address() also takes zones (fe80::1%eth0), which mean something on one machine only.
    if not re.fullmatch(r"[0-9A-Fa-f:.]+", text):
        return None
    try:
        return ip_address(text)
    except ValueError:
        return None


def looks_like_address(name: str) -> bool:
    """Check whether a text in the place of a host is meant as an address: no name ends in a number (RFC 1123, 2.1)."""
    return ":" in name or name.rpartition(".")[2].isdigit()


def parse_literal(text: str, whole: str) -> str:
    """Parse the IP address that is part of `whole`, which the error shows; return its shortest spelling.

    Raises ValueError.
    """
    address = plain_address(text)
    if address is None:
        raise ValueError(f"found {quote(whole)}; {quote(text)} is no IP address, fix it")
    return str(address)


def parse_domain(text: str) -> str:
    """Parse a domain name into lower-case A-labels; it covers everything below it, and so has no leading dot.

    Raises ValueError.
    """
    if text.startswith(".") and len(text) > 1:
        raise ValueError(f"found {quote(text)}; write {quote(text[1:])}, all below it is meant anyway")
    try:
        return parse_name(parse_line(text))
    except DomainError as error:
        raise ValueError(f'found {quote(text)}, no domain name: {error}; write one such as "city.example"') from None
