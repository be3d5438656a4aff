"""Inbound connectors of Exchange Online: a partner's domains from its addresses, or with a name in a certificate.

Sources: New-InboundConnector (SenderIPAddresses: IPv4, /24 to /32; TlsSenderCertificateName: one name). A connector
refuses what is not as it says, at once and for good: only `mode = "enforce"` can be said.
"""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from hashlib import sha256
from ipaddress import IPv4Network, collapse_addresses

from closedmail.core.model import Inbound, IPNetwork
from closedmail.core.rule import Rule
from closedmail.errors import ClosedmailError
from closedmail.exports import exchange_script
from closedmail.exports.exchange_script import Value
from closedmail.exports.export_rows import all_rows
from closedmail.exports.notes import Notes
from closedmail.exports.published_generation import PublishedGeneration
from closedmail.exports.target import ExportRequest
from closedmail.routes.delivery import DeliveryKind

APPLYING = (
    "Inbound connectors refuse, for good, mail in a partner's name from elsewhere, or without the certificate. "
    "Partners' mail that comes by way of a relay of yours comes from its addresses: name them with --inbound-from.",
)
_MOST_RANGES = 256  # a /16; how many a connector takes is not documented
_NARROWEST = 24
_NAME = re.compile(r"[a-z0-9-]+(\.[a-z0-9-]+)+", re.ASCII)


@dataclass(frozen=True, slots=True)
class Group:
    """Domains with the same demands."""

    settings: dict[str, Value]
    entries: list[str]
    width: str = ""

    @property
    def name(self) -> str:
        """A digest of the demands: a connector never changes its meaning."""
        return self.width + sha256(repr(sorted(self.settings.items())).encode()).hexdigest()[:16]


def groups(published: PublishedGeneration, request: ExportRequest, notes: Notes) -> Iterator[Group]:
    """Yield groups of domains, in a fixed order. Raises ClosedmailError for ranges that are too wide."""
    found: dict[str, Group] = {}
    known: dict[str, Group | None] = {}
    for key, row in all_rows(published):
        rule = row.rule
        if rule is None or row.kind is DeliveryKind.OWN or rule.inbound.mode == "off":
            continue
        if rule.table not in known:
            said = _settings(rule, request, notes)
            group = None if isinstance(said, str) else Group(said, [])
            known[rule.table] = group and found.setdefault(group.name, group)
            if isinstance(said, str):
                notes.add(f"INBOUND NOT ENFORCED [{rule.table}]: {said}")
        if (group := known[rule.table]) is None:
            continue
        below = key.startswith(".")
        if below and published.entry(key[1:]) is None and key[1:] not in published.closed:
            notes.add("inbound, too, *.d takes d itself, of which only what is below is listed", key)
        if not below and rule.inbound.subdomains and published.entry("." + key) is None:
            group.entries.append("*." + key)
        elif not below or not (_with_subdomains(published, key[1:])):
            group.entries.append(f"*{key}" if below else key)
    yield from (found[name] for name in sorted(found) if found[name].entries)


def by_width(groups: Iterable[Group]) -> Iterator[Group]:
    """Divide groups by width, in the order in which they may be enabled: a group for `*.d` would
    refuse the mail of a name below d that another group is for."""
    groups = list(groups)
    for width, entries in exchange_script.by_width(sorted({entry for group in groups for entry in group.entries})):
        here = set(entries)
        parts = (Group(group.settings, [entry for entry in group.entries if entry in here], width) for group in groups)
        yield from (part for part in parts if part.entries)


def _with_subdomains(published: PublishedGeneration, name: str) -> bool:
    """Check whether the domain's own entry is `*.name` already."""
    entry = published.entry(name)
    return entry is not None and published.rules[entry.rule].inbound.subdomains and published.entry("." + name) is None


def _settings(rule: Rule, request: ExportRequest, notes: Notes) -> dict[str, Value] | str:
    """Return the settings for a rule, or why there are none."""
    inbound = rule.inbound
    if inbound.mode != "enforce":
        return f"a connector has no mode {inbound.mode!r}"
    if request.inbound_from:
        return _by_address(request.inbound_from, "--inbound-from", inbound, notes)
    certificate = _certificate_name(inbound)
    if inbound.require in ("cert", "ip and cert") and certificate:
        if inbound.require == "ip and cert":
            notes.add(f"[{rule.table}] a connector demands addresses or a certificate: here the certificate alone")
        if any(pin.issuer for pin in inbound.certificates):
            notes.add(f"[{rule.table}] a certificate's issuer is not asked for: any public CA will do")
        return {
            "RequireTls": True,
            "SenderIPAddresses": None,
            "RestrictDomainsToIPAddresses": False,
            "RestrictDomainsToCertificate": True,
            "TlsSenderCertificateName": certificate,
        }
    if inbound.require == "cert":
        return "a connector asks for a certificate by one host name, not by fingerprints or several names"
    if inbound.require == "ip or cert" and inbound.certificates:
        return "a connector has no 'ip or cert'"
    if inbound.allow_route_hosts:
        return "allow_route_hosts: a connector would refuse the routes' own addresses"
    if inbound.require == "ip and cert":
        notes.add(f"[{rule.table}] the certificates can't be said, the addresses alone are demanded")
    return _by_address(inbound.allow_from, f"[{rule.table}] allow_from", inbound, notes)


def _by_address(networks: Iterable[IPNetwork], named: str, inbound: Inbound, notes: Notes) -> dict[str, Value] | str:
    ranges: list[str] = []
    usable = [network for network in networks if isinstance(network, IPv4Network)]
    for network in networks:
        if not isinstance(network, IPv4Network):
            notes.add(f"{named}: Exchange Online takes no IPv6 address: {network} is left out")
    for network in collapse_addresses(usable):
        count = 2 ** max(0, _NARROWEST - network.prefixlen)
        if len(ranges) + count > _MOST_RANGES:
            raise ClosedmailError(
                f"{named}: {network} would be {count} ranges of /{_NARROWEST}, a connector gets {_MOST_RANGES}: "
                "name narrower ranges, or those of your relay with --inbound-from"
            )
        parts = network.subnets(new_prefix=_NARROWEST) if count > 1 else [network]
        ranges += [str(part.network_address) if part.prefixlen == 32 else str(part) for part in parts]
    if not ranges:
        return "it has no IPv4 address"
    return {
        "RequireTls": inbound.require_tls,
        "SenderIPAddresses": tuple(ranges),
        "RestrictDomainsToIPAddresses": True,
        "RestrictDomainsToCertificate": False,
        "TlsSenderCertificateName": None,
    }


def _certificate_name(inbound: Inbound) -> str:
    """Return the one host name that all pins are about, "" where there is none."""
    names = {"" if pin.fingerprint or pin.pubkey_fingerprint else pin.subject.lower() for pin in inbound.certificates}
    name = names.pop() if len(names) == 1 else ""
    return name if _NAME.fullmatch(name) else ""
