"""Inbound mail on Exchange Server: receive connectors by address, and the domains that have to show a certificate.

A receive connector is chosen by the client's address, before there is a sender: it binds no domain to an address. What
it gives: TLS can be demanded of partners' addresses, and their mail can be told from other mail in the log.
"""

from collections.abc import Iterator

from closedmail.core.model import IPNetwork
from closedmail.errors import ClosedmailError
from closedmail.exports import powershell
from closedmail.exports.buckets import portions
from closedmail.exports.exchange_script import PREFIX, Wanted
from closedmail.exports.export_rows import all_rows
from closedmail.exports.notes import Notes
from closedmail.exports.published_generation import PublishedGeneration
from closedmail.routes.delivery import DeliveryKind

APPLYING = (
    "Inbound: Exchange Server refuses no mail because its sender's domain comes from a foreign address; only a gateway "
    "in front of it can (closedmail policyd or milter). With -ReceiveOn SERVER,... partners' addresses get receive "
    "connectors of their own there, for TLS and for the log; without it, none are touched.",
)
NO_LIST = "certificates: per-domain mutual TLS (TLSReceiveDomainSecureList) is left alone without --domain-secure"
# The list is one setting of the whole organisation, so what is ours is remembered in a file.
_SECURE = """\
$folder = Join-Path $env:ProgramData 'closedmail'
$file = Join-Path $folder 'exchange-domain-secure.txt'
$ours = @{}
if (Test-Path -LiteralPath $file) { Get-Content -LiteralPath $file | ForEach-Object { $ours[$_] = $true } }
$wanted = @{}
foreach ($name in $Secure) { $wanted[$name] = $true }
$before = @(Get-Text (Get-TransportConfig).TLSReceiveDomainSecureList)
$after = @($before | Where-Object { $wanted.ContainsKey($_) -or -not $ours.ContainsKey($_) })
$there = @{}
foreach ($name in $after) { $there[$name] = $true }
$new = @($Secure | Where-Object { -not $there.ContainsKey($_) })
$gone = $before.Count - $after.Count
$keep = @($new) + @($ours.Keys | Where-Object { $wanted.ContainsKey($_) })
if ($gone -gt $RemoveAtMost) {
    Write-Warning "$gone entries of TLSReceiveDomainSecureList would go, more than $($RemoveAtMost): nothing is changed"
} elseif ($gone + $new.Count -gt 0) {
    if ($PSCmdlet.ShouldProcess('TLSReceiveDomainSecureList', "Add $($new.Count), remove $gone")) {
        New-Item -ItemType Directory -Path $folder -Force | Out-Null
        Set-Content -LiteralPath $file -Value @(@($ours.Keys) + $new | Sort-Object -Unique)
        Set-TransportConfig -TLSReceiveDomainSecureList @($after + $new) -Confirm:$false
        Set-Content -LiteralPath $file -Value @($keep | Sort-Object -Unique)
    }
} elseif ($keep.Count -ne $ours.Count -and $PSCmdlet.ShouldProcess($file, 'Forget what is gone')) {
    # A run was cut off before it did.
    Set-Content -LiteralPath $file -Value @($keep | Sort-Object)
}
"""


def receive_connectors(published: PublishedGeneration, limit: int, notes: Notes) -> Iterator[Wanted]:
    """Yield connectors for all addresses of `allow_from`, those that have to use TLS apart."""
    plain: set[IPNetwork] = set()
    demanding: set[IPNetwork] = set()
    for rule in published.rules:
        inbound = rule.inbound
        if inbound.mode == "off":
            continue
        demands = inbound.require_tls and inbound.mode == "enforce"
        if inbound.require_tls and not demands:
            notes.add(f"[{rule.table}] inbound mode {inbound.mode!r}: no TLS is demanded of its addresses")
        (demanding if demands else plain).update(inbound.allow_from)
    for network in sorted(plain & demanding, key=str):
        notes.add(f"{network} is in rules with and without require_tls: TLS is demanded of all who come from there")
    for kind, networks, required in (("in", plain - demanding, False), ("in-tls", demanding, True)):
        for bits, ranges in portions([_spelled(network) for network in networks], limit):
            yield Wanted(
                f"{PREFIX}{kind}{'-' if bits else ''}{bits}",
                ranges,
                {"AuthMechanism": "Tls", "PermissionGroups": "AnonymousUsers", "RequireTLS": required},
                {"TransportRole": "FrontendTransport", "Bindings": ("0.0.0.0:25", "[::]:25"), "Usage": "Custom"},
            )


def secure_list(published: PublishedGeneration, limit: int, notes: Notes) -> list[str]:
    """List the domains that have to show a certificate. Raises ClosedmailError for more than one setting holds."""
    found = []
    for key, row in all_rows(published):
        rule = row.rule
        if rule is None or row.kind is DeliveryKind.OWN or rule.inbound.require not in ("cert", "ip and cert"):
            continue
        if rule.inbound.mode != "enforce":
            notes.add(f"[{rule.table}] inbound mode {rule.inbound.mode!r}: no certificate is demanded")
        elif key.startswith("."):
            notes.add("TLSReceiveDomainSecureList has no wildcards: no certificate is demanded of what is below", key)
        elif key in published.closed and published.entry(key) is None:
            notes.add("a closed domain without an entry: no certificate is demanded by TLSReceiveDomainSecureList", key)
        else:
            notes.add(
                f"[{rule.table}] certificates: Exchange asks for one that has the sender's domain as a name, from any "
                "CA that it trusts"
            )
            found.append(key)
    if len(found) > limit:
        raise ClosedmailError(
            f"{len(found)} domains have to show a certificate, TLSReceiveDomainSecureList is one setting for at most "
            f"{limit}: leave --domain-secure out, or demand certificates of fewer in [partner] tables"
        )
    return found


def secure_lines(names: list[str]) -> Iterator[str]:
    """Yield the lines that keep the list."""
    yield from powershell.array("Secure", names)
    yield from _SECURE.splitlines()


def _spelled(network: IPNetwork) -> str:
    """Spell a range as Exchange shows it."""
    return str(network.network_address) if network.num_addresses == 1 else str(network)
