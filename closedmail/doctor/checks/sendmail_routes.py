"""Check that the mailertable alone decides where partners' mail goes: not the public DNS, and not a fallback.

Source: cf/m4/proto.m4, rule set Canonify2. Without FEATURE(`nocanonify') it asks the DNS for every host name before
rule set 0 looks into the mailertable, and a CNAME there takes the name's place. With it, and only then, the rule for
class {Canonify} stands there, with `canonify_hosts' as well, which asks for names without a dot alone.
"""

from collections.abc import Iterator

from closedmail.doctor.finding import Finding
from closedmail.doctor.sendmail_facts import SENDMAIL_MC, SendmailFacts, rebuild

_SIGN = "$={Canonify}"
_OUTCOME = "whoever has a CNAME there sends partners' mail elsewhere"
# Options of sendmail.cf, and the macros of the .mc that set them.
_FALLBACKS = {"FallbackSmartHost": "confFALLBACK_SMARTHOST", "FallbackMXhost": "confFALLBACK_MX"}


def sendmail_route_findings(facts: SendmailFacts) -> Iterator[Finding]:
    """Find what may send partners' mail on another way than the mailertable's."""
    yield from _canonify_findings(facts)
    for option, macro in _FALLBACKS.items():
        if host := facts.cf.option(option):
            yield Finding.of(
                "fallback-relay",
                f"sendmail.cf has {option}={host}: partners' mail goes there when their hosts are down; take "
                f"define(`{macro}', …) out of {SENDMAIL_MC} and run: sendmailconfig",
            )


def _canonify_findings(facts: SendmailFacts) -> Iterator[Finding]:
    if not facts.cf.has_rule(_SIGN):
        yield Finding.of(
            "nocanonify",
            f"Sendmail asks the DNS for each recipient's domain before it looks into the mailertable, and {_OUTCOME}; "
            + rebuild("FEATURE(`nocanonify')dnl"),
        )
        return
    for word, place in facts.class_words("Canonify").items():
        name = word.lower().strip(".")
        partner = facts.partners.partner_of(name) or next(iter(sorted(facts.partners.below({name}))), "")
        if partner:
            yield Finding.of(
                "nocanonify",
                f"{place or 'sendmail.cf'} has {word} in class Canonify (CANONIFY_DOMAIN), and {partner} is a partner: "
                f"Sendmail asks the DNS for it, and {_OUTCOME}; take {word} out and run: sendmailconfig",
            )
    for daemon in facts.cf.daemons:
        if "c" in daemon.get("M", ""):
            yield Finding.of(
                "nocanonify",
                f"the listener {daemon.get('N', daemon.get('P', 'MTA'))} in sendmail.cf has M=c: for its mail Sendmail "
                f"asks the DNS first, and {_OUTCOME}; take the c out of M= in {SENDMAIL_MC} and run: sendmailconfig",
            )
