"""The rows of Postfix's transport table and TLS policy table for a generation.

Source: transport(5) for `domain`, `.domain`, `error:`, `retry:` and the empty result `:`, which means "as if there
were no row". Postfix converts neither U- to A-labels nor back, so that a domain with a U-label has a row in both
spellings.
"""

from collections.abc import Iterator, Mapping

from closedmail.core.domain import DomainSet, fold, parents, to_unicode
from closedmail.core.model import Outbound
from closedmail.core.record import Entry, State, Why
from closedmail.generation.generation import Generation, interleave
from closedmail.routes.nexthop import target
from closedmail.routes.tls_policy import Policy, Row

Rows = Iterator[tuple[str, str]]

# What senders read while their mail waits; 4.3.2 is "system not accepting network messages" (RFC 3463).
_HELD = {
    Why.NOTHING: "retry:4.3.2 mail for this domain is held",
    Why.LOST: "retry:4.3.2 mail for this domain is held: it has disappeared from the list of its closed network",
    Why.UNCLEAR: "retry:4.3.2 mail for this domain is held: its line in the closed network's list is not understood",
    Why.TLS: "retry:4.7.5 mail for this domain is held: its TLS policy can not be met",
    Why.FOLDED: "retry:4.3.2 mail for this domain is held: its spelling is also that of another domain",
    Why.ROUTE: "retry:4.3.5 mail for this domain is held: its route is too long",
}
FOLDED = _HELD[Why.FOLDED]
# A partner that stands alone may have a route `error:…` and say nothing of delivery.
_NOWHERE = Outbound(tls="none")
CLOSED = "error:5.4.4 this domain is reached inside of its closed network only, and no route to it is known"
SHIELD = ":"


def transport_value(entry: Entry, outbound: Outbound | None) -> str | None:
    """The value of a domain's transport row, None where it has no row."""
    if entry.state is State.HELD:
        return _HELD[entry.why]
    if entry.state is State.INBOUND_ONLY:
        return None
    return target(entry.value, outbound or _NOWHERE).transport


def transport_rows(generation: Generation, own: DomainSet) -> Rows:
    """All rows of the transport table as (key, value), sorted by key. `own` are the gateway's own domains."""
    plain = _entry_rows(generation)
    extra = sorted((*_spelled_rows(generation), *_guard_rows(generation), *_shield_rows(generation, own)))
    return interleave(plain, extra)


def policy_rows(policies: Mapping[str, Policy], staying: Mapping[str, Row]) -> Iterator[tuple[str, Row]]:
    """All rows of the TLS policy table, sorted by nexthop: those that routes want, and those that stay for a time."""
    for nexthop in sorted(policies.keys() | staying.keys()):
        yield nexthop, staying.get(nexthop) or Row(policies[nexthop])


def _entry_rows(generation: Generation) -> Rows:
    known: dict[tuple[int, str], str | None] = {}  # an Outbound is slow to hash, and values repeat
    rules = generation.rules
    for key, entry in generation.entries():
        if entry.state is State.ROUTED:
            pair = (entry.rule, entry.value)
            value = known.get(pair)
            if value is None:
                if len(known) > 1 << 16:
                    known.clear()
                value = known[pair] = transport_value(entry, rules[entry.rule].outbound)
        else:
            value = transport_value(entry, rules[entry.rule].outbound)
        if value is not None:
            yield key, value


def _value_of(generation: Generation, key: str) -> str | None:
    entry = generation.get(key)
    return entry and transport_value(entry, generation.rules[entry.rule].outbound)


def _spelled_rows(generation: Generation) -> Rows:
    """The U-label spellings. Of a spelling that two domains share, the row is the folded one, and holds."""
    for folded, key in generation.spellings.items():
        if not key:
            if not generation.get(folded):
                yield folded, FOLDED
            continue
        value = _value_of(generation, key)
        if value is not None:
            yield to_unicode(key) or folded, value


def _guard_rows(generation: Generation) -> Rows:
    """Closed domains, and all below them, that no route covers."""
    for domain in generation.closed:
        if any(_value_of(generation, "." + parent) for parent in parents(domain)):
            continue
        for key in (domain, "." + domain):
            if _value_of(generation, key) is None and key not in generation.spellings:
                yield from _both_spellings(key, CLOSED, generation)


def _shield_rows(generation: Generation, own: DomainSet) -> Rows:
    """Own domains that a row for a suffix, or a guard above them, would route away."""
    for name in own.names:
        above = list(parents(name))
        covered = any(_value_of(generation, "." + parent) or "." + parent in generation.spellings for parent in above)
        if covered or any(parent in generation.closed for parent in above):
            for key in (name, "." + name):
                if _value_of(generation, key) is None:
                    yield from _both_spellings(key, SHIELD, generation)


def _both_spellings(key: str, value: str, generation: Generation) -> Rows:
    yield key, value
    spelled = to_unicode(key)
    if spelled and fold(spelled) not in generation.spellings and generation.get(fold(spelled)) is None:
        yield spelled, value
