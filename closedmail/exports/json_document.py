"""`json`: all that is in force, for programs: one object, one line a domain."""

import json
from collections.abc import Iterable, Iterator
from dataclasses import asdict
from typing import Any

from closedmail.core.rule import Rule
from closedmail.exports.delivery import Delivery, Kind, all_rows
from closedmail.exports.edition import Edition
from closedmail.exports.mailertable import value_of
from closedmail.exports.target import File, Request


def render(edition: Edition, request: Request) -> list[File]:  # noqa: ARG001, there is but one form
    """One file."""
    return [File("", _lines(edition))]


def _lines(edition: Edition) -> Iterator[str]:
    yield "{"
    yield f'"generation": {edition.generation},'
    yield f'"published_at": {_text(edition.published_at)},'
    yield f'"own_domains": {_text(sorted(edition.own.names))},'
    yield f'"trusted_clients": {_text([str(network) for network in edition.trusted_clients])},'
    yield f'"exempt_sasl": {_text(edition.exempt_sasl)},'
    yield f'"dns_servers": {_text({name: list(servers) for name, servers in edition.dns_servers.items()})},'
    yield '"rules": {'
    yield from _separated(f"{_text(rule.table)}: {_text(rule_json(rule))}" for rule in edition.rules)
    yield "},"
    yield '"domains": {'
    rows = (row for row in all_rows(edition) if row[1].kind is not Kind.OWN)
    yield from _separated(f"{_text(key)}: {_text(delivery_json(delivery))}" for key, delivery in rows)
    yield "}"
    yield "}"


def delivery_json(delivery: Delivery) -> dict[str, Any]:
    """What is in force for one key."""
    found: dict[str, Any] = {"state": delivery.kind.value, "rule": delivery.rule.table if delivery.rule else None}
    if delivery.kind is not Kind.INBOUND_ONLY:
        found["mailertable"] = value_of(delivery)
    if delivery.hosts:
        found["hosts"] = [
            {"name": host.name, "mx_lookup": host.mx, "preference": host.preference, "port": host.port or 25}
            for host in delivery.hosts
        ]
    return found


def rule_json(rule: Rule) -> dict[str, Any]:
    """All that a rule demands; networks as text, and of certificates what is set."""
    inbound = asdict(rule.inbound)
    for name in ("allow_from", "header_from_exempt"):
        inbound[name] = [str(network) for network in inbound[name]]
    inbound["certificates"] = [{name: value for name, value in pin.items() if value} for pin in inbound["certificates"]]
    return {
        "network": rule.network or None,
        "title": rule.title,
        "partner": rule.partner or None,
        "inbound": inbound,
        "outbound": asdict(rule.outbound) if rule.outbound else None,
    }


def _separated(lines: Iterable[str]) -> Iterator[str]:
    """Lines with commas between them."""
    before: str | None = None
    for line in lines:
        if before is not None:
            yield before + ","
        before = line
    if before is not None:
        yield before


def _text(value: Any) -> str:
    return json.dumps(value)  # ASCII, whatever a title has in it
