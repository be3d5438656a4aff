"""Check certificates and TLS in sendmail.cf: whether clients are asked, whom Sendmail trusts, how demands are met."""

from collections.abc import Iterator

from closedmail.core.model import CertificatePin
from closedmail.core.rule import Rule
from closedmail.doctor.finding import Finding, Fix
from closedmail.doctor.sendmail_facts import SENDMAIL_MC, SendmailFacts, rebuild
from closedmail.inbound.digests import digest_length, digest_name

# More certificates than a closed network has CAs: the bundle of the public ones.
_PUBLIC = 40
_SYSTEM = ("/etc/ssl/certs", "/usr/share/ca-certificates", "/usr/lib/ssl", "/etc/pki")
_DEFAULT_DIGEST = "md5"  # without CertFingerprintAlgorithm only {cert_md5} is sent
# Without one of them Sendmail 8.17 does not offer STARTTLS.
_NEEDED = {
    "ServerCertFile": "confSERVER_CERT",
    "ServerKeyFile": "confSERVER_KEY",
    "CACertFile": "confCACERT",
    "CACertPath": "confCACERT_PATH",
}
_PLACES = {
    "ServerCertFile": "/etc/mail/tls/gateway.pem",
    "ServerKeyFile": "/etc/mail/tls/gateway.key",
    "CACertFile": "/etc/mail/tls/closed-ca.pem",
    "CACertPath": "/etc/mail/tls",
}
_SHA256 = "define(`confCERT_FINGERPRINT_ALGORITHM', `sha256')dnl"


def sendmail_certificate_findings(facts: SendmailFacts) -> Iterator[Finding]:
    """Find what is wrong with TLS, in and out."""
    pins = [(rule, pin) for rule in facts.active if rule.inbound.require != "ip" for pin in rule.inbound.certificates]
    if pins or any(rule.inbound.require_tls for rule in facts.active):
        yield from _starttls_findings(facts)
    if pins:
        yield from _ask_findings(facts)
        yield from _fingerprint_findings(facts, pins)
    if any(pin.subject or pin.issuer for _, pin in pins):
        yield from _authority_findings(facts)
    yield from _outbound_findings(facts)


def _starttls_findings(facts: SendmailFacts) -> Iterator[Finding]:
    what = "Sendmail does not offer STARTTLS, and partners that must show a certificate or use TLS are refused"
    for option, macro in _NEEDED.items():
        path = facts.cf.option(option)
        if not path:
            line = f"define(`{macro}', `{_PLACES[option]}')dnl"
            yield Finding.of("starttls", f"sendmail.cf has no {option}: {what}; {rebuild(line)}")
        elif not facts.machine.path(path).kind:
            yield Finding.of("starttls", f"{path}, {option} of sendmail.cf, is not there: {what}; put it there")
        elif option != "CACertPath":
            yield from _file_findings(facts, option, path, what)
    for daemon in facts.cf.daemons:
        if "S" in daemon.get("M", "") and not ("a" in daemon["M"] and facts.config.gateway.exempt_sasl):
            yield Finding.of(
                "starttls",
                f"the listener {daemon.get('N', daemon.get('P', 'MTA'))} in sendmail.cf has M=S and offers no "
                "STARTTLS: partners that must show a certificate or use TLS are refused; take the S out of its "
                f"DAEMON_OPTIONS in {SENDMAIL_MC}, and run: sendmailconfig",
            )


def _file_findings(facts: SendmailFacts, option: str, path: str, what: str) -> Iterator[Finding]:
    """Find whether Sendmail would refuse a file as unsafe."""
    mode = facts.machine.path(path).mode
    wrong = mode & 0o022
    if option == "ServerKeyFile":
        wrong |= mode & (0o033 if "groupreadablekeyfile" in facts.blamed else 0o077)
    if wrong:
        yield Finding.of(
            "starttls",
            f"{path}, {option} of sendmail.cf, has mode {mode:04o}, which Sendmail calls unsafe: {what}",
            (Fix.chmod(f"{mode & ~wrong:04o}", path),),
            by_hand=True,
        )


def _ask_findings(facts: SendmailFacts) -> Iterator[Finding]:
    text = "no client is asked for a certificate, and partners that must show one are refused"
    if "V" in facts.cf.option("TLSSrvOptions"):
        yield Finding.of(
            "ask-ccert",
            f"sendmail.cf has V in TLSSrvOptions: {text}; take define(`confTLS_SRV_OPTIONS', `V') out of "
            f"{SENDMAIL_MC}, and run: sendmailconfig",
        )
    for key, value in facts.own_access.items():
        if key.startswith("srv_features:") and "V" in value.split():
            who = key.partition(":")[2]
            yield Finding.of(
                "ask-ccert",
                f"{facts.maps.own_access} has Srv_Features:{who} with V: "
                f"{text if not who else f'{who} is not asked for a certificate'}; take it out, and run: "
                f"{facts.config.command('sync')}",
                severity="warning" if who else "error",
            )


def _fingerprint_findings(facts: SendmailFacts, pins: list[tuple[Rule, CertificatePin]]) -> Iterator[Finding]:
    digest = facts.cf.option("CertFingerprintAlgorithm") or _DEFAULT_DIGEST
    sent, seen = digest_length(digest), set()
    for rule, pin in pins:
        if pin.pubkey_fingerprint and (rule.network, pin) not in seen:
            seen.add((rule.network, pin))
            yield Finding.of(
                "pubkey-fingerprint",
                f"{rule.table}.inbound.certificates has pubkey_fingerprint {pin.pubkey_fingerprint[:16]}…, which "
                "Sendmail does not send to the milter: any certificate passes; pin its fingerprint "
                "or its subject in its place",
            )
    lengths = {len(pin.fingerprint) for _, pin in pins if pin.fingerprint}
    wrong = sorted(length for length in lengths if sent and length != sent)
    if wrong:
        first = next(rule.table for rule, pin in pins if len(pin.fingerprint) == wrong[0])
        names = [name for name in ("sha256", "sha384", "sha512", "sha1") if lengths == {digest_length(name)}]
        remedy = (
            rebuild(f"define(`confCERT_FINGERPRINT_ALGORITHM', `{names[0]}')dnl")
            if names
            else "write all fingerprints in SHA-256, and " + rebuild(_SHA256)
        )
        yield Finding.of(
            "fingerprint-digest",
            f"{first}.inbound.certificates has a fingerprint in {digest_name(wrong[0])}, but Sendmail makes "
            f"{digest_name(sent)} (CertFingerprintAlgorithm), which never matches it; {remedy}",
        )


def _authority_findings(facts: SendmailFacts) -> Iterator[Finding]:
    """Find CAs that Sendmail should not trust: subject and issuer count where Sendmail verified the chain.

    So whoever holds a certificate of a trusted CA may pass as a partner.
    """
    for option, macro in (("CACertFile", "confCACERT"), ("CACertPath", "confCACERT_PATH")):
        path = facts.cf.option(option)
        if path and (path.startswith(_SYSTEM) or facts.machine.path(path).certificates >= _PUBLIC):
            yield Finding.of(
                "client-ca-public",
                f"{option} = {path} in sendmail.cf has the public CAs: anybody's certificate with the right name "
                f"counts as the partner's; name what has the network's CA alone, by {macro} in {SENDMAIL_MC}, and run: "
                "sendmailconfig",
            )


def _outbound_findings(facts: SendmailFacts) -> Iterator[Finding]:
    levels = {rule.outbound.tls for rule in facts.rules if rule.outbound}
    if levels & {"verify", "secure"}:
        places = [path for path in map(facts.cf.option, ("CACertFile", "CACertPath")) if path]
        if not any(facts.machine.path(path).kind for path in places):
            yield Finding.of(
                "outbound-ca",
                "sendmail.cf names no CACertFile or CACertPath that is there, and outbound.tls wants partners' "
                f"certificates verified: their mail waits; put the network's CA into {_PLACES['CACertFile']}, and "
                + rebuild(f"define(`confCACERT', `{_PLACES['CACertFile']}')dnl"),
            )
        if facts.cf.has_rule("cert_altnames", "TLS_req"):
            yield Finding.of(
                "cert-altnames",
                "sendmail.cf has FEATURE(`check_cert_altnames'): it goes on to compare a certificate with the name of "
                "the server that was reached, where a partner's own name was asked for; take it out of "
                f"{SENDMAIL_MC}, and run: sendmailconfig",
            )
    if levels & {"verify", "secure", "encrypt"} and facts.cf.has_rule("<554:5.7.0> <$2 $3>", "TLS_connection"):
        yield Finding.of(
            "tls-perm-err",
            "sendmail.cf has TLS_PERM_ERR: mail that meets no TLS at a partner is returned at once, and does not wait; "
            f"take it out of {SENDMAIL_MC}, and run: sendmailconfig",
        )
