"""Render `csv`: one row a domain, for spreadsheets and other readers of CSV (RFC 4180)."""

import csv
from collections.abc import Iterator

from closedmail.core.model import CertificatePin
from closedmail.core.rule import Rule
from closedmail.exports.export_rows import ExportRow, all_rows
from closedmail.exports.mailertable import value_of
from closedmail.exports.published_generation import PublishedGeneration
from closedmail.exports.target import ExportRequest, File
from closedmail.words import printable

COLUMNS = (
    *("domain", "covers", "state", "network", "rule", "mailertable", "hosts", "tls", "mode", "require", "allow_from"),
    *("allow_route_hosts", "certificates", "require_tls", "subdomains", "generation", "published_at"),
)
# A spreadsheet takes a cell that begins so for a formula.
_FORMULA = ("=", "+", "-", "@", "\t", "\r")


def render(published: PublishedGeneration, request: ExportRequest) -> list[File]:  # noqa: ARG001, there is only one form
    """Render one file."""
    return [File("", _lines(published))]


class _LastLine:
    """The file for csv.writer: it keeps the last line. Rows have no line ends inside: nothing in a generation has."""

    text = ""

    def write(self, text: str) -> int:
        self.text = text
        return len(text)


def _lines(published: PublishedGeneration) -> Iterator[str]:
    line = _LastLine()
    writer = csv.writer(line, lineterminator="")
    writer.writerow(COLUMNS)
    yield line.text
    stamp = (str(published.generation), published.published_at)
    rules: dict[str, tuple[str, ...]] = {}  # a rule's cells are the same in all its rows
    for key, row in all_rows(published):
        rule = row.rule
        if rule is None:
            continue
        if rule.table not in rules:
            rules[rule.table] = _rule_cells(rule)
        writer.writerow(map(_inert, (*_delivery_cells(key, row, rule), *rules[rule.table], *stamp)))
        yield line.text


def _delivery_cells(key: str, row: ExportRow, rule: Rule) -> tuple[str, ...]:
    return (
        key.removeprefix("."),
        "below" if key.startswith(".") else "domain",
        row.kind.value,
        rule.network,
        rule.table,
        value_of(row),
        " ".join(f"{host}:{host.port or 25}" for host in row.delivery.hosts),
    )


def _rule_cells(rule: Rule) -> tuple[str, ...]:
    inbound = rule.inbound
    return (
        rule.outbound.tls if rule.outbound else "",
        inbound.mode,
        inbound.require,
        " ".join(map(str, inbound.allow_from)),
        _yes(inbound.allow_route_hosts),
        "; ".join(map(_pin, inbound.certificates)),
        _yes(inbound.require_tls),
        _yes(inbound.subdomains),
    )


def _pin(pin: CertificatePin) -> str:
    parts = {
        "fingerprint": pin.fingerprint,
        "pubkey_fingerprint": pin.pubkey_fingerprint,
        "subject": pin.subject,
        "issuer": pin.issuer,
    }
    return " and ".join(f"{name}={value}" for name, value in parts.items() if value)


def _yes(flag: bool) -> str:
    return "yes" if flag else "no"


def _inert(cell: str) -> str:
    cell = printable(cell)
    return f"'{cell}" if cell.startswith(_FORMULA) else cell
