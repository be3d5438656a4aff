"""Read an MTA's macros: the client's certificate, encryption, login, and the sender as the MTA understood it.

Sendmail and Postfix use the same names for different things. Sendmail sets `{cert_subject}` and `{cert_issuer}` to the
whole DN of any certificate, verified or not: they are never used. `{verify}` is whether the chain was verified, and
`{cn_subject}` and `{cn_issuer}` are the common names. Postfix has none of these; its `{cert_subject}` and
`{cert_issuer}` are the common names, sent only where the chain was trusted. Facts that an MTA does not send are None.
"""

from collections.abc import Mapping
from typing import NamedTuple

from closedmail.inbound.facts import ClientCertificate
from closedmail.inbound.xtext import decode_xtext

# Requested for the begin of a message. {client_addr} always has a value, and is not sent by default: where it is
# present, the others have been requested, and a missing one is empty. Postfix and Sendmail take more than the five of
# the manual.
ASKED = (
    *("v", "i", "f", "{client_addr}", "{mail_addr}", "{auth_authen}", "{tls_version}", "{verify}"),
    *("{cn_subject}", "{cn_issuer}", "{cert_subject}", "{cert_issuer}", "{cert_fp}", "{cert_md5}"),
)

_NONE = ClientCertificate()
_UNKNOWN = ClientCertificate(None, None, None, None)


class MailMacros(NamedTuple):
    """The state of a session when a message begins. `senders` are in the external form, as the MTA rewrote them."""

    certificate: ClientCertificate
    encrypted: bool | None
    sasl_username: str
    client_address: str
    senders: tuple[str, ...]


def read_macros(macros: Mapping[str, str]) -> MailMacros:
    """Read the macros that were there at MAIL."""
    get = macros.get
    complete = "{client_addr}" in macros
    encrypted: bool | None = bool(get("{tls_version}"))
    if not encrypted and not complete:
        encrypted = None
    client = get("{client_addr}", "")
    if client[:5].lower() == "ipv6:":
        client = client[5:]
    senders = tuple(macros[name] for name in ("{mail_addr}", "f") if name in macros)
    return MailMacros(
        _certificate(macros, encrypted, complete=complete), encrypted, get("{auth_authen}", ""), client, senders
    )


def _certificate(macros: Mapping[str, str], encrypted: bool | None, *, complete: bool) -> ClientCertificate:
    if encrypted is False:
        return _NONE
    if macros.get("{verify}"):
        return _from_sendmail(macros)
    if macros.get("v", "").startswith("Postfix") and encrypted and complete:
        # Empty where there is no certificate, or none that is trusted; which of both is unknown.
        return ClientCertificate(macros.get("{cert_subject}", ""), macros.get("{cert_issuer}", ""), None, None)
    return _UNKNOWN


def _from_sendmail(macros: Mapping[str, str]) -> ClientCertificate:
    """Read the certificate by `{verify}` (cf/README, "STARTTLS"): OK verified, FAIL not, NO and NOT: no certificate."""
    get = macros.get
    verify = get("{verify}")
    if verify in ("NO", "NOT", "NONE"):
        return _NONE
    fingerprint = get("{cert_fp}") or get("{cert_md5}")
    digest = fingerprint.replace(":", "").lower() if fingerprint else None
    if verify == "OK":
        return ClientCertificate(
            decode_xtext(get("{cn_subject}", "")), decode_xtext(get("{cn_issuer}", "")), digest, None
        )
    if verify == "FAIL":
        return ClientCertificate("", "", digest, None)
    return _UNKNOWN
