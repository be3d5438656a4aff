"""Compare clients that may relay through Sendmail (class R, access table) with those that may send as a partner."""

import re
from collections.abc import Iterator
from ipaddress import ip_address, ip_network

from closedmail.core.model import IPNetwork
from closedmail.doctor.checks.client_networks import allowed_networks, covered, overlap, trusted_findings
from closedmail.doctor.finding import Finding
from closedmail.doctor.sendmail_facts import SendmailFacts

_OCTETS = re.compile(r"\d{1,3}(\.\d{1,3}){0,3}\.?")


def sendmail_client_findings(facts: SendmailFacts) -> Iterator[Finding]:
    """Find clients that may relay and should not."""
    gateway, seen = facts.config.gateway, set()
    relaying = relaying_networks(facts)
    for network, place in relaying.items():
        for other, table in allowed_networks(facts.active):
            if overlap(network, other) and (other, table) not in seen:
                seen.add((other, table))
                yield Finding.of(
                    "allow-from-mynetworks",
                    f"{table}.inbound.allow_from has {other}, which overlaps {network} of {place}: such clients may "
                    "relay, and your own may write in the partner's name; make one of the two narrower",
                )
        if not covered(network, gateway.trusted_clients):
            yield Finding.of(
                "mynetworks-trusted",
                f"{place} lets {network} relay, and trusted_clients does not have it: mail that your own servers pass "
                f'on is checked as a stranger\'s; write "{network}" into trusted_clients of [gateway] in '
                f"{facts.config.path}, or take it out there",
            )
    yield from trusted_findings(facts.active, gateway)


def relaying_networks(facts: SendmailFacts) -> dict[IPNetwork, str]:
    """Collect networks that may relay, each with the place that allows it; without loopback."""
    found: dict[IPNetwork, str] = {}
    for word, file in facts.class_words("R").items():
        if network := access_network(word):
            found.setdefault(network, file or "sendmail.cf")
    for key, value in facts.own_access.items():
        network = access_network(key.removeprefix("connect:"))
        if network and value.strip().upper() == "RELAY":
            found.setdefault(network, facts.maps.own_access)
    return {network: place for network, place in found.items() if not network.is_loopback}


def access_network(text: str) -> IPNetwork | None:
    """Parse a key of the access table as a network.

    Source: cf/README: the first numbers of an address stand for all that begin so; `IPv6:` in front of an IPv6
    address, and no `::` where it is cut short.
    """
    try:
        if text[:5].lower() == "ipv6:":
            groups = text[5:].rstrip(":").split(":") if "::" not in text else []
            if not all(groups) or len(groups) in (0, 8):
                return ip_network(ip_address(text[5:]))
            return ip_network(f"{':'.join(groups)}::/{16 * len(groups)}")
        if not _OCTETS.fullmatch(text):
            return None
        octets = text.rstrip(".").split(".")
        return ip_network(f"{'.'.join([*octets, *['0'] * (4 - len(octets))])}/{8 * len(octets)}")
    except ValueError:
        return None
