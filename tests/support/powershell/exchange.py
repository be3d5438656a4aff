"""A model of the objects that the Exchange exports keep, with the cmdlets by which they are kept.

What is modelled, by the cmdlets' reference: the parameters that exist, names that are unique and short, lists that are
not empty and not beyond the directory's limit, settings that go together, addresses that Exchange Online takes, sizes
of mail flow rules, and that Remove- asks back unless told not to. Values are shown in another order and spelling than
they were given in. What Exchange does with mail is modelled as `routed`: the entries of enabled connectors.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from ipaddress import IPv4Network, ip_network
from typing import Any

from closedmail.core.domain import parents
from support.powershell import files
from support.powershell.shell import Shell
from support.powershell.values import PowerShellError, Table, Thing, items

_TOO_MANY = 1268  # values of one attribute
_SEND = (
    *("Name", "AddressSpaces", "DNSRoutingEnabled", "SmartHosts", "Port", "IgnoreSTARTTLS", "RequireTLS"),
    *("TlsAuthLevel", "TlsDomain", "ErrorPolicies", "Enabled", "Usage"),
)
_RECEIVE = (
    *("Name", "RemoteIPRanges", "Bindings", "TransportRole", "AuthMechanism", "PermissionGroups", "RequireTLS"),
    *("Enabled", "Usage", "Server"),
)
_OUTBOUND = (
    *("Name", "RecipientDomains", "ConnectorType", "UseMXRecord", "SmartHosts", "TlsSettings", "TlsDomain"),
    *("IsTransportRuleScoped", "Enabled"),
)
_INBOUND = (
    *("Name", "SenderDomains", "ConnectorType", "SenderIPAddresses", "RestrictDomainsToIPAddresses", "RequireTls"),
    *("RestrictDomainsToCertificate", "TlsSenderCertificateName", "Enabled"),
)
_RULE = ("Name", "RecipientDomainIs", "RecipientAddressMatchesPatterns", "RouteMessageOutboundConnector", "Enabled")
_PARAMETERS = {
    "SendConnector": _SEND,
    "ReceiveConnector": _RECEIVE,
    "OutboundConnector": _OUTBOUND,
    "InboundConnector": _INBOUND,
    "TransportRule": _RULE,
}
_ONCE = ("Usage", "TransportRole", "Server")  # New- only
_LISTS = {
    "SendConnector": "addressspaces",
    "ReceiveConnector": "remoteipranges",
    "OutboundConnector": "recipientdomains",
    "InboundConnector": "senderdomains",
}


@dataclass
class Exchange:
    """All objects by noun and identity, and the calls that changed something."""

    objects: dict[str, dict[str, dict[str, Any]]] = field(default_factory=dict)
    changes: list[tuple[str, Table]] = field(default_factory=list)
    secure: list[str] = field(default_factory=list)
    files: dict[str, list[str]] = field(default_factory=dict)
    watch: Callable[["Exchange"], None] | None = None

    def run(self, script: str, **parameters: Any) -> Shell:
        """Run a script; gives the shell, with what it asked and warned of. `changes` are those of this run."""
        self.changes = []
        shell = Shell(self._call, {"ProgramData": "C:\\ProgramData"})
        shell.run(script, **parameters)
        return shell

    def entries(self, noun: str, *, ours: bool = True) -> dict[str, list[str]]:
        """The list of each object, as it was given."""
        found = self.objects.get(noun, {})
        return {
            name: sorted(entry.lower().removeprefix("smtp:").removesuffix(";1") for entry in item[_LISTS[noun]] or ())
            for name, item in found.items()
            if name.rpartition("\\")[2].startswith("closedmail-") or not ours
        }

    def routed(self, noun: str) -> set[str]:
        """The entries of all enabled objects of ours."""
        return {
            entry
            for name, entries in self.entries(noun).items()
            if self.objects[noun][name]["enabled"]
            for entry in entries
        }

    def copy(self) -> "Exchange":
        """All objects as they are now: what a run that is cut off here leaves. Values are never changed in place."""
        objects = {noun: {name: {**item} for name, item in known.items()} for noun, known in self.objects.items()}
        return Exchange(objects, secure=[*self.secure], files={**self.files})

    def state(self) -> tuple[object, ...]:
        """What can be compared: lists without their order."""
        objects = {
            (noun, name): {key: sorted(value) if isinstance(value, list) else value for key, value in item.items()}
            for noun, known in self.objects.items()
            for name, item in known.items()
        }
        return objects, sorted(self.secure), {path: lines for path, lines in self.files.items() if lines}

    def in_force(self, noun: str) -> dict[str, frozenset[str]]:
        """The entries of the enabled connectors of ours, with these connectors' settings."""
        found: dict[str, set[str]] = {}
        for name, entries in self.entries(noun).items():
            item = self.objects[noun][name]
            if item["enabled"]:
                told = repr(sorted((key, value) for key, value in item.items() if key not in ("name", _LISTS[noun])))
                for entry in entries:
                    found.setdefault(entry, set()).add(told)
        return {entry: frozenset(settings) for entry, settings in found.items()}

    def _call(self, name: str, given: Table) -> list[Any]:
        verb, _, noun = name.partition("-")
        if noun in files.NOUNS:
            shown = files.call(self.files, name, given)
            if name == "Set-Content" and self.watch:
                self.watch(self)
            return shown
        if name == "Get-TransportConfig":
            return [Thing({"TLSReceiveDomainSecureList": [name.upper() for name in reversed(self.secure)]})]
        if verb == "Get":
            return self._get(noun, given)
        self.changes.append((name, Table(given.items())))
        if name == "Set-TransportConfig":
            self.secure = list(items(given["TLSReceiveDomainSecureList"]))
            _check(len(self.secure) <= _TOO_MANY, "administrative limit exceeded")
            made: list[Any] = []
        else:
            made = self._change(verb, noun, given)
        if self.watch:
            self.watch(self)
        return made

    def _get(self, noun: str, given: Table) -> list[Any]:
        server = given["Server"]
        return [
            Thing(_shown(noun, identity, item))
            for identity, item in self.objects.setdefault(noun, {}).items()
            if server is None or item["server"] == server
        ]

    def _change(self, verb: str, noun: str, given: Table) -> list[Any]:
        known = self.objects.setdefault(noun, {})
        confirm = given.pop("confirm", None)
        if verb == "New":
            _known_only(noun, given, _PARAMETERS[noun])
            server = given["Server"]
            identity = f"{server}\\{given['Name']}" if server else given["Name"]
            _check(identity not in known, f"{identity} exists")
            _check(len(given["Name"]) <= 64, "name too long")
            item = {name.lower(): given[name] for name in _PARAMETERS[noun]}
            _check_item(noun, item)
            known[identity] = item
            self._check_rules()
            return [Thing(_shown(noun, identity, item))]
        identity = given.pop("identity")
        _check(identity in known, f"{identity} does not exist")
        if verb == "Remove":
            _check(confirm is False, "Remove- asks back")
            _check(not given, "unknown parameter")
            scoped = {rule["routemessageoutboundconnector"] for rule in self.objects.get("TransportRule", {}).values()}
            _check(noun != "OutboundConnector" or identity not in scoped, "a rule uses it")
            del known[identity]
        elif verb == "Enable":
            known[identity]["enabled"] = True
        else:
            _check(verb == "Set", f"{verb}-{noun}")
            rule = ("Enabled",) if noun == "TransportRule" else ()
            _known_only(noun, given, [name for name in _PARAMETERS[noun] if name not in (*_ONCE, *rule)])
            item = {**known[identity], **given}
            _check_item(noun, item)
            known[identity] = item
            self._check_rules()
        return []

    def _check_rules(self) -> None:
        rules = self.objects.get("TransportRule", {})
        _check(len(rules) <= 300, "too many rules")
        sizes = [
            sum(map(len, items(rule["recipientdomainis"] or rule["recipientaddressmatchespatterns"])))
            for rule in rules.values()
        ]
        _check(max(sizes, default=0) <= 8192, "rule too long")
        _check(sum(sizes) <= 20_000, "rules too long")
        for rule in rules.values():
            to = self.objects.get("OutboundConnector", {}).get(rule["routemessageoutboundconnector"])
            _check(to is not None and to["istransportrulescoped"], "no such connector")


def taking(entries: dict[str, frozenset[str]], domain: str) -> frozenset[str]:
    """What takes a domain: the closest entry, which is the name itself, then the longest `*.d`, that is d, too
    (New-SendConnector, New-InboundConnector)."""
    keys = (domain, *(f"*.{above}" for above in (domain, *parents(domain))))
    return next((entries[key] for key in keys if key in entries), frozenset())


def _check(holds: bool, what: str) -> None:
    if not holds:
        raise PowerShellError(what)


def _known_only(noun: str, given: Table, names: tuple[str, ...] | list[str]) -> None:
    known = {name.lower() for name in names}
    _check(given.keys() <= known, f"{noun} has no {given.keys() - known}")


def _shown(noun: str, identity: str, item: dict[str, Any]) -> dict[str, Any]:
    """An object as Get- gives it: lists the other way round, Exchange's own spelling."""
    shown = {key: list(reversed(value)) if isinstance(value, list) else value for key, value in item.items()}
    if noun == "InboundConnector":
        shown["senderdomains"] = [f"smtp:{entry.upper()};1" for entry in shown["senderdomains"]]
    if noun == "SendConnector":
        shown["smarthosts"] = [host.strip("[]") for host in shown["smarthosts"]]
    return {**shown, "identity": identity, "state": "Enabled" if item["enabled"] else "Disabled"}


def _check_item(noun: str, item: dict[str, Any]) -> None:
    field_name = _LISTS.get(noun)
    if field_name:
        entries = [entry.lower() for entry in items(item[field_name] or [])]
        scoped = noun == "OutboundConnector" and item["istransportrulescoped"]
        _check(bool(entries) or scoped, f"{field_name} is empty")
        _check(len(entries) <= _TOO_MANY, "administrative limit exceeded")
        _check(len(entries) == len(set(entries)), "an entry twice")
    if noun == "SendConnector":
        _check(not item["dnsroutingenabled"] and bool(item["smarthosts"]), "smart hosts need no DNS routing")
        _check(item["requiretls"] or item["tlsauthlevel"] is None, "TlsAuthLevel needs RequireTLS")
        _check((item["tlsauthlevel"] == "DomainValidation") == (item["tlsdomain"] is not None), "TlsDomain")
        _check(not (item["requiretls"] and item["ignorestarttls"]), "RequireTLS and IgnoreSTARTTLS")
    if noun == "OutboundConnector":
        _check(item["connectortype"] == "Partner", "OnPremises grants relaying")
        _check(not item["usemxrecord"] and bool(item["smarthosts"]), "smart hosts need UseMXRecord $false")
        _check((item["tlssettings"] == "DomainValidation") == (item["tlsdomain"] is not None), "TlsDomain")
    if noun == "InboundConnector":
        _check(item["connectortype"] == "Partner", "OnPremises grants relaying")
        networks = [ip_network(text) for text in items(item["senderipaddresses"] or [])]
        _check(all(isinstance(one, IPv4Network) and one.prefixlen >= 24 for one in networks), "SenderIPAddresses")
        _check(bool(networks) == bool(item["restrictdomainstoipaddresses"]), "RestrictDomainsToIPAddresses")
        by_name = item["tlssendercertificatename"] is not None
        _check(by_name == bool(item["restrictdomainstocertificate"]), "RestrictDomainsToCertificate")
        _check(not by_name or item["requiretls"], "a certificate needs RequireTls")
