"""Probe where Postfix really delivers: rows of the administrator's own tables that it uses in place of ours."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from closedmail.core.domain import DomainError, parse_key
from closedmail.explain.explain import find_route
from closedmail.maps.own_rows import OwnRow, OwnRows
from closedmail.mta.recipient_chain import RecipientChain
from closedmail.probe.probe_targets import ProbeTarget
from closedmail.routes.tls_policy import Policy
from closedmail.store.snapshot import Snapshot


@dataclass(slots=True)
class OwnTargets:
    """Targets of the administrator's own rows: `instead` of ours, and `beside` them for some recipients of a key.

    Both are by the key of our row, or by the domain that was asked for. `policies` are own TLS policies by nexthop.
    """

    instead: dict[str, tuple[ProbeTarget, ...]] = field(default_factory=dict)
    beside: dict[str, tuple[ProbeTarget, ...]] = field(default_factory=dict)
    policies: dict[str, Policy] = field(default_factory=dict)


def own_targets(snapshot: Snapshot, chain: RecipientChain, found: OwnRows, domains: Sequence[str] = ()) -> OwnTargets:
    """Find the targets of own rows: for these domains, or for all partners."""
    tls = [row for row in found.rows if row.kind == "tls"]
    made = OwnTargets(policies={row.key: Policy.parse(" ".join(row.value.split())) for row in tls})
    if domains:
        for name in _names(domains):
            route = find_route(snapshot, name)
            row = chain.own_row(f"x@{name}", f"x@{name}", route[0]) if route else None
            if row:
                made.instead[name] = _targets(snapshot, chain, row[2], name)
        return made
    for item in found.rows:
        if item.kind == "route":
            where = made.instead if _is_whole(item) else made.beside
            name = item.key.rpartition("@")[2].removeprefix(".")
            where[item.partner] = (*where.get(item.partner, ()), *_targets(snapshot, chain, item.value, name))
    return made


def _is_whole(row: OwnRow) -> bool:
    """Check whether a row takes all mail of our key, not that of one user or subdomain."""
    return row.key.removeprefix("*@") == row.partner


def _names(domains: Iterable[str]) -> list[str]:
    names = []
    for domain in domains:
        try:
            names.append(parse_key(domain))
        except DomainError:
            continue  # which the caller refuses
    return names


def _targets(snapshot: Snapshot, chain: RecipientChain, value: str, name: str) -> tuple[ProbeTarget, ...]:
    def ours(name: str) -> str | None:
        row = snapshot.tls_row(name)
        return str(row.policy) if row else None

    service, nexthops = chain.delivery(value, name)
    texts = {nexthop: chain.tls_policy(service, nexthop, ours) for nexthop in nexthops}
    return tuple(ProbeTarget(nexthop, service, text, Policy.parse(text)) for nexthop, text in texts.items())
