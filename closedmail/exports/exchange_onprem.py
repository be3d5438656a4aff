"""`exchange-onprem`: a PowerShell script for Exchange Server: Send connectors, and what it can say of inbound mail.

A connector has one set of smart hosts, one port and one demand for TLS, and so have the domains that share it; its name
is a digest of these, so that one that exists never changes its meaning. Names and address spaces `*.d` have connectors
of their own, since they have to be enabled in turn: `*.d` would take a name's mail before the name is there.

What has no working route, or one that can't be expressed, gets a smart host that never exists: mail waits there, and
must not take the connector to the Internet.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from hashlib import sha256
from itertools import groupby

from closedmail.exports import exchange_inbound, exchange_script
from closedmail.exports.address_spaces import address_spaces
from closedmail.exports.buckets import portions
from closedmail.exports.exchange_script import PREFIX, Value, Wanted
from closedmail.exports.exchange_tls import SendTls, send_tls
from closedmail.exports.export_rows import ExportRow
from closedmail.exports.header import header
from closedmail.exports.notes import Notes
from closedmail.exports.published_generation import PublishedGeneration
from closedmail.exports.target import ExportRequest, File
from closedmail.routes.delivery import DeliveryKind
from closedmail.routes.nexthop import MailHost

LIMIT = 1000  # see MOST
MOST = 1200  # "administrative limit exceeded" comes at 1,200 to 1,300 values of a non-linked attribute
NOWHERE = "held.closedmail.invalid"  # RFC 6761: never in the DNS; nor will a certificate with this name be issued
_APPLYING = (
    "Run it in an Exchange Management Shell of Exchange 2013 or newer, -WhatIf first. It touches only connectors whose "
    "names begin with closedmail-, compares before it changes, and removes last; run it again whenever you like:",
    "  .\\closedmail.ps1 -WhatIf",
    "Removals beyond -RemoveAtMost entries of a kind are not made, and said: see -WhatIf, then say how many may go.",
    "It was tried with strict stand-ins of Exchange's cmdlets, cut off at every call and run again (an earlier edition "
    "on PowerShell 7.6), not on an Exchange: read what -WhatIf says before the first run.",
    "SourceTransportServers, Fqdn, TlsCertificateName, sizes, logging and costs are yours: they stay as they are.",
    "*.d is, for Exchange, d and all below it. Smart hosts are used in turn, without priorities. Own domains are never "
    "here: keep them accepted domains.",
    f"Mail that is held or refused goes to {NOWHERE}, a host that never exists: it waits in the queue, and is returned "
    "when the queue's time is over (MessageExpiration, 2 days); nothing is answered at once. A domain that is listed "
    "again goes on from there.",
)


@dataclass(frozen=True, slots=True)
class _Route:
    """The settings that the domains of a connector share."""

    hosts: tuple[str, ...]
    port: int
    tls: SendTls

    def name(self, width: str) -> str:
        """Name its connector for entries of a width (see `exchange_script.by_width`)."""
        if self.hosts == (NOWHERE,):
            return f"{PREFIX}{width}held"
        said = repr((self.hosts, self.port, self.tls.required, self.tls.auth_level, self.tls.domain, self.tls.ignored))
        return f"{PREFIX}{width or 'to-'}{sha256(said.encode()).hexdigest()[:16]}"

    @property
    def settings(self) -> dict[str, Value]:
        return {
            "DNSRoutingEnabled": False,
            "SmartHosts": self.hosts,
            "Port": self.port,
            "IgnoreSTARTTLS": self.tls.ignored,
            "RequireTLS": self.tls.required,
            "TlsAuthLevel": self.tls.auth_level or None,
            "TlsDomain": self.tls.domain or None,
            # That the name does not exist is no reason to return the mail.
            "ErrorPolicies": "DowngradeDnsFailures" if self.hosts == (NOWHERE,) else "Default",
        }


_HELD = _Route((NOWHERE,), 25, SendTls(required=True, auth_level="DomainValidation", domain=NOWHERE))


def render(published: PublishedGeneration, request: ExportRequest) -> list[File]:
    """Render one script. Raises ClosedmailError for more domains with mutual TLS than one setting holds."""
    notes = Notes()
    limit = request.limit or LIMIT
    wanted = list(send_connectors(published, limit, notes))
    secure = exchange_inbound.secure_list(published, limit, notes) if request.domain_secure else None
    if secure is None and any(rule.inbound.certificates for rule in published.rules):
        notes.add(exchange_inbound.NO_LIST)
    receive = list(exchange_inbound.receive_connectors(published, limit, notes))
    return [File("", _lines(published, notes, wanted, receive, secure))]


def _lines(
    published: PublishedGeneration, notes: Notes, wanted: list[Wanted], receive: list[Wanted], secure: list[str] | None
) -> Iterator[str]:
    count = sum(len(item.entries) for item in wanted)
    summary = f"Here: {len(wanted)} Send connectors with {count} address spaces."
    applying = [*_APPLYING, *exchange_inbound.APPLYING, summary]
    yield from header("exchange-onprem", published, notes, applying)
    yield "#Requires -Version 5.1"
    yield "[CmdletBinding(SupportsShouldProcess = $true)]"
    yield f"param([int]$RemoveAtMost = {exchange_script.remove_at_most(count)}, [string[]]$ReceiveOn = @())"
    yield "Set-StrictMode -Version 2.0"
    yield "$ErrorActionPreference = 'Stop'"
    yield f"$Most = {MOST}"
    yield from (exchange_script.COMPARE + exchange_script.SYNC).splitlines()
    yield from exchange_script.objects("Send", wanted)
    yield "Sync-Object 'SendConnector' 'AddressSpaces' 'SMTP:{0};1' $Send @{} 'closedmail-*'"
    yield from exchange_script.objects("Receive", receive)
    yield "foreach ($server in $ReceiveOn) {"
    yield "    Sync-Object 'ReceiveConnector' 'RemoteIPRanges' '{0}' $Receive @{ Server = $server } 'closedmail-*'"
    yield "}"
    if secure is not None:
        yield from exchange_inbound.secure_lines(secure)


def send_connectors(published: PublishedGeneration, limit: int, notes: Notes) -> Iterator[Wanted]:
    """Yield the Send connectors, in the order in which they may be enabled."""
    routes: dict[str, _Route] = {}
    for key, row, entry in address_spaces(published, notes):
        routes[entry] = _route(key, row, notes)
    for width, entries in exchange_script.by_width(routes):
        shared: dict[_Route, list[str]] = {}
        for entry in entries:
            shared.setdefault(routes[entry], []).append(entry)
        for route in sorted(shared, key=lambda route: route.name(width)):
            for bits, part in portions(shared[route], limit):
                yield Wanted(
                    f"{route.name(width)}{'-' if bits else ''}{bits}", part, route.settings, {"Usage": "Custom"}
                )


def _route(key: str, row: ExportRow, notes: Notes) -> _Route:
    outbound = row.rule.outbound if row.rule else None
    if row.kind is DeliveryKind.REFUSED:
        notes.add("refused for good by this list; Exchange lets the mail wait, and returns it later", key)
    if row.kind is not DeliveryKind.ROUTED or outbound is None:
        return _HELD
    # A connector has one port: the one of the first hosts.
    port = row.delivery.hosts[0].port
    hosts = tuple(host for host in row.delivery.hosts if host.port == port)
    if len(hosts) < len(row.delivery.hosts):
        notes.add("the route's hosts have several ports, a connector has one: the first host's; others left out", key)
    if len(list(groupby(hosts, lambda host: host.preference))) > 1:
        notes.add("the route's hosts have an order, Exchange takes them in turn", key)
    if any(host.mx for host in hosts):
        notes.add(
            "the route wants MX records of a name: Exchange looks a smart host up as it likes, MX or address", key
        )
    tls = send_tls(outbound, hosts)
    if isinstance(tls, str):
        notes.add(f"NO WORKING ROUTE, mail waits: {tls}", key)
        return _HELD
    if outbound.tls_protocols or outbound.tls_ciphers:
        notes.add("tls_protocols and tls_ciphers are the server's own (Schannel), not a connector's", key)
    if outbound.transport != "smtp" and not outbound.own_service:
        notes.add(f"what the transport {outbound.transport!r} adds (a client certificate?) is not known here", key)
    return _Route(tuple(sorted({_spelled(host) for host in hosts})), port or 25, tls)


def _spelled(host: MailHost) -> str:
    return f"[{host.name}]" if host.is_address else host.name
