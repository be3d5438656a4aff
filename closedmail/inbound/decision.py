"""Decide about a mail's sender: facts and a rule give a verdict and its reason, without any protocol's syntax.

The policy service, the milter and `explain` call `decide`; for the header, `header_decision.py` takes the same steps
for each address. Their order is part of the public interface: not our business, not a partner, facts, rule, mode.
"""

from collections.abc import Iterable
from ipaddress import IPv4Address, IPv6Address
from typing import Literal, NamedTuple, assert_never

from closedmail.core.address import client_text, parse_client
from closedmail.core.model import Mode
from closedmail.inbound.facts import Envelope, Facts, all_hold, any_holds, facts_of
from closedmail.inbound.partner import Match, Rulebook, find_partner
from closedmail.inbound.refusal import Missing, refusal_text
from closedmail.inbound.sender import queued_domains

Reason = Literal[
    "null-sender",
    "sasl",
    "trusted",
    "own-domain",
    "not-listed",
    "ok",
    "off",
    "address",
    "certificate",
    "tls",
    "unknown-fact",
]
Outcome = Literal["accept", "reject", "defer", "report", "none"]


class Verdict(NamedTuple):
    """The decision about a mail.

    `dsn` is the enhanced status code of a refusal (RFC 3463), `text` what the sender is to read; a report has the text
    alone, other outcomes have neither. `domain` is the sender's domain that decided, "" where none did.
    """

    outcome: Outcome
    reason: Reason
    dsn: str = ""
    text: str = ""
    domain: str = ""
    match: Match | None = None
    facts: Facts = Facts(None, None, None)


def decide(envelope: Envelope, book: Rulebook) -> Verdict:
    """Decide about one mail; of several readings of its sender the gravest verdict counts.

    Raises SenderError where the sender's domain can't be known.
    """
    if not envelope.sender:
        return _NULL_SENDER
    client = parse_client(envelope.client_address)
    exempt = exemption(envelope, client, book)
    if exempt:
        return exempt
    names = queued_domains(envelope.sender, book.rewriting)
    if len(names) == 1:  # as nearly always
        return _about(names[0], envelope, client, book)
    return worst(_about(name, envelope, client, book) for name in names)


def _about(name: str, envelope: Envelope, client: IPv4Address | IPv6Address | None, book: Rulebook) -> Verdict:
    """Decide about one reading of the sender's domain."""
    found = claimed(name, book)
    return judge(name, found, envelope, client, book.generation) if isinstance(found, Match) else found


def decide_any(envelopes: Iterable[Envelope], book: Rulebook) -> Verdict:
    """Decide about a mail whose sender can be read in several ways: the gravest verdict counts. Raises SenderError."""
    return worst(decide(envelope, book) for envelope in envelopes)


def worst(verdicts: Iterable[Verdict]) -> Verdict:
    """Return the gravest of some verdicts, the first of equals; NOT_LISTED of none."""
    return min(verdicts, key=_gravity, default=NOT_LISTED)


def _gravity(verdict: Verdict) -> int:
    """Rank refusals first, then what would be one, then the rest, and partners before others."""
    if verdict.match is None:
        return 5 if verdict.reason == "not-listed" else 4
    match verdict.outcome:
        case "reject":
            return 0
        case "defer":
            return 1
        case "report":
            return 2
        case "none" | "accept":
            return 3
        case _:
            assert_never(verdict.outcome)


def exemption(envelope: Envelope, client: IPv4Address | IPv6Address | None, book: Rulebook) -> Verdict | None:
    """Return the verdict about a mail that is not our business, whatever its sender; None where it is."""
    if book.exempt_sasl and envelope.sasl_username:
        return _SASL
    return _TRUSTED if client in book.trusted else None


def claimed(name: str, book: Rulebook) -> Match | Verdict:
    """Return the partner whose rule decides about a domain, or the verdict where there is none."""
    match = find_partner(name, book)
    if book.own.covers(name) and not (match and match.rule.partner and book.own.covers(match.key)):
        return _OWN_DOMAIN
    return match or NOT_LISTED


def judge(
    name: str,
    match: Match,
    envelope: Envelope,
    client: IPv4Address | IPv6Address | None,
    generation: int,
    header_mode: Mode | None = None,
) -> Verdict:
    """Apply a partner's rule to a mail that bears its domain.

    `header_mode` is given where the domain is that of a header; it replaces the rule's own mode.
    """
    inbound = match.rule.inbound
    mode = header_mode or inbound.mode
    facts = facts_of(envelope, client, match)
    proof: bool | None
    match inbound.require:
        case "ip":
            proof = facts.ip
        case "cert":
            proof = facts.cert
        case "ip and cert":
            proof = all_hold((facts.ip, facts.cert))
        case "ip or cert":
            proof = any_holds((facts.ip, facts.cert))
        case _:
            assert_never(inbound.require)
    holds = all_hold((proof, facts.tls)) if inbound.require_tls else proof
    if holds:
        return Verdict("accept", "ok", "", "", name, match, facts)
    if mode == "off":
        return Verdict("accept", "off", "", "", name, match, facts)
    if holds is None:
        return Verdict("none", "unknown-fact", "", "", name, match, facts)
    missing = _missing(match, facts, proof)
    shown = client_text(envelope.client_address)
    text = refusal_text(match.rule, missing, generation, name, shown, in_header=header_mode is not None)
    match mode:
        case "enforce":
            return Verdict("reject", missing, "5.7.1", text, name, match, facts)
        case "defer":
            return Verdict("defer", missing, "4.7.1", text, name, match, facts)
        case "report":
            return Verdict("report", missing, "", text, name, match, facts)
        case _:
            assert_never(mode)


def _missing(match: Match, facts: Facts, proof: bool | None) -> Missing:
    """Choose the proof to name: the first that the rule demands and the mail lacks."""
    if proof is not False:
        return "tls"
    inbound = match.rule.inbound
    by_address = "ip" in inbound.require and facts.ip is False
    # An alternative that no address can satisfy is none: the certificate is what was missing.
    if inbound.require == "ip or cert" and not inbound.allow_from and not inbound.allow_route_hosts:
        by_address = False
    return "address" if by_address else "certificate"


_NULL_SENDER = Verdict("none", "null-sender")
_SASL = Verdict("none", "sasl")
_TRUSTED = Verdict("none", "trusted")
_OWN_DOMAIN = Verdict("none", "own-domain")
NOT_LISTED = Verdict("none", "not-listed")
