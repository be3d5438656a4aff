"""`windows-dns`: a PowerShell script for Windows DNS Server.

Windows answers one type differently only in zones of its own: a zone for each listed domain, which takes all below it,
too. So the script is for a server that only mail servers ask. Zones that it made are known by their file, whose name
begins with `closedmail-`; conditional forwarders have none, and are kept in a list of the script's own.
`windows_dns_script.py` has the part that is the same in every script.
"""

from collections.abc import Iterable, Iterator
from hashlib import sha256

from closedmail.exports import dns, forwarding, powershell, windows_dns_script
from closedmail.exports.buckets import portions
from closedmail.exports.header import header
from closedmail.exports.notes import Notes
from closedmail.exports.published_generation import PublishedGeneration
from closedmail.exports.target import ExportRequest, File, Form

_APPLYING = (
    "Run it in an elevated PowerShell on the DNS server, -WhatIf first. It touches only what it made itself, compares "
    "before it changes, and removes last; run it again whenever you like, after a run that was cut off, too, and after "
    "the script of the other form:",
    "  .\\closedmail.ps1 -WhatIf",
    "While a zone is made, or changes its form, a policy (closedmail-...-unfinished) refuses its names: mail waits.",
    "It was tried with strict stand-ins of the DnsServer cmdlets, cut off at every call and run again (an earlier "
    "edition on PowerShell 7.6), not on a Windows Server: read what -WhatIf says before the first run.",
)
_ZONES = (
    "A ZONE TAKES ALL BELOW IT: each listed domain becomes a zone here, and its other types (A, TXT and so SPF) and "
    "all names below it are empty for the server's clients. Let only mail servers ask this server (Exchange: "
    "Set-TransportService -ExternalDNSServers), or take --form forward, or another server's export.",
    "DNSSEC: zones made here are not signed; the server does not validate what it is authoritative for.",
)


def render(published: PublishedGeneration, request: ExportRequest) -> list[File]:
    """One script."""
    return [File("", _forwarding(published) if request.form == "forward" else _mx(published))]


def _mx(published: PublishedGeneration) -> Iterator[str]:
    found = dns.survey(published)
    zones = {key.removeprefix(".") for key, answer in dns.answers(published) if answer is not None}
    inside = frozenset(name for name in found.targets if dns.within(name, zones))
    for key, answer in dns.answers(published):
        if answer is None:
            found.notes.add("AN OWN DOMAIN lies below a listed suffix: make it a zone of its own, or it is taken", key)
        elif any(target in inside for _, target in answer):
            found.notes.add("a host of the route is a name in one of these zones, without an address: left out", key)
        if key.startswith(".") and key[1:] not in found.covered and published.entry(key[1:]) is None:
            found.notes.add(
                "a suffix is listed without the domain itself, which is in its zone all the same, empty", key
            )
    yield from header("windows-dns", published, found.notes, [*_APPLYING, *_ZONES])
    yield from _script("mx", [dns.HELD], _zones(published, found, inside))


def _zones(published: PublishedGeneration, found: dns.Survey, inside: frozenset[str]) -> Iterator[str]:
    """Lines `zone file record;record…`, the made names first, then from the deepest name up."""
    made = (f"{name.removesuffix('.' + dns.SUFFIX)} {'AAAA' if ':' in to else 'A'} {to}" for name, to in found.names())
    yield f"{dns.SUFFIX} {_file(dns.SUFFIX)} {';'.join(made)}"
    exact = dict(found.covered)
    for key, answer in sorted(dns.answers(published), key=lambda row: _depth(row[0])):
        name = key.removeprefix(".")
        if key.startswith(".") and (
            name in found.covered or published.entry(name) is not None or name in published.closed
        ):
            continue  # with the exact name
        if answer is None:
            continue
        cover = found.covering(name)
        above = None if cover is None else found.suffixes[cover]
        apex = exact.get(name, above) if key.startswith(".") else answer
        below = found.suffixes.get(name, above)
        records = [*_records("@", apex, inside), *_records("*", below, inside)]
        yield f"{name} {_file(name)} {';'.join(records)}"


def _records(owner: str, answer: dns.Answer, inside: frozenset[str]) -> Iterator[str]:
    # Nothing at all is as final as a null MX, and an older server takes no "." for a name.
    if answer and answer != dns.NULL_MX:
        # A host may stand in a route with brackets and without; a record that is there can't be added again.
        usable = tuple(dict.fromkeys(record for record in answer if record[1] not in inside)) or dns.WAIT or ()
        yield from (f"{owner} MX {preference} {target}." for preference, target in usable)


def _depth(key: str) -> int:
    """Sort a key behind all below it."""
    return -key.removeprefix(".").count(".")


def _file(zone: str) -> str:
    return f"closedmail-{sha256(zone.encode()).hexdigest()[:24]}.dns"


def _forwarding(published: PublishedGeneration) -> Iterator[str]:
    notes = Notes()
    found = forwarding.zones(published, notes)
    for name, servers in found.items():
        if servers is None:
            notes.add("an own domain lies in a forwarded zone, and goes along: give it a zone of its own", name)
    denied = [f"*.{name}" for name, servers in found.items() if servers == forwarding.UNRESOLVED]
    yield from header("windows-dns", published, notes, [*_APPLYING, forwarding.TAKES_ALL])
    deepest_first = sorted(found.items(), key=lambda row: _depth(row[0]))
    forwarded = (f"{name} {_file(name)} {';'.join(servers)}" for name, servers in deepest_first if servers)
    yield from _script("forward", denied, forwarded)


def _script(form: Form, denied: Iterable[str], zones: Iterable[str]) -> Iterator[str]:
    """All below the header. `denied` are names, or `*.name` for a name and all below it."""
    yield from windows_dns_script.HEAD.splitlines()
    yield f"$Form = {powershell.quoted(form)}"
    yield f"$Names = {powershell.quoted(dns.SUFFIX)}"
    yield from powershell.array("Denied", _policies(denied))
    yield from powershell.array("Zones", zones)
    yield from windows_dns_script.BODY.splitlines()


def _policies(denied: Iterable[str]) -> Iterator[str]:
    """Lines `name criterion`. A policy is named by what it denies, and one name more or less changes one policy."""
    for _, names in portions(list(denied), windows_dns_script.MOST_DENIED // 2):
        # [MS-DNSP] 3.1.8.2 says that `*.x` is x, too; the cmdlet's page does not.
        values = [value for name in names for value in dict.fromkeys((name.removeprefix("*."), name))]
        criterion = f"EQ,{','.join(values)}"
        yield f"closedmail-deny-{sha256(criterion.encode()).hexdigest()[:16]} {criterion}"
