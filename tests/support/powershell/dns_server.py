"""A model of Windows DNS Server, with the cmdlets of the DnsServer module that the export uses, and of what it answers.

Each rule names where it is from: the cmdlet's page of the DnsServer module's reference, or [MS-DNSP], the protocol's
specification. Where nothing is said, the model takes what would be worst. It refuses what has no rule here.
"""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from ipaddress import ip_address
from typing import Any

from closedmail.core.domain import parents
from support.powershell import files
from support.powershell.shell import Shell
from support.powershell.values import PowerShellError, Table, Thing, items, text_of

# What mail to a name meets, beside the hosts that take it. A DNS server that forwards is the host `by ADDRESS`.
WAITS = "waits"  # no answer, REFUSED or SERVFAIL: an MTA tries again
BOUNCES = "bounces"  # no host for mail, as a fact
PUBLIC = "public"  # the public DNS is asked
ASIDE = (WAITS, BOUNCES, PUBLIC)

_RECORDS = {
    "MX": ("Preference", "MailExchange"),
    "A": ("IPv4Address",),
    "AAAA": ("IPv6Address",),
}
_PARAMETERS = {
    "Add-DnsServerPrimaryZone": ("Name", "ZoneFile", "DynamicUpdate"),
    "Add-DnsServerConditionalForwarderZone": ("Name", "MasterServers"),
    "Set-DnsServerConditionalForwarderZone": ("Name", "MasterServers", "UseRecursion"),
    "Remove-DnsServerZone": ("Name", "Force"),
    "Suspend-DnsServerZone": ("Name", "Force"),
    "Resume-DnsServerZone": ("Name", "Force"),
    "Add-DnsServerQueryResolutionPolicy": ("Name", "Action", "FQDN"),
    "Remove-DnsServerQueryResolutionPolicy": ("Name", "Force"),
    "Remove-DnsServerResourceRecord": ("ZoneName", "InputObject", "Force"),
    **{f"Add-DnsServerResourceRecord{kind}": ("ZoneName", "Name", *data) for kind, data in _RECORDS.items()},
}
# "By default, the cmdlet prompts you for confirmation": their pages, and that of Resume- (the reference of each).
_ASKS = ("Remove", "Suspend", "Resume")
Record = tuple[str, str, tuple[str, ...]]  # the name within its zone, type, data


@dataclass
class Zone:
    """A zone, or a conditional forwarder ("conditional forwarders are stored as zones", its page)."""

    kind: str
    file: str = ""
    paused: bool = False
    records: list[Record] = field(default_factory=list)
    servers: list[str] = field(default_factory=list)
    # Whether the public DNS is asked where the servers fail. What Add- makes of it without its switch is not said.
    recursion: bool = True


@dataclass
class DnsServer:
    """Zones, policies in their order, and files; `changes` are the calls of the last run that changed something."""

    zones: dict[str, Zone] = field(default_factory=dict)
    policies: dict[str, str] = field(default_factory=dict)
    files: dict[str, list[str]] = field(default_factory=dict)
    changes: list[str] = field(default_factory=list)
    watch: Callable[["DnsServer"], None] | None = None

    def run(self, script: str, *, what_if: bool = False) -> Shell:
        """Run a script; gives the shell, with what it asked and warned of."""
        self.changes = []
        shell = Shell(self._call, {"ProgramData": "C:\\ProgramData"})
        shell.run(script, what_if=what_if)
        return shell

    def copy(self) -> "DnsServer":
        """The server as it is now: what a run that is cut off here leaves."""
        zones = {
            name: replace(zone, records=[*zone.records], servers=[*zone.servers]) for name, zone in self.zones.items()
        }
        return DnsServer(zones, {**self.policies}, {path: [*lines] for path, lines in self.files.items()})

    def state(self) -> tuple[object, ...]:
        """What can be compared: without the order of records and policies, or an empty file, which say nothing here."""
        zones = {name: replace(zone, records=sorted(zone.records)) for name, zone in self.zones.items()}
        return zones, self.policies, {path: lines for path, lines in self.files.items() if lines}

    # What is answered

    def mail(self, name: str) -> frozenset[str]:
        """Where mail to a domain goes: hosts, and what is in ASIDE."""
        if self._denied(name):
            return frozenset({WAITS})
        apex = self._zone_of(name)
        if apex is None:
            return frozenset({PUBLIC})
        zone = self.zones[apex]
        if zone.kind == "Forwarder":
            return frozenset({f"by {server}" for server in zone.servers} | ({PUBLIC} if zone.recursion else set()))
        targets = [data[1].rstrip(".") for data in self._found(apex, name, "MX")]
        if not targets:
            return frozenset({BOUNCES})  # RFC 5321 5.1: nor is there an address, in any zone of ours
        return frozenset().union(*(self._addresses(target) for target in targets))

    def _addresses(self, target: str) -> frozenset[str]:
        """What mail for this MX meets: a name that another server knows stands for itself."""
        if self._denied(target):
            return frozenset({WAITS})
        apex = self._zone_of(target)
        if apex is None:
            return frozenset({BOUNCES if target.endswith(".invalid") else target})
        found = [data for kind in ("A", "AAAA") for data in self._found(apex, target, kind)]
        return frozenset(data[0] for data in found) or frozenset({BOUNCES})

    def _denied(self, name: str) -> bool:
        # [MS-DNSP] 3.1.8.2: EQ,a,b is a or b; *.x is "anything in x, including x". A server's policies are asked before
        # its zones are (Add-DnsServerQueryResolutionPolicy, without -ZoneName and -ApplyOnRecursion).
        names = {name, *(f"*.{above}" for above in (name, *parents(name)))}
        return any(not names.isdisjoint(criterion.split(",")[1:]) for criterion in self.policies.values())

    def _zone_of(self, name: str) -> str | None:
        """The closest zone. [MS-DNSP] 2.2.5.2.2: a paused one is "not used to respond to queries", so that worse than
        no answer (Suspend-DnsServerZone) is possible."""
        above = (name, *parents(name))
        return next((apex for apex in above if apex in self.zones and not self.zones[apex].paused), None)

    def _found(self, apex: str, name: str, kind: str) -> list[tuple[str, ...]]:
        """A zone's data for a name, or those of its wildcard (RFC 4592: all zones here have one level)."""
        records = self.zones[apex].records
        host = "@" if name == apex else name.removesuffix("." + apex)
        if host != "@" and not any(owner == host for owner, _, _ in records):
            host = "*"
        return [data for owner, found, data in records if (owner, found) == (host, kind)]

    # What is asked and changed

    def _call(self, name: str, given: Table) -> list[Any]:
        verb, _, noun = name.partition("-")
        if noun in files.NOUNS:
            shown = files.call(self.files, name, given)
            if name == "Set-Content":
                self._changed(name, text_of(given["LiteralPath"]))
            return shown
        if verb == "Get":
            return self._get(noun, given)
        known = {parameter.lower() for parameter in _PARAMETERS[name]}
        _check(given.keys() <= known, f"{name} has no {given.keys() - known}")
        _check(verb not in _ASKS or given["Force"] is True, f"{name} asks back")
        noun = noun.removeprefix("DnsServer")
        if noun == "QueryResolutionPolicy":
            self._policy(verb, given)
        elif noun.startswith("ResourceRecord"):
            self._record(verb, noun.removeprefix("ResourceRecord"), given)
        else:
            self._zone(verb, noun, given)
        self._changed(name, text_of(given["Name"]))
        return []

    def _changed(self, name: str, of: str) -> None:
        self.changes.append(f"{name} {of}".strip())
        if self.watch:
            self.watch(self)

    def _get(self, noun: str, given: Table) -> list[Any]:
        if noun == "DnsServerQueryResolutionPolicy":
            return [Thing({"Name": name}) for name in self.policies]
        if noun == "DnsServerZone":
            return [_shown_zone(name, zone) for name, zone in self.zones.items()]
        _check(noun == "DnsServerResourceRecord", f"Get-{noun}")
        zone = self._primary(given["ZoneName"])
        soa: list[Record] = [("@", "SOA", ()), ("@", "NS", ())]  # Add-DnsServerPrimaryZone: "default zone records"
        found = [record for record in soa + zone.records if given["Name"] in (None, record[0])]
        found = [record for record in found if given["RRType"] in (None, record[1])]
        _check(bool(found), "no such record")
        return [_shown_record(record) for record in found]

    def _zone(self, verb: str, noun: str, given: Table) -> None:
        name = given["Name"]
        if verb == "Add":
            _check(name not in self.zones, f"zone {name} exists")  # DNS_ERROR_ZONE_ALREADY_EXISTS
            if noun == "PrimaryZone":
                names = {zone.file for zone in self.zones.values()}
                _check(given["ZoneFile"] not in names and given["DynamicUpdate"] == "None", "ZoneFile, DynamicUpdate")
                self.zones[name] = Zone("Primary", given["ZoneFile"])
            else:
                self.zones[name] = Zone("Forwarder", servers=_addresses(given))
            return
        _check(name in self.zones, f"no zone {name}")
        zone = self.zones[name]
        if verb == "Set":
            _check(zone.kind == "Forwarder", f"{name} is no forwarder")
            zone.servers, zone.recursion = _addresses(given), bool(given["UseRecursion"])
        elif verb == "Remove":
            del self.zones[name]
        else:
            zone.paused = verb == "Suspend"

    def _policy(self, verb: str, given: Table) -> None:
        name = given["Name"]
        _check((name in self.policies) == (verb == "Remove"), f"policy {name}")  # unique ([MS-DNSP] 2.2.15.2.5)
        if verb == "Remove":
            del self.policies[name]
            return
        _check(given["Action"] == "DENY", "Action")
        operator, *values = given["FQDN"].split(",")
        _check(operator == "EQ" and bool(values) and len(values) == len(set(values)), "criterion")
        # [MS-DNSP] 2.2.4.1.2: the length of names and labels, and * as the first character only. How many values, or
        # how long a criterion, is limited nowhere: a policy may have 50,000 criteria (2.2.15.2.5).
        for value in values:
            labels = value.removeprefix("*.").split(".")
            _check(len(value) <= 255 and all(0 < len(label) <= 63 for label in labels), f"name {value}")
            _check("*" not in value.removeprefix("*."), f"name {value}")
        self.policies[name] = given["FQDN"]

    def _record(self, verb: str, kind: str, given: Table) -> None:
        zone = self._primary(given["ZoneName"])
        if verb == "Remove":
            record = given["InputObject"].properties["record"]
            _check(record in zone.records, "no such record")
            zone.records.remove(record)
            return
        record = (given["Name"], kind, tuple(text_of(given[name]) for name in _RECORDS[kind]))
        _check(record not in zone.records, f"{record} exists")  # DNS_ERROR_RECORD_ALREADY_EXISTS
        if kind == "MX":
            _check(record[2][0].isdigit() and record[2][1].endswith(".") and len(record[2][1]) > 1, "MX")
        else:
            _check(ip_address(record[2][0]).version == (4 if kind == "A" else 6), "address")
        zone.records.append(record)

    def _primary(self, name: str) -> Zone:
        _check(name in self.zones and self.zones[name].kind == "Primary", f"no primary zone {name}")
        return self.zones[name]


def _check(holds: bool, what: str) -> None:
    if not holds:
        raise PowerShellError(what)


def _addresses(given: Table) -> list[str]:
    addresses = items(given["MasterServers"])
    _check(bool(addresses), "MasterServers")
    return [str(ip_address(address)) for address in addresses]


def _shown_zone(name: str, zone: Zone) -> Thing:
    """As Get-DnsServerZone gives it: a forwarder has no file, a primary zone no servers (the classes' pages)."""
    shown: dict[str, Any] = {"ZoneName": name, "ZoneType": zone.kind, "IsPaused": zone.paused}
    shown |= {"MasterServers": list(zone.servers)} if zone.kind == "Forwarder" else {"ZoneFile": zone.file}
    return Thing(shown)


def _shown_record(record: Record) -> Thing:
    host, kind, data = record
    shown = Thing(dict(zip(_RECORDS.get(kind, ()), data, strict=True)))
    return Thing({"HostName": host, "RecordType": kind, "RecordData": shown, "record": record})
