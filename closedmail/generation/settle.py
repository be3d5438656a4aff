"""Make the next generation: lists, partners and the generation in force become one table of domains.

`settle` decides for every domain whose it is, where its mail goes, and whether it is held; in this order: two networks
that both list it, what the lists lost, lines that are not understood, `[partner]` tables, TLS demands that nobody can
meet, spellings that fold to the same key.
"""

from collections.abc import Mapping, Sequence

from closedmail.core.domain import DomainSet, parents
from closedmail.core.hold_reason import Why
from closedmail.core.model import Config, Network
from closedmail.core.record import Entry, State
from closedmail.core.rule import rules_of
from closedmail.generation.difference import Comparison, Difference, Previous
from closedmail.generation.generation import Changes, Generation
from closedmail.generation.hold_times import HoldTimes
from closedmail.generation.ownership import Ownership
from closedmail.generation.partner_tables import place_partners
from closedmail.generation.sendmail_tls_demands import settle_recipients
from closedmail.generation.strays import hold_strays
from closedmail.generation.tls_demands import settle_tls
from closedmail.generation.u_label_collisions import settle_spellings
from closedmail.mailertable.listing import Listing
from closedmail.routes.delivery import CLOSED_VALUE
from closedmail.words import iso


def settle(
    config: Config,
    listings: Sequence[Listing | None],
    comparison: Comparison,
    previous: Previous,
    now: int,
    released: Mapping[str, str] | None = None,
    *,
    latest: int = 0,
    ends: Mapping[str, int] | None = None,
    anew: int = 0,
) -> Generation:
    """Settle the next generation.

    `listings` are in the order of `config.networks` (None: no list), `comparison` is theirs with `previous`.

    The listings' entries are taken over, not copied: they belong to the generation afterwards. `now` is Unix time.
    `latest` is when the generation in force was published: with a clock that was set back, a hold would end as soon as
    the clock is right again. `ends` has, for a network whose holds may end now, the second at which they have to have
    been due; all others go on. Holds that began in the future begin anew at `anew`, unless that is 0. `released` has
    marks of bad lines (by `released_line`): their domains are not held for these very lines any more.
    """
    networks, own = config.networks, DomainSet(config.gateway.own_domains)
    times = HoldTimes(now, max(now, latest), ends or {}, anew)
    names = tuple(network.name for network in networks)
    changes = {name: Changes() for name in (*names, "")}
    listed = [listing.entries if listing else {} for listing in listings]
    generation = Generation(rules_of(config), names, listed, {}, {}, {}, {}, changes)
    for number, network in enumerate(networks):
        for domain in network.closed_domains:
            if not own.covers(domain):
                generation.closed.setdefault(domain, number)
    _yield_foreign(generation, Ownership(config, listings, comparison, previous, times), listings)
    for number, network in enumerate(networks):
        listing = listings[number]
        if listing is not None:
            _keep_or_hold(generation, network, listing, comparison.networks[number], previous, times, released or {})
    generation.beyond |= generation.special
    _guard_below_suffixes(generation)
    place_partners(generation, config)
    hold_strays(generation, config, comparison.strays, previous, now)
    if config.postfix or not config.sendmail:
        settle_tls(generation, previous, now)
    if config.sendmail:
        settle_recipients(generation, previous, now)
    settle_spellings(generation, own, previous, now)
    for key, entry in sorted(generation.special.items()):
        if entry.state is State.HELD:
            changes[generation.rules[entry.rule].network].held.append(key)
    for number, name in enumerate(names):
        special = sum(1 for entry in generation.special.values() if entry.network == number and entry.in_force)
        changes[name].domains = len(listed[number]) + special
    return generation


def released_line(network: str, key: str) -> str:
    """Name a network's bad line about a key among the released ones."""
    return f"{network} {key}"


def _yield_foreign(generation: Generation, ownership: Ownership, listings: Sequence[Listing | None]) -> None:
    """Take out of each network's list what another one has.

    Who has a key, and by which suffix, is noted in `generation.beyond`: the lists alone do not say so.
    """
    listed, names = generation.listed, generation.networks
    foreign: list[tuple[int, str]] = []
    unclear: list[tuple[int, str]] = []
    for number, key, owner in list(ownership.decisions()):
        suffix = None if key in listed[owner] else ownership.covering(number, key)
        for about in (key, suffix):
            if about is not None and about in listed[owner]:
                generation.beyond[about] = Entry(owner, listed[owner][about], owner)
        if owner == number:
            continue
        if key not in listed[number]:
            unclear.append((number, key))
            continue
        value = listed[number][key]
        foreign.append((number, key))
        if listed[owner].get(suffix or key) == value:
            continue  # the two agree
        changes = generation.changes[names[number]]
        if ownership.guards(owner, key):
            changes.barred[key] = f"{key} is covered by closed_domains of network {names[owner]}"
        elif suffix is not None and ownership.in_force(key) != owner:
            remedy = "" if key.startswith(".") else f', unless over names "{names[owner]}"'
            changes.barred[key] = f"{key} lies below {suffix} of network {names[owner]}{remedy}"
        else:
            changes.yielded[key] = names[owner]
    for number, key in foreign:
        del listed[number][key]
    for number, key in unclear:
        listing = listings[number]
        if listing is not None:
            del listing.unclear[key]


def _guard_below_suffixes(generation: Generation) -> None:
    """Give closed domains below another network's suffix records of their own, or that suffix would have them."""
    for domain, number in generation.closed.items():
        suffixes = (generation.get(f".{parent}") for parent in parents(domain))
        nearest = next((entry for entry in suffixes if entry is not None), None)
        if nearest is not None and nearest.network != number:
            for key in (domain, f".{domain}"):
                if generation.get(key) is None:
                    generation.special[key] = Entry(number, CLOSED_VALUE)


def _network_of(entry: Entry | None, previous: Previous) -> str:
    """Name the network whose list had an entry of the generation in force, "" for none."""
    return previous.networks[entry.network] if entry and entry.network >= 0 else ""


def _keep_or_hold(
    generation: Generation,
    network: Network,
    listing: Listing,
    difference: Difference,
    previous: Previous,
    times: HoldTimes,
    released: Mapping[str, str],
) -> None:
    """Keep or hold the domains that the list lost, and those whose line is not understood."""
    missing = difference.lost | difference.absent
    taken = {key for entries in generation.listed for key in missing if key in entries}
    changes = generation.changes[network.name]
    number, now = generation.networks.index(network.name), times.now
    for key, old in missing.items():
        if key in taken or key in listing.unclear:
            continue
        # The rule's number may be another now: what a list lost is under its network's rule.
        entry = old._replace(rule=number, network=number)
        if old.why is Why.LOST:  # held or kept already
            if network.on_removed == "keep" and old.value and not old.until:  # for its TLS demand or spelling it waits
                generation.special[key] = entry._replace(state=State.KEPT)
            elif times.anew and old.until and old.since > now:
                generation.special[key] = entry._replace(since=times.anew, until=times.until(times.anew, network))
                changes.notes.append(f"the hold of {key} begins anew: it began at {iso(old.since)}, by a wrong clock")
            elif not times.let_go(old, network):
                generation.special[key] = entry
            else:
                changes.notes.append(f"{key} is no longer held: the list lost it, and its hold (hold_for) has ended")
        elif network.on_removed == "hold":
            until = times.until(times.begun, network)
            generation.special[key] = entry._replace(state=State.HELD, why=Why.LOST, since=times.begun, until=until)
        elif network.on_removed == "keep" and old.why is Why.UNCLEAR:  # it has no route that could be kept
            generation.special[key] = entry._replace(why=Why.LOST, since=now)
        elif network.on_removed == "keep":
            generation.special[key] = entry._replace(state=State.KEPT, why=Why.LOST, since=now, until=0)
    for key, mark in listing.unclear.items():
        old_entry = previous.entry(key)
        if any(key in entries for entries in generation.listed):
            continue
        if old_entry and old_entry.has_route and _network_of(old_entry, previous) == network.name:
            generation.special[key] = Entry(number, old_entry.value, number)
            changes.notes.append(f"{key} keeps its route because its line is not understood")
        elif released.get(released_line(network.name, key)) == mark:
            generation.released[released_line(network.name, key)] = mark
        else:
            since = old_entry.since if old_entry and old_entry.why is Why.UNCLEAR else now
            generation.special[key] = Entry(number, "", number, State.HELD, Why.UNCLEAR, since)
