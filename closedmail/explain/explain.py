"""Explain why a mail is accepted, refused or routed by the generation in force: the decision of the daemons."""

from dataclasses import dataclass, field, replace
from typing import Any, Literal, assert_never

from closedmail.core.domain import fold
from closedmail.core.hold_reason import Why
from closedmail.core.record import Entry
from closedmail.explain.explain_sendmail import SendmailRows, sendmail_rows
from closedmail.inbound.decision import Verdict, decide
from closedmail.inbound.facts import Envelope
from closedmail.inbound.sender import queued_domains
from closedmail.maps.local_rows_file import LocalRows
from closedmail.maps.postfix_transport import transport_value
from closedmail.maps.protected_keys import ProtectedKeys
from closedmail.maps.unusual_spellings import REFUSAL, is_unusual
from closedmail.policyd.policy_reply import action_of
from closedmail.routes.delivery import CLOSED, HELD, Delivery, DeliveryKind, delivery_of, has_row
from closedmail.store.snapshot import Snapshot

Outcome = Literal["routed", "held", "error", "none"]

_SENTENCES = {
    "null-sender": "The sender is empty (a bounce): not our business.",
    "sasl": "The client has logged in, and gateway.exempt_sasl is on: not our business.",
    "trusted": "The client is in gateway.trusted_clients: not our business.",
    "own-domain": "The sender's domain is one of gateway.own_domains: not our business.",
    "not-listed": "The sender's domain is no partner's: not our business.",
    "ok": "The mail has all that its partner's rule asks for: it passes.",
    "off": "The mail lacks what its partner's rule asks for, and the rule is off: it passes.",
    "address": "The client's address is not authorised for this partner.",
    "certificate": "The client showed no certificate that is authorised for this partner.",
    "tls": "The connection is not encrypted, and the partner's rule asks for it.",
    "unknown-fact": "This front end does not know enough about the mail, and leaves it to the policy service.",
}


@dataclass(frozen=True, slots=True)
class ExplainedSender:
    """A verdict with the facts that led to it."""

    verdict: Verdict
    generation: int

    @property
    def refused(self) -> bool:
        """Whether the mail would be refused or deferred."""
        return self.verdict.outcome in ("reject", "defer")

    @property
    def action(self) -> str:
        """Render the answer of the policy service."""
        return action_of(self.verdict)

    def to_json(self) -> dict[str, Any]:
        """Make the object of the public interface."""
        match, facts = self.verdict.match, self.verdict.facts
        return {
            "verdict": self.verdict.outcome,
            "action": self.action,
            "network": (match.rule.network or None) if match else None,
            "partner": match.key if match else None,
            "reason": self.verdict.reason,
            "facts": {"ip": facts.ip, "cert": facts.cert, "tls": facts.tls},
            "generation": self.generation,
            "text": self.text,
        }

    @property
    def text(self) -> str:
        """Render the verdict in a sentence or two."""
        sentence = _SENTENCES[self.verdict.reason]
        match = self.verdict.match
        if match is None:
            return sentence
        rule = match.rule
        whose = f'[partner."{rule.partner}"]' if rule.partner else f"network {rule.network}"
        asks = f"{rule.inbound.require}{' and TLS' if rule.inbound.require_tls else ''}"
        return (
            f"{self.verdict.domain} is the partner {match.key}, by the rule of {whose} (require {asks}, mode "
            f"{rule.inbound.mode}). {sentence}"
        )


def explain_inbound(snapshot: Snapshot, envelope: Envelope) -> ExplainedSender:
    """Decide as policy service and milter do. Raises SenderError."""
    return ExplainedSender(decide(envelope, snapshot), snapshot.generation)


@dataclass(frozen=True, slots=True)
class ExplainedRecipient:
    """The route of a mail to a recipient by the maps in force."""

    verdict: Outcome
    generation: int
    text: str
    transport: str | None = None
    tls_policy: dict[str, str] = field(default_factory=dict)
    network: str | None = None
    partner: str | None = None
    sendmail: SendmailRows | None = None
    own_row: dict[str, str] | None = None  # the administrator's that is used in place of ours: table, key, value
    notes: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """Make the object of the public interface; it has `sendmail` where Sendmail's maps are made, and what of
        `own_row` and `notes` there is.
        """
        found = {
            "verdict": self.verdict,
            "transport": self.transport,
            "tls_policy": self.tls_policy,
            "network": self.network,
            "partner": self.partner,
            "generation": self.generation,
            "text": self.text,
        }
        beside = {
            "own_row": self.own_row,
            "notes": list(self.notes),
            "sendmail": self.sendmail.to_json() if self.sendmail else None,
        }
        return found | {name: value for name, value in beside.items() if value}


def explain_outbound(
    snapshot: Snapshot,
    recipient: str,
    local_rows: LocalRows | None = None,
    closedmail: str = "closedmail",
    *,
    guarded: bool | None = None,
) -> ExplainedRecipient:
    """Look a recipient (or a bare domain) up as Postfix would, and as Sendmail would where its maps are made.

    `local_rows` are the administrator's rows of Sendmail's maps. `closedmail` is what proposed commands begin with.
    `guarded` says whether Postfix asks the table that refuses unusual spellings, None where it has no maps of ours.
    Raises SenderError.
    """
    found = None if guarded is None else _explain_spelling(snapshot, recipient, closedmail, guarded=guarded)
    found = found or _explain_postfix(snapshot, recipient, closedmail)
    if local_rows is None:
        return found
    names = queued_domains(with_user(recipient), snapshot.rewriting)
    return replace(found, sendmail=sendmail_rows(snapshot, names[0], local_rows) if names else SendmailRows())


def with_user(recipient: str) -> str:
    """Make an address of a bare domain."""
    return recipient if "@" in recipient or "!" in recipient or "%" in recipient else f"x@{recipient}"


def _explain_spelling(
    snapshot: Snapshot, recipient: str, closedmail: str, *, guarded: bool
) -> ExplainedRecipient | None:
    """Explain what becomes of a domain that is not spelled as its U-label; None for all others."""
    domain = _domain_as_spelled(recipient)
    if not is_unusual(domain):
        return None
    if guarded:
        text = "The domain is spelled in an unusual way, which Postfix refuses: type it anew, or write its A-labels."
        return ExplainedRecipient("error", snapshot.generation, text, REFUSAL)
    text = (
        "The domain is spelled in an unusual way, which no row is for, and transport_maps does not name the table that "
        f"refuses it: Postfix asks the public DNS, for a partner's name too. Run: {closedmail} setup"
    )
    return ExplainedRecipient("none", snapshot.generation, text)


def _domain_as_spelled(recipient: str) -> str:
    """Return the domain that the recipient ends with after rewriting, character by character as it was written."""
    for mark in "@%":
        if mark in recipient:
            return recipient.rpartition(mark)[2]
    return recipient.partition("!")[0]


def _explain_postfix(snapshot: Snapshot, recipient: str, closedmail: str) -> ExplainedRecipient:
    number = snapshot.generation
    spelled = with_user(recipient)
    names = queued_domains(spelled, snapshot.rewriting)
    if not names:
        return ExplainedRecipient("none", number, "The recipient has no domain.")
    name = names[0]
    domain = spelled.rpartition("@")[2].rstrip(".")
    if not domain.isascii() and fold(domain) in snapshot.manifest.shared_spellings:
        shared = transport_value(HELD[Why.FOLDED])
        return ExplainedRecipient("held", number, "This spelling is that of two domains: write the A-label.", shared)
    found = find_route(snapshot, name)
    if found is None:
        guard = snapshot.closed(name)
        if guard is None or snapshot.own.covers(name):
            whose = "an own domain" if snapshot.own.covers(name) else "no partner's domain"
            text = f"{name} is {whose}: Postfix decides as it would without closedmail."
            return ExplainedRecipient("none", number, text)
        text = f"{name} is in closed_domains ({guard.key}) and has no route: it never leaves."
        network = guard.rule.network or None
        return ExplainedRecipient("error", number, text, transport_value(CLOSED), {}, network, guard.key)
    key, entry, delivery = found
    verdict, text = _in_words(name, key, delivery, closedmail)
    policies = {
        nexthop: str(row.policy)
        for nexthop, name in zip(delivery.nexthops, delivery.rows, strict=True)
        if (row := snapshot.tls_row(name))
    }
    if policies:
        tls = ", ".join(f"{nexthop}: {policy}" for nexthop, policy in policies.items())
        text += f", with TLS policy {tls}"
    network = snapshot.manifest.rules[entry.rule].network or None
    return ExplainedRecipient(verdict, number, text + ".", transport_value(delivery), policies, network, key)


def _in_words(name: str, key: str, delivery: Delivery, closedmail: str) -> tuple[Outcome, str]:
    """Return what happens to mail, and a sentence on it without its full stop."""
    if delivery.why is not None:
        explained = delivery.why.reason.explained.replace("{closedmail}", closedmail)
        return "held", f"Mail to {name} is held and waits: {explained}"
    match delivery.kind:
        case DeliveryKind.ROUTED:
            return "routed", f"Mail to {name} goes by the row for {key} to {transport_value(delivery)}"
        case DeliveryKind.HELD | DeliveryKind.REFUSED:
            return "error", f"The list refuses mail to {name}"
        case DeliveryKind.OWN | DeliveryKind.INBOUND_ONLY:
            return "none", f"Postfix decides about {name} as it would without closedmail"
        case _:
            assert_never(delivery.kind)


def find_route(snapshot: Snapshot, name: str) -> tuple[str, Entry, Delivery] | None:
    """Find the row that Postfix finds, as (key, record, delivery); own domains are shielded.

    It is that of the exact domain, else of the longest suffix; None for a guard.
    """
    key = ProtectedKeys(snapshot.own, snapshot.manifest.closed, snapshot.entry).row_key(name)
    entry = snapshot.entry(key) if key else None
    if key is None or entry is None or not has_row(entry):
        return None
    return key, entry, delivery_of(entry, snapshot.manifest.rules[entry.rule].outbound)
