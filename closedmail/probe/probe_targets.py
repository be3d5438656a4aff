"""Choose what to probe: the nexthops of the generation in force, or of some domains, each with its TLS policy."""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Protocol

from closedmail.core.domain import DomainError, parents, parse_key
from closedmail.core.record import Entry, State
from closedmail.errors import ClosedmailError
from closedmail.explain.explain import find_route
from closedmail.generation.sendmail_tls_demands import LIFTED, recipient_policies
from closedmail.maps.sendmail_access import requirement
from closedmail.routes.delivery import DeliveryKind, delivery_of, route_of
from closedmail.routes.tls_policy import Policy, policy_of
from closedmail.store.snapshot import Snapshot


@dataclass(frozen=True, slots=True, order=True)
class ProbeTarget:
    """One nexthop under one policy. `service` is Postfix's delivery service, `row` the policy as its table has it."""

    nexthop: str
    service: str
    row: str
    policy: Policy


class OwnDeliveries(Protocol):
    """Where the administrator's own rows deliver: `instead` of ours, and `beside` them, by key; TLS `policies`."""

    @property
    def instead(self) -> Mapping[str, Iterable[ProbeTarget]]: ...
    @property
    def beside(self) -> Mapping[str, Iterable[ProbeTarget]]: ...
    @property
    def policies(self) -> Mapping[str, Policy]:
        """The policies by nexthop."""


def postfix_targets(
    snapshot: Snapshot, domains: Sequence[str] = (), own: OwnDeliveries | None = None
) -> dict[ProbeTarget, int]:
    """List the nexthops that Postfix delivers to, sorted, with their number of domains: for these domains, or for all.

    `own` are the deliveries by rows of the administrator's. Raises ClosedmailError for a domain that has no route.
    """
    rules = snapshot.manifest.rules

    @lru_cache(maxsize=1 << 16)
    def of(rule: int, value: str) -> tuple[ProbeTarget, ...]:
        outbound = rules[rule].outbound
        if outbound is None:
            return ()
        found = route_of(value, outbound)
        made = []
        for nexthop, name in zip(found.nexthops, found.rows, strict=True):
            row = snapshot.tls_row(name)
            policy = row.policy if row else policy_of(outbound)
            policy = own.policies.get(nexthop, policy) if own else policy
            made.append(ProbeTarget(nexthop, found.service, str(policy), policy))
        return tuple(made)

    def delivered() -> Iterator[ProbeTarget]:
        for key, entry in _entries(snapshot, domains):
            instead = own.instead.get(key) if own else None
            yield from of(entry.rule, entry.value) if instead is None else instead
            yield from own.beside.get(key, ()) if own else ()

    return _counted(delivered())


def sendmail_targets(snapshot: Snapshot, domains: Sequence[str] = ()) -> dict[ProbeTarget, int]:
    """List the same for Sendmail, whose TLS demands are by recipient domain (`TLS_Rcpt:`)."""
    rules = snapshot.manifest.rules
    policies = recipient_policies(snapshot.records(), rules)

    def demanded(name: str) -> Policy | None:
        staying = snapshot.staying_recipient(name)
        return staying.policy if staying else policies.get(name)

    def made() -> Iterator[ProbeTarget]:
        for key, entry in _entries(snapshot, domains):
            name = key.removeprefix(".")
            outbound = rules[entry.rule].outbound
            if outbound is None:
                continue
            policy = next(filter(None, map(demanded, (name, *parents(name)))), LIFTED)
            row = "may" if policy == LIFTED else requirement(policy)
            for nexthop in route_of(entry.value, outbound).nexthops:
                yield ProbeTarget(nexthop, "sendmail", row, policy)

    return _counted(made())


def _counted(targets: Iterator[ProbeTarget]) -> dict[ProbeTarget, int]:
    return dict(sorted(Counter(targets).items()))


def _entries(snapshot: Snapshot, domains: Sequence[str]) -> Iterator[tuple[str, Entry]]:
    """Find the records that route these domains, with the domain; without any, all records with their keys."""
    if not domains:
        yield from ((key, entry) for key, entry in snapshot.records() if entry.in_force)
        return
    for domain in dict.fromkeys(domains):
        yield _routed(snapshot, domain)


def _routed(snapshot: Snapshot, domain: str) -> tuple[str, Entry]:
    try:
        key = parse_key(domain)
    except DomainError as error:
        raise ClosedmailError(f"{domain!r} is no domain: {error}") from None
    why = f"to see why, run: {{closedmail}} explain --recipient {key}"
    entry = snapshot.entry(key)
    if not (entry and key.startswith(".")):
        found = find_route(snapshot, key)
        entry = found[1] if found else None
    if entry is None:
        raise ClosedmailError(f"{key} is not routed by a closed network", why)
    if entry.state is State.HELD:
        raise ClosedmailError(f"{key} is held, and has no route now", why)
    if delivery_of(entry, snapshot.manifest.rules[entry.rule].outbound).kind is not DeliveryKind.ROUTED:
        raise ClosedmailError(f"{key} has no route", why)
    return key, entry
