"""Settle the U-label spellings of a generation, as Postfix folds them when it looks a key up."""

from closedmail.core.domain import DomainError, DomainSet, fold, parse_key, to_unicode
from closedmail.core.hold_reason import Why
from closedmail.generation.difference import Previous
from closedmail.generation.generation import Generation, held


def settle_spellings(generation: Generation, own: DomainSet, previous: Previous, now: int) -> None:
    """Collect the U-label spellings of all keys, as Postfix folds them; a spelling of two domains routes neither."""
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
                generation.special[folded] = held(other, Why.FOLDED, previous.entry(folded), now)
        else:
            generation.spellings[folded] = key


def _is_own(spelling: str, own: DomainSet) -> bool:
    """Check whether a spelling, folded, is that of an own domain, whose mail no list may hold."""
    try:
        return own.covers(parse_key(spelling))
    except DomainError:
        return False
