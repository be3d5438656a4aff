"""Decide which zones a DNS server forwards to the networks' own DNS servers, and which it must not resolve at all."""

from collections.abc import Iterator

from closedmail.core.domain import parents
from closedmail.errors import ClosedmailError
from closedmail.exports.export_rows import outbound_rows
from closedmail.exports.notes import Notes
from closedmail.exports.published_generation import PublishedGeneration
from closedmail.routes.delivery import DeliveryKind

# The servers of a zone; () is a zone that is not resolved, None one that is resolved as without us.
Servers = tuple[str, ...] | None
UNRESOLVED: Servers = ()

TAKES_ALL = (
    "Forwarding takes whole zones: a listed domain with all names below it, a listed suffix with the domain itself. "
    "Names that are held, or that the list refuses, are not resolved: their mail waits."
)


def zones(published: PublishedGeneration, notes: Notes) -> dict[str, Servers]:
    """Return the zones by name, sorted. Raises ClosedmailError where no network has DNS servers."""
    if not published.dns_servers:
        raise ClosedmailError(
            "no network in force has DNS servers to forward to",
            "set servers in [network.NAME.dns] and run: {closedmail} sync, or take --form mx",
        )
    found: dict[str, Servers] = {}
    for key, row in outbound_rows(published):
        name = key.removeprefix(".")
        if row.rule is None:
            found[name] = None
            continue
        servers = published.dns_servers.get(row.rule.network)
        closed = row.kind is DeliveryKind.REFUSED and name in published.closed  # it exists only inside
        if servers is None and row.kind is DeliveryKind.ROUTED:
            notes.add(f"[{row.rule.table}] has no DNS servers: resolved as before", key)
            continue
        wanted = servers if servers and (closed or row.kind is DeliveryKind.ROUTED) else UNRESOLVED
        if found.get(name, wanted) != wanted:
            notes.add("the domain and the names below it differ, and a zone has one answer: not resolved", name)
            wanted = UNRESOLVED
        found[name] = wanted
    return dict(sorted(found.items()))


def private_names(found: dict[str, Servers]) -> Iterator[str]:
    """Yield the names that are to be marked insecure: zones that are forwarded, and not below another such one."""
    forwarded = {name for name, servers in found.items() if servers}
    return (name for name in found if name in forwarded and not any(parent in forwarded for parent in parents(name)))
