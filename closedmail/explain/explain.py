"""Why a mail is accepted, refused or routed, from the generation in force: the doors' own decision, in words."""

from dataclasses import dataclass, field, replace
from typing import Any, Literal

from closedmail.core.domain import fold, parents
from closedmail.core.record import Entry, State, Why
from closedmail.explain.explain_sendmail import SendmailRows, sendmail_rows
from closedmail.inbound.decision import Verdict, decide
from closedmail.inbound.facts import Envelope
from closedmail.inbound.sender import queued_domains
from closedmail.maps.local_rows_file import OwnRows
from closedmail.maps.postfix_transport import CLOSED, FOLDED, transport_value
from closedmail.policyd.policy_reply import action_of
from closedmail.store.snapshot import Snapshot

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
    "unknown-fact": "This door can't tell enough about the mail, and leaves it to the policy service.",
}


@dataclass(frozen=True, slots=True)
class Inbound:
    """A verdict with what it came from."""

    verdict: Verdict
    generation: int

    @property
    def refused(self) -> bool:
        """Whether the mail would be refused or deferred."""
        return self.verdict.outcome in ("reject", "defer")

    @property
    def action(self) -> str:
        """What the policy service would answer."""
        return action_of(self.verdict)

    def to_json(self) -> dict[str, Any]:
        """The object of the public interface."""
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
        """The verdict in a sentence or two."""
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


def explain_inbound(snapshot: Snapshot, envelope: Envelope) -> Inbound:
    """Decide as the doors do. Raises SenderError."""
    return Inbound(decide(envelope, snapshot), snapshot.generation)


@dataclass(frozen=True, slots=True)
class Outbound:
    """Where a mail to a recipient goes by the maps in force."""

    verdict: Literal["routed", "held", "error", "none"]
    generation: int
    text: str
    transport: str | None = None
    tls_policy: dict[str, str] = field(default_factory=dict)
    network: str | None = None
    partner: str | None = None
    sendmail: SendmailRows | None = None

    def to_json(self) -> dict[str, Any]:
        """The object of the public interface; `sendmail` is there where Sendmail's maps are made."""
        found = {
            "verdict": self.verdict,
            "transport": self.transport,
            "tls_policy": self.tls_policy,
            "network": self.network,
            "partner": self.partner,
            "generation": self.generation,
            "text": self.text,
        }
        return found | ({"sendmail": self.sendmail.to_json()} if self.sendmail else {})


def explain_outbound(snapshot: Snapshot, recipient: str, own_rows: OwnRows | None = None) -> Outbound:
    """Look a recipient (or a bare domain) up as Postfix would in the maps, and as Sendmail would where its maps are
    made: `own_rows` are the administrator's then. Raises SenderError."""
    found = _explain_postfix(snapshot, recipient)
    if own_rows is None:
        return found
    names = queued_domains(_with_user(recipient), snapshot.rewriting)
    return replace(found, sendmail=sendmail_rows(snapshot, names[0], own_rows) if names else SendmailRows())


def _with_user(recipient: str) -> str:
    return recipient if "@" in recipient or "!" in recipient or "%" in recipient else f"x@{recipient}"


def _explain_postfix(snapshot: Snapshot, recipient: str) -> Outbound:
    number = snapshot.generation
    spelled = _with_user(recipient)
    names = queued_domains(spelled, snapshot.rewriting)
    if not names:
        return Outbound("none", number, "The recipient has no domain.")
    name = names[0]
    domain = spelled.rpartition("@")[2].rstrip(".")
    if not domain.isascii() and fold(domain) in snapshot.manifest.shared_spellings:
        return Outbound("held", number, "This spelling is that of two domains: write the A-label.", FOLDED)
    found = find_route(snapshot, name)
    if found is None:
        guard = snapshot.closed(name)
        if guard is None or snapshot.own.covers(name):
            whose = "an own domain" if snapshot.own.covers(name) else "no partner's domain"
            return Outbound("none", number, f"{name} is {whose}: Postfix decides as it would without closedmail.")
        text = f"{name} is in closed_domains ({guard.key}) and has no route: it never leaves."
        return Outbound("error", number, text, CLOSED, {}, guard.rule.network or None, guard.key)
    key, entry, transport = found
    rule = snapshot.manifest.rules[entry.rule]
    network = rule.network or None
    if entry.state is State.HELD:
        text = f"Mail to {name} is held and waits: {_WHY_HELD[entry.why]}."
        return Outbound("held", number, text, transport, {}, network, key)
    if transport.startswith(("error:", "retry:")):
        return Outbound("error", number, f"The list refuses mail to {name}.", transport, {}, network, key)
    policies = {nexthop: row for nexthop in _nexthops(transport) if (row := _policy(snapshot, nexthop))}
    tls = ", ".join(f"{nexthop}: {policy}" for nexthop, policy in policies.items())
    with_tls = f", with TLS policy {tls}" if policies else ""
    text = f"Mail to {name} goes by the row for {key} to {transport}{with_tls}."
    return Outbound("routed", number, text, transport, policies, network, key)


_WHY_HELD = {
    Why.NOTHING: "held",
    Why.LOST: "the list lost it; closedmail release lets it go",
    Why.UNCLEAR: "its line in the list is not understood",
    Why.TLS: "its TLS policy can't be met; closedmail sync says what to do",
    Why.ROUTE: "its route is too long for Sendmail",
    Why.FOLDED: "for Postfix its spelling is another domain's too",
}


def find_route(snapshot: Snapshot, name: str) -> tuple[str, Entry, str] | None:
    """The row that Postfix finds (key, record, value): the exact domain, else the longest suffix; own domains are
    shielded."""
    own = snapshot.own.covers(name)
    for key in (name, *("." + parent for parent in parents(name))):
        if own and not snapshot.own.covers(key):
            return None
        entry = snapshot.entry(key)
        value = entry and transport_value(entry, snapshot.manifest.rules[entry.rule].outbound)
        if entry and value:
            return key, entry, value
    return None


def _nexthops(transport: str) -> list[str]:
    return transport.partition(":")[2].split(", ")


def _policy(snapshot: Snapshot, nexthop: str) -> str | None:
    row = snapshot.tls_row(nexthop)
    return str(row.policy) if row else None
