"""The script for Windows DNS Server: the fixed part that compares and changes, one for both forms.

Whatever is cut off, at whichever call, leaves no listed name to the public DNS. What is to be refused is refused first,
and allowed last: a policy is named by what it denies, so that a change adds policies before it removes others. A zone
is served from the moment it is made, empty, and a zone of another kind has to go before it: while a zone is made, or
changes its kind, a policy of its own refuses its names, so that their mail waits. It is removed when all of the zone is
there, by this run or by the next one. (A pause does not do it: one page says that a paused zone ignores queries, the
protocol's that it is not used, and nobody says what is asked then.) The names of addresses lose nothing before the
zones that mention them have changed. A zone takes all below it that has none: so zones are made from the deepest name
up, and removed the other way round.

Sources: the DnsServer module's reference; [MS-DNSP] 2.2.5.2.2 (paused zones), 3.1.8.2 (criteria of policies).
"""

# The values of one policy. No limit is documented.
MOST_DENIED = 20

HEAD = """\
#Requires -Version 5.1
#Requires -Modules DnsServer
[CmdletBinding(SupportsShouldProcess = $true)]
param()
Set-StrictMode -Version 2.0
$ErrorActionPreference = 'Stop'
$Prefix = 'closedmail-'
"""

# Expects $Form ('mx' or 'forward'), $Names (the zone of the made names), $Denied (lines `policy criterion`) and $Zones
# (lines `zone file content;content`: records, or servers to forward to; $Names first, a zone behind those below it).
BODY = """\
$folder = Join-Path $env:ProgramData 'closedmail'
$list = Join-Path $folder 'windows-dns-forwarders.txt'
$forwarders = @{}
if (Test-Path -LiteralPath $list) { Get-Content -LiteralPath $list | ForEach-Object { $forwarders[$_] = $true } }
$policies = @{}
Get-DnsServerQueryResolutionPolicy | Where-Object { $_.Name -like "${Prefix}*" } | ForEach-Object {
    $policies[$_.Name] = $true
}
$known = @{}
Get-DnsServerZone | ForEach-Object { $known[$_.ZoneName] = $_ }
function Save-List($Folder, $List, $Zones) {
    New-Item -ItemType Directory -Path $Folder -Force | Out-Null
    Set-Content -LiteralPath $List -Value @($Zones | Sort-Object)
}
# The form of a zone that this script made; '' is a zone of your own.
function Get-Form($Zone) {
    if ($Zone.ZoneType -eq 'Primary' -and $Zone.ZoneFile -like "${Prefix}*") {
        'mx'
    } elseif ($Zone.ZoneType -eq 'Forwarder' -and $forwarders.ContainsKey($Zone.ZoneName)) {
        'forward'
    } else {
        ''
    }
}
function Add-Policy($Name, $Criterion) {
    if (-not $policies.ContainsKey($Name)) {
        Add-DnsServerQueryResolutionPolicy -Name $Name -Action DENY -FQDN $Criterion
        $policies[$Name] = $true
    }
}
function Remove-Policy($Name) {
    Remove-DnsServerQueryResolutionPolicy -Name $Name -Force
    $policies.Remove($Name)
}
function Get-Records($Zone) {
    foreach ($record in @(Get-DnsServerResourceRecord -ZoneName $Zone)) {
        $data = $record.RecordData
        if ($record.RecordType -eq 'MX') {
            '{0} MX {1} {2}' -f $record.HostName, $data.Preference, $data.MailExchange
        } elseif ($record.RecordType -eq 'A') {
            '{0} A {1}' -f $record.HostName, $data.IPv4Address
        } elseif ($record.RecordType -eq 'AAAA') {
            '{0} AAAA {1}' -f $record.HostName, $data.IPv6Address
        }
    }
}
function Add-Record($Zone, $Text) {
    $name, $type, $rest = $Text -split ' ', 3
    if ($type -eq 'MX') {
        $preference, $target = $rest -split ' ', 2
        Add-DnsServerResourceRecordMX -ZoneName $Zone -Name $name -Preference $preference -MailExchange $target
    } elseif ($type -eq 'A') {
        $address = @{ IPv4Address = $rest }
        Add-DnsServerResourceRecordA -ZoneName $Zone -Name $name @address
    } else {
        $address = @{ IPv6Address = $rest }
        Add-DnsServerResourceRecordAAAA -ZoneName $Zone -Name $name @address
    }
}
function Remove-Record($Zone, $Text) {
    $name, $type, $rest = $Text -split ' ', 3
    foreach ($record in @(Get-DnsServerResourceRecord -ZoneName $Zone -Name $name -RRType $type)) {
        $data = $record.RecordData
        if ($type -eq 'MX') {
            $found = '{0} {1}' -f $data.Preference, $data.MailExchange
        } elseif ($type -eq 'A') {
            $found = [string]$data.IPv4Address
        } else {
            $found = [string]$data.IPv6Address
        }
        if ($found -eq $rest) { Remove-DnsServerResourceRecord -ZoneName $Zone -InputObject $record -Force }
    }
}
function Add-Missing($Zone, $Records) {
    $there = @{}
    Get-Records $Zone | ForEach-Object { $there[$_] = $true }
    foreach ($record in $Records) {
        if (-not $there.ContainsKey($record) -and $PSCmdlet.ShouldProcess("$Zone $record", 'Add record')) {
            Add-Record $Zone $record
        }
    }
}
function Remove-Surplus($Zone, $Records) {
    $listed = @{}
    foreach ($record in $Records) { $listed[$record] = $true }
    foreach ($record in @(Get-Records $Zone)) {
        if (-not $listed.ContainsKey($record) -and $PSCmdlet.ShouldProcess("$Zone $record", 'Remove record')) {
            Remove-Record $Zone $record
        }
    }
}
# What is refused.
$kept = @{}
foreach ($line in $Denied) {
    $name, $criterion = $line -split ' ', 2
    $kept[$name] = $true
    if (-not $policies.ContainsKey($name) -and $PSCmdlet.ShouldProcess($criterion, 'Refuse to resolve')) {
        Add-Policy $name $criterion
    }
}
# What is listed. A policy that is named after a zone refuses it until all of it is there.
$wanted = @{}
$named = @()
foreach ($line in $Zones) {
    $zone, $file, $rest = $line -split ' ', 3
    $content = @($rest -split ';' | Where-Object { $_ })
    $wanted[$zone] = $true
    $unfinished = $file -replace '[.]dns$', '-unfinished'
    $is = ''
    if ($known.ContainsKey($zone)) {
        $is = Get-Form $known[$zone]
        if ($is -eq '') {
            Write-Warning "$zone is a zone of your own: left alone, its mail goes as that zone says"
            continue
        }
    }
    $new = $is -ne $Form
    if ($new) {
        if (-not $PSCmdlet.ShouldProcess($zone, "Add zone ($Form) with: $($content -join '; ')")) { continue }
        Add-Policy $unfinished "EQ,$zone,*.$zone"
        if ($is -ne '') { Remove-DnsServerZone -Name $zone -Force }
        if ($Form -eq 'mx') {
            Add-DnsServerPrimaryZone -Name $zone -ZoneFile $file -DynamicUpdate None
        } else {
            $forwarders[$zone] = $true
            Save-List $folder $list $forwarders.Keys
            Add-DnsServerConditionalForwarderZone -Name $zone -MasterServers $content
        }
    }
    $refused = $policies.ContainsKey($unfinished)
    if ($Form -eq 'mx') {
        Add-Missing $zone $content
        if ($zone -eq $Names) { $named = $content } else { Remove-Surplus $zone $content }
    } elseif ($refused -or (@($known[$zone].MasterServers) -join ' ') -ne ($content -join ' ')) {
        if ($PSCmdlet.ShouldProcess($zone, "Forward to $content")) {
            Set-DnsServerConditionalForwarderZone -Name $zone -MasterServers $content -UseRecursion $false
        }
    }
    if (-not $new -and $known[$zone].IsPaused -and $PSCmdlet.ShouldProcess($zone, 'Resume zone')) {
        Resume-DnsServerZone -Name $zone -Force
    }
    if ($refused -and $PSCmdlet.ShouldProcess($zone, 'Resolve it')) { Remove-Policy $unfinished }
}
# What is not listed any more: zones, of which some may mention names; names; policies.
$gone = @($known.Keys | Where-Object { -not $wanted.ContainsKey($_) -and (Get-Form $known[$_]) -ne '' })
$gone = @($gone | Sort-Object -Property Length)
foreach ($zone in @($gone | Where-Object { $_ -ne $Names }) + @($gone | Where-Object { $_ -eq $Names })) {
    if ($PSCmdlet.ShouldProcess($zone, 'Remove zone')) { Remove-DnsServerZone -Name $zone -Force }
}
if ($Form -eq 'mx' -and $known.ContainsKey($Names) -and (Get-Form $known[$Names]) -eq 'mx') {
    Remove-Surplus $Names $named
}
foreach ($name in @($policies.Keys | Where-Object { -not $kept.ContainsKey($_) } | Sort-Object)) {
    if ($PSCmdlet.ShouldProcess($name, 'Remove policy')) { Remove-Policy $name }
}
$rest = @($forwarders.Keys | Where-Object { $Form -eq 'forward' -and $wanted.ContainsKey($_) })
if ($rest.Count -ne $forwarders.Count -and $PSCmdlet.ShouldProcess($list, 'Forget forwarders')) {
    Save-List $folder $list $rest
}
"""
