"""Render `json`: all that is in force, for programs: one object, one line a domain."""

import json
from collections.abc import Iterable, Iterator
from dataclasses import asdict
from typing import Any

from closedmail.core.rule import Rule
from closedmail.exports.export_rows import ExportRow, all_rows
from closedmail.exports.mailertable import value_of
from closedmail.exports.published_generation import PublishedGeneration
from closedmail.exports.target import ExportRequest, File
from closedmail.routes.delivery import DeliveryKind


def render(published: PublishedGeneration, request: ExportRequest) -> list[File]:  # noqa: ARG001, there is only one form
    """Render one file."""
    return [File("", _lines(published))]


def _lines(published: PublishedGeneration) -> Iterator[str]:
    yield "{"
    yield f'"generation": {published.generation},'
    yield f'"published_at": {_text(published.published_at)},'
    yield f'"own_domains": {_text(sorted(published.own.names))},'
    yield f'"trusted_clients": {_text([str(network) for network in published.trusted_clients])},'
    yield f'"exempt_sasl": {_text(published.exempt_sasl)},'
    yield f'"dns_servers": {_text({name: list(servers) for name, servers in published.dns_servers.items()})},'
    yield '"rules": {'
    yield from _separated(f"{_text(rule.table)}: {_text(rule_json(rule))}" for rule in published.rules)
    yield "},"
    yield '"domains": {'
    rows = (row for row in all_rows(published) if row[1].kind is not DeliveryKind.OWN)
    yield from _separated(f"{_text(key)}: {_text(row_json(row))}" for key, row in rows)
    yield "}"
    yield "}"


def row_json(row: ExportRow) -> dict[str, Any]:
    """Render what is in force for one key."""
    found: dict[str, Any] = {"state": row.kind.value, "rule": row.rule.table if row.rule else None}
    value = value_of(row)
    if value:
        found["mailertable"] = value
    if row.delivery.hosts:
        found["hosts"] = [
            {"name": host.name, "mx_lookup": host.mx, "preference": host.preference, "port": host.port or 25}
            for host in row.delivery.hosts
        ]
    return found


def rule_json(rule: Rule) -> dict[str, Any]:
    """Render all that a rule demands; networks as text, of certificates the keys that are set."""
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
    """Put commas between lines."""
    before: str | None = None
    for line in lines:
        if before is not None:
            yield before + ","
        before = line
    if before is not None:
        yield before


def _text(value: Any) -> str:
    return json.dumps(value)  # ASCII, whatever a title has in it
