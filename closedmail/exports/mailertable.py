"""Render `mailertable`: the verified, cleaned list, for Sendmail, NoSpamProxy and others that read the format."""

from collections.abc import Iterator
from typing import assert_never

from closedmail.exports.export_rows import ExportRow, outbound_rows
from closedmail.exports.header import header
from closedmail.exports.notes import Notes
from closedmail.exports.published_generation import PublishedGeneration
from closedmail.exports.target import ExportRequest, File
from closedmail.mailertable.makemap_limits import MAX_LINE
from closedmail.routes.delivery import DeliveryKind

_APPLYING = (
    "Held domains are answered 4xx and wait, closed domains 5xx. Keys are A-labels, each in one line.",
    "Sendmail: makemap hash /etc/mail/mailertable < this file. Others: import it where they take a list.",
)


def render(published: PublishedGeneration, request: ExportRequest) -> list[File]:  # noqa: ARG001, there is only one form
    """Render one file."""
    return [File("", _lines(published))]


def _lines(published: PublishedGeneration) -> Iterator[str]:
    notes = Notes()
    for key, row in outbound_rows(published):
        _note(notes, key, row)
    yield from header("mailertable", published, notes, _APPLYING)
    for key, row in outbound_rows(published):
        value = value_of(row)
        if value:
            yield f"{key}\t{_fitting(value, key)}"


def value_of(row: ExportRow) -> str:
    """Render the right-hand side, "" where a mailertable has none.

    The SMTP code is the one that Sendmail answers with (proto.m4, MailerToTriple).
    """
    delivery = row.delivery
    match delivery.kind:
        case DeliveryKind.ROUTED:
            return delivery.value or "esmtp:" + ":".join(map(str, delivery.hosts))
        case DeliveryKind.HELD | DeliveryKind.REFUSED:
            text = delivery.text if delivery.why is None else delivery.why.reason.exported
            return f"error:{delivery.dsn}:{delivery.dsn[0]}50 {text}"
        case DeliveryKind.OWN | DeliveryKind.INBOUND_ONLY:
            return ""
        case _:
            assert_never(delivery.kind)


def _fitting(value: str, key: str) -> str:
    """Cut a value so that it fits in a line with its key: only texts of `error:` need it, routes fit already."""
    room = MAX_LINE - len(key) - 1
    if not value.startswith("error:") or len(value.encode()) <= room:
        return value
    return value.encode()[:room].decode("utf-8", "ignore").rstrip()


def _note(notes: Notes, key: str, row: ExportRow) -> None:
    if row.kind is DeliveryKind.OWN:
        notes.add(
            "an own domain lies below a listed suffix or a closed domain, and a mailertable has no row that leaves it "
            "alone: keep it in class {w} (local-host-names), or give it a row of its own in front",
            key,
        )
    if any(host.port not in (0, 25) for host in row.delivery.hosts):
        notes.add("a mailertable has no ports: mail goes to port 25", key)
    if row.rule and row.rule.outbound and row.kind is DeliveryKind.ROUTED:
        level = row.rule.outbound.tls
        if level not in ("none", "may"):
            notes.add(f"a mailertable demands no TLS, [{row.rule.table}] does: {level}", key)
