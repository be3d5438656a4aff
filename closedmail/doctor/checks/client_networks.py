"""Compare networks of clients: who may send as a partner, who is trusted, who may relay."""

from collections.abc import Iterable, Iterator

from closedmail.core.model import Gateway, IPNetwork
from closedmail.core.rule import Rule
from closedmail.doctor.finding import Finding


def allowed_networks(rules: Iterable[Rule]) -> Iterator[tuple[IPNetwork, str]]:
    """Collect each network of `allow_from`, with the first table that has it."""
    seen: set[tuple[str, IPNetwork]] = set()
    for rule in rules:
        for network in rule.inbound.allow_from:
            if (rule.network, network) not in seen:
                seen.add((rule.network, network))
                yield network, rule.table


def overlap(one: IPNetwork, other: IPNetwork) -> bool:
    """Check whether an address is in both; never so for two IP versions."""
    return one.version == other.version and one.overlaps(other)


def covered(network: IPNetwork, by: Iterable[IPNetwork]) -> bool:
    """Check whether a network lies in one of others."""
    # The versions are compared first, which mypy can't see.
    return any(network.version == item.version and network.subnet_of(item) for item in by)  # type: ignore[arg-type]


def trusted_findings(rules: Iterable[Rule], gateway: Gateway) -> Iterator[Finding]:
    """Find where `allow_from` and `trusted_clients` overlap, whatever the MTA."""
    for other, table in allowed_networks(rules):
        for network in gateway.trusted_clients:
            if overlap(network, other):
                yield Finding.of(
                    "allow-from-trusted",
                    f"{table}.inbound.allow_from has {other}, which overlaps trusted_clients ({network}): what comes "
                    "from there is never checked; make one of the two narrower",
                )
