"""The rows of Sendmail's mailertable for a generation.

Sources: cf/README of Sendmail, "USING MAILERTABLES", cf/m4/proto.m4 (Parse1, Mailertable, MailerToTriple) and what
Sendmail 8.17 was seen to do. A value passes through the rewriting rules, where quotes, parentheses, `<>` and `%0` have
meanings of their own; so nothing is written but the canonical routes of `mailertable.grammar`, and texts of letters,
digits and a few signs in quotes.
"""

from collections.abc import Iterator, Mapping
from itertools import chain

from closedmail.core.domain import DomainSet, parents, to_unicode
from closedmail.core.model import Outbound
from closedmail.core.record import Entry
from closedmail.generation.generation import Generation, interleave
from closedmail.maps.local_rows import covering
from closedmail.maps.postfix_transport import CLOSED, transport_value
from closedmail.routes.sendmail_route import refusal, route

Rows = Iterator[tuple[str, str]]

# A value without a mailer: the rules go on to the row for `.`, and then as if there had been no row.
SHIELD = "unlisted"


def mailertable_value(entry: Entry, outbound: Outbound | None) -> str | None:
    """The value of a domain's row, None where it has no row."""
    transport = transport_value(entry, outbound)
    if transport is None:
        return None
    return refusal(transport) or route(entry.value, outbound)


def mailertable_rows(generation: Generation, own: DomainSet, own_rows: Mapping[str, str]) -> Rows:
    """All rows as (key, value), sorted by key. `own` are the gateway's own domains, `own_rows` the administrator's."""
    extra = sorted((*_spelled_rows(generation), *_guard_rows(generation), *_shield_rows(generation, own, own_rows)))
    ours = interleave(_entry_rows(generation), extra)
    return interleave((row for row in ours if row[0] not in own_rows), sorted(own_rows.items()))


def _entry_rows(generation: Generation) -> Rows:
    known: dict[tuple[int, str, int, int], str | None] = {}  # an Outbound is slow to hash, and values repeat
    for key, entry in generation.entries():
        same = (entry.rule, entry.value, entry.state, entry.why)
        if same not in known:
            if len(known) > 1 << 16:
                known.clear()
            known[same] = mailertable_value(entry, generation.rules[entry.rule].outbound)
        value = known[same]
        if value is not None:
            yield key, value


def _value_of(generation: Generation, key: str) -> str | None:
    entry = generation.get(key)
    return entry and mailertable_value(entry, generation.rules[entry.rule].outbound)


def _spelled_rows(generation: Generation) -> Rows:
    """U-labels beside their A-labels: Sendmail converts neither, and folds ASCII only, so that no two are one key."""
    for key in chain(*generation.listed, generation.special):
        spelled = to_unicode(key)
        value = _value_of(generation, key) if spelled else None
        if spelled and value is not None:
            yield spelled, value


def _guard_rows(generation: Generation) -> Rows:
    """Closed domains, and all below them, that no route covers."""
    closed = refusal(CLOSED) or ""
    for domain in generation.closed:
        if any(_value_of(generation, "." + parent) for parent in parents(domain)):
            continue
        for key in (domain, "." + domain):
            if _value_of(generation, key) is None:
                yield from _both_spellings(key, closed)


def _shield_rows(generation: Generation, own: DomainSet, own_rows: Mapping[str, str]) -> Rows:
    """Own domains that a row for a suffix, or a guard above them, would route away.

    Sendmail has no row that means "as if there were none" while the administrator's own row for a suffix counts: that
    row is repeated, unless its `%1` would say something else there.
    """
    for name in own.names:
        above = list(parents(name))
        if any(_value_of(generation, "." + parent) or parent in generation.closed for parent in above):
            theirs = covering(own_rows, name)
            value = theirs if theirs and "%" not in theirs else SHIELD
            for key in (name, "." + name):
                if _value_of(generation, key) is None:
                    yield from _both_spellings(key, value)


def _both_spellings(key: str, value: str) -> Rows:
    yield key, value
    spelled = to_unicode(key)
    if spelled:
        yield spelled, value
