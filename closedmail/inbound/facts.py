"""Establish the facts about a mail: what the MTA knows of it, and which proofs hold. No rule is applied here."""

from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from ipaddress import IPv4Address, IPv6Address, ip_network
from typing import NamedTuple

from closedmail.core.address import AddressSet, parse_client
from closedmail.core.model import CertificatePin
from closedmail.inbound.partner import Match
from closedmail.mailertable import grammar


@dataclass(frozen=True, slots=True)
class ClientCertificate:
    """A client's certificate as an MTA describes it; "" where there is none, None where the MTA does not report it.

    Subject and issuer are common names, given only where the MTA verified the chain. Fingerprints are lower-case hex
    without colons.
    """

    subject: str | None = ""
    issuer: str | None = ""
    fingerprint: str | None = ""
    pubkey_fingerprint: str | None = ""


class Envelope(NamedTuple):
    """A mail as an MTA describes it: the sender (bytes that are not UTF-8 as surrogates), the client, its session."""

    sender: str
    client_address: str
    sasl_username: str = ""
    certificate: ClientCertificate = ClientCertificate()
    encrypted: bool | None = False


class Facts(NamedTuple):
    """The proofs that a mail has by its partner's rule; None is unknown: the MTA does not report it."""

    ip: bool | None
    cert: bool | None
    tls: bool | None


def facts_of(envelope: Envelope, client: IPv4Address | IPv6Address | None, match: Match) -> Facts:
    """Establish the facts about a mail by the rule of the partner that it claims to come from."""
    inbound = match.rule.inbound
    allowed = client in match.rule.allowed or (inbound.allow_route_hosts and client in _route_hosts(match.value))
    pins = inbound.certificates
    cert = any_holds(_pinned(pin, envelope.certificate) for pin in pins) if pins else False
    return Facts(allowed, cert, envelope.encrypted)


def _pinned(pin: CertificatePin, shown: ClientCertificate) -> bool | None:
    """Compare a certificate with a pin: all that the pin has must match."""
    pairs = (
        (pin.fingerprint, shown.fingerprint),
        (pin.pubkey_fingerprint, shown.pubkey_fingerprint),
        (_ascii_lower(pin.subject), shown.subject if shown.subject is None else _ascii_lower(shown.subject)),
        (_ascii_lower(pin.issuer), shown.issuer if shown.issuer is None else _ascii_lower(shown.issuer)),
    )
    return all_hold(None if given is None else given == wanted for wanted, given in pairs if wanted)


_LOWER = {ord(char): ord(char) + 32 for char in "ABCDEFGHIJKLMNOPQRSTUVWXYZ"}


def _ascii_lower(text: str) -> str:
    return text.translate(_LOWER)


@lru_cache(maxsize=1024)
def _route_hosts(value: str) -> AddressSet:
    """Collect the address literals of a mailertable value; names are never resolved."""
    # Without the cache that `sync` has of all values of a list: a daemon would fill it for days, up to 40 MB.
    route = grammar.parse_value.__wrapped__(value) if value else None
    if not isinstance(route, grammar.Route):
        return AddressSet(())
    addresses = (parse_client(host.name) for host in route.hosts if host.is_address)
    return AddressSet(ip_network(address) for address in addresses if address)


def all_hold(facts: Iterable[bool | None]) -> bool | None:
    """Combine facts by a three-valued "and": False beats unknown, unknown beats True."""
    unknown = False
    for fact in facts:
        if fact is False:
            return False
        unknown = unknown or fact is None
    return None if unknown else True


def any_holds(facts: Iterable[bool | None]) -> bool | None:
    """Combine facts by a three-valued "or": True beats unknown, unknown beats False."""
    unknown = False
    for fact in facts:
        if fact:
            return True
        unknown = unknown or fact is None
    return None if unknown else False
