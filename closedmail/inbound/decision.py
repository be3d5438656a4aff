"""The decision about a mail's sender: facts and a rule give a verdict, its reason and the MTA's action.

The policy service, the milter and `explain` call `decide`; for the header, `header_decision.py` asks the same steps of
each address. Their order is part of the public interface: not our business, not a partner, facts, rule, mode.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from ipaddress import IPv4Address, IPv6Address, ip_network
from typing import Literal, NamedTuple, Protocol

from closedmail.core.address import AddressSet, client_text, parse_client
from closedmail.core.domain import DomainSet, parents
from closedmail.core.model import CertificatePin, HeaderFrom, Mode, Rewriting
from closedmail.core.rule import Rule
from closedmail.inbound.sender import queued_domains
from closedmail.mailertable import grammar
from closedmail.words import smtp_text

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

_TEXT_LIMIT = 512  # bytes of a reply's text: RFC 5321 section 4.5.3.1.5 ends the whole line there


@dataclass(frozen=True, slots=True)
class Certificate:
    """What an MTA tells of a client's certificate; "" where there is none, None where this door can't tell.

    Subject and issuer are common names, given only where the MTA verified the chain. Fingerprints are lower-case hex
    without colons.
    """

    subject: str | None = ""
    issuer: str | None = ""
    fingerprint: str | None = ""
    pubkey_fingerprint: str | None = ""


class Envelope(NamedTuple):
    """What an MTA tells of a mail: the sender (bytes that are not UTF-8 as surrogates), the client and its session."""

    sender: str
    client_address: str
    sasl_username: str = ""
    certificate: Certificate = Certificate()
    encrypted: bool | None = False


class Facts(NamedTuple):
    """What holds of a mail by its partner's rule; None is unknown: this door can't tell."""

    ip: bool | None
    cert: bool | None
    tls: bool | None


class Match(NamedTuple):
    """A partner that was found: the key that matched, its rule and its mailertable value ("" where it has none)."""

    key: str
    rule: Rule
    value: str = ""


class Verdict(NamedTuple):
    """The answer. `action` is what Postfix is told; `domain` the sender's domain that decided, "" where none did."""

    outcome: Outcome
    reason: Reason
    action: str = "DUNNO"
    domain: str = ""
    match: Match | None = None
    facts: Facts = Facts(None, None, None)


class Rulebook(Protocol):
    """A generation as the decision needs it."""

    @property
    def generation(self) -> int: ...
    @property
    def own(self) -> DomainSet: ...
    @property
    def trusted(self) -> AddressSet: ...
    @property
    def exempt_sasl(self) -> bool: ...
    @property
    def rewriting(self) -> Rewriting: ...
    @property
    def header_from(self) -> HeaderFrom:
        """The most that any rule asks of the header (`strongest_header_from`)."""

    def get(self, key: str) -> Match | None:
        """The record of exactly this key."""

    def closed(self, name: str) -> Match | None:
        """The guard of `closed_domains` that covers a name."""


def decide(envelope: Envelope, book: Rulebook) -> Verdict:
    """Decide about one mail. Raises SenderError where the sender's domain is not UTF-8."""
    if not envelope.sender:
        return _NULL_SENDER
    client = parse_client(envelope.client_address)
    exempt = exemption(envelope, client, book)
    if exempt:
        return exempt
    verdict = NOT_LISTED
    for name in queued_domains(envelope.sender, book.rewriting):
        found = claimed(name, book)
        if isinstance(found, Match):
            return judge(name, found, envelope, client, book.generation)
        if found is _OWN_DOMAIN:
            verdict = found
    return verdict


def decide_any(envelopes: Iterable[Envelope], book: Rulebook) -> Verdict:
    """Decide about a mail whose sender can be read in several ways: the gravest verdict counts. Raises SenderError."""
    return worst(decide(envelope, book) for envelope in envelopes)


def worst(verdicts: Iterable[Verdict]) -> Verdict:
    """The gravest of some verdicts, the first of equals; NOT_LISTED of none."""
    return min(verdicts, key=_gravity, default=NOT_LISTED)


def _gravity(verdict: Verdict) -> int:
    """Refusals first, then what would be one, then what can't be told, and partners before others."""
    if verdict.match is None:
        return 5 if verdict.reason == "not-listed" else 4
    return {"reject": 0, "defer": 1, "report": 2, "none": 3, "accept": 3}[verdict.outcome]


def exemption(envelope: Envelope, client: IPv4Address | IPv6Address | None, book: Rulebook) -> Verdict | None:
    """Why a mail is not our business, whatever its sender; None where it is."""
    if book.exempt_sasl and envelope.sasl_username:
        return _SASL
    return _TRUSTED if client in book.trusted else None


def claimed(name: str, book: Rulebook) -> Match | Verdict:
    """The partner whose rule is to be asked about a domain, or the verdict where there is none."""
    match = find_partner(name, book)
    if book.own.covers(name) and not (match and match.rule.partner and book.own.covers(match.key)):
        return _OWN_DOMAIN
    return match or NOT_LISTED


def find_partner(name: str, book: Rulebook) -> Match | None:
    """The partner that a domain belongs to.

    The exact domain, else the longest suffix: an explicit `.x` before the `subdomains` of x; else a closed domain.
    """
    match = book.get(name)
    if match:
        return match
    for parent in parents(name):
        match = book.get("." + parent)
        if match:
            return match
        match = book.get(parent)
        if match and match.rule.inbound.subdomains:
            return match
    return book.closed(name)


def facts_of(envelope: Envelope, client: IPv4Address | IPv6Address | None, match: Match) -> Facts:
    """What holds of a mail by the rule of the partner that it claims to come from."""
    inbound = match.rule.inbound
    allowed = client in match.rule.allowed or (inbound.allow_route_hosts and client in _route_hosts(match.value))
    pins = inbound.certificates
    cert = _any(_pinned(pin, envelope.certificate) for pin in pins) if pins else False
    return Facts(allowed, cert, envelope.encrypted)


def judge(
    name: str,
    match: Match,
    envelope: Envelope,
    client: IPv4Address | IPv6Address | None,
    generation: int,
    header_mode: Mode | None = None,
) -> Verdict:
    """What a partner's rule says of a mail that bears its domain.

    `header_mode` is given where the domain is that of a header; it stands in place of the rule's own mode.
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
            proof = _all((facts.ip, facts.cert))
        case "ip or cert":
            proof = _any((facts.ip, facts.cert))
    holds = _all((proof, facts.tls)) if inbound.require_tls else proof
    if holds:
        return Verdict("accept", "ok", "DUNNO", name, match, facts)
    if mode == "off":
        return Verdict("accept", "off", "DUNNO", name, match, facts)
    if holds is None:
        return Verdict("none", "unknown-fact", "DUNNO", name, match, facts)
    reason = _missing(match, facts, proof)
    client_shown = client_text(envelope.client_address)
    text = reply_text(match, name, reason, client_shown, generation, in_header=header_mode is not None)
    match mode:
        case "enforce":
            return Verdict("reject", reason, f"REJECT 5.7.1 {text}", name, match, facts)
        case "defer":
            return Verdict("defer", reason, f"DEFER 4.7.1 {text}", name, match, facts)
        case "report":
            return Verdict("report", reason, f"WARN {text}", name, match, facts)


def _missing(match: Match, facts: Facts, proof: bool | None) -> Reason:
    """Which proof to name: the first that the rule asks for and the mail lacks."""
    if proof is not False:
        return "tls"
    inbound = match.rule.inbound
    by_address = "ip" in inbound.require and facts.ip is False
    # An alternative that no address can satisfy is none: the certificate is what was missing.
    if inbound.require == "ip or cert" and not inbound.allow_from and not inbound.allow_route_hosts:
        by_address = False
    return "address" if by_address else "certificate"


_PROOFS = {
    "address": "client address {} is not authorised for it",
    "certificate": "the client at {} showed no certificate that is authorised for it",
    "tls": "the connection from {} is not encrypted",
}


def reply_text(
    match: Match, domain: str, reason: Reason, client_address: str, generation: int, *, in_header: bool = False
) -> str:
    """The text of a refusal, the partner's own (`reject_text`) or ours; one line, printable, at most 512 bytes."""
    rule = match.rule
    if rule.inbound.reject_text:
        text = rule.inbound.reject_text.format(
            domain=domain,
            network=rule.title,
            reason=reason,
            client_address=client_address,
            generation=generation,
        )
    else:
        where = " in its From: or Sender: header" if in_header else ""
        proof = _PROOFS[reason].format(client_address)
        text = f"Mail from {domain}{where} is accepted through {rule.title} only: {proof}"
    text = smtp_text(text)
    if len(text) * 4 <= _TEXT_LIMIT:  # no character has more bytes
        return text
    return text.encode("utf-8", "replace")[:_TEXT_LIMIT].decode("utf-8", "ignore")


def _pinned(pin: CertificatePin, shown: Certificate) -> bool | None:
    """Whether a certificate is the pinned one: all that the pin has must match."""
    pairs = (
        (pin.fingerprint, shown.fingerprint),
        (pin.pubkey_fingerprint, shown.pubkey_fingerprint),
        (_ascii_lower(pin.subject), shown.subject if shown.subject is None else _ascii_lower(shown.subject)),
        (_ascii_lower(pin.issuer), shown.issuer if shown.issuer is None else _ascii_lower(shown.issuer)),
    )
    return _all(None if given is None else given == wanted for wanted, given in pairs if wanted)


_LOWER = {ord(char): ord(char) + 32 for char in "ABCDEFGHIJKLMNOPQRSTUVWXYZ"}


def _ascii_lower(text: str) -> str:
    return text.translate(_LOWER)


@lru_cache(maxsize=1024)
def _route_hosts(value: str) -> AddressSet:
    """The address literals of a mailertable value; names are never resolved."""
    # Without the cache that `sync` has of all values of a list: a daemon would fill it for days, up to 40 MB.
    route = grammar.parse_value.__wrapped__(value) if value else None
    if not isinstance(route, grammar.Route):
        return AddressSet(())
    addresses = (parse_client(host.name) for host in route.hosts if host.is_address)
    return AddressSet(ip_network(address) for address in addresses if address)


def _all(facts: Iterable[bool | None]) -> bool | None:
    """Three-valued "and": False beats unknown, unknown beats True."""
    unknown = False
    for fact in facts:
        if fact is False:
            return False
        unknown = unknown or fact is None
    return None if unknown else True


def _any(facts: Iterable[bool | None]) -> bool | None:
    """Three-valued "or": True beats unknown, unknown beats False."""
    unknown = False
    for fact in facts:
        if fact:
            return True
        unknown = unknown or fact is None
    return None if unknown else False


_NULL_SENDER = Verdict("none", "null-sender")
_SASL = Verdict("none", "sasl")
_TRUSTED = Verdict("none", "trusted")
_OWN_DOMAIN = Verdict("none", "own-domain")
NOT_LISTED = Verdict("none", "not-listed")
