"""`exchange-online`: a PowerShell script for Exchange Online: connectors to and from one's own relay, or partners.

Exchange Online reaches no private network, so all mail to listed domains goes to one's own relay, which knows what is
routed, held or refused. Limits of the service are checked before there is a line.
"""

from collections.abc import Iterator
from typing import NamedTuple

from closedmail.errors import ClosedmailError
from closedmail.exports import exchange_online_inbound, exchange_rules, exchange_script
from closedmail.exports.address_spaces import address_spaces
from closedmail.exports.buckets import portions
from closedmail.exports.exchange_script import PREFIX, Value, Wanted
from closedmail.exports.header import header
from closedmail.exports.notes import Notes
from closedmail.exports.published_generation import PublishedGeneration
from closedmail.exports.target import ExportRequest, File

LIMIT = 1000
MOST = 1268  # what a connector was seen to take
_CONNECTORS = 10_000  # more were seen to work; beyond, nobody knows
_APPLYING = (
    "Run it after Connect-ExchangeOnline (ExchangeOnlineManagement 3), -WhatIf first. It touches only objects whose "
    "names begin with closedmail-, compares before it changes, and removes last; run it again whenever you like:",
    "  .\\closedmail.ps1 -WhatIf",
    "Removals beyond -RemoveAtMost entries of a kind are not made, and said: see -WhatIf, then say how many may go.",
    "It was tried with strict stand-ins of Exchange's cmdlets, cut off at every call and run again (an earlier edition "
    "on PowerShell 7.6), not on Exchange Online: read what -WhatIf says first.",
    "The relay takes mail for all listed domains, held and refused ones too: it has to have this list (closedmail), "
    "and must send none of them by their public MX. Its certificate is checked: a public CA's, with the name in "
    "TlsDomain.",
    "*.d is, for Exchange, d and all below it. Own domains are never here: keep them accepted domains.",
)


class _Plan(NamedTuple):
    outbound: list[Wanted]
    scoped: list[Wanted]
    inbound: list[Wanted]
    rules: exchange_rules.Rules


def render(published: PublishedGeneration, request: ExportRequest) -> list[File]:
    """Render one script. Raises ClosedmailError for what is beyond a limit of the service."""
    notes = Notes()
    limit = request.limit or LIMIT
    entries = [entry for _, _, entry in address_spaces(published, notes)]
    relays = sorted(set(request.relays))
    settings = _settings(request)
    fixed: dict[str, Value] = {"ConnectorType": "Partner"}
    rules, scoped, outbound = exchange_rules.Rules([], []), [], []
    if request.scoped and entries:
        rules = exchange_rules.rules(entries)
        scoped = [Wanted(exchange_rules.CONNECTOR, relays, {**settings, "IsTransportRuleScoped": True}, fixed)]
    elif not request.scoped:
        everywhere = {**settings, "SmartHosts": relays, "IsTransportRuleScoped": False}
        outbound = [Wanted(_name("out", bits), part, everywhere, fixed) for bits, part in portions(entries, limit)]
    inbound = [
        Wanted(_name(f"from-{group.name}", bits), part, group.settings, fixed)
        for group in exchange_online_inbound.by_width(exchange_online_inbound.groups(published, request, notes))
        for bits, part in portions(group.entries, limit)
    ]
    if len(outbound) + len(inbound) > _CONNECTORS:
        raise ClosedmailError(
            f"{len(outbound) + len(inbound)} connectors, more than the {_CONNECTORS} that Exchange Online is known to "
            "take: raise --limit, or take --inbound-from for one group of partners"
        )
    return [File("", _lines(published, notes, _Plan(outbound, scoped, inbound, rules), len(entries)))]


def _name(kind: str, bits: str) -> str:
    return f"{PREFIX}{kind}{'-' if bits else ''}{bits}"


def _settings(request: ExportRequest) -> dict[str, Value]:
    """Return the settings of all outbound connectors. Raises ClosedmailError for relays without a certificate name."""
    names = {relay for relay in request.relays if not relay[-1].isdigit()}
    if not request.tls_name and (len(names) != 1 or len(set(request.relays)) != 1):
        raise ClosedmailError(
            "a connector checks the relay's certificate for one name, and there is not just one relay with a name: say "
            "it with --tls-name (*.city.example for several)"
        )
    return {
        "UseMXRecord": False,
        "TlsSettings": "DomainValidation",
        "TlsDomain": request.tls_name or names.pop(),
    }


def _lines(published: PublishedGeneration, notes: Notes, plan: _Plan, count: int) -> Iterator[str]:
    outbound = len(plan.outbound) + len(plan.scoped)
    summary = f"Here: {count} entries, {outbound} outbound and {len(plan.inbound)} inbound connectors."
    scoped = exchange_rules.APPLYING if plan.scoped else ()
    yield from header(
        "exchange-online", published, notes, [*_APPLYING, *exchange_online_inbound.APPLYING, *scoped, summary]
    )
    yield "#Requires -Version 5.1"
    yield "[CmdletBinding(SupportsShouldProcess = $true)]"
    yield f"param([int]$RemoveAtMost = {exchange_script.remove_at_most(count)})"
    yield "Set-StrictMode -Version 2.0"
    yield "$ErrorActionPreference = 'Stop'"
    yield f"$Most = {MOST}"
    yield from (exchange_script.COMPARE + exchange_script.SYNC).splitlines()
    yield from exchange_script.objects("Outbound", plan.outbound)
    yield from exchange_script.objects("Scoped", plan.scoped)
    yield from exchange_script.objects("Exact", plan.rules.exact)
    yield from exchange_script.objects("Below", plan.rules.patterns)
    yield from exchange_script.objects("Inbound", plan.inbound)
    # Going from one variant to the other leaves no domain without a way; a connector goes after the rules that name it.
    yield _INBOUND
    yield from (_SCOPED, *_RULES, _OUTBOUND) if plan.scoped else (_OUTBOUND, *_RULES, _SCOPED)


_OUTBOUND = "Sync-Object 'OutboundConnector' 'RecipientDomains' '{0}' $Outbound @{} 'closedmail-out*'"
_SCOPED = f"Sync-Object 'OutboundConnector' 'SmartHosts' '{{0}}' $Scoped @{{}} '{exchange_rules.CONNECTOR}'"
_RULES = (
    f"Sync-Object 'TransportRule' 'RecipientDomainIs' '{{0}}' $Exact @{{}} '{exchange_rules.EXACT}*'",
    f"Sync-Object 'TransportRule' 'RecipientAddressMatchesPatterns' '{{0}}' $Below @{{}} '{exchange_rules.BELOW}*'",
)
_INBOUND = "Sync-Object 'InboundConnector' 'SenderDomains' '{0}' $Inbound @{} 'closedmail-from-*'"
