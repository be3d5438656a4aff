"""Write `[partner]` tables for rows that only the old table has."""

from collections.abc import Iterator, Mapping

from closedmail.compare.comparison import OldRow
from closedmail.config.addresses import parse_partner_key
from closedmail.mailertable.mailers import ROUTING_MAILERS
from closedmail.routes.nexthop import MailHost, Nexthop
from closedmail.words import printable, quote

_HEAD = """\
# Rows that only the old table has, as it delivered them: nothing is asked of mail from these domains, and TLS is used
# where it is offered. For each, write what you want: network = "NAME" in place of outbound and inbound, where it is a
# member of that network; inbound.mode and allow_from, tls = "encrypt" or more, where it is not. No [partner] table is
# needed for a domain that mail may reach by the Internet."""


def partner_tables(rows: Mapping[str, OldRow]) -> Iterator[str]:
    """Write a table for each row, valid in the configuration file or in conf.d; a comment where none is possible."""
    if rows:
        yield _HEAD
    for key, row in rows.items():
        yield ""
        lines = _table(key, row)
        yield from lines or (f"# {printable(key)} {printable(row.value)}: not a route; decide what becomes of it",)


def _table(key: str, row: OldRow) -> list[str]:
    try:
        parse_partner_key(key)
    except ValueError as error:
        return [f"# {printable(key)}: {error}"]
    if row.parsed.kind != "route":
        return []
    hosts = row.parsed.hosts
    lines = [f"[partner.{quote(key)}]", 'inbound = { mode = "off" }']
    ports = {host.port for host in hosts}
    delivers = f'tls = "may", transport = {quote(_service(row.value))}'
    if len(ports) > 1:
        smarthosts = ", ".join(quote(str(host)) for host in hosts)
        return [*lines, f"outbound = {{ {delivers}, smarthost = [{smarthosts}] }}"]
    port = f", port = {ports.pop()}" if any(ports) else ""
    route = "esmtp:" + ":".join(map(_spelled, hosts))
    return [*lines, f"route = {quote(route)}", f"outbound = {{ {delivers}{port} }}"]


def _service(value: str) -> str:
    """Name the service of master.cf that delivered before; `smtp` for the mailers of a mailertable."""
    service = value.strip().partition(":")[0]
    return "smtp" if service.lower() in ROUTING_MAILERS else service


def _spelled(host: Nexthop) -> str:
    return str(MailHost(host.host, 0, mx=host.mx))
