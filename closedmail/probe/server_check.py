"""Compare a server with the TLS policy for it, by Postfix's rules for levels, names and fingerprints.

Sources: TLS_README of Postfix ("Client TLS security levels"), smtp_tls_policy_maps in postconf(5), and tls_client.c,
match_servername(). Sendmail's TLS_Rcpt demands come as levels too, with a common name in place of a match.
"""

from dataclasses import dataclass

import idna

from closedmail.mta.client_settings import ClientSettings
from closedmail.probe.dane import DANE
from closedmail.probe.server_certificate import ServerCertificate
from closedmail.routes.tls_policy import Policy

OPPORTUNISTIC = ("none", "may")
_TRUSTING = ("verify", "secure")
_COMMON_NAME = "CN"  # as core.recipient_tls writes it


@dataclass(frozen=True, slots=True)
class Demand:
    """The demands on one server. `match` are names, patterns or fingerprints, `digest` the algorithm of the latter.

    `common_name` is Sendmail's demand, and compared whole. `nexthop` is the name without brackets and port, `host`
    the server's. `falls_back`: at level may a failed handshake is followed by plain text, as in Postfix.
    `least_bits` is the least strength of a cipher.
    """

    level: str
    nexthop: str
    host: str
    match: tuple[str, ...] = ()
    common_name: str = ""
    digest: str = "sha256"
    falls_back: bool = True
    least_bits: int = 0

    @property
    def needs_trust(self) -> bool:
        """Whether the chain has to lead to a trusted authority."""
        return self.level in _TRUSTING


@dataclass(frozen=True, slots=True)
class Seen:
    """The findings of a session. `trust_error` is why the chain is not trusted, "" where it is, or was not verified."""

    offered: bool
    encrypted: bool
    certificate: ServerCertificate | None = None
    trust_error: str = ""
    tls_error: str = ""
    bits: int = 0


def demand_of(policy: Policy, settings: ClientSettings, nexthop: str, host: str) -> Demand:
    """Derive the demands on one server from a policy and the settings of the MTA's client.

    In a row of Postfix's, `match=` counts, else main.cf (smtp_tls_verify_cert_match, smtp_tls_secure_cert_match). In
    one of Sendmail's, `CN` alone is the server's name.
    """
    match: tuple[str, ...] = {"verify": settings.verify_match, "secure": settings.secure_match}.get(policy.level, ())
    common_name = ""
    for attribute in policy.attributes:
        if attribute.startswith("match="):
            match = tuple(attribute[6:].split("|" if policy.level == "fingerprint" else ":"))
        elif settings.mta == "Sendmail" and attribute.startswith(_COMMON_NAME):
            common_name = attribute[len(_COMMON_NAME) + 1 :] or host
    falls_back = settings.mta == "Postfix"
    return Demand(policy.level, nexthop, host, match, common_name, settings.digest, falls_back, settings.least_bits)


def why_not(demand: Demand, seen: Seen) -> str | None:
    """Return the reason why the MTA would not deliver to such a server, None where it would."""
    if demand.level == "none" or (demand.level == "may" and not seen.offered):
        return None
    if demand.level == "may" and not seen.encrypted and demand.falls_back:
        return None
    if not seen.encrypted:
        return seen.tls_error or f"the server offers no STARTTLS, and TLS level {demand.level} demands it"
    if demand.level != "may" and seen.bits < demand.least_bits:
        return f"the cipher has {seen.bits} bits, and {demand.least_bits} are demanded"
    if demand.level in DANE:
        return (
            f"TLS level {demand.level} needs TLSA records (DNSSEC), which only Postfix's posttls-finger looks up; it "
            f"is not found here: where it is, run posttls-finger -c -l {demand.level} {demand.nexthop}"
        )
    if demand.level == "fingerprint":
        return _why_not_pinned(demand, seen.certificate)
    if not demand.needs_trust:
        return None
    if seen.trust_error:
        return f"the certificate is not trusted: {seen.trust_error}"
    if seen.certificate is None:
        return "the server showed no certificate"
    return _why_not_named(demand, seen.certificate)


def _why_not_pinned(demand: Demand, certificate: ServerCertificate | None) -> str | None:
    if certificate is None:
        return "the server showed no certificate"
    shown = {_bare(certificate.fingerprint(demand.digest)), _bare(certificate.pubkey_fingerprint(demand.digest))}
    if shown & {_bare(pin) for pin in demand.match}:
        return None
    return f"neither the certificate nor its key has a fingerprint ({demand.digest}) that match= lists"


def _why_not_named(demand: Demand, certificate: ServerCertificate) -> str | None:
    if demand.common_name:
        if certificate.subject.lower() == demand.common_name.lower():
            return None
        return f"the certificate's common name is {certificate.subject!r}, not {demand.common_name!r}"
    if any(matches(name, pattern, demand) for name in certificate.names for pattern in demand.match):
        return None
    wanted = ", ".join(demand.match) or "nothing"
    return f"the certificate is for {', '.join(certificate.names) or 'no name'}, and {wanted} is demanded"


def matches(name: str, pattern: str, demand: Demand) -> bool:
    """Match a certificate's name with a pattern (match_servername() of tls_client.c).

    A pattern is a name, `.suffix` for all below it, or one of the words nexthop, dot-nexthop and hostname. A `*.` in
    front of the certificate's name stands for one label.
    """
    word = pattern.lower()
    below = word == "dot-nexthop" or (word.startswith(".") and len(word) > 1)
    if word in ("nexthop", "dot-nexthop"):
        domain = demand.nexthop
    elif word == "hostname":
        domain = demand.host
    else:
        domain = pattern.removeprefix(".") if below else pattern
    name, domain = _ascii(name), _ascii(domain)
    if not name or not domain:
        return False
    if below:
        return name.endswith("." + domain) and len(name) > len(domain) + 1
    if name == domain:
        return True
    _, dot, parent = domain.partition(".")
    return bool(dot) and len(name) > 2 and name.startswith("*.") and name[2:] == parent


def _ascii(name: str) -> str:
    if name.isascii():
        return name.lower()
    try:
        return idna.encode(name, uts46=True).decode().lower()
    except idna.IDNAError:
        return name.lower()


def _bare(fingerprint: str) -> str:
    return fingerprint.replace(":", "").lower()
