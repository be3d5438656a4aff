"""Build the TLS context that an MTA's client would use for one policy, and note what could not be done."""

import ssl
from dataclasses import dataclass, field

from closedmail.mta.client_settings import ClientSettings
from closedmail.probe.server_check import OPPORTUNISTIC
from closedmail.routes.tls_policy import Policy
from closedmail.routes.tls_protocols import VERSIONS, BadProtocols, allowed_versions, cipher_list

# In the order of VERSIONS; nothing older than the first is spoken any more.
_OF_OPENSSL = (
    ssl.TLSVersion.MINIMUM_SUPPORTED,
    ssl.TLSVersion.TLSv1_1,
    ssl.TLSVersion.TLSv1_2,
    ssl.TLSVersion.TLSv1_3,
)


@dataclass(slots=True)
class TlsClient:
    """TLS for one policy.

    `context` verifies nothing; `trusting` does, and is None where no chain could ever be trusted, for the reason in
    `no_trust`. `certificate` names the client certificate that is presented, or gives the reason why none is. `error`
    is why there is no context at all.
    """

    context: ssl.SSLContext | None = None
    trusting: ssl.SSLContext | None = None
    no_trust: str = ""
    certificate: str = ""
    error: str = ""
    _presented: list[str] = field(default_factory=list)


def tls_client(settings: ClientSettings, policy: Policy, *, needs_trust: bool) -> TlsClient:
    """Prepare TLS for a policy. Raises nothing: what is wrong is in the value."""
    client = TlsClient()
    try:
        client.context = _context(settings, policy)
        if needs_trust:
            client.trusting = _context(settings, policy)
    except (BadProtocols, ssl.SSLError, ValueError) as error:
        client.error = f"{settings.mta}'s TLS settings can't be followed: {error}"
        return client
    for context in filter(None, (client.context, client.trusting)):
        client.certificate = _present(context, settings)
    if client.trusting:
        client.no_trust = _trust(client.trusting, settings)
        if client.no_trust:
            client.trusting = None
    return client


def _context(settings: ClientSettings, policy: Policy) -> ssl.SSLContext:
    may = policy.level in OPPORTUNISTIC
    attributes = dict(item.partition("=")[::2] for item in policy.attributes)
    versions = allowed_versions(attributes.get("protocols", settings.may_protocols if may else settings.protocols))
    if not versions:
        raise BadProtocols("no TLS protocol is left")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False  # names are compared by the MTA's own rules
    context.verify_mode = ssl.CERT_NONE
    # A range has no gap in it: of a list that has one (`!TLSv1.2`), the newest versions count.
    last = max(map(VERSIONS.index, versions))
    first = last
    while first and VERSIONS[first - 1] in versions:
        first -= 1
    context.minimum_version, context.maximum_version = _OF_OPENSSL[first], _OF_OPENSSL[last]
    grade = attributes.get("ciphers", settings.may_ciphers if may else settings.ciphers)
    context.set_ciphers(cipher_list(grade, settings.grades, settings.may_excluded if may else settings.excluded))
    return context


def _present(context: ssl.SSLContext, settings: ClientSettings) -> str:
    """Load the client's certificates; give a note on which are presented, and which not and why."""
    words = []
    for certificate, key in settings.chains:
        try:
            context.load_cert_chain(certificate, key, password=_no_password)
            words.append(f"{certificate} was presented where asked for")
        except (OSError, ValueError) as error:
            reason = error.strerror or str(error) if isinstance(error, OSError) else str(error)
            words.append(f"{certificate} was NOT presented: {reason} (key in {key})")
    return "; ".join(words)


def _no_password() -> str:
    raise ValueError("the key has a password")


def _trust(context: ssl.SSLContext, settings: ClientSettings) -> str:
    """Load the authorities; give the reason where none can be trusted, else ""."""
    where = "smtp_tls_CAfile" if settings.mta == "Postfix" else "CACertFile"
    if not (settings.ca_file or settings.ca_path or settings.default_authorities):
        return f"{settings.mta} trusts no certificate authority: set {where}"
    try:
        if settings.ca_file:
            context.load_verify_locations(cafile=settings.ca_file)
        if settings.ca_path:
            context.load_verify_locations(capath=settings.ca_path)
        if settings.default_authorities:
            context.set_default_verify_paths()
    except OSError as error:
        return f"{where} {settings.ca_file} can't be used: {error.strerror or error}"
    context.verify_mode = ssl.CERT_REQUIRED
    return ""
