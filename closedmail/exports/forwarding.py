"""Which zones a DNS server sends to the networks' own DNS servers, and which it must not resolve at all."""

from collections.abc import Iterator

from closedmail.core.domain import parents
from closedmail.errors import ClosedmailError
from closedmail.exports.delivery import Kind, deliveries
from closedmail.exports.edition import Edition
from closedmail.exports.notes import Notes

# The servers of a zone; () is a zone that is not resolved, None one that is resolved as without us.
Servers = tuple[str, ...] | None
UNRESOLVED: Servers = ()

TAKES_ALL = (
    "Forwarding takes whole zones: a listed domain with all names below it, a listed suffix with the domain itself. "
    "Names that are held, or that the list refuses, are not resolved: their mail waits."
)


def zones(edition: Edition, notes: Notes) -> dict[str, Servers]:
    """The zones by name, sorted. Raises ClosedmailError where no network has DNS servers."""
    if not edition.dns_servers:
        raise ClosedmailError(
            "no network in force has DNS servers to forward to",
            "set servers in [network.NAME.dns] and run: {closedmail} sync, or take --form mx",
        )
    found: dict[str, Servers] = {}
    for key, delivery in deliveries(edition):
        name = key.removeprefix(".")
        if delivery.rule is None:
            found[name] = None
            continue
        servers = edition.dns_servers.get(delivery.rule.network)
        closed = delivery.kind is Kind.REFUSED and name in edition.closed  # it is nowhere but inside
        if servers is None and delivery.kind is Kind.ROUTED:
            notes.add(f"[{delivery.rule.table}] has no DNS servers: resolved as before", key)
            continue
        wanted = servers if servers and (closed or delivery.kind is Kind.ROUTED) else UNRESOLVED
        if found.get(name, wanted) != wanted:
            notes.add("the domain and the names below it differ, and a zone has one answer: not resolved", name)
            wanted = UNRESOLVED
        found[name] = wanted
    return dict(sorted(found.items()))


def private_names(found: dict[str, Servers]) -> Iterator[str]:
    """The names that are to be marked insecure: zones that are forwarded, and not below another such one."""
    forwarded = {name for name, servers in found.items() if servers}
    return (name for name in found if name in forwarded and not any(parent in forwarded for parent in parents(name)))
