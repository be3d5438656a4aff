"""The next generation: lists, partners and the generation in force become one table of domains.

`settle` decides for every domain whose it is, where its mail goes, and whether it is held; in this order: two networks
that both list it, `[partner]` tables, what the lists lost or do not say clearly, TLS demands that nobody can meet,
spellings that fold onto each other.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from heapq import merge
from typing import TypeVar

from closedmail.core import tls_policy
from closedmail.core.difference import Difference, Previous
from closedmail.core.domain import DomainError, DomainSet, fold, parents, parse_key, to_unicode
from closedmail.core.listing import SMARTHOST, Listing
from closedmail.core.mailertable import parse_value
from closedmail.core.model import Config, Network, Outbound
from closedmail.core.nexthop import target
from closedmail.core.record import Entry, State, Why
from closedmail.core.rule import Rule, rules_of
from closedmail.core.tls_policy import Policy, policy_of

T = TypeVar("T")


def interleave(many: Iterable[tuple[str, T]], few: Sequence[tuple[str, T]]) -> Iterator[tuple[str, T]]:
    """Merge sorted pairs; heapq.merge would pay for every one of the many."""
    rest = iter(few)
    waiting = next(rest, None)
    for pair in many:
        while waiting is not None and waiting[0] < pair[0]:
            yield waiting
            waiting = next(rest, None)
        yield pair
    if waiting is not None:
        yield waiting
        yield from rest


@dataclass(slots=True)
class Changes:
    """What a generation changes for one network, as `sync` reports it: keys, and sentences for people.

    `removed` has what the list lost, also where it is held now; `held` all that is held now. `yielded` are keys that
    another network has already, with that network's name.
    """

    domains: int = 0
    added: list[str] = field(default_factory=list)
    removed: list[str] = field(default_factory=list)
    changed: list[str] = field(default_factory=list)
    held: list[str] = field(default_factory=list)
    yielded: dict[str, str] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)


@dataclass(slots=True)
class Generation:
    """All that is about to be in force.

    `listed` has each network's plain entries (key to value), disjoint; `special` every other record. `policies` are
    the TLS policies that routes want. `spellings` maps folded U-label spellings to their key, or to "" where two
    domains share one. `changes` is by network name, "" for partners that stand alone.
    """

    rules: list[Rule]
    networks: tuple[str, ...]
    listed: list[dict[str, str]]
    special: dict[str, Entry]
    policies: dict[str, Policy]
    spellings: dict[str, str]
    closed: dict[str, int]
    changes: dict[str, Changes]

    def entries(self) -> Iterator[tuple[str, Entry]]:
        """All records in the order of their keys."""
        plain = [self._plain(number, entries) for number, entries in enumerate(self.listed) if entries]
        main = plain[0] if len(plain) == 1 else merge(*plain, key=lambda item: item[0])
        return interleave(main, sorted(self.special.items()))

    def _plain(self, number: int, entries: dict[str, str]) -> Iterator[tuple[str, Entry]]:
        return ((key, Entry(number, entries[key], number)) for key in sorted(entries))

    def get(self, key: str) -> Entry | None:
        """The record of exactly this key."""
        entry = self.special.get(key)
        if entry is not None:
            return entry
        for number, entries in enumerate(self.listed):
            if key in entries:
                return Entry(number, entries[key], number)
        return None

    @property
    def holds_due(self) -> int:
        """The second at which the first hold ends, 0 for never."""
        return min((entry.until for entry in self.special.values() if entry.until), default=0)


def settle(
    config: Config,
    listings: Sequence[Listing | None],
    differences: Sequence[Difference],
    previous: Previous,
    now: int,
) -> Generation:
    """The next generation. `listings` and `differences` are in the order of `config.networks` (None: no list).

    The listings' entries are taken over, not copied: they belong to the generation afterwards. `now` is Unix time.
    """
    networks = config.networks
    names = tuple(network.name for network in networks)
    changes = {name: Changes() for name in (*names, "")}
    listed = [listing.entries if listing else {} for listing in listings]
    generation = Generation(rules_of(config), names, listed, {}, {}, {}, {}, changes)
    for number, network in enumerate(networks):
        for domain in network.closed_domains:
            generation.closed.setdefault(domain, number)
    _yield_shared(generation, previous, {partner.key for partner in config.partners})
    for number, network in enumerate(networks):
        listing = listings[number]
        if listing is not None:
            _report_changes(network.name, changes[network.name], listed[number], differences[number], previous)
            _keep_or_hold(generation, number, network, listing, differences[number], previous, now)
    _place_partners(generation, config)
    _settle_tls(generation, previous, now)
    _settle_spellings(generation, DomainSet(config.gateway.own_domains), previous, now)
    for key, entry in sorted(generation.special.items()):
        if entry.state is State.HELD:
            changes[generation.rules[entry.rule].network].held.append(key)
    for number, name in enumerate(names):
        special = sum(1 for entry in generation.special.values() if entry.network == number and entry.in_force)
        changes[name].domains = len(listed[number]) + special
    return generation


def _yield_shared(generation: Generation, previous: Previous, decided: set[str]) -> None:
    """Of two networks that list the same key, the one that has it in force keeps it, else the first in the file."""
    listed, names = generation.listed, generation.networks
    shared: set[str] = set()
    for later in range(1, len(listed)):
        for earlier in range(later):
            shared |= listed[earlier].keys() & listed[later].keys()
    for key in sorted(shared - decided):
        having = [number for number, entries in enumerate(listed) if key in entries]
        in_force = _network_of(previous.entry(key), previous)
        keeps = next((number for number in having if names[number] == in_force), having[0])
        for number in having:
            if number != keeps and listed[number].pop(key) != listed[keeps][key]:
                generation.changes[names[number]].yielded[key] = names[keeps]


def _network_of(entry: Entry | None, previous: Previous) -> str:
    """The name of the network whose list had an entry of the generation in force, "" for none."""
    return previous.networks[entry.network] if entry and entry.network >= 0 else ""


def _report_changes(
    name: str, changes: Changes, entries: dict[str, str], difference: Difference, previous: Previous
) -> None:
    changes.changed = sorted(key for key in difference.changed if key in entries)
    changes.removed = sorted((*difference.lost, *difference.ruled_out))
    if difference.matched < len(entries) or difference.returned:
        returned = set(difference.returned)
        changes.added = sorted(
            key
            for key in entries
            if key in returned or (old := previous.entry(key)) is None or _network_of(old, previous) not in ("", name)
        )


def _keep_or_hold(
    generation: Generation,
    number: int,
    network: Network,
    listing: Listing,
    difference: Difference,
    previous: Previous,
    now: int,
) -> None:
    """What becomes of domains that the list lost, and of those whose line is not understood."""
    missing = difference.lost | difference.absent
    taken = {key for entries in generation.listed for key in missing if key in entries}
    changes = generation.changes[network.name]
    lost_until = now + network.hold_for if network.hold_for is not None else 0
    for key, old in missing.items():
        if key in taken or key in listing.unclear:
            continue
        # The rule's number may be another now: what a list lost is under its network's rule.
        entry = old._replace(rule=number, network=number)
        if old.why is Why.LOST:  # held or kept already
            if old.state is State.KEPT or not old.until or now < old.until:
                generation.special[key] = entry
        elif network.on_removed == "hold":
            generation.special[key] = entry._replace(state=State.HELD, why=Why.LOST, since=now, until=lost_until)
        elif network.on_removed == "keep" and old.why is Why.UNCLEAR:  # it has no route that could be kept
            generation.special[key] = entry._replace(why=Why.LOST, since=now)
        elif network.on_removed == "keep":
            generation.special[key] = entry._replace(state=State.KEPT, why=Why.LOST, since=now, until=0)
    for key in listing.unclear:
        old_entry = previous.entry(key)
        if any(key in entries for entries in generation.listed):
            continue
        if old_entry and old_entry.in_force and _network_of(old_entry, previous) == network.name:
            generation.special[key] = Entry(number, old_entry.value, number)
            if key in changes.removed:
                changes.removed.remove(key)
            changes.notes.append(f"{key} keeps its route, since its line is not understood")
        else:
            since = old_entry.since if old_entry and old_entry.why is Why.UNCLEAR else now
            generation.special[key] = Entry(number, "", number, State.HELD, Why.UNCLEAR, since)


def _place_partners(generation: Generation, config: Config) -> None:
    """`[partner]` tables override what their key has from a list."""
    numbers = {name: number for number, name in enumerate(generation.networks)}
    first = len(generation.networks)
    found: list[tuple[str, Entry]] = []
    for rule, partner in enumerate(config.partners, first):
        best = _best_match(generation, partner.key, numbers.get(partner.network, -1))
        if partner.route:
            entry = Entry(rule, str(parse_value(partner.route)))
        elif best:
            # It follows the list only where the list has this very key: else the list can't lose it either.
            own = partner.key in generation.special or partner.key in generation.listed[best.network]
            entry = best._replace(rule=rule, network=best.network if own else -1)
        elif partner.outbound and partner.outbound.smarthost:
            entry = Entry(rule, SMARTHOST)
        else:
            entry = Entry(rule, "", state=State.INBOUND_ONLY)
        if best and not partner.route:
            outbound = _outbound_of_best(partner.outbound, best, generation.rules[best.rule].outbound)
            generation.rules[rule] = replace(generation.rules[rule], outbound=outbound)
        found.append((partner.key, entry))
    for key, entry in found:
        for entries in generation.listed:
            entries.pop(key, None)
        generation.special[key] = entry


def _outbound_of_best(own: Outbound | None, best: Entry, listed: Outbound | None) -> Outbound | None:
    """How a partner is delivered that a list routes: by its own keys, where it has any."""
    if own is None:  # alone: the list's network delivers, as it would without the table
        return listed
    if best.value == SMARTHOST and listed and not own.smarthost:  # the list names domains only, and no route
        return replace(own, smarthost=target(SMARTHOST, listed).nexthops)
    return own


def _best_match(generation: Generation, key: str, home: int) -> Entry | None:
    """The list entry that would route a key: its own, else the longest suffix; of its own network first."""
    order = sorted(range(len(generation.listed)), key=lambda number: number != home)
    for candidate in (key, *("." + parent for parent in parents(key.removeprefix(".")))):
        special = generation.special.get(candidate)
        if special is not None:
            return special
        for number in order:
            if candidate in generation.listed[number]:
                return Entry(number, generation.listed[number][candidate], number)
    return None


def _settle_tls(generation: Generation, previous: Previous, now: int) -> None:
    """One policy for each single nexthop; domains that want what can't be, or can't be both, are held."""
    impossible: dict[tuple[str, Policy], str] = {}  # for those alone who want it
    conflicts: dict[str, str] = {}  # for all who want the nexthop
    policies = generation.policies

    def want(value: str, outbound: Outbound, report: Changes) -> None:
        policy, nexthops = policy_of(outbound), target(value, outbound).nexthops
        reasons = {nexthop: tls_policy.why_impossible(nexthop, policy) for nexthop in nexthops}
        found = {(nexthop, policy): reason for nexthop, reason in reasons.items() if reason}
        if found:  # nothing is delivered so, and nobody else has to wait for it
            impossible.update(found)
            return
        for nexthop in nexthops:
            known = policies.setdefault(nexthop, policy)
            if known == policy:
                continue
            chosen = tls_policy.joint(known, policy)
            if chosen is None:
                conflicts.setdefault(
                    nexthop,
                    f"nexthop {nexthop} is wanted with TLS policy {str(known)!r} and with {str(policy)!r}, and "
                    "neither is the stricter: give one of them an outbound.transport and port of its own, or one "
                    "policy for both",
                )
            else:
                policies[nexthop] = chosen
                note = f"nexthop {nexthop} is wanted with TLS policies {known} and {policy}: the stricter stands"
                if note not in report.notes:
                    report.notes.append(note)

    for number, entries in enumerate(generation.listed):
        rule = generation.rules[number]
        if entries and rule.outbound:
            for value in sorted(set(entries.values())):
                want(value, rule.outbound, generation.changes[rule.network])
    for entry in generation.special.values():
        rule = generation.rules[entry.rule]
        if entry.in_force and rule.outbound:
            want(entry.value, rule.outbound, generation.changes[rule.network])
    if not impossible and not conflicts:
        return

    def reasons(entry: Entry) -> set[str]:
        outbound = generation.rules[entry.rule].outbound
        if outbound is None:
            return set()
        nexthops, policy = target(entry.value, outbound).nexthops, policy_of(outbound)
        return {
            reason for nexthop in nexthops if (reason := impossible.get((nexthop, policy)) or conflicts.get(nexthop))
        }

    for nexthop in conflicts:
        del policies[nexthop]
    for number, entries in enumerate(generation.listed):
        values = {value for value in set(entries.values()) if reasons(Entry(number, value, number))}
        for key in [key for key, value in entries.items() if value in values] if values else ():
            generation.special[key] = Entry(number, entries.pop(key), number)
    notes: dict[str, set[str]] = {}
    for key, entry in generation.special.items():
        if entry.in_force and (why := reasons(entry)):
            generation.special[key] = _held(entry, Why.TLS, previous.entry(key), now)
            notes.setdefault(generation.rules[entry.rule].network, set()).update(why)
    for name, sentences in notes.items():
        generation.changes[name].notes.extend(f"held: {sentence}" for sentence in sorted(sentences))


def _held(entry: Entry, why: Why, old: Entry | None, now: int) -> Entry:
    """An entry held for a reason of our own, since the first generation that held it for this reason."""
    since = old.since if old and old.why is why else now
    return entry._replace(state=State.HELD, why=why, since=since, until=0)


def _settle_spellings(generation: Generation, own: DomainSet, previous: Previous, now: int) -> None:
    """U-label spellings of all keys, as Postfix folds them; where two domains share one, nobody is routed by it."""
    international = [key for entries in generation.listed for key in entries if "xn--" in key]
    international += [key for key in generation.special if "xn--" in key]
    for key in sorted(international):
        spelled, entry = to_unicode(key), generation.get(key)
        if spelled is None or entry is None:
            continue
        folded = fold(spelled)
        other = generation.get(folded) if folded.isascii() else None
        changes = generation.changes[generation.rules[entry.rule].network]
        if _is_own(folded, own):
            changes.notes.append(
                f"{spelled} ({key}) is {folded} for Postfix, an own domain: only the A-labels are routed"
            )
        elif folded in generation.spellings:
            first = generation.spellings[folded] or "another domain"
            generation.spellings[folded] = ""
            changes.notes.append(
                f"{spelled} ({key}) and {first} are one key for Postfix: mail to that spelling is held, the A-labels "
                "are routed"
            )
        elif folded.isascii():
            generation.spellings[folded] = ""
            whose = "listed too, and held" if other else "no partner, and held"
            changes.notes.append(f"{spelled} ({key}) is {folded} for Postfix, which is another domain: {whose}")
            if other:
                for entries in generation.listed:
                    entries.pop(folded, None)
                generation.special[folded] = _held(other, Why.FOLDED, previous.entry(folded), now)
        else:
            generation.spellings[folded] = key


def _is_own(spelling: str, own: DomainSet) -> bool:
    """Whether a spelling, folded, is that of an own domain, whose mail no list may hold."""
    try:
        return own.covers(parse_key(spelling))
    except DomainError:
        return False
