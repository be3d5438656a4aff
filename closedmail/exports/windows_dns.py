"""`windows-dns`: a PowerShell script for Windows DNS Server.

Windows answers one type differently only in zones of its own: a zone for each listed domain, which takes all below it,
too. So the script is for a server that only mail servers ask. Zones that it made are known by their file, whose name
begins with `closedmail-`; conditional forwarders have none, and are kept in a list of the script's own.
"""

from collections.abc import Iterator
from hashlib import sha256

from closedmail.exports import dns, forwarding, powershell
from closedmail.exports.header import header
from closedmail.exports.notes import Notes
from closedmail.exports.published_generation import PublishedGeneration
from closedmail.exports.target import ExportRequest, File

_APPLYING = (
    "Run it in an elevated PowerShell on the DNS server, -WhatIf first. It touches only what it made itself, compares "
    "before it changes, and removes last; run it again whenever you like:",
    "  .\\closedmail.ps1 -WhatIf",
    "It was checked for its syntax, not on a Windows machine: read what -WhatIf says before the first run.",
)
_ZONES = (
    "A ZONE TAKES ALL BELOW IT: each listed domain becomes a zone here, and its other types (A, TXT and so SPF) and "
    "all names below it are empty for the server's clients. Let only mail servers ask this server (Exchange: "
    "Set-TransportService -ExternalDNSServers), or take --form forward, or another server's export.",
    "DNSSEC: zones made here are not signed; the server does not validate what it is authoritative for.",
)
_HEAD = """\
#Requires -Version 5.1
#Requires -Modules DnsServer
[CmdletBinding(SupportsShouldProcess = $true)]
param()
Set-StrictMode -Version 2.0
$ErrorActionPreference = 'Stop'
$Prefix = 'closedmail-'
"""
_DENY = """\
function Set-Denied($Names) {
    $known = @(Get-DnsServerQueryResolutionPolicy | Where-Object { $_.Name -like "${Prefix}deny-*" })
    $wanted = @{}
    for ($at = 0; $at -lt $Names.Count; $at += 20) {
        $some = $Names[$at..([Math]::Min($at + 19, $Names.Count - 1))]
        $wanted['{0}deny-{1:d5}' -f $Prefix, ($at / 20)] = 'EQ,' + ($some -join ',')
    }
    foreach ($name in ($wanted.Keys | Sort-Object)) {
        $same = @($known | Where-Object { $_.Name -eq $name -and @($_.Criteria)[0].Criteria -eq $wanted[$name] })
        if ($same.Count -eq 0 -and $PSCmdlet.ShouldProcess($wanted[$name], 'Refuse to resolve')) {
            $known | Where-Object { $_.Name -eq $name } | Remove-DnsServerQueryResolutionPolicy -Force
            Add-DnsServerQueryResolutionPolicy -Name $name -Action DENY -FQDN $wanted[$name]
        }
    }
    foreach ($policy in $known) {
        if (-not $wanted.ContainsKey($policy.Name) -and $PSCmdlet.ShouldProcess($policy.Name, 'Remove policy')) {
            Remove-DnsServerQueryResolutionPolicy -Name $policy.Name -Force
        }
    }
}
"""
_MX = """\
$known = @{}
Get-DnsServerZone | ForEach-Object { $known[$_.ZoneName] = $_ }
function Test-Ours($Zone) { $Zone.ZoneType -eq 'Primary' -and $Zone.ZoneFile -like "${Prefix}*" }
function Get-Records($Zone) {
    foreach ($record in @(Get-DnsServerResourceRecord -ZoneName $Zone)) {
        $data = $record.RecordData
        switch ($record.RecordType) {
            'MX' { '{0} MX {1} {2}' -f $record.HostName, $data.Preference, $data.MailExchange }
            'A' { '{0} A {1}' -f $record.HostName, $data.IPv4Address }
            'AAAA' { '{0} AAAA {1}' -f $record.HostName, $data.IPv6Address }
        }
    }
}
function Add-Record($Zone, $Text) {
    $name, $type, $rest = $Text -split ' ', 3
    switch ($type) {
        'MX' {
            $preference, $target = $rest -split ' ', 2
            Add-DnsServerResourceRecordMX -ZoneName $Zone -Name $name -Preference $preference -MailExchange $target
        }
        'A' {
            $address = @{ IPv4Address = $rest }
            Add-DnsServerResourceRecordA -ZoneName $Zone -Name $name @address
        }
        'AAAA' {
            $address = @{ IPv6Address = $rest }
            Add-DnsServerResourceRecordAAAA -ZoneName $Zone -Name $name @address
        }
    }
}
function Remove-Record($Zone, $Text) {
    $name, $type, $rest = $Text -split ' ', 3
    foreach ($record in @(Get-DnsServerResourceRecord -ZoneName $Zone -Name $name -RRType $type)) {
        $data = $record.RecordData
        $found = switch ($type) {
            'MX' { '{0} {1}' -f $data.Preference, $data.MailExchange }
            'A' { [string]$data.IPv4Address }
            'AAAA' { [string]$data.IPv6Address }
        }
        if ($found -eq $rest) { Remove-DnsServerResourceRecord -ZoneName $Zone -InputObject $record -Force }
    }
}
Set-Denied $Denied
$wanted = @{}
foreach ($line in $Zones) {
    $zone, $file, $rest = $line -split ' ', 3
    $wanted[$zone] = $true
    $records = @($rest -split ';' | Where-Object { $_ })
    if ($known.ContainsKey($zone) -and -not (Test-Ours $known[$zone])) {
        Write-Warning "$zone is a zone of your own: left alone, its mail goes as that zone says"
        continue
    }
    $new = -not $known.ContainsKey($zone)
    if ($new) {
        if (-not $PSCmdlet.ShouldProcess($zone, "Add zone with: $($records -join '; ')")) { continue }
        Add-DnsServerPrimaryZone -Name $zone -ZoneFile $file -DynamicUpdate None
        Suspend-DnsServerZone -Name $zone -Force
    }
    $now = @(Get-Records $zone)
    foreach ($record in $records) {
        if ($now -notcontains $record -and $PSCmdlet.ShouldProcess("$zone $record", 'Add record')) {
            Add-Record $zone $record
        }
    }
    foreach ($record in $now) {
        if ($records -notcontains $record -and $PSCmdlet.ShouldProcess("$zone $record", 'Remove record')) {
            Remove-Record $zone $record
        }
    }
    if ($new) { Resume-DnsServerZone -Name $zone -Force }
}
foreach ($zone in @($known.Values)) {
    if ((Test-Ours $zone) -and -not $wanted.ContainsKey($zone.ZoneName)) {
        if ($PSCmdlet.ShouldProcess($zone.ZoneName, 'Remove zone')) {
            Remove-DnsServerZone -Name $zone.ZoneName -Force
        }
    }
}
"""
_FORWARD = """\
$folder = Join-Path $env:ProgramData 'closedmail'
$list = Join-Path $folder 'windows-dns-forwarders.txt'
$ours = @{}
if (Test-Path -LiteralPath $list) { Get-Content -LiteralPath $list | ForEach-Object { $ours[$_] = $true } }
function Save-List {
    if (-not $WhatIfPreference) {
        New-Item -ItemType Directory -Path $folder -Force | Out-Null
        Set-Content -LiteralPath $list -Value @($ours.Keys | Sort-Object)
    }
}
Set-Denied $Denied
$known = @{}
Get-DnsServerZone | ForEach-Object { $known[$_.ZoneName] = $_ }
$wanted = @{}
foreach ($line in $Zones) {
    $zone, $rest = $line -split ' ', 2
    $servers = @($rest -split ' ')
    $wanted[$zone] = $true
    if (-not $known.ContainsKey($zone)) {
        if ($PSCmdlet.ShouldProcess($zone, "Forward to $servers")) {
            $ours[$zone] = $true
            Save-List
            Add-DnsServerConditionalForwarderZone -Name $zone -MasterServers $servers
            Set-DnsServerConditionalForwarderZone -Name $zone -UseRecursion $false
        }
    } elseif (-not $ours.ContainsKey($zone)) {
        Write-Warning "$zone is a zone of your own: left alone"
    } elseif ((@($known[$zone].MasterServers) -join ' ') -ne ($servers -join ' ')) {
        if ($PSCmdlet.ShouldProcess($zone, "Forward to $servers")) {
            Set-DnsServerConditionalForwarderZone -Name $zone -MasterServers $servers -UseRecursion $false
        }
    }
}
foreach ($zone in @($ours.Keys)) {
    if ($wanted.ContainsKey($zone)) { continue }
    if ($PSCmdlet.ShouldProcess($zone, 'Remove forwarder')) {
        if ($known.ContainsKey($zone) -and $known[$zone].ZoneType -eq 'Forwarder') {
            Remove-DnsServerZone -Name $zone -Force
        }
        $ours.Remove($zone)
        Save-List
    }
}
"""


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
    yield from (_HEAD + _DENY).splitlines()
    yield from powershell.array("Denied", [dns.HELD])
    yield from powershell.array("Zones", _zones(published, found, inside))
    yield from _MX.splitlines()


def _zones(published: PublishedGeneration, found: dns.Survey, inside: frozenset[str]) -> Iterator[str]:
    """Lines `zone file record;record…`, the made names first."""
    made = (f"{name.removesuffix('.' + dns.SUFFIX)} {'AAAA' if ':' in to else 'A'} {to}" for name, to in found.names())
    yield f"{dns.SUFFIX} {_file(dns.SUFFIX)} {';'.join(made)}"
    exact = dict(found.covered)
    for key, answer in dns.answers(published):
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
        usable = tuple(record for record in answer if record[1] not in inside) or dns.WAIT or ()
        yield from (f"{owner} MX {preference} {target}." for preference, target in usable)


def _file(zone: str) -> str:
    return f"closedmail-{sha256(zone.encode()).hexdigest()[:24]}.dns"


def _forwarding(published: PublishedGeneration) -> Iterator[str]:
    notes = Notes()
    found = forwarding.zones(published, notes)
    for name, servers in found.items():
        if servers is None:
            notes.add("an own domain lies in a forwarded zone, and goes along: give it a zone of its own", name)
    denied = [name for name, servers in found.items() if servers == forwarding.UNRESOLVED]
    yield from header("windows-dns", published, notes, [*_APPLYING, forwarding.TAKES_ALL])
    yield from (_HEAD + _DENY).splitlines()
    yield from powershell.array("Denied", [spelled for name in denied for spelled in (name, "*." + name)])
    yield from powershell.array("Zones", (f"{name} {' '.join(servers)}" for name, servers in found.items() if servers))
    yield from _FORWARD.splitlines()
