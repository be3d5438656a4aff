"""Read [network.NAME]: its list, its brakes, its holds, and the two rule tables that [partner] shares with it.

The rule tables are read over a base: None for a network, whose required keys must then be set, or the rule that a
partner inherits, key by key.
"""

from dataclasses import replace
from typing import get_args

from closedmail.config.addresses import ADDRESS, DOMAIN, KEY, NETWORK, NEXTHOP
from closedmail.config.checks import check_network_rule
from closedmail.config.credentials import (
    COMMON_NAME,
    FINGERPRINT,
    FINGERPRINT_MATCH,
    NAME_MATCH,
    SIGNING_KEY,
    TLS_CIPHERS,
    TLS_PROTOCOLS,
)
from closedmail.config.locations import OPTIONAL_LOCATION, OPTIONAL_PATH, SIGNATURE
from closedmail.config.toml_table import Kind, Table, keys_of
from closedmail.config.values import (
    LIMIT,
    LINE,
    POSITIVE_DURATION,
    REJECT_TEXT,
    SHARE,
    SIZE,
    TRANSPORT,
    parse_network_name,
)
from closedmail.config.wording import one_of
from closedmail.core.host import parse_line
from closedmail.core.model import (
    Brakes,
    CertificatePin,
    HeaderFrom,
    Inbound,
    ListFormat,
    Mode,
    Network,
    OnRemoved,
    Outbound,
    Require,
    Source,
    TlsLevel,
    own_service_name,
)
from closedmail.words import quote

MODES: tuple[Mode, ...] = get_args(Mode)
REQUIRES: tuple[Require, ...] = get_args(Require)
TLS_LEVELS: tuple[TlsLevel, ...] = get_args(TlsLevel)
HEADER_FROM: tuple[HeaderFrom, ...] = get_args(HeaderFrom)
ON_REMOVED: tuple[OnRemoved, ...] = get_args(OnRemoved)
FORMATS: tuple[ListFormat, ...] = get_args(ListFormat)

NETWORK_NAME = Kind(parse_line, '"ndb"')
_SOURCE_KEYS = [key for key in keys_of(Source) if key != "location"]
_NETWORK_KEYS = [
    *("title", "source", "on_removed", "hold_for", "within", "over", "closed_domains", "outbound", "inbound", "dns"),
    *_SOURCE_KEYS,
    *keys_of(Brakes),
]
OUTBOUND_KEYS = [key for key in keys_of(Outbound) if key not in ("own_service", "families")]
_INDEX_ENDINGS = ("db", "lmdb", "cdb", "dir", "pag")  # of the files that postmap makes
_MOST = 1_000_000_000


def read_networks(top: Table) -> tuple[tuple[Network, ...], set[str]]:
    """Read all networks in the order of the file. Return them, and the names of those that are without a fault."""
    # Which networks have partners must be known before those are read: see check_network_rule.
    with_partners = [table.get("network") for _, table in top.members("partner") if isinstance(table, dict)]
    networks, sound = [], set()
    for name, value in top.members("network"):
        table = top.member("network", name, value, _NETWORK_KEYS)
        try:
            parse_network_name(name)
        except ValueError as error:
            table.fault("", str(error))
        base, _, ending = name.rpartition(".")
        if ending in _INDEX_ENDINGS and base in dict(top.members("network")):
            table.fault("", f"its TLS policy table would be the index of that of {base}; choose another name")
        network = _read_network(name, table, [other for other, _ in top.members("network")])
        check_network_rule(table, network, has_partners=name in with_partners)
        networks.append(network)
        if table.sound:
            sound.add(name)
    return tuple(networks), sound


def _read_network(name: str, table: Table, names: list[str]) -> Network:
    source = _read_source(table)
    inbound = read_inbound(table.table("inbound", keys_of(Inbound)))
    outbound_table = table.table("outbound", OUTBOUND_KEYS)
    outbound = read_outbound(outbound_table, name)
    if table.sound and source and source.format != "mailertable" and not outbound.smarthost:
        outbound_table.fault(
            "smarthost", f'a list in the format "{source.format}" has no routes; name a relay: ["[relay.example]:25"]'
        )
    default = Network(name, inbound, outbound)
    dns = table.table("dns", ("servers",))
    return Network(
        name=name,
        inbound=inbound,
        outbound=outbound,
        title=table.text("title", default.title, LINE),
        source=source,
        brakes=_read_brakes(table),
        on_removed=table.choice("on_removed", ON_REMOVED, default.on_removed),
        hold_for=table.text("hold_for", default.hold_for, LIMIT),
        within=tuple(dict.fromkeys(table.texts("within", default.within, KEY))),
        over=tuple(dict.fromkeys(table.texts("over", default.over, _other_network(name, names)))),
        closed_domains=tuple(dict.fromkeys(table.texts("closed_domains", default.closed_domains, DOMAIN))),
        dns_servers=dns.texts("servers", default.dns_servers, ADDRESS),
    )


def _other_network(name: str, names: list[str]) -> Kind[str]:
    """Make the kind of values that name a network beside this one."""
    others = tuple(other for other in names if other != name)

    def parse(text: str) -> str:
        if text not in others:
            what = "this very network" if text == name else "unknown network"
            known = f"known are {one_of(others)}" if others else "the file has no other network"
            raise ValueError(f"{what} {quote(text)}; {known}")
        return text

    return Kind(parse, '"ndb"')


def _read_source(table: Table) -> Source | None:
    """Read the keys about the list. All are checked, also where no source is named: it may be taken out for a day."""
    location = table.text("source", "", OPTIONAL_LOCATION)
    default = Source(location)
    source = Source(
        location=location,
        format=table.choice("format", FORMATS, default.format),
        column=table.text("column", default.column, LINE),
        signature=table.text("signature", default.signature, SIGNATURE),
        key_file=table.text("key_file", default.key_file, OPTIONAL_PATH),
        signing_keys=table.texts("signing_keys", default.signing_keys, SIGNING_KEY),
        ca_file=table.text("ca_file", default.ca_file, OPTIONAL_PATH),
        client_cert=table.text("client_cert", default.client_cert, OPTIONAL_PATH),
        client_key=table.text("client_key", default.client_key, OPTIONAL_PATH),
        max_size=table.text("max_size", default.max_size, SIZE),
        max_age=table.text("max_age", default.max_age, LIMIT),
        fetch_max_age=table.text("fetch_max_age", default.fetch_max_age, POSITIVE_DURATION),
    )
    if not location:
        return None
    if table.sound:
        _check_source(table, source)
    return source


def _check_source(table: Table, source: Source) -> None:
    if source.signature != "none":
        if not source.key_file:
            table.fault("key_file", "required for a signed list, and not set; name the file of the public keys")
        if not source.signing_keys:
            table.fault(
                "signing_keys",
                "required for a signed list, and empty; write the fingerprints of the keys that may sign",
            )
    if source.format == "csv" and not source.column:
        table.fault("column", 'required for the format "csv", and not set; name the column of the domains')
    if source.client_key and not source.client_cert:
        table.fault("client_cert", "not set, but client_key is; name the certificate that the key belongs to")


def _read_brakes(table: Table) -> Brakes:
    default = Brakes()
    return Brakes(
        shrink_limit=table.text("shrink_limit", default.shrink_limit, SHARE),
        shrink_floor=table.integer("shrink_floor", default.shrink_floor, 0, _MOST),
        bad_line_limit=table.text("bad_line_limit", default.bad_line_limit, SHARE),
        bad_line_floor=table.integer("bad_line_floor", default.bad_line_floor, 0, _MOST),
        grow_limit=table.text("grow_limit", default.grow_limit, SHARE),
        grow_floor=table.integer("grow_floor", default.grow_floor, 0, _MOST),
    )


def read_inbound(table: Table, base: Inbound | None = None) -> Inbound:
    """Read an `inbound` table over the rule that it inherits, if any."""
    default = base or Inbound(mode="off")
    certificates = default.certificates
    if table.has("certificates"):
        entries = table.tables("certificates", '[{issuer = "Closed Net CA"}]', keys_of(CertificatePin))
        certificates = tuple(map(_read_certificate, entries))
    return Inbound(
        mode=table.choice("mode", MODES, base.mode if base else None),
        require=table.choice("require", REQUIRES, default.require),
        allow_from=table.texts("allow_from", default.allow_from, NETWORK),
        allow_route_hosts=table.flag("allow_route_hosts", default.allow_route_hosts),
        certificates=certificates,
        require_tls=table.flag("require_tls", default.require_tls),
        subdomains=table.flag("subdomains", default.subdomains),
        header_from=table.choice("header_from", HEADER_FROM, default.header_from),
        header_from_exempt=table.texts("header_from_exempt", default.header_from_exempt, NETWORK),
        reject_text=table.text("reject_text", default.reject_text, REJECT_TEXT),
    )


def _read_certificate(table: Table) -> CertificatePin:
    pin = CertificatePin(
        fingerprint=table.text("fingerprint", "", FINGERPRINT),
        pubkey_fingerprint=table.text("pubkey_fingerprint", "", FINGERPRINT),
        subject=table.text("subject", "", COMMON_NAME),
        issuer=table.text("issuer", "", COMMON_NAME),
    )
    if pin == CertificatePin() and table.sound:
        # An entry without a condition would match every certificate.
        table.fault("", "found an empty entry; write one or more of fingerprint, pubkey_fingerprint, subject, issuer")
    return pin


def read_outbound(table: Table, network: str, base: Outbound | None = None, *, required: bool = True) -> Outbound:
    """Read an `outbound` table over the one that it inherits, if any.

    `network` is "" for a partner without one. Without a base, `tls` must be set, unless it is not `required`.
    """
    own = Outbound("none", own_service_name(network), own_service=True)
    default = base or own
    service = default
    if table.has("transport"):
        name = table.text("transport", "", TRANSPORT)
        service = Outbound("none", name) if name else own
    outbound = Outbound(
        tls=table.choice("tls", TLS_LEVELS, None if base is None and required else default.tls),
        transport=service.transport,
        own_service=service.own_service,
        smarthost=table.texts("smarthost", default.smarthost, NEXTHOP),
        port=table.integer("port", default.port, 0, 65535),
        tls_protocols=table.text("tls_protocols", default.tls_protocols, TLS_PROTOCOLS),
        tls_ciphers=table.text("tls_ciphers", default.tls_ciphers, TLS_CIPHERS),
    )
    return replace(outbound, tls_match=_read_match(table, outbound.tls, default.tls_match))


def _read_match(table: Table, level: TlsLevel, inherited: tuple[str, ...]) -> tuple[str, ...]:
    """Read `tls_match` as the level needs it: fingerprints, names, or nothing."""
    if level not in ("fingerprint", "verify", "secure"):
        if table.has("tls_match") and table.texts("tls_match", (), LINE):
            # Postfix would take the row for invalid and defer the mail (smtp_tls_policy.c).
            table.fault("tls_match", f'the TLS level "{level}" matches nothing; remove the key, or set tls = "secure"')
        return ()
    kind = FINGERPRINT_MATCH if level == "fingerprint" else NAME_MATCH
    if table.has("tls_match"):
        matches = table.texts("tls_match", (), kind)
    else:
        try:
            matches = tuple(map(kind.parse, inherited))
        except ValueError:
            table.fault("tls_match", f'the network\'s tls_match does not fit the level "{level}"; set it here, too')
            return ()
    if level == "fingerprint" and not matches and table.sound:
        table.fault("tls_match", 'required at the TLS level "fingerprint", and empty; write the fingerprints')
    return matches
