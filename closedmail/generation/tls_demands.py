"""Settle the TLS demands of routes: one policy for each nexthop; domains with impossible demands are held."""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from closedmail.core.hold_reason import Why
from closedmail.core.record import Entry
from closedmail.generation.difference import Previous
from closedmail.generation.generation import Generation, held
from closedmail.routes import tls_policy
from closedmail.routes.delivery import Delivery, route_of
from closedmail.routes.tls_policy import Policy, policy_of


def settle_tls(generation: Generation, previous: Previous, now: int) -> None:
    """Settle one policy for each single nexthop; hold domains whose demands are impossible or contradict each other."""
    impossible: dict[tuple[str, Policy], str] = {}  # for the domains alone that want it
    conflicts: dict[str, str] = {}  # by the name of a row, for all domains that use its nexthop
    wants: list[_Want] = []
    for want in _wants(generation):
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
    if not impossible and not conflicts:
        return

    def reasons(entry: Entry) -> set[str]:
        outbound = generation.rules[entry.rule].outbound
        if outbound is None:
            return set()
        names, policy = route_of(entry.value, outbound).rows, policy_of(outbound)
        return {reason for name in names if (reason := impossible.get((name, policy)) or conflicts.get(name))}

    for name in conflicts:
        del generation.policies[name]
    for number, entries in enumerate(generation.listed):
        values = {value for value in set(entries.values()) if reasons(Entry(number, value, number))}
        for key in [key for key, value in entries.items() if value in values] if values else ():
            generation.special[key] = Entry(number, entries.pop(key), number)
    notes: dict[str, set[str]] = {}
    for key, entry in generation.special.items():
        if entry.in_force and (why := reasons(entry)):
            generation.special[key] = held(entry, Why.TLS, previous.entry(key), now)
            notes.setdefault(generation.rules[entry.rule].network, set()).update(why)
    for network, sentences in notes.items():
        generation.changes[network].notes.extend(f"held: {sentence}" for sentence in sorted(sentences))


class _Want(NamedTuple):
    """A route, and the TLS policy that a network ("" for a partner alone) wants of its nexthops."""

    route: Delivery
    policy: Policy
    network: str


def _wants(generation: Generation) -> Iterator[_Want]:
    for number, entries in enumerate(generation.listed):
        rule = generation.rules[number]
        if entries and rule.outbound:
            policy = policy_of(rule.outbound)
            for value in sorted(set(entries.values())):
                yield _Want(route_of(value, rule.outbound), policy, rule.network)
    for entry in generation.special.values():
        rule = generation.rules[entry.rule]
        if entry.in_force and rule.outbound:
            yield _Want(route_of(entry.value, rule.outbound), policy_of(rule.outbound), rule.network)


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
