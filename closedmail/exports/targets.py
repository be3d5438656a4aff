"""List all targets by name. A new one is a module with a `render`, and its line here."""

from collections.abc import Mapping

from closedmail.exports import (
    bind,
    csv_table,
    dnsmasq,
    exchange_online,
    exchange_onprem,
    json_document,
    knot,
    mailertable,
    postfix_native,
    powerdns,
    unbound,
    windows_dns,
)
from closedmail.exports.target import Form, Target

_DNS: tuple[Form, ...] = ("mx", "forward")

TARGETS: Mapping[str, Target] = {
    "bind": Target("BIND, a response policy zone (a folder)", bind.render, folder=True, forms=_DNS),
    "csv": Target("one row a domain", csv_table.render, newline="\r\n"),
    "dnsmasq": Target("dnsmasq", dnsmasq.render, forms=_DNS),
    "exchange-online": Target(
        "Exchange Online, PowerShell; needs --relay",
        exchange_online.render,
        newline="\r\n",
        options=("limit", "relay", "tls-name", "inbound-from", "scoped"),
        needed=("relay",),
        most=exchange_online.MOST,
    ),
    "exchange-onprem": Target(
        "Exchange Server, PowerShell",
        exchange_onprem.render,
        newline="\r\n",
        options=("limit", "domain-secure"),
        most=exchange_onprem.MOST,
    ),
    "json": Target("all routes and rules, for programs", json_document.render),
    "knot": Target("Knot Resolver, Lua", knot.render, forms=_DNS),
    "mailertable": Target("the verified, cleaned list, for Sendmail, NoSpamProxy and others", mailertable.render),
    "postfix-native": Target(
        "the inbound rules as restriction classes, without a daemon (a folder)", postfix_native.render, folder=True
    ),
    "powerdns": Target("PowerDNS Recursor, Lua (a folder)", powerdns.render, folder=True, forms=_DNS),
    "unbound": Target("Unbound (a folder)", unbound.render, folder=True, forms=_DNS),
    "windows-dns": Target("Windows DNS Server, PowerShell", windows_dns.render, forms=_DNS, newline="\r\n"),
}
