"""`mailertable`: the verified, cleaned list again, for Sendmail, NoSpamProxy and all else that reads the format."""

from collections.abc import Iterator

from closedmail.exports.delivery import Delivery, Kind, deliveries
from closedmail.exports.edition import Edition
from closedmail.exports.header import header
from closedmail.exports.notes import Notes
from closedmail.exports.target import File, Request
from closedmail.mailertable.grammar import MAX_LINE

_APPLYING = (
    "Held domains are answered 4xx and wait, closed domains 5xx. Keys are A-labels, each in one line.",
    "Sendmail: makemap hash /etc/mail/mailertable < this file. Others: import it where they take a list.",
)


def render(edition: Edition, request: Request) -> list[File]:  # noqa: ARG001, there is but one form
    """One file."""
    return [File("", _lines(edition))]


def _lines(edition: Edition) -> Iterator[str]:
    notes = Notes()
    for key, delivery in deliveries(edition):
        _note(notes, key, delivery)
    yield from header("mailertable", edition, notes, _APPLYING)
    for key, delivery in deliveries(edition):
        if delivery.kind is not Kind.OWN:
            yield f"{key}\t{_fitting(value_of(delivery), key)}"


def value_of(delivery: Delivery) -> str:
    """The right-hand side. The SMTP code is what Sendmail answers with (proto.m4, MailerToTriple)."""
    if delivery.kind is Kind.ROUTED:
        return delivery.value
    return f"error:{delivery.dsn}:{delivery.dsn[0]}50 {delivery.text}"


def _fitting(value: str, key: str) -> str:
    """A value that fits in a line with its key: the texts of `error:` may be cut, routes come from such a line."""
    room = MAX_LINE - len(key) - 1
    if not value.startswith("error:") or len(value.encode()) <= room:
        return value
    return value.encode()[:room].decode("utf-8", "ignore").rstrip()


def _note(notes: Notes, key: str, delivery: Delivery) -> None:
    if delivery.kind is Kind.OWN:
        notes.add(
            "an own domain lies below a listed suffix or a closed domain, and a mailertable has no row that leaves it "
            "alone: keep it in class {w} (local-host-names), or give it a row of its own in front",
            key,
        )
    if any(host.port not in (0, 25) for host in delivery.hosts):
        notes.add("a mailertable has no ports: mail goes to port 25", key)
    if delivery.rule and delivery.rule.outbound and delivery.kind is Kind.ROUTED:
        level = delivery.rule.outbound.tls
        if level not in ("none", "may"):
            notes.add(f"a mailertable demands no TLS, [{delivery.rule.table}] does: {level}", key)
