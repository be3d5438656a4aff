"""Express a network's TLS level as settings of a Send connector of Exchange.

Sources: smtp_tls_security_level in postconf(5), and New-SendConnector (TlsAuthLevel, TlsDomain). A connector checks a
certificate against one name. What can't be said is never weakened.
"""

from dataclasses import dataclass

from closedmail.core.model import Outbound
from closedmail.routes.nexthop import MailHost


@dataclass(frozen=True, slots=True)
class SendTls:
    """The settings of a connector. `auth_level` and `domain` are "" where Exchange has none."""

    required: bool
    auth_level: str = ""
    domain: str = ""
    ignored: bool = False  # STARTTLS is not even tried


def send_tls(outbound: Outbound, hosts: tuple[MailHost, ...]) -> SendTls | str:
    """Return the settings for a level on these hosts, or why there are none."""
    level = outbound.tls
    if level == "none":
        return SendTls(required=False, ignored=True)
    if level == "may":
        return SendTls(required=False)
    if level == "encrypt":
        return SendTls(required=True, auth_level="EncryptionOnly")
    if level not in ("verify", "secure"):
        return f"Exchange has no TLS level {level!r}"
    names = _names(outbound, hosts)
    if isinstance(names, str):
        return names
    if len(names) != 1:
        return f"a connector checks a certificate for one name, {level!r} asks for {len(names)} here: set one tls_match"
    return SendTls(required=True, auth_level="DomainValidation", domain=names.pop())


def _names(outbound: Outbound, hosts: tuple[MailHost, ...]) -> set[str] | str:
    """Return the names of which one has to be in the certificate. `dot-nexthop` is left out: without it the check is
    stricter."""
    words = outbound.tls_match or (("hostname",) if outbound.tls == "verify" else ("nexthop",))
    found: set[str] = set()
    for word in words:
        if word in ("hostname", "nexthop"):
            if word == "hostname" and any(host.mx for host in hosts):
                return f"{outbound.tls!r} trusts the names of MX records, which no connector checks: set tls_match"
            if any(host.is_address for host in hosts):
                return f"{outbound.tls!r} has no name for an address: set tls_match"
            found |= {host.name for host in hosts}
        elif word.startswith("."):
            return f"a connector can't ask for a certificate of any name below {word[1:]!r} alone: set one tls_match"
        elif word != "dot-nexthop":
            found.add(word.lower())
    return found or "only 'dot-nexthop' is asked for, which no connector checks: set tls_match"
