"""The script for Exchange Online, run on a model of its objects."""

import re
from ipaddress import ip_network

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.core_samples import configuration, network
from support.export_samples import TABLES, configurations, published, text_of
from support.powershell.exchange import Exchange
from support.powershell.tree import parse

from closedmail.core.domain import parents
from closedmail.core.model import CertificatePin, Config, Inbound, Partner
from closedmail.errors import ClosedmailError
from closedmail.exports.export_rows import all_rows, outbound_rows
from closedmail.exports.published_generation import PublishedGeneration
from closedmail.exports.sender_rows import _Book
from closedmail.exports.target import ExportRequest
from closedmail.exports.targets import TARGETS
from closedmail.inbound.partner import find_partner
from closedmail.routes.delivery import DeliveryKind

TARGET = TARGETS["exchange-online"]
OUT, IN, RULE = "OutboundConnector", "InboundConnector", "TransportRule"
RELAY = ExportRequest(relays=("relay.city.example",))
ALL = 10**6


def asked(*, limit: int = 0, scoped: bool = False, inbound_from: tuple[str, ...] = ()) -> ExportRequest:
    return ExportRequest(
        limit=limit, relays=RELAY.relays, scoped=scoped, inbound_from=tuple(map(ip_network, inbound_from))
    )


def script_of(table: str, config: Config | None = None, request: ExportRequest = RELAY) -> str:
    return text_of(TARGET, published(config or configuration(), table), request=request)


def shared(count: int) -> str:
    return "".join(f"d{number}.example esmtp:[192.0.2.1]\n" for number in range(count))


def wanted(made: PublishedGeneration) -> set[str]:
    rows = ((key, row) for key, row in outbound_rows(made) if row.kind is not DeliveryKind.OWN)
    return {f"*{key}" if key.startswith(".") else key for key, _ in rows}


def ruled(exchange: Exchange) -> set[str]:
    """Entries that enabled rules lead to the relay."""
    found: set[str] = set()
    for rule in exchange.objects.get(RULE, {}).values():
        assert rule["enabled"]
        assert exchange.objects[OUT][rule["routemessageoutboundconnector"]]["enabled"]
        found |= set(rule["recipientdomainis"] or ())
        patterns = rule["recipientaddressmatchespatterns"] or ()
        found |= {"*" + re.sub(r"\\(.)", r"\1", pattern.removesuffix("$")) for pattern in patterns}
    return found


def settings_of(exchange: Exchange, noun: str) -> list[dict[str, object]]:
    lists = ("name", "recipientdomains", "senderdomains")
    return [{key: value for key, value in item.items() if key not in lists} for item in exchange.objects[noun].values()]


@pytest.mark.parametrize(("count", "limit"), [(1, 0), (1000, 0), (1001, 0), (1268, 1268), (20_000, 0)])
def test_the_connectors_are_the_list(count: int, limit: int) -> None:
    request = asked(limit=limit)
    names = {f"d{number}.example" for number in range(count)}
    exchange = Exchange()
    exchange.run(script_of(shared(count), request=request))
    assert exchange.routed(OUT) == names
    assert max(map(len, exchange.entries(OUT).values())) <= (limit or 1000)
    assert settings_of(exchange, OUT) == len(exchange.entries(OUT)) * [
        {
            "connectortype": "Partner",
            "usemxrecord": False,
            "smarthosts": ["relay.city.example"],
            "tlssettings": "DomainValidation",
            "tlsdomain": "relay.city.example",
            "istransportrulescoped": False,
            "enabled": True,
        }
    ]
    exchange.run(script_of(shared(count), request=request))
    assert exchange.changes == []
    exchange.watch = lambda exchange: _holds(exchange.routed(OUT) >= names)
    exchange.run(script_of(shared(count) + "new.example esmtp:[192.0.2.1]\n", request=request))
    assert exchange.routed(OUT) == {*names, "new.example"}
    if count not in (1000, 1268):
        assert [name for name, _ in exchange.changes] == ["Set-OutboundConnector"]


def _holds(condition: bool) -> None:
    assert condition


@settings(max_examples=60)
@given(configurations(), TABLES, TABLES, st.integers(1, 4), st.booleans(), st.booleans())
def test_any_list_after_any_other(
    config: Config, before: str, now: str, limit: int, scoped: bool, scoped_now: bool
) -> None:
    """In both variants, and from one to the other: the relay gets all, always, and a second run does nothing."""
    exchange = Exchange()
    first, second = published(config, before), published(config, now, before=[before])
    exchange.run(text_of(TARGET, first, request=asked(limit=limit, scoped=scoped)), RemoveAtMost=ALL)
    assert ruled(exchange) | exchange.routed(OUT) - {""} >= wanted(first)
    both = wanted(first) & wanted(second)
    exchange.watch = lambda exchange: _holds(both <= led(exchange))
    script = text_of(TARGET, second, request=asked(limit=limit, scoped=scoped_now))
    exchange.run(script, RemoveAtMost=ALL)
    assert led(exchange) == wanted(second)
    assert (exchange.objects[RULE] == {}) == (not scoped_now or not wanted(second))
    assert scoped_now == ("closedmail-scoped" in exchange.objects[OUT]) or not wanted(second)
    exchange.run(script)
    assert exchange.changes == []


def led(exchange: Exchange) -> set[str]:
    """Entries that go to the relay, by connectors or by rules that are enabled."""
    found: set[str] = set()
    for rule in exchange.objects.get(RULE, {}).values():
        if rule["enabled"] and exchange.objects[OUT][rule["routemessageoutboundconnector"]]["enabled"]:
            found |= set(rule["recipientdomainis"] or ())
            patterns = rule["recipientaddressmatchespatterns"] or ()
            found |= {"*" + re.sub(r"\\(.)", r"\1", pattern.removesuffix("$")) for pattern in patterns}
    for item in exchange.objects.get(OUT, {}).values():
        if item["enabled"] and not item["istransportrulescoped"]:
            found |= set(item["recipientdomains"])
    return found


def test_another_relay_changes_each_connector_once() -> None:
    exchange = Exchange()
    exchange.run(script_of(shared(1001)))
    exchange.run(script_of(shared(1001), request=ExportRequest(relays=("192.0.2.9",), tls_name="*.city.example")))
    assert [name for name, _ in exchange.changes] == ["Set-OutboundConnector"] * 2
    assert {(*item["smarthosts"], item["tlsdomain"]) for item in exchange.objects[OUT].values()} == {
        ("192.0.2.9", "*.city.example")
    }


def test_rules_within_their_limits() -> None:
    exchange = Exchange()
    script = script_of(shared(1200) + ".s.example esmtp:[192.0.2.1]\n", request=asked(scoped=True))
    exchange.run(script)
    assert len(led(exchange)) == 1201
    assert len(exchange.objects[RULE]) > 4
    with pytest.raises(ClosedmailError, match=r"hold 20000 bytes of domains in all, 2000 entries have 24890"):
        script_of(shared(2000), request=asked(scoped=True))


def test_what_is_not_ours_is_left_alone() -> None:
    exchange = Exchange(
        {
            OUT: {"Mine": {"name": "Mine", "enabled": False, "recipientdomains": ["*"], "smarthosts": []}},
            IN: {"Mine": {"name": "Mine", "enabled": False, "senderdomains": ["*"]}},
        }
    )
    exchange.run(script_of(shared(3)))
    exchange.run(script_of(""), RemoveAtMost=ALL)
    assert [list(found) for found in exchange.objects.values()] == [["Mine"], ["Mine"], []]


def test_removals_are_capped() -> None:
    exchange = Exchange()
    exchange.run(script_of(shared(30)))
    shell = exchange.run(script_of(shared(3)))
    assert len(exchange.routed(OUT)) == 30
    assert shell.warnings == ["27 entries of OutboundConnector would go, more than 20: kept. See -RemoveAtMost"]


def test_what_if_changes_nothing() -> None:
    exchange = Exchange()
    exchange.run(script_of(shared(3), request=asked(scoped=True, inbound_from=("192.0.2.1",))), what_if=True)
    assert exchange.changes == []


@pytest.mark.parametrize("entry", ["'; Remove-Item x; '", "$(Remove-Item x)", "\u2019; evil \u2018", "a' #", "<#"])
@pytest.mark.parametrize("scoped", [False, True])
def test_hostile_names_are_inert(entry: str, scoped: bool) -> None:
    made = published(configuration(), "a.zone.example esmtp:[192.0.2.1]\n")
    ((_, record),) = made.records()

    def nothing(key: str) -> None:
        return None

    hostile = PublishedGeneration(7, made.published_at, made.rules, made.own, lambda: [(entry, record)], nothing)
    exchange = Exchange()
    exchange.run(text_of(TARGET, hostile, request=asked(scoped=scoped, inbound_from=("192.0.2.1",))))
    assert {entry.lower()} == {name.lower() for name in led(exchange)} == exchange.routed(IN)


@settings(max_examples=30)
@given(configurations(), TABLES, st.booleans())
def test_it_parses(config: Config, table: str, scoped: bool) -> None:
    script = script_of(table, config, asked(scoped=scoped, inbound_from=("192.0.2.0/24",)))
    assert script.count("\r\n") == script.count("\n")
    parse(script)


# Inbound


def inbound(
    rule: Inbound, request: ExportRequest = RELAY, table: str = "a.zone.example esmtp:[192.0.2.1]\n"
) -> Exchange:
    exchange = Exchange()
    exchange.run(script_of(table, configuration(network(inbound=rule)), request))
    return exchange


def ranges(*texts: str) -> Inbound:
    return Inbound("enforce", allow_from=tuple(map(ip_network, texts)))


def test_by_address() -> None:
    exchange = inbound(ranges("192.0.2.7", "198.51.100.0/25", "203.0.112.0/23", "2001:db8::/32"))
    assert settings_of(exchange, IN) == [
        {
            "connectortype": "Partner",
            "senderipaddresses": ["192.0.2.7", "198.51.100.0/25", "203.0.112.0/24", "203.0.113.0/24"],
            "restrictdomainstoipaddresses": True,
            "restrictdomainstocertificate": False,
            "tlssendercertificatename": None,
            "requiretls": False,
            "enabled": True,
        }
    ]
    assert exchange.routed(IN) == {"a.zone.example"}


def test_wide_ranges_are_refused_by_name() -> None:
    inbound(ranges("10.1.0.0/16"))
    with pytest.raises(ClosedmailError, match=r"^\[network.ndb\] allow_from: 10.0.0.0/15 would be 512 ranges of /24"):
        inbound(ranges("10.0.0.0/15"))


NAMED = (CertificatePin(subject="MX.p.example", issuer="Closed CA"),)


@pytest.mark.parametrize("require", ["cert", "ip and cert"])
def test_by_certificate(require: str) -> None:
    rule = Inbound("enforce", "cert" if require == "cert" else "ip and cert", ranges("192.0.2.1").allow_from)
    exchange = inbound(Inbound("enforce", rule.require, rule.allow_from, certificates=NAMED))
    (found,) = settings_of(exchange, IN)
    assert (found["tlssendercertificatename"], found["restrictdomainstocertificate"]) == ("mx.p.example", True)
    assert (found["requiretls"], found["restrictdomainstoipaddresses"]) == (True, False)


FINGERPRINT = (CertificatePin(fingerprint="ab" * 32, subject="mx.p.example"),)
HERE = ranges("192.0.2.1").allow_from


@pytest.mark.parametrize(
    "rule",
    [
        Inbound("defer", allow_from=HERE),
        Inbound("report", allow_from=HERE),
        Inbound("off", allow_from=HERE),
        Inbound("enforce", "cert", certificates=FINGERPRINT),
        Inbound("enforce", "cert", certificates=(*NAMED, CertificatePin(subject="other.example"))),
        Inbound("enforce", "cert", certificates=(CertificatePin(subject="Jane Doe"),)),
        Inbound("enforce", "ip or cert", HERE, certificates=NAMED),
        Inbound("enforce", allow_from=HERE, allow_route_hosts=True),
        ranges("2001:db8::/32"),
    ],
)
def test_what_can_not_be_said_is_not_enforced_and_named(rule: Inbound) -> None:
    assert inbound(rule).objects[IN] == {}
    script = script_of("a.zone.example esmtp:[192.0.2.1]\n", configuration(network(inbound=rule)))
    assert ("INBOUND NOT ENFORCED [network.ndb]" in script) == (rule.mode != "off")


def test_by_way_of_the_relay() -> None:
    request = asked(inbound_from=("192.0.2.128/25",))
    exchange = inbound(Inbound("enforce", "ip or cert", HERE, certificates=NAMED, require_tls=True), request)
    (found,) = settings_of(exchange, IN)
    assert (found["senderipaddresses"], found["requiretls"]) == (["192.0.2.128/25"], True)


@settings(max_examples=60)
@given(configurations(), TABLES, st.booleans())
def test_the_decisions_rule_is_found(config: Config, table: str, subdomains: bool) -> None:
    """The closest entry that covers a sender's domain is in the connector of the rule that the decision takes; only a
    suffix takes its own domain too."""
    partner = Partner(
        "b.zone.example",
        Inbound("enforce", allow_from=(ip_network("192.0.2.9"),), subdomains=subdomains),
        network="ndb",
    )
    plain = configuration(network(inbound=ranges("192.0.2.1")), partners=[partner], own=config.gateway.own_domains)
    made = published(plain, table)
    exchange = Exchange()
    exchange.run(text_of(TARGET, made, request=RELAY))
    found = {
        entry: exchange.objects[IN][name]["senderipaddresses"][0]
        for name, entries in exchange.entries(IN).items()
        for entry in entries
    }
    assert sum(map(len, exchange.entries(IN).values())) == len(found)
    book = _Book(made)
    probes = {key.removeprefix(".") for key, row in all_rows(made) if row.kind is not DeliveryKind.OWN}
    for name in sorted({below + name for name in probes for below in ("", "q.")}):
        match = find_partner(name, book)
        told = next((found[key] for key in (name, *(f"*.{at}" for at in (name, *parents(name)))) if key in found), None)
        if name not in found and f"*.{name}" in found and made.entry("." + name) is not None:
            continue  # a suffix alone: it takes its own domain, too, and the export says so
        if match is not None:
            assert told == str(match.rule.inbound.allow_from[0].network_address), name
        else:
            assert told is None, name
