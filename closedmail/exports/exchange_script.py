"""The scripts for Exchange: objects that are wanted, as data, and a fixed part that compares and changes.

One procedure serves connectors of all kinds: an object has a name with our prefix, settings, and one long list (address
spaces, domains, ranges). The order never leaves a listed domain to other connectors: what is new is made disabled;
then, object by object in the order in which they are given, what is new is enabled and what is there grows; what no
list wants any more goes last, and not if that is much. An entry `*.d` takes all below d that no other object has: so an
object has entries of one width only, and names come first, then the narrowest of these entries (`by_width`).
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from closedmail.exports.powershell import quoted

PREFIX = "closedmail-"
Value = str | bool | int | None | Sequence[str]


@dataclass(frozen=True, slots=True)
class Wanted:
    """An object. `fixed` is said when it is made only, `settings` are kept as they are here, `entries` is the list."""

    name: str
    entries: Sequence[str]
    settings: Mapping[str, Value]
    fixed: Mapping[str, Value] = field(default_factory=dict)


# Comparing: Exchange shows an address space as SMTP:name;cost, a sender's domain as smtp:name;1, an address as [a].
COMPARE = """\
function Get-Text($Value) {
    @(foreach ($part in $Value) {
        if ($null -ne $part) { (([string]$part) -replace '^smtp:|;[0-9]+$', '').Trim('[', ']').ToLowerInvariant() }
    }) | Sort-Object
}
function Test-Enabled($Object, $Noun) {
    if ($Noun -eq 'TransportRule') { $Object.State -eq 'Enabled' } else { $Object.Enabled }
}
function Enable-Object($Object, $Noun) {
    if ($Noun -eq 'TransportRule') {
        Enable-TransportRule -Identity $Object.Identity -Confirm:$false
    } else {
        & "Set-$Noun" -Identity $Object.Identity -Enabled $true -Confirm:$false
    }
}
function Set-List($Noun, $Field, $Format, $Identity, $Entries, $Action) {
    if ($PSCmdlet.ShouldProcess($Identity, $Action)) {
        $set = @{ $Field = @($Entries | ForEach-Object { $Format -f $_ }) }
        & "Set-$Noun" -Identity $Identity @set -Confirm:$false
    }
}
"""
SYNC = """\
function Sync-Object($Noun, $Field, $Format, $Wanted, $Scope, $Ours) {
    $known = @{}
    $now = @{}
    foreach ($object in @(& "Get-$Noun" @Scope | Where-Object { $_.Name -like $Ours })) {
        $known[$object.Name] = $object
        $now[$object.Name] = @(Get-Text $object.$Field)
    }
    $should = @{}
    $listed = @{}
    foreach ($item in $Wanted) {
        $entries = @{}
        foreach ($entry in $item.Entries) {
            $entries[$entry] = $true
            $listed[$entry] = $true
        }
        $should[$item.Name] = $entries
    }
    # Entries that no object of ours would have any more: kept if they are many.
    $lost = @{}
    foreach ($name in $known.Keys) {
        foreach ($entry in $now[$name]) {
            if (-not $listed.ContainsKey($entry)) { $lost[$entry] = $true }
        }
    }
    $keep = $lost.Count -gt $RemoveAtMost
    if ($keep) {
        Write-Warning "$($lost.Count) entries of $Noun would go, more than $($RemoveAtMost): kept. See -RemoveAtMost"
        # Then there has to be room for those, too.
        foreach ($item in $Wanted) {
            if (-not $known.ContainsKey($item.Name)) { continue }
            $kept = @($now[$item.Name] | Where-Object { $lost.ContainsKey($_) })
            if ($kept.Count + @($item.Entries).Count -gt $Most) {
                throw "$($item.Name) has no room for entries that are kept: nothing was changed. See -RemoveAtMost"
            }
        }
    }
    # What is missing, disabled until all that is missing is there.
    $made = @{}
    foreach ($item in $Wanted) {
        if ($known.ContainsKey($item.Name)) { continue }
        if ($PSCmdlet.ShouldProcess($item.Name, "Make $Noun with $(@($item.Entries).Count) entries")) {
            $new = $item.Fixed + $item.Settings
            $new[$Field] = @($item.Entries | ForEach-Object { $Format -f $_ })
            $made[$item.Name] = & "New-$Noun" -Name $item.Name -Enabled $false @new @Scope -Confirm:$false
        }
    }
    # In the order of $Wanted: what is new is enabled; what is there gets its settings, and entries that are missing.
    # Those that move away stay until they are elsewhere.
    foreach ($item in $Wanted) {
        if ($made.ContainsKey($item.Name)) { Enable-Object $made[$item.Name] $Noun }
        if (-not $known.ContainsKey($item.Name)) { continue }
        $object = $known[$item.Name]
        $different = @()
        foreach ($key in $item.Settings.Keys) {
            if ((@(Get-Text $object.$key) -join ' ') -ne (@(Get-Text $item.Settings[$key]) -join ' ')) {
                $different += $key
            }
        }
        if ($different.Count -gt 0) {
            if ($PSCmdlet.ShouldProcess($object.Identity, "Set $($different -join ', ')")) {
                $set = $item.Settings
                & "Set-$Noun" -Identity $object.Identity @set -Confirm:$false
            }
        }
        if (-not (Test-Enabled $object $Noun)) {
            # A run that was cut off left it. It takes no mail yet, so what is not its own goes before.
            $mine = $should[$item.Name]
            $foreign = @($now[$item.Name] | Where-Object { -not $mine.ContainsKey($_) })
            if ($foreign.Count -gt 0) {
                Set-List $Noun $Field $Format $object.Identity $item.Entries "Remove $($foreign -join ' ')"
                if (-not $WhatIfPreference) { $now[$item.Name] = @($item.Entries) }
            }
            if ($PSCmdlet.ShouldProcess($object.Identity, "Enable $Noun")) { Enable-Object $object $Noun }
        }
        $has = @{}
        foreach ($entry in $now[$item.Name]) { $has[$entry] = $true }
        $missing = @($item.Entries | Where-Object { -not $has.ContainsKey($_) })
        if ($missing.Count -gt 0) {
            $grown = @($now[$item.Name]) + $missing
            if ($grown.Count -gt $Most) {
                $grown = @($grown | Where-Object { $listed.ContainsKey($_) -or $keep })
            }
            if ($grown.Count -gt $Most) {
                Write-Warning "$($item.Name) changes much: for a moment, domains that leave it have no connector"
                $grown = @($now[$item.Name] | Where-Object { $keep -and $lost.ContainsKey($_) }) + @($item.Entries)
            }
            Set-List $Noun $Field $Format $object.Identity $grown "Add $($missing -join ' ')"
            if (-not $WhatIfPreference) { $now[$item.Name] = $grown }
        }
    }
    # Removals, the widest entries first: a name that goes must not fall to one that goes, too.
    $wide = @($known.Keys | Where-Object { $_ -like '*-below-*' } | Sort-Object)
    foreach ($name in $wide + @($known.Keys | Where-Object { -not ($_ -like '*-below-*') } | Sort-Object)) {
        $object = $known[$name]
        $entries = @{}
        if ($should.ContainsKey($name)) { $entries = $should[$name] }
        $gone = @($now[$name] | Where-Object {
            -not $entries.ContainsKey($_) -and -not ($keep -and $lost.ContainsKey($_))
        })
        if ($gone.Count -eq @($now[$name]).Count -and -not $should.ContainsKey($name)) {
            if ($PSCmdlet.ShouldProcess($object.Identity, "Remove $Noun")) {
                & "Remove-$Noun" -Identity $object.Identity -Confirm:$false
            }
        } elseif ($gone.Count -gt 0) {
            $going = @{}
            foreach ($entry in $gone) { $going[$entry] = $true }
            $rest = @($now[$name] | Where-Object { -not $going.ContainsKey($_) })
            Set-List $Noun $Field $Format $object.Identity $rest "Remove $($gone -join ' ')"
        }
    }
}
"""


def objects(variable: str, wanted: Iterable[Wanted]) -> Iterator[str]:
    """Yield lines that set a variable to the objects that are wanted."""
    yield f"${variable} = @("
    for item in wanted:
        yield "    @{"
        yield f"        Name = {quoted(item.name)}"
        yield f"        Fixed = {_table(item.fixed)}"
        yield f"        Settings = {_table(item.settings)}"
        yield "        Entries = @("
        yield from (f"            {quoted(entry)}" for entry in item.entries)
        yield "        )"
        yield "    }"
    yield ")"


def by_width(entries: Iterable[str]) -> list[tuple[str, list[str]]]:
    """Entries by what they take, in the order in which they have to be enabled: names, then `*.d`, the deepest d first.

    Gives a text for the object's name, and the entries: "" for names, `below-003-` for `*.d` with three labels. By it
    the script knows the order of removals.
    """
    found: dict[int, list[str]] = {}
    for entry in entries:
        found.setdefault(entry.count(".") if entry.startswith("*.") else 0, []).append(entry)
    depths = ([0] if 0 in found else []) + sorted((depth for depth in found if depth), reverse=True)
    return [(f"below-{depth:03d}-" if depth else "", found[depth]) for depth in depths]


def literal(value: Value) -> str:
    """Write an expression for this value."""
    if value is None:
        return "$null"
    if isinstance(value, bool):
        return "$true" if value else "$false"
    if isinstance(value, int):
        return str(value)
    if isinstance(value, str):
        return quoted(value)
    return f"@({', '.join(map(quoted, value))})"


def remove_at_most(count: int) -> int:
    """Return how many entries a run may remove unasked: a tenth, as the brake for a list, but a few anyway."""
    return max(20, count // 10)


def _table(values: Mapping[str, Value]) -> str:
    return f"@{{ {'; '.join(f'{key} = {literal(value)}' for key, value in values.items())} }}"
