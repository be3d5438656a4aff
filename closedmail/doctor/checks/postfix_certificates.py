"""Check client certificates: whether Postfix asks for them, whom it trusts, and which digest fingerprints use."""

from collections.abc import Iterator

from closedmail.core.model import CertificatePin
from closedmail.doctor.finding import Finding
from closedmail.doctor.postfix_facts import PostfixFacts, Setting, settings_of
from closedmail.inbound.digests import incomparable
from closedmail.mta.postfix_config import is_yes

# More certificates than a closed network has CAs: the bundle of the public ones.
_PUBLIC = 40
_SYSTEM = ("/etc/ssl/certs", "/usr/share/ca-certificates", "/usr/lib/ssl", "/etc/pki")
_SNAKEOIL = "/etc/ssl/certs/ssl-cert-snakeoil.pem", "/etc/ssl/private/ssl-cert-snakeoil.key"


def certificate_findings(facts: PostfixFacts) -> Iterator[Finding]:
    """Find what is wrong with TLS and certificates of clients that bring mail."""
    if any(_pins(facts)):
        yield from _ask_findings(facts)
        yield from _digest_findings(facts)
        yield from _log_findings(facts)
    if any(_pins(facts)) or any(rule.inbound.require_tls for rule in facts.active):
        yield from _tls_findings(facts)
    if any(pin.subject or pin.issuer for pin in _pins(facts)):
        yield from _authority_findings(facts)


def _pins(facts: PostfixFacts) -> Iterator[CertificatePin]:
    for rule in facts.active:
        if rule.inbound.require != "ip":
            yield from rule.inbound.certificates


def _settings(facts: PostfixFacts, name: str) -> Iterator[Setting]:
    """Find where a setting is made for the listeners that partners use: not those that only users log in to."""
    users = [item for item in facts.guarded if is_yes(item.options.get("smtpd_sasl_auth_enable", ""))]
    return settings_of(facts.postfix, [item for item in facts.guarded if item not in users], name)


def _ask_findings(facts: PostfixFacts) -> Iterator[Finding]:
    for setting in _settings(facts, "smtpd_tls_ask_ccert"):
        required = Setting(facts.postfix, "smtpd_tls_req_ccert", None)
        if not is_yes(setting.value) and not is_yes(required.value):
            yield Finding.of(
                "ask-ccert",
                f"{setting} is not yes: no client shows a certificate, and partners that must are refused",
                setting.set("yes"),
            )


def _digest_findings(facts: PostfixFacts) -> Iterator[Finding]:
    for setting in _settings(facts, "smtpd_tls_fingerprint_digest"):
        sync = facts.config.command("sync")
        wrong = list(incomparable(facts.rules, setting.value, sync))
        if wrong:
            better = not any(incomparable(facts.rules, "sha256", sync))
            text = f"{setting} = {setting.value}: {wrong[0]}" + (f", and {len(wrong) - 1} more" if wrong[1:] else "")
            yield Finding.of("fingerprint-digest", text, setting.set("sha256") if better else ())


def _log_findings(facts: PostfixFacts) -> Iterator[Finding]:
    for setting in _settings(facts, "smtpd_tls_loglevel"):
        words = setting.value.lower().replace(",", " ").split()
        if not {"peercert", "2", "3", "4", "debug", "ssl-expert", "ssl-developer"} & set(words):
            yield Finding.of(
                "tls-loglevel",
                f"{setting} = {setting.value}: the log has no certificates, and {facts.config.command('replay')} "
                "can't say what would happen to mail that needs one",
                setting.set("summary, peercert") or setting.set("2"),
            )


def _tls_findings(facts: PostfixFacts) -> Iterator[Finding]:
    for setting in _settings(facts, "smtpd_tls_security_level"):
        old = ("smtpd_use_tls", "smtpd_enforce_tls", "smtpd_tls_wrappermode")
        listeners = [item for item in facts.guarded if item == setting.service or not setting.service]
        if setting.value in ("", "none") and not any(is_yes(item.get(name)) for item in listeners for name in old):
            yield Finding.of(
                "smtpd-tls",
                f"{setting} is {setting.value or 'empty'}: no mail comes encrypted, and partners that must show a "
                "certificate or use TLS are refused",
                setting.set("may"),
            )
    yield from _own_certificate(facts)
    for setting in _settings(facts, "smtpd_tls_CAfile"):
        if setting.value and not facts.machine.file(setting.value).kind:
            yield Finding.of(
                "client-ca-missing",
                f"{setting} = {setting.value} is not there: Postfix answers STARTTLS with 454; put the network's CA "
                "there",
            )


def _own_certificate(facts: PostfixFacts) -> Iterator[Finding]:
    names = ("smtpd_tls_chain_files", "smtpd_tls_cert_file", "smtpd_tls_eccert_file")
    values = {name: facts.postfix.main.get(name, "") for name in names}
    files = [path.strip() for value in values.values() for path in value.split(",") if path.strip() not in ("", "none")]
    missing = [path for path in files if not facts.machine.file(path).kind]
    if files and not missing:
        return
    text = "Postfix has no certificate of its own (smtpd_tls_chain_files): it answers STARTTLS with 454"
    if missing:
        text = f"{missing[0]}, a certificate of Postfix's own, is not there: it answers STARTTLS with 454"
    certificate, key = _SNAKEOIL
    if facts.machine.file(certificate).kind and certificate not in missing:
        fix = (
            facts.postconf("-e", f"smtpd_tls_cert_file = {certificate}", f"smtpd_tls_key_file = {key}"),
            *([facts.postconf("-e", "smtpd_tls_chain_files =")] if values["smtpd_tls_chain_files"] else []),
        )
    else:
        fix = ()
        text += "; apt install ssl-cert makes one, or name your own"
    yield Finding.of("smtpd-certificate", text, fix)


def _authority_findings(facts: PostfixFacts) -> Iterator[Finding]:
    """Find CAs that Postfix should not trust: subject and issuer count where Postfix verified the chain.

    So whoever holds a certificate of a trusted CA may pass as a partner.
    """
    main = facts.postfix.main
    for setting in _settings(facts, "smtpd_tls_CAfile"):
        path = setting.value
        state = facts.machine.file(path) if path else None
        if state and (path.startswith(_SYSTEM) or state.certificates >= _PUBLIC):
            yield Finding.of(
                "client-ca-public",
                f"{setting} = {path} has the public CAs: anybody's certificate with the right name counts as the "
                "partner's; name a file with the network's CA alone",
            )
    for setting in _settings(facts, "smtpd_tls_CApath"):
        path = setting.value
        if path.startswith(_SYSTEM):
            yield Finding.of(
                "client-ca-public",
                f"{setting} = {path} has the public CAs: anybody's certificate with the right name counts as the "
                "partner's",
                setting.set(""),
            )
    if is_yes(main.get("tls_append_default_CA", "")):
        yield Finding.of(
            "client-ca-public",
            "tls_append_default_CA = yes trusts the system's public CAs: anybody's certificate with the right name "
            "counts as the partner's",
            (facts.postconf("-e", "tls_append_default_CA = no"),),
        )
    elif not main.get("smtpd_tls_CAfile") and not main.get("smtpd_tls_CApath"):
        yield Finding.of(
            "client-ca",
            "smtpd_tls_CAfile is empty: Postfix verifies no client, and no subject or issuer in certificates ever "
            "counts; name a file with the network's CA",
        )
