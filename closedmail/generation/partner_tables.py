"""Place `[partner]` tables in a generation: they override what their key has from a list, or add a key."""

from dataclasses import replace

from closedmail.core.domain import parents
from closedmail.core.model import Config, Outbound
from closedmail.core.record import Entry, State
from closedmail.generation.generation import Generation
from closedmail.mailertable.grammar import parse_value
from closedmail.mailertable.listing import SMARTHOST
from closedmail.routes.delivery import route_of


def place_partners(generation: Generation, config: Config) -> None:
    """Override by each `[partner]` table what its key has from a list, or add it."""
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
    """Choose the delivery of a partner that a list routes: by its own keys, where it has any."""
    if own is None:  # alone: the list's network delivers, as it would without the table
        return listed
    if best.value == SMARTHOST and listed and not own.smarthost:  # the list names domains only, and no route
        return replace(own, smarthost=route_of(SMARTHOST, listed).nexthops)
    return own


def _best_match(generation: Generation, key: str, home: int) -> Entry | None:
    """Find the list entry that would route a key: its own, else the longest suffix.

    In the list of its network alone where it names one; -1 for none.
    """
    lists = [home] if home >= 0 else range(len(generation.listed))
    for candidate in (key, *("." + parent for parent in parents(key.removeprefix(".")))):
        special = generation.special.get(candidate)
        if special is not None and (home < 0 or special.network == home):
            return special
        for number in lists:
            if candidate in generation.listed[number]:
                return Entry(number, generation.listed[number][candidate], number)
    return None
