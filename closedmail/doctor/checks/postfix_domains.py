"""Check the domains that Postfix takes for its own: they must be ours, and no partner's."""

from collections.abc import Iterator

from closedmail.core.partner_keys import PartnerKeys
from closedmail.doctor.finding import Finding
from closedmail.doctor.postfix_facts import PostfixFacts, Setting
from closedmail.mta.domain_lists import Item, read_domains
from closedmail.mta.restrictions import split_list

_FINAL = ("mydestination", "virtual_alias_domains", "virtual_mailbox_domains")
_RELAY = "relay_domains"
_PARENTS = "parent_domain_matches_subdomains"
_NAMED = 5


def domain_findings(facts: PostfixFacts) -> Iterator[Finding]:
    """Find what is wrong with Postfix's lists of domains."""
    partners = PartnerKeys(facts.config, facts.partner_keys)
    missing: dict[str, str] = {}
    for name in (*_FINAL, _RELAY):
        setting = Setting(facts.postfix, name)
        items = list(read_domains(setting.value, facts.machine))
        for item in items:
            partner = partners.partner_of(item.key)
            if partner:
                yield _claimed(facts, setting, item, partner)
            elif not partners.is_own(item.key):
                missing.setdefault(item.key, name)
        if name == _RELAY:
            yield from _below(facts, partners, items)
    if missing:
        names = [f"{key} ({name})" for key, name in list(missing.items())[:_NAMED]]
        more = ", …" if len(missing) > _NAMED else ""
        yield Finding.of(
            "own-domains",
            f"Postfix takes mail for {', '.join(names)}{more}, which own_domains does not cover: a list could route or "
            "claim them; write them into own_domains of [gateway] in "
            f"{facts.config.path} and run: {facts.config.command('sync')}",
        )


def _claimed(facts: PostfixFacts, setting: Setting, item: Item, partner: str) -> Finding:
    """Make the finding for a partner's domain that Postfix takes for its own, or relays for everybody."""
    spelled = item.literal or item.key
    known = spelled if partner == item.key else f"{spelled} (by {partner})"
    rest = [text for text in split_list(setting.raw) if text != item.literal]
    removable = item.literal and len(rest) < len(split_list(setting.raw))
    where = f"; it is in {item.source}" if item.source else ""
    if setting.name == _RELAY:
        what, name = "anybody may relay to it through this gateway", "partner-relayed"
    else:
        what, name = "mail to it is taken for this machine's own", "partner-local"
    # The list of a network has its members' own domains, too: what is missing may be an entry of own_domains.
    text = (
        f"{setting} has {known}, which is a partner's: {what}{where}. If it is yours, write it into own_domains of "
        f"[gateway] and run: {facts.config.command('sync')}. Else take it out"
    )
    return Finding.of(name, text, setting.set(", ".join(rest)) if removable else (), by_hand=True)


def _below(facts: PostfixFacts, partners: PartnerKeys, relayed: list[Item]) -> Iterator[Finding]:
    """Find partners below a domain that is relayed for."""
    setting = Setting(facts.postfix, _PARENTS)
    matching = split_list(setting.value)
    parent_matches = _RELAY in matching
    above = {item.key for item in relayed if parent_matches or item.key.startswith(".")}
    found = partners.below(above)
    if not found:
        return
    shown = ", ".join(f"{key} (below {found[key]})" for key in sorted(found)[:_NAMED])
    rest = [item for item in matching if item != _RELAY]
    yield Finding.of(
        "relay-parents",
        f"relay_domains covers {shown}{', …' if len(found) > _NAMED else ''}: anybody may relay to these partners "
        "through this gateway; name your own subdomains in relay_domains, and take it out of "
        f"{_PARENTS}",
        setting.set(", ".join(rest)) if parent_matches else (),
        by_hand=True,
    )
