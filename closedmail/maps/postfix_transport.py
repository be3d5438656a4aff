"""Render the rows of Postfix's transport table and TLS policy tables for a generation.

Source: transport(5) for `domain`, `.domain`, `error:`, `retry:` and the empty result `:`, which means "as if there
were no row". Postfix converts neither U- to A-labels nor back, so that a domain with a U-label has a row in both
spellings.
"""

from collections.abc import Iterable, Iterator, Mapping
from typing import assert_never

from closedmail.core.domain import DomainSet, fold, parse_key, to_unicode
from closedmail.core.hold_reason import Why
from closedmail.core.model import SHARED_TABLE
from closedmail.core.record import Entry
from closedmail.core.rule import Rule
from closedmail.generation.generation import Generation, interleave
from closedmail.maps.protected_keys import ProtectedKeys
from closedmail.routes.delivery import CLOSED, HELD, OWN, Delivery, DeliveryKind, delivery_of, rendered
from closedmail.routes.tls_policy import Policy, Row, row_place

Rows = Iterator[tuple[str, str]]


def transport_value(delivery: Delivery) -> str | None:
    """Render a delivery as the value of its transport row, None where it has no row.

    Source: transport(5) and error(8); since Postfix 3.5 a row may have several nexthops, separated by commas.
    """
    match delivery.kind:
        case DeliveryKind.ROUTED:
            return f"{delivery.service}:{', '.join(delivery.nexthops)}"
        case DeliveryKind.HELD:
            return f"retry:{delivery.dsn} {delivery.reply}"
        case DeliveryKind.REFUSED:
            return f"error:{delivery.dsn} {delivery.reply}"
        case DeliveryKind.OWN:
            return ":"
        case DeliveryKind.INBOUND_ONLY:
            return None
        case _:
            assert_never(delivery.kind)


def transport_rows(generation: Generation, own: DomainSet, shields: Mapping[str, str] | None = None) -> Rows:
    """Render all rows of the transport table as (key, value), sorted by key. `own` are the gateway's own domains.

    `shields` are the values that the administrator's own tables have for them, by key. A shield ends the look-up:
    Postfix does not come to a row for `.parent` or `*` any more, so that it is repeated here.
    """
    own_values = shields or {}
    beside = (
        (key, own_values.get(parse_key(key), ":") if found is OWN else transport_value(found))
        for key, found in (*_spelled(generation), *_protected(generation, own))
    )
    extra = sorted((key, value) for key, value in beside if value is not None)
    return interleave(rendered(generation.entries(), generation.rules, _value), extra)


def policy_rows(policies: Mapping[str, Policy], staying: Mapping[str, Row]) -> Iterator[tuple[str, Row]]:
    """Yield all rows of the TLS policy tables, sorted by name: what routes want, and what stays for a time."""
    for name in sorted(policies.keys() | staying.keys()):
        yield name, staying.get(name) or Row(policies[name])


def policy_tables(rules: Iterable[Rule], rows: Iterable[tuple[str, Row]]) -> dict[str, list[tuple[str, str]]]:
    """Render the TLS policy tables by name, each sorted by nexthop: the shared one, and those of networks' services.

    A table that no service of the configuration reads any more has what stays for a time.
    """
    names = (SHARED_TABLE, *(rule.outbound.tls_table for rule in rules if rule.outbound))
    tables: dict[str, list[tuple[str, str]]] = {name: [] for name in names}
    for name, row in rows:
        table, nexthop = row_place(name)
        tables.setdefault(table, []).append((nexthop, str(row.policy)))
    return tables


def _value(entry: Entry, rule: Rule) -> str | None:
    return transport_value(delivery_of(entry, rule.outbound))


def _spelled(generation: Generation) -> Iterator[tuple[str, Delivery]]:
    """Yield the rows of U-label spellings. Where two domains share a spelling, the row is the folded one, and holds."""
    for folded, key in generation.spellings.items():
        entry = generation.get(key or folded)
        if key and entry:
            yield to_unicode(key) or folded, delivery_of(entry, generation.rules[entry.rule].outbound)
        elif not key and not entry:
            yield folded, HELD[Why.FOLDED]


def _protected(generation: Generation, own: DomainSet) -> Iterator[tuple[str, Delivery]]:
    """Yield the guards of closed domains and the shields of own ones, each in both of its spellings."""
    protected = ProtectedKeys(own, generation.closed, generation.get, generation.spellings)
    for delivery, keys in ((CLOSED, protected.guards()), (OWN, protected.shields())):
        for key, _ in keys:
            yield key, delivery
            spelled = to_unicode(key)
            if spelled and fold(spelled) not in generation.spellings and generation.get(fold(spelled)) is None:
                yield spelled, delivery
