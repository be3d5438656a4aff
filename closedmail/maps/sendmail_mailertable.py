"""Render the rows of Sendmail's mailertable for a generation.

`routes/sendmail_route.py` spells their values.
"""

from collections.abc import Iterator, Mapping
from itertools import chain

from closedmail.core.domain import DomainSet, to_unicode
from closedmail.core.record import Entry
from closedmail.core.rule import Rule
from closedmail.generation.generation import Generation, interleave
from closedmail.maps.local_rows import covering
from closedmail.maps.protected_keys import ProtectedKeys
from closedmail.routes.delivery import CLOSED, OWN, delivery_of, rendered
from closedmail.routes.sendmail_route import mailertable_value

Rows = Iterator[tuple[str, str]]


def mailertable_rows(generation: Generation, own: DomainSet, local_rows: Mapping[str, str]) -> Rows:
    """Render all rows as (key, value), sorted by key: those for the generation, with the administrator's `local_rows`.

    `own` are the gateway's own domains.
    """
    beside = (*_spelled(generation), *_protected(generation, own, local_rows))
    extra = sorted((key, value) for key, value in beside if value is not None)
    ours = interleave(rendered(generation.entries(), generation.rules, _value), extra)
    return interleave((row for row in ours if row[0] not in local_rows), sorted(local_rows.items()))


def _value(entry: Entry, rule: Rule) -> str | None:
    return mailertable_value(delivery_of(entry, rule.outbound))


def _spelled(generation: Generation) -> Iterator[tuple[str, str | None]]:
    """Yield U-labels beside their A-labels: Sendmail converts neither, and folds ASCII only, so no two are one key."""
    for key in chain(*generation.listed, generation.special):
        spelled = to_unicode(key)
        entry = generation.get(key) if spelled else None
        if spelled and entry:
            yield spelled, _value(entry, generation.rules[entry.rule])


def _protected(
    generation: Generation, own: DomainSet, local_rows: Mapping[str, str]
) -> Iterator[tuple[str, str | None]]:
    """Yield the guards of closed domains and the shields of own ones, each in both of its spellings.

    Sendmail has no row that means "as if there were none" while the administrator's own row for a suffix counts: that
    row is repeated as a shield, unless its `%1` would mean something else there.
    """
    protected = ProtectedKeys(own, generation.closed, generation.get)
    rows: list[tuple[str, str | None]] = [(key, mailertable_value(CLOSED)) for key, _ in protected.guards()]
    for key, name in protected.shields():
        theirs = covering(local_rows, name)
        rows.append((key, theirs if theirs and "%" not in theirs else mailertable_value(OWN)))
    for key, value in rows:
        yield key, value
        spelled = to_unicode(key)
        if spelled:
            yield spelled, value
