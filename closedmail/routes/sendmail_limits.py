"""Find what a configuration demands and Sendmail cannot do: each with its key.

Sources: cf/README of Sendmail, "USING MAILERTABLES" (no ports), and cf/m4/proto.m4, TLS_connection and TLS_req: bits of
encryption, a verified chain, one common name.
"""

from closedmail.core.domain import DomainError, parse_name
from closedmail.core.model import Config, Outbound
from closedmail.core.rule import rules_of
from closedmail.routes.nexthop import parse_nexthop

_NO_PORTS = "a mailertable of Sendmail has no ports"


def why_refused(config: Config) -> tuple[str, str] | None:
    """Return the first key that demands what Sendmail can't do, and what to do about it; None where there is none."""
    for rule in rules_of(config):
        if rule.outbound:
            found = _refused_in(rule.outbound, alone=config.postfix is None)
            if found:
                return f"{rule.table}.outbound.{found[0]}", found[1]
    return None


def _refused_in(outbound: Outbound, *, alone: bool) -> tuple[str, str] | None:
    if outbound.port not in (0, 25):
        return "port", f"{_NO_PORTS}: take it out, and give the mailer's port in the .mc (ESMTP_MAILER_ARGS)"
    for at, host in enumerate(outbound.smarthost):
        if parse_nexthop(host).port not in (0, 25):
            return f"smarthost[{at}]", f"found {host!r}, and {_NO_PORTS}: name a host that listens on port 25"
    if outbound.tls not in ("none", "may", "encrypt", "verify", "secure"):
        return "tls", f"Sendmail can't demand {outbound.tls!r} for a recipient: choose encrypt, verify or secure"
    for key in ("tls_protocols", "tls_ciphers"):
        if getattr(outbound, key):
            return key, "Sendmail can't demand this for a recipient: take it out, and set it for all in the .mc"
    if len(outbound.tls_match) > 1:
        return "tls_match", "Sendmail can ask for one name only (CN in TLS_Rcpt): name the one"
    if outbound.tls_match and not _is_name(outbound.tls_match[0]):
        return "tls_match", f"found {outbound.tls_match[0]!r}; Sendmail compares a whole name: write the certificate's"
    if alone and outbound.transport != "smtp" and not outbound.own_service:
        return "transport", "this is a service of Postfix's master.cf, and there is no [postfix] table: take it out"
    return None


def _is_name(text: str) -> bool:
    """Check whether a `tls_match` is one name, not a pattern (`.x`) or a keyword of Postfix's (`nexthop`)."""
    try:
        parse_name(text)
    except DomainError:
        return False
    return "." in text and not text.startswith(".")
