"""Check the domains that Sendmail takes for its own or relays for (ours, no partner's), and who may relay."""

from collections.abc import Iterator

from closedmail.core.partner_keys import domain_key
from closedmail.doctor.finding import Finding
from closedmail.doctor.sendmail_facts import SENDMAIL_MC, SendmailFacts

_FINAL = {"w": "class w (local-host-names)", "VirtHost": "class VirtHost (virtual domains)"}
_RELAY = "class R (relay-domains)"
_NAMED = 5
# Other tags of the access table are not about recipients.
_RECIPIENT_TAG = "to:"


def sendmail_domain_findings(facts: SendmailFacts) -> Iterator[Finding]:
    """Find what is wrong with Sendmail's classes of domains, and its rules for relaying."""
    missing: dict[str, str] = {}
    for name, words in _FINAL.items():
        for key, place in _domains(facts, name).items():
            partner = facts.partners.partner_of(key)
            if partner:
                yield _claimed(facts, key, partner, f"{place or 'sendmail.cf'}, {words},")
            elif not facts.partners.is_own(key):
                missing.setdefault(key, words)
    relayed = _relayed(facts)
    for key, place in relayed.items():
        partner = facts.partners.partner_of(key)
        if partner:
            yield _relayed_partner(facts, key, partner, place)
        elif not facts.partners.is_own(key):
            missing.setdefault(key, place if place == facts.maps.own_access else _RELAY)
    yield from _below(facts, set(relayed))
    if missing:
        names = [f"{key} ({words})" for key, words in list(missing.items())[:_NAMED]]
        more = ", …" if len(missing) > _NAMED else ""
        yield Finding.of(
            "own-domains",
            f"Sendmail takes mail for {', '.join(names)}{more}, which own_domains does not cover: a list could route "
            f"or claim them; write them into own_domains of [gateway] in {facts.config.path} and run: "
            f"{facts.config.command('sync')}",
        )
    yield from _feature_findings(facts)


def _domains(facts: SendmailFacts, name: str) -> dict[str, str]:
    """Collect the domains of a class, each with its file."""
    found: dict[str, str] = {}
    for word, place in facts.class_words(name).items():
        if key := domain_key(word):
            found.setdefault(key, place)
    return found


def _relayed(facts: SendmailFacts) -> dict[str, str]:
    """Collect the domains that anybody may relay to, each with its place; class VirtHost is a part of class R."""
    virtual = _domains(facts, "VirtHost")
    found = {key: place or "sendmail.cf" for key, place in _domains(facts, "R").items() if key not in virtual}
    for row, value in facts.own_access.items():
        name = row.removeprefix(_RECIPIENT_TAG)
        if value.strip().upper() == "RELAY" and (key := domain_key(name)):
            found.setdefault(key, facts.maps.own_access)
    return found


def _claimed(facts: SendmailFacts, key: str, partner: str, place: str) -> Finding:
    return Finding.of(
        "partner-local",
        f"{place} has {_known(key, partner)}, which is a partner's: Sendmail takes mail to it for this machine's own; "
        f"{_take_out(facts)}",
    )


def _relayed_partner(facts: SendmailFacts, key: str, partner: str, place: str) -> Finding:
    return Finding.of(
        "partner-relayed",
        f"{place} has {_known(key, partner)}, which is a partner's, as a domain to relay to: anybody may send to it "
        f"through this gateway; {_take_out(facts)}",
    )


def _known(key: str, partner: str) -> str:
    return key if partner == key else f"{key} (by {partner})"


def _take_out(facts: SendmailFacts) -> str:
    # The list of a network has its members' own domains, too: what is missing may be an entry of own_domains.
    return (
        "if it is yours, write it into own_domains of [gateway] and run: "
        f"{facts.config.command('sync')}. Else take it out, and run: systemctl restart sendmail"
    )


def _below(facts: SendmailFacts, relayed: set[str]) -> Iterator[Finding]:
    """Find partners below a domain that is relayed for: Sendmail relays for all below it, by cf/README."""
    cf = facts.cf
    # FEATURE(`relay_hosts_only') has the host alone compared with the class.
    above = {key for key in relayed if not cf.has_rule("< @ $=R >", "Rcpt_ok")}
    if cf.has_rule("$* $=m >", "Rcpt_ok") and (key := domain_key(_own_domain(facts))):
        above.add(key)
    found = facts.partners.below(above)
    if found:
        shown = ", ".join(f"{key} (below {found[key]})" for key in sorted(found)[:_NAMED])
        yield Finding.of(
            "relay-parents",
            f"Sendmail relays for all below its own domains, and so to {shown}{', …' if len(found) > _NAMED else ''}: "
            "anybody may send to these partners through this gateway; write FEATURE(`relay_hosts_only')dnl into "
            f"{SENDMAIL_MC}, name your own subdomains one by one in relay-domains, take out "
            "FEATURE(`relay_entire_domain') if it is there, and run: sendmailconfig",
        )


def _own_domain(facts: SendmailFacts) -> str:
    """Return $m, the domain of this host, as far as sendmail.cf has it."""
    return facts.cf.macros.get("m") or facts.cf.macros.get("j", "").partition(".")[2]


def _feature_findings(facts: SendmailFacts) -> Iterator[Finding]:
    cf = facts.cf
    remedy = f"take it out of {SENDMAIL_MC}, and run: sendmailconfig"
    if "Basic_check_rcpt" in cf.rules and not cf.has_rule("Relaying denied", "Basic_check_rcpt"):
        yield Finding.of(
            "open-relay",
            f"sendmail.cf has FEATURE(`promiscuous_relay'): anybody may send to partners through this gateway; "
            f"{remedy}",
        )
    if cf.has_rule("CanonAddr $&f", "Relay_ok"):
        local = cf.has_rule("< @ $=w >", "Relay_ok")
        if local or any(
            key.startswith("from:") and value.upper() == "RELAY" for key, value in facts.own_access.items()
        ):
            name = "relay_local_from" if local else "relay_mail_from"
            yield Finding.of(
                "relay-by-sender",
                f"sendmail.cf has FEATURE(`{name}'): whoever writes a sender of yours may send to partners through "
                f"this gateway; {remedy}",
            )
    if "mxserved" in cf.maps:
        yield Finding.of(
            "permit-mx-backup",
            "sendmail.cf has FEATURE(`relay_based_on_MX'): whoever points a domain's MX at this gateway may have it "
            f"relay, to partners as well; {remedy}, and name such domains in relay-domains",
        )
    for key, value in facts.own_access.items():
        if key.startswith("certissuer:") and value.strip().upper() == "RELAY":
            yield Finding.of(
                "permit-tls-all-clientcerts",
                f"{facts.maps.own_access} has a row CertIssuer:… RELAY: whoever has a certificate of that CA may "
                "relay, which may be every member of the network; write SUBJECT there and name clients by rows "
                f"CertSubject:…, and run: {facts.config.command('sync')}",
            )
    if "resolve" in cf.maps and facts.partners.keys:
        yield Finding.of(
            "unknown-sender-domain",
            "sendmail.cf has no FEATURE(`accept_unresolvable_domains'): mail of partners whose domains the public DNS "
            f"does not know is refused; write FEATURE(`accept_unresolvable_domains')dnl into {SENDMAIL_MC}, in front "
            "of its MAILER lines, and run: sendmailconfig",
        )
