"""Check clients of Postfix: who is trusted, who may relay, and what else turns partners away."""

from collections.abc import Iterator
from ipaddress import ip_network

from closedmail.core.model import IPNetwork
from closedmail.doctor.checks.client_networks import allowed_networks, covered, overlap, trusted_findings
from closedmail.doctor.finding import Finding, Fix
from closedmail.doctor.postfix_facts import PostfixFacts, Setting, settings_of
from closedmail.mta.postfix_config import is_yes
from closedmail.mta.restrictions import parse_restrictions, split_list, walk

_LISTS = (
    "smtpd_client_restrictions",
    "smtpd_helo_restrictions",
    "smtpd_sender_restrictions",
    "smtpd_relay_restrictions",
    "smtpd_recipient_restrictions",
    "smtpd_data_restrictions",
    "smtpd_end_of_data_restrictions",
)
# Restriction: id, why not, and whether an administrator may want to keep it.
_UNWANTED: dict[str, tuple[str, str, bool]] = {
    "permit_tls_all_clientcerts": (
        "permit-tls-all-clientcerts",
        "whoever has a certificate of any trusted CA may relay, which is every member of the network",
        False,
    ),
    "permit_mx_backup": (
        "permit-mx-backup",
        "whoever points a domain's MX at this gateway may have it relay, to partners as well; name such domains in "
        "relay_domains",
        True,
    ),
    "reject_unknown_sender_domain": (
        "unknown-sender-domain",
        "mail of partners whose domains the public DNS does not know is refused",
        True,
    ),
    "reject_unknown_recipient_domain": (
        "unknown-recipient-domain",
        "mail to partners whose domains the public DNS does not know is refused",
        True,
    ),
    "reject_unlisted_sender": (
        "unlisted-sender",
        "mail of partners that are held or closed is refused as of unknown users",
        True,
    ),
}


def client_findings(facts: PostfixFacts) -> Iterator[Finding]:
    """Find what is wrong with the clients that are trusted or turned away."""
    partners = bool(facts.partner_keys or facts.config.partners)
    for setting in settings_of(facts.postfix, facts.guarded, *_LISTS):
        for name, (identifier, why, by_hand) in _UNWANTED.items():
            if (partners or name.startswith("permit")) and _stands(facts, setting, name):
                yield Finding.of(identifier, f"{setting} has {name}: {why}", _without(setting, name), by_hand=by_hand)
    for setting in settings_of(facts.postfix, facts.guarded, "smtpd_reject_unlisted_sender"):
        if is_yes(setting.value) and partners:
            why = _UNWANTED["reject_unlisted_sender"][1]
            yield Finding.of("unlisted-sender", f"{setting} = yes: {why}", setting.set("no"), by_hand=True)
    yield from _network_findings(facts)


def _stands(facts: PostfixFacts, setting: Setting, name: str) -> bool:
    return any(item.name == name for item in walk(setting.value, facts.postfix.classes))


def _without(setting: Setting, name: str) -> tuple[Fix, ...]:
    """Make the command that removes a restriction, () where it is in a class or behind a `$name`."""
    items = parse_restrictions(setting.raw)
    rest = [str(item) for item in items if item.name != name]
    return setting.set(", ".join(rest)) if len(rest) < len(items) else ()


def parse_networks(value: str) -> list[IPNetwork]:
    """Parse the networks of a list such as mynetworks, no names and tables; an IPv4-mapped one is its IPv4 one."""
    found: list[IPNetwork] = []
    for item in split_list(value):
        try:
            network = ip_network(item.replace("[", "").replace("]", ""), strict=False)
        except ValueError:
            continue
        if network.version == 6 and network.prefixlen >= 96 and (mapped := network.network_address.ipv4_mapped):
            network = ip_network((mapped, network.prefixlen - 96), strict=False)
        found.append(network)
    return found


def _network_findings(facts: PostfixFacts) -> Iterator[Finding]:
    gateway = facts.config.gateway
    seen = set()
    for setting in settings_of(facts.postfix, facts.guarded, "mynetworks"):
        for network in parse_networks(setting.value):
            for other, table in allowed_networks(facts.active):
                if overlap(network, other) and (other, table) not in seen:
                    seen.add((other, table))
                    yield Finding.of(
                        "allow-from-mynetworks",
                        f"{table}.inbound.allow_from has {other}, which overlaps mynetworks ({network}): such clients "
                        "may relay, and your own may write in the partner's name; make one of the two narrower",
                    )
            # What nobody set is the machine's own addresses (mynetworks_style = host).
            named = setting.service or "mynetworks" in facts.postfix.raw
            if named and not network.is_loopback and not covered(network, gateway.trusted_clients):
                yield Finding.of(
                    "mynetworks-trusted",
                    f"{setting} has {network}, which trusted_clients does not: mail that your own servers pass on is "
                    f'checked as a stranger\'s; write "{network}" into trusted_clients of [gateway] in '
                    f"{facts.config.path}, or take it out of mynetworks",
                )
    yield from trusted_findings(facts.active, gateway)
