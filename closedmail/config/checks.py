"""Check several keys together: rules that nothing can satisfy, and sockets that are named twice."""

from closedmail.config.toml_table import Faults, Table
from closedmail.core.model import Inbound, Milter, Network, Partner, Policyd
from closedmail.core.where import parse_where
from closedmail.mailertable.grammar import Route, parse_value
from closedmail.words import quote

_REMEDY = 'set allow_from, certificates or another require, or mode = "off"'


def check_listeners(policyd: Policyd, milter: Milter, faults: Faults) -> None:
    """Check that no socket is to be bound twice."""
    sockets = [(f"policyd.listen[{at}]", where) for at, where in enumerate(policyd.listen)]
    if policyd.metrics_listen:
        sockets.append(("policyd.metrics_listen", policyd.metrics_listen))
    sockets += [(f"milter.listen[{at}]", where) for at, where in enumerate(milter.listen)]
    taken: dict[str, str] = {}
    for key, where in sockets:
        if where in taken:
            faults.add(key, f"found {quote(where)}, which {taken[where]} has already; choose another")
        elif parse_where(where).path or parse_where(where).port:  # port 0 is another one each time
            taken[where] = key


def check_network_rule(table: Table, network: Network, *, has_partners: bool) -> None:
    """Refuse a rule that nothing can satisfy, unless it applies to nobody.

    It applies to nobody where the network has neither a list nor closed domains: then its partners are checked, each
    with what it inherits.
    """
    if network.source is None and not network.closed_domains and has_partners:
        return
    lines = network.source is not None and network.source.format == "mailertable"
    _check_rule(table, network.inbound, literals=lines)


def check_partner_rule(table: Table, partner: Partner, network: Network | None) -> None:
    """Refuse a rule that nothing can satisfy."""
    line = network is not None and network.source is not None and network.source.format == "mailertable"
    _check_rule(table, partner.inbound, literals=line or _names_address(partner.route))


def _check_rule(table: Table, inbound: Inbound, *, literals: bool) -> None:
    """Refuse a rule that nothing can satisfy. `literals`: a line or route of the partner may name an address.

    Names are never resolved.
    """
    if inbound.mode == "off" or not table.sound:
        return
    if inbound.allow_from or (inbound.allow_route_hosts and literals):
        address = ""
    else:
        address = "no route names an address" if inbound.allow_route_hosts else "allow_from is empty"
    certificate = "" if inbound.certificates else "certificates is empty"
    match inbound.require:
        case "ip":
            missing = address
        case "cert":
            missing = certificate
        case "ip and cert":
            missing = address or certificate
        case "ip or cert":
            missing = f"{address}, {certificate}" if address and certificate else ""
    if missing:
        text = f'nothing can satisfy "{inbound.require}": {missing}; {_REMEDY}'
        table.fault("require", text, within="inbound")


def _names_address(route: str) -> bool:
    parsed = parse_value(route) if route else None
    return isinstance(parsed, Route) and any(host.is_address for host in parsed.hosts)
