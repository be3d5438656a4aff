"""Find settings that rewrite a sender after the check."""

from collections.abc import Iterator

from closedmail.doctor.finding import Finding
from closedmail.doctor.postfix_facts import PostfixFacts, Setting, setting_of, settings_of
from closedmail.mta.postfix_config import Service
from closedmail.mta.restrictions import split_list

_NEWLINE = "smtpd_forbid_bare_newline"
# `note` alone only logs, and `no` was the default before 3.9.
_SAFE = ("yes", "normalize", "reject")
# The parameter, the one that says whose addresses it is for, and the id.
_REWRITING = (
    ("masquerade_domains", "masquerade_classes", "masquerade"),
    ("canonical_maps", "canonical_classes", "canonical"),
    ("sender_canonical_maps", "sender_canonical_classes", "canonical"),
)


def sender_findings(facts: PostfixFacts) -> Iterator[Finding]:
    """Find all that rewrites envelope senders."""
    cleanups = [item for item in facts.postfix.services if item.command == "cleanup"]
    cleanup = next((item for item in cleanups if item.name == "cleanup"), cleanups[0] if cleanups else None)
    for name, classes, identifier in _REWRITING:
        yield from _rewriting(facts, cleanup, name, classes, identifier)
    yield from _command_filter(facts)
    yield from _smuggling(facts)


def _rewriting(
    facts: PostfixFacts, cleanup: Service | None, name: str, classes: str, identifier: str
) -> Iterator[Finding]:
    setting, scope = setting_of(facts.postfix, cleanup, name), setting_of(facts.postfix, cleanup, classes)
    kinds = split_list(scope.value)
    if not split_list(setting.value) or "envelope_sender" not in kinds:
        return
    rest = [kind for kind in kinds if kind != "envelope_sender"]
    yield Finding.of(
        identifier,
        f"{setting} = {setting.value} changes senders after closedmail was asked: keep partners' domains out of it, or "
        f"take envelope_sender out of {classes}",
        scope.set(", ".join(rest)),
        by_hand=True,
    )


def _command_filter(facts: PostfixFacts) -> Iterator[Finding]:
    seen = set()
    for service in facts.guarded:
        setting: Setting = setting_of(facts.postfix, service, "smtpd_command_filter")
        if setting.value and str(setting) not in seen:
            seen.add(str(setting))
            yield Finding.of(
                "command-filter",
                f"{setting} = {setting.value} changes what clients say, MAIL FROM as well: closedmail is asked about "
                "what comes out of it, so keep partners' domains out of it",
                setting.set(""),
                by_hand=True,
            )


def _smuggling(facts: PostfixFacts) -> Iterator[Finding]:
    """Find listeners that take a bare newline for the end of a line, and so a mail within a mail.

    Source: https://www.postfix.org/smtp-smuggling.html.
    """
    if facts.guarded and _NEWLINE not in facts.postfix.main:
        version = ".".join(map(str, facts.postfix.version))
        yield Finding.of(
            "bare-newline",
            f"this Postfix ({version}) has no {_NEWLINE}, so that a mail from a partner's server can have another one "
            "in it: upgrade Postfix",
        )
        return
    for setting in settings_of(facts.postfix, facts.guarded, _NEWLINE):
        if setting.value.lower() not in _SAFE:
            yield Finding.of(
                "bare-newline",
                f"{setting} = {setting.value or 'nothing'}: a mail from a partner's server can have another one in it, "
                "of anybody, which comes with the partner's address and certificate",
                setting.set("normalize"),
            )
