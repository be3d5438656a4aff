"""Whether a server gives what a TLS policy demands of it: Postfix's rules for levels, names and fingerprints.

Sources: TLS_README of Postfix ("Client TLS security levels"), smtp_tls_policy_maps in postconf(5), and tls_client.c,
match_servername(). Sendmail's TLS_Rcpt demands come as levels too, with a common name in place of a match.
"""

from dataclasses import dataclass

import idna

from closedmail.mta.client_settings import ClientSettings
from closedmail.probe.dane import DANE
from closedmail.probe.server_certificate import Certificate
from closedmail.routes.tls_policy import Policy

OPPORTUNISTIC = ("none", "may")
_TRUSTING = ("verify", "secure")
_COMMON_NAME = "CN"  # as core.recipient_tls writes it


@dataclass(frozen=True, slots=True)
class Demand:
    """What is asked of one server. `match` are names, patterns or fingerprints, `digest` what makes the latter.

    `common_name` is asked for by Sendmail, and compared whole. `nexthop` is the name without brackets and port, `host`
    the server's. `falls_back` says that at level may a failed handshake is followed by plain text, as in Postfix;
    `least_bits` is what a cipher needs at least.
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
        """Whether the chain has to lead to an authority that is trusted."""
        return self.level in _TRUSTING


@dataclass(frozen=True, slots=True)
class Seen:
    """What a session has shown. `trust_error` says why the chain is not trusted, "" where it is, or was not asked."""

    offered: bool
    encrypted: bool
    certificate: Certificate | None = None
    trust_error: str = ""
    tls_error: str = ""
    bits: int = 0


def demand_of(policy: Policy, settings: ClientSettings, nexthop: str, host: str) -> Demand:
    """What a policy asks of one server, by the settings of the MTA's client.

    Of Postfix's row, `match=` counts, else what main.cf says (smtp_tls_verify_cert_match, smtp_tls_secure_cert_match).
    Of Sendmail's, `CN` alone is the server's name.
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
    """Why the MTA would not deliver to such a server, None where it would."""
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
            f"TLS level {demand.level} hangs on DNSSEC and TLSA records, which only Postfix's posttls-finger looks up, "
            f"and it is not found here: posttls-finger -c -l {demand.level} {demand.nexthop}"
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


def _why_not_pinned(demand: Demand, certificate: Certificate | None) -> str | None:
    if certificate is None:
        return "the server showed no certificate"
    shown = {_bare(certificate.fingerprint(demand.digest)), _bare(certificate.pubkey_fingerprint(demand.digest))}
    if shown & {_bare(pin) for pin in demand.match}:
        return None
    return f"neither the certificate nor its key has a fingerprint ({demand.digest}) that match= names"


def _why_not_named(demand: Demand, certificate: Certificate) -> str | None:
    if demand.common_name:
        if certificate.subject.lower() == demand.common_name.lower():
            return None
        return f"the certificate's common name is {certificate.subject!r}, not {demand.common_name!r}"
    if any(matches(name, pattern, demand) for name in certificate.names for pattern in demand.match):
        return None
    wanted = ", ".join(demand.match) or "nothing"
    return f"the certificate is for {', '.join(certificate.names) or 'no name'}, and {wanted} is demanded"


def matches(name: str, pattern: str, demand: Demand) -> bool:
    """Whether a certificate's name is one that a pattern admits (match_servername() of tls_client.c).

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
