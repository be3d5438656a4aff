"""Settle the TLS demands of routes: one policy for each nexthop; domains with impossible demands are held."""

from closedmail.core.hold_reason import Why
from closedmail.core.model import Outbound
from closedmail.core.record import Entry
from closedmail.generation.difference import Previous
from closedmail.generation.generation import Changes, Generation, held
from closedmail.routes import tls_policy
from closedmail.routes.delivery import route_of
from closedmail.routes.tls_policy import Policy, policy_of


def settle_tls(generation: Generation, previous: Previous, now: int) -> None:
    """Settle one policy for each single nexthop; hold domains whose demands are impossible or contradict each other."""
    impossible: dict[tuple[str, Policy], str] = {}  # for the domains alone that want it
    conflicts: dict[str, str] = {}  # by the name of a row, for all domains that use its nexthop
    policies = generation.policies
    wanted_by: dict[str, str] = {}  # the network that wants a row first: another one can't change it

    def want(value: str, outbound: Outbound, policy: Policy, network: str, report: Changes) -> None:
        found = route_of(value, outbound)
        reasons = {
            (name, policy): reason
            for name, host in zip(found.rows, found.hosts, strict=True)
            if (reason := tls_policy.why_impossible(host, policy))
        }
        if reasons:  # nothing is delivered so, and nobody else has to wait for it
            impossible.update(reasons)
            return
        for name, nexthop in zip(found.rows, found.nexthops, strict=True):
            known, first = policies.setdefault(name, policy), wanted_by.setdefault(name, network)
            if known is policy or known == policy:
                continue
            if first != network:
                whose = f"network {first}" if first else "a [partner] table"
                impossible[name, policy] = (
                    f"nexthop {nexthop} is wanted with TLS policy {str(policy)!r}, and {whose} has it with "
                    f"{str(known)!r}: "
                    'leave outbound.transport = "", so that each network delivers by a service of its own'
                )
                continue
            chosen = tls_policy.joint(known, policy)
            if chosen is None:
                conflicts.setdefault(
                    name,
                    f"nexthop {nexthop} is wanted with TLS policy {str(known)!r} and with {str(policy)!r}, and "
                    "neither is the stricter: give one of them an outbound.transport and port of its own, or one "
                    "policy for both",
                )
            else:
                policies[name] = chosen
                both = f"{known} and {policy}"
                note = f"nexthop {nexthop} is wanted with TLS policies {both}: the stricter applies, {chosen}"
                if note not in report.notes:
                    report.notes.append(note)

    for number, entries in enumerate(generation.listed):
        rule = generation.rules[number]
        if entries and rule.outbound:
            policy, report = policy_of(rule.outbound), generation.changes[rule.network]
            for value in sorted(set(entries.values())):
                want(value, rule.outbound, policy, rule.network, report)
    for entry in generation.special.values():
        rule = generation.rules[entry.rule]
        if entry.in_force and rule.outbound:
            want(entry.value, rule.outbound, policy_of(rule.outbound), rule.network, generation.changes[rule.network])
    if not impossible and not conflicts:
        return

    def reasons(entry: Entry) -> set[str]:
        outbound = generation.rules[entry.rule].outbound
        if outbound is None:
            return set()
        names, policy = route_of(entry.value, outbound).rows, policy_of(outbound)
        return {reason for name in names if (reason := impossible.get((name, policy)) or conflicts.get(name))}

    for name in conflicts:
        del policies[name]
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
