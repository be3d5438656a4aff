"""Settle the U-label spellings of a generation, as Postfix folds them when it looks a key up."""

from collections.abc import Mapping

from closedmail.core.domain import DomainError, DomainSet, fold, parse_key, to_unicode
from closedmail.core.hold_reason import Why
from closedmail.core.record import Entry
from closedmail.generation.difference import Previous
from closedmail.generation.generation import Generation, held


def settle_spellings(generation: Generation, own: DomainSet, previous: Previous, now: int) -> None:
    """Collect the U-label spellings of all keys, as Postfix folds them; a spelling of two domains routes neither.

    Of two networks, the one that has its domain in force stays as it is, and the other one's domain is held.
    """
    international = {key for entries in generation.listed for key in entries if "xn--" in key}
    international |= {key for key in generation.special if "xn--" in key}
    spellings = {key: spelled for key in sorted(international) if (spelled := to_unicode(key)) is not None}
    yielding = _yielding(spellings, generation, own, previous)
    for key, spelled in spellings.items():
        entry = generation.get(key)
        if entry is None:
            continue
        folded = fold(spelled)
        other = generation.get(folded) if folded.isascii() else None
        changes = generation.changes[generation.rules[entry.rule].network]
        if key in yielding:
            _hold(generation, key, entry, previous, now)
            changes.notes.append(
                f"held: {key}: for Postfix its spelling {spelled} is {yielding[key]}, which another network has; a "
                "[partner] table for one of them decides otherwise"
            )
        elif _is_own(folded, own):
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
        elif folded.isascii() and not (other and folded in yielding):
            generation.spellings[folded] = ""
            whose = "listed too, and held" if other else "no partner, and held"
            changes.notes.append(f"{spelled} ({key}) is {folded} for Postfix, which is another domain: {whose}")
            if other:
                _hold(generation, folded, other, previous, now)
        elif folded.isascii() and other:
            _hold(generation, folded, other, previous, now)
            generation.spellings[folded] = ""
            generation.changes[generation.rules[other.rule].network].notes.append(
                f"held: {folded}: for Postfix it is a spelling of {key}, which another network has"
            )
        else:
            generation.spellings[folded] = key


def _yielding(
    spellings: Mapping[str, str], generation: Generation, own: DomainSet, previous: Previous
) -> dict[str, str]:
    """Find the keys whose spelling another network has, each with that network's key."""
    groups: dict[str, list[str]] = {}
    for key, spelled in spellings.items():
        folded = fold(spelled)
        group = groups.setdefault(folded, [])
        if not group and generation.get(folded) is not None:
            group.append(folded)
        group.append(key)
    found: dict[str, str] = {}
    for folded, keys in groups.items():
        if len(keys) < 2 or _is_own(folded, own):
            continue
        ranks = {key: _rank(key, generation, previous) for key in keys}
        first = min(keys, key=ranks.__getitem__)
        entry = generation.get(first)
        for key in keys:
            if ranks[key][1] != ranks[first][1]:
                found[key] = first
                if entry and entry.network >= 0 and first not in generation.beyond:
                    generation.beyond[first] = entry  # lists alone do not say who has it
    return found


def _rank(key: str, generation: Generation, previous: Previous) -> tuple[int, int]:
    """Rank a key among those of one spelling, the smaller the better; the second part is its network's number."""
    entry = generation.get(key)
    if entry is None:
        return 4, -1
    rule = generation.rules[entry.rule]
    number = generation.networks.index(rule.network) if rule.network in generation.networks else -1
    if rule.partner:
        return 0, number
    old = previous.entry(key)
    if old is None or old.network < 0 or previous.networks[old.network] != rule.network or old.why is Why.FOLDED:
        return 3, number
    return 1 if old.in_force else 2, number


def _hold(generation: Generation, key: str, entry: Entry, previous: Previous, now: int) -> None:
    for entries in generation.listed:
        entries.pop(key, None)
    generation.special[key] = held(entry, Why.FOLDED, previous.entry(key), now)
    if key in generation.beyond:  # where it has to be known that this one waits
        generation.beyond[key] = generation.special[key]


def _is_own(spelling: str, own: DomainSet) -> bool:
    """Check whether a spelling, folded, is that of an own domain, whose mail no list may hold."""
    try:
        return own.covers(parse_key(spelling))
    except DomainError:
        return False
