"""Read [partner."x"]: one domain that overrides its network, or has none."""

from closedmail.config.addresses import NEXTHOP, ROUTE, parse_partner_key
from closedmail.config.checks import check_partner_rule
from closedmail.config.network_tables import read_inbound, read_outbound
from closedmail.config.toml_table import Kind, Table, keys_of
from closedmail.config.values import NOTE
from closedmail.config.wording import one_of
from closedmail.core.host import parse_line
from closedmail.core.model import Inbound, Network, Outbound, Partner
from closedmail.errors import ConfigError
from closedmail.mailertable.grammar import Route, parse_value
from closedmail.words import quote

_PARTNER_KEYS = [key for key in keys_of(Partner) if key != "key"]
_NETWORK_NAME = Kind(parse_line, '"ndb"')


def read_partners(top: Table, networks: tuple[Network, ...]) -> tuple[Partner, ...]:
    """Read all partners in the order of the file, merged with their networks. Raises ConfigError."""
    by_name = {network.name: network for network in networks}
    first_spelling: dict[str, str] = {}
    partners = []
    for name, value in top.members("partner"):
        table = Table.member(top.key_of("partner"), name, value, _PARTNER_KEYS)
        try:
            key = parse_partner_key(name)
        except ValueError as error:
            raise ConfigError(table.key, str(error)) from None
        if key in first_spelling:
            raise ConfigError(table.key, f"the same domain as {first_spelling[key]}; make one table of the two")
        first_spelling[key] = table.key
        partners.append(_read_partner(key, table, by_name))
    return tuple(partners)


def _read_partner(key: str, table: Table, networks: dict[str, Network]) -> Partner:
    network = _read_network(table, networks)
    route = table.text("route", "", ROUTE)
    inbound = read_inbound(table.table("inbound", keys_of(Inbound)), network.inbound if network else None)
    outbound = _read_outbound(table, network, route)
    partner = Partner(
        key=key,
        inbound=inbound,
        outbound=outbound,
        network=network.name if network else "",
        route=route,
        contact=table.text("contact", "", NOTE),
        note=table.text("note", "", NOTE),
    )
    check_partner_rule(table, partner, network)
    return partner


def _read_network(table: Table, networks: dict[str, Network]) -> Network | None:
    name = table.text("network", "", _NETWORK_NAME)
    if not name:
        return None
    if name not in networks:
        known = f"known are {one_of(tuple(networks))}" if networks else "the file has no [network] tables"
        raise table.error("network", f"unknown network {quote(name)}; {known}")
    return networks[name]


def _read_outbound(table: Table, network: Network | None, route: str) -> Outbound | None:
    """Read `outbound`; None where nothing is delivered: no network, no tls, and no route or an `error:` one."""
    own = table.table("outbound", keys_of(Outbound))
    if network is None:
        routed = isinstance(parse_value(route), Route) if route else bool(own.texts("smarthost", (), NEXTHOP))
        delivered = routed or own.has("tls")
        outbound = read_outbound(own, required=delivered)
        return outbound if delivered else None
    outbound = read_outbound(own, network.outbound)
    has_routes = network.source is None or network.source.format == "mailertable"
    if network.outbound.smarthost and not (outbound.smarthost or route or has_routes):
        raise own.error("smarthost", f'found an empty array, and the list of "{network.name}" has no routes; set route')
    return outbound
