"""Read [partner."x"]: one domain that overrides its network, or has none."""

from closedmail.config.addresses import NEXTHOP, ROUTE, parse_partner_key
from closedmail.config.checks import check_partner_rule
from closedmail.config.network_tables import NETWORK_NAME, OUTBOUND_KEYS, read_inbound, read_outbound
from closedmail.config.toml_table import Table, keys_of
from closedmail.config.values import NOTE
from closedmail.config.wording import one_of
from closedmail.core.model import Inbound, Network, Outbound, Partner
from closedmail.mailertable.grammar import Route, parse_value
from closedmail.words import quote

_PARTNER_KEYS = [key for key in keys_of(Partner) if key != "key"]


def read_partners(top: Table, networks: tuple[Network, ...], sound: set[str]) -> tuple[Partner, ...]:
    """Read all partners in the order of the file, merged with their networks. Those in `sound` are without a fault."""
    by_name = {network.name: network for network in networks}
    first_spelling: dict[str, str] = {}
    partners = []
    for name, value in top.members("partner"):
        table = top.member("partner", name, value, _PARTNER_KEYS)
        try:
            key = parse_partner_key(name)
        except ValueError as error:
            table.fault("", str(error))
            continue
        if key in first_spelling:
            table.fault("", f"the same domain as {first_spelling[key]}; make one table of the two")
        first_spelling.setdefault(key, table.key)
        named = table.text("network", "", NETWORK_NAME)
        if named and named not in by_name:
            known = f"known are {one_of(tuple(by_name))}" if by_name else "the file has no [network] tables"
            table.fault("network", f"unknown network {quote(named)}; {known}")
        if table.sound:  # else it is unknown what it inherits
            network = by_name.get(named)
            partner = _read_partner(key, table, network)
            if network is None or named in sound:
                check_partner_rule(table, partner, network)
            partners.append(partner)
    return tuple(partners)


def _read_partner(key: str, table: Table, network: Network | None) -> Partner:
    route = table.text("route", "", ROUTE)
    inbound = read_inbound(table.table("inbound", keys_of(Inbound)), network.inbound if network else None)
    outbound = _read_outbound(table, network, route)
    return Partner(
        key=key,
        inbound=inbound,
        outbound=outbound,
        network=network.name if network else "",
        route=route,
        contact=table.text("contact", "", NOTE),
        note=table.text("note", "", NOTE),
    )


def _read_outbound(table: Table, network: Network | None, route: str) -> Outbound | None:
    """Read `outbound`; None where nothing is delivered: no network, no tls, and no route or an `error:` one."""
    own = table.table("outbound", OUTBOUND_KEYS)
    if network is None:
        routed = isinstance(parse_value(route), Route) if route else bool(own.texts("smarthost", (), NEXTHOP))
        delivered = routed or own.has("tls")
        outbound = read_outbound(own, "", required=delivered)
        return outbound if delivered else None
    outbound = read_outbound(own, network.name, network.outbound)
    has_routes = network.source is None or network.source.format == "mailertable"
    if network.outbound.smarthost and not (outbound.smarthost or route or has_routes):
        own.fault("smarthost", f'found an empty array, and the list of "{network.name}" has no routes; set route')
    return outbound
