"""Settle the TLS demands of routes: one policy for each nexthop; domains with impossible demands are held.

So are those whose route Postfix can't take at all.
"""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from closedmail.core.hold_reason import Why
from closedmail.core.record import Entry
from closedmail.generation.difference import Previous
from closedmail.generation.generation import Generation, held
from closedmail.routes import tls_policy
from closedmail.routes.delivery import Delivery, delivery_of, route_of
from closedmail.routes.tls_policy import Policy, policy_of


def settle_tls(generation: Generation, previous: Previous, now: int) -> None:
    """Settle one policy for each single nexthop; hold domains whose demands are impossible or contradict each other."""
    impossible: dict[tuple[str, Policy], str] = {}  # for the domains alone that want it
    conflicts: dict[str, str] = {}  # by the name of a row, for all domains that use its nexthop
    wants: list[_Want] = []
    unreachable = False
    left_out: dict[str, set[str]] = {}  # the sentences about single hosts, by network
    for want in _wants(generation):
        if want.route.why:
            unreachable = True
            continue
        left_out.setdefault(want.network, set()).update(_family_faults(want.route, want.service))
        faults = {
            (name, want.policy): reason
            for name, host in zip(want.route.rows, want.route.hosts, strict=True)
            if (reason := tls_policy.why_impossible(host, want.policy))
        }
        if faults:  # nothing is delivered so, and nobody else has to wait for it
            impossible.update(faults)
        else:
            wants.append(want)
    owners = _owners(wants, previous)
    foreign: list[tuple[str, str, _Want]] = []
    for want in wants:
        for name, nexthop in zip(want.route.rows, want.route.nexthops, strict=True):
            if owners.get(name, want.network) != want.network:
                foreign.append((name, nexthop, want))
            else:
                _combine(generation, name, nexthop, want, conflicts)
    for name, nexthop, want in foreign:
        known, owner = generation.policies[name], owners[name]
        if known != want.policy:
            whose = f"network {owner}" if owner else "a [partner] table"
            impossible[name, want.policy] = (
                f"nexthop {nexthop} is wanted with TLS policy {str(want.policy)!r}, and {whose} has it with "
                f'{str(known)!r}: leave outbound.transport = "", so that each network delivers by a service of its own'
            )
    for network, sentences in left_out.items():
        generation.changes[network].notes.extend(f"left out of routes: {sentence}" for sentence in sorted(sentences))
    if not impossible and not conflicts and not unreachable:
        return

    def reasons(entry: Entry) -> set[str]:
        outbound = generation.rules[entry.rule].outbound
        if outbound is None:
            return set()
        route, policy = route_of(entry.value, outbound), policy_of(outbound)
        if route.why:
            return set(_family_faults(route, outbound.transport))
        return {reason for name in route.rows if (reason := impossible.get((name, policy)) or conflicts.get(name))}

    for name in conflicts:
        del generation.policies[name]
    for number, entries in enumerate(generation.listed):
        values = {value for value in set(entries.values()) if reasons(Entry(number, value, number))}
        for key in [key for key, value in entries.items() if value in values] if values else ():
            generation.special[key] = Entry(number, entries.pop(key), number)
    notes: dict[str, set[str]] = {}
    for key, entry in generation.special.items():
        if entry.in_force and (faults_of := reasons(entry)):
            rule = generation.rules[entry.rule]
            why = delivery_of(entry, rule.outbound).why or Why.TLS
            generation.special[key] = held(entry, why, previous.entry(key), now)
            notes.setdefault(rule.network, set()).update(faults_of)
    for network, sentences in notes.items():
        generation.changes[network].notes.extend(f"held: {sentence}" for sentence in sorted(sentences))


class _Want(NamedTuple):
    """A route, the TLS policy that a network ("" for a partner alone) wants of its nexthops, and the service."""

    route: Delivery
    policy: Policy
    network: str
    service: str


def _wants(generation: Generation) -> Iterator[_Want]:
    for number, entries in enumerate(generation.listed):
        rule = generation.rules[number]
        if entries and rule.outbound:
            policy = policy_of(rule.outbound)
            for value in sorted(set(entries.values())):
                yield _Want(route_of(value, rule.outbound), policy, rule.network, rule.outbound.transport)
    for entry in generation.special.values():
        rule = generation.rules[entry.rule]
        if entry.in_force and rule.outbound:
            yield _Want(
                route_of(entry.value, rule.outbound), policy_of(rule.outbound), rule.network, rule.outbound.transport
            )


def _family_faults(route: Delivery, service: str) -> Iterator[str]:
    """Explain, for each host that a service can't take, why, and what to do."""
    for host in route.left_out:
        has, lacks = ("ipv6", "IPv4") if ":" not in host.name else ("ipv4", "IPv6")
        yield (
            f"[{host.name}] is an {lacks} address, and inet_protocols of Postfix's service {service} is {has}: set it "
            "to all, or give the domains another route in [partner] tables"
        )


def _owners(wants: Sequence[_Want], previous: Previous) -> dict[str, str]:
    """Find whose a row is that several networks want: of one that has it in force, else of the first in the file.

    Another network's list can't change it then, neither to looser nor to stricter.
    """
    users: dict[str, dict[str, set[Policy]]] = {}
    for want in wants:
        for name in want.route.rows:
            users.setdefault(name, {}).setdefault(want.network, set()).add(want.policy)
    shared = {name: list(by) for name, by in users.items() if len(set[Policy]().union(*by.values())) > 1 < len(by)}
    if not shared:
        return {}
    having: dict[str, set[str]] = {name: set() for name in shared}
    values: set[tuple[int, str]] = set()
    for _, entry in previous.records():
        outbound = previous.rules[entry.rule].outbound
        if entry.in_force and outbound and (entry.rule, entry.value) not in values:
            values.add((entry.rule, entry.value))
            for name in route_of(entry.value, outbound).rows:
                if name in having:
                    having[name].add(previous.rules[entry.rule].network)
    return {name: next((one for one in by if one in having[name]), by[0]) for name, by in shared.items()}


def _combine(generation: Generation, name: str, nexthop: str, want: _Want, conflicts: dict[str, str]) -> None:
    """Combine what one network wants of a nexthop, or note that this can't be."""
    known = generation.policies.setdefault(name, want.policy)
    if known == want.policy:
        return
    chosen = tls_policy.joint(known, want.policy)
    if chosen is None:
        conflicts.setdefault(
            name,
            f"nexthop {nexthop} is wanted with TLS policy {str(known)!r} and with {str(want.policy)!r}, and neither is "
            "the stricter: give one of them an outbound.transport and port of its own, or one policy for both",
        )
        return
    generation.policies[name] = chosen
    note = f"nexthop {nexthop} is wanted with TLS policies {known} and {want.policy}: the stricter applies, {chosen}"
    notes = generation.changes[want.network].notes
    if note not in notes:
        notes.append(note)
