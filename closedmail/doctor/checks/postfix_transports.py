"""Check the settings of the services that deliver to partners: no way around a partner's route or TLS policy."""

from collections.abc import Iterator

from closedmail.core.model import Outbound
from closedmail.doctor.finding import Finding
from closedmail.doctor.postfix_facts import PostfixFacts, setting_of, settings_of
from closedmail.inbound.digests import LENGTHS, digest_length, digest_name
from closedmail.mta.postfix_config import Service, is_yes

# Services that deliver other mail as well.
_SHARED = ("smtp", "relay", "lmtp")
_HOST_LISTS = (3, 5)  # the first Postfix that takes several hosts in one row, and sends all that we decide by


def version_findings(facts: PostfixFacts) -> Iterator[Finding]:
    """Check whether this Postfix is new enough for what is configured."""
    if facts.postfix.version < _HOST_LISTS:
        shown = ".".join(map(str, facts.postfix.version))
        yield Finding.of(
            "postfix-version",
            f"Postfix {shown} is too old: routes with several hosts need 3.5 (public keys' fingerprints 2.9, the "
            "check's own default_action 3.0); install a newer one",
        )


def transport_findings(facts: PostfixFacts) -> Iterator[Finding]:
    """Find what is wrong with the settings of the services that exist."""
    shared = facts.shared_services
    yield from _fallback_findings(facts, shared)
    yield from _tls_required_findings(facts, shared)
    for service in facts.closed_services:
        used = [rule.outbound for rule in facts.rules if rule.outbound and rule.outbound.transport == service.name]
        yield from _fingerprint_findings(facts, service, used)
        yield from _dane_findings(facts, service, used)


def _fallback_findings(facts: PostfixFacts, services: list[Service]) -> Iterator[Finding]:
    for service in services:
        relay = service.get("smtp_fallback_relay")
        if relay:
            shared = service.name in _SHARED
            advice = "; leave outbound.transport out, so that the network has a service of its own, and run setup"
            yield Finding.of(
                "fallback-relay",
                f"smtp_fallback_relay of {service.key} in master.cf is {relay}: partners' mail goes there when their "
                f"hosts are down{advice if shared else ''}",
                () if shared else (facts.postconf("-P", f"{service.key}/smtp_fallback_relay="),),
            )


def _tls_required_findings(facts: PostfixFacts, services: list[Service]) -> Iterator[Finding]:
    """Find services that honour a header `TLS-Required: no`: from Postfix 3.10 on; older ones lack the parameter."""
    for setting in settings_of(facts.postfix, services, "tls_required_enable"):
        if is_yes(setting.value):
            yield Finding.of(
                "tls-required",
                f"{setting} = yes: a header TLS-Required: no in a mail switches the partner's TLS policy off",
                setting.set("no"),
            )


def _fingerprint_findings(facts: PostfixFacts, service: Service, used: list[Outbound]) -> Iterator[Finding]:
    setting = setting_of(facts.postfix, service, "smtp_tls_fingerprint_digest")
    digest = digest_length(service.get(setting.name))
    pins = [pin for outbound in used if outbound.tls == "fingerprint" for pin in outbound.tls_match]
    lengths = {length for pin in pins if (length := len(pin.replace(":", ""))) in LENGTHS}
    wrong = lengths - {digest}
    if digest and wrong:
        better = "sha256" if lengths == {64} else ""
        yield Finding.of(
            "smtp-fingerprint-digest",
            f"{setting} = {setting.value}, but tls_match has {digest_name(min(wrong))} fingerprints, which never "
            "match: mail waits",
            setting.set(better) if better else (),
        )


def _dane_findings(facts: PostfixFacts, service: Service, used: list[Outbound]) -> Iterator[Finding]:
    setting = setting_of(facts.postfix, service, "smtp_dns_support_level")
    if setting.value != "dnssec" and any(outbound.tls.startswith("dane") for outbound in used):
        yield Finding.of(
            "dane-dns",
            f"{setting} is {setting.value or 'empty'}: tls = dane goes out in plain text without DNSSEC look-ups",
            (facts.postconf("-P", f"{service.key}/smtp_dns_support_level=dnssec"),),
        )
