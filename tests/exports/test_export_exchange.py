"""The script for Exchange Server, run on a model of Exchange's objects."""

import re
from collections.abc import Iterable
from ipaddress import ip_network

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.core_samples import configuration, network
from support.export_samples import TABLES, configurations, published, text_of
from support.powershell.exchange import Exchange
from support.powershell.tree import parse
from support.powershell.values import PowerShellError

from closedmail.core.model import CertificatePin, Config, Inbound, Outbound, Partner
from closedmail.errors import ClosedmailError
from closedmail.exports.buckets import portions
from closedmail.exports.export_rows import outbound_rows
from closedmail.exports.published_generation import PublishedGeneration
from closedmail.exports.target import ExportRequest
from closedmail.exports.targets import TARGETS
from closedmail.routes.delivery import DeliveryKind

TARGET = TARGETS["exchange-onprem"]
SEND = "SendConnector"
ALL = 10**6
SMALL_LIST = "a.zone.example esmtp:[192.0.2.1]\nb.zone.example esmtp:[192.0.2.1]\nc.zone.example esmtp:[192.0.2.2]\n"


def script_of(table: str, config: Config | None = None, request: ExportRequest | None = None, before: str = "") -> str:
    made = published(config or configuration(), table, before=[before] if before else [])
    return text_of(TARGET, made, request=request)


def shared(count: int, host: str = "192.0.2.1") -> str:
    """A list whose domains all have one host."""
    return "".join(f"d{number}.example esmtp:[{host}]\n" for number in range(count))


def wanted(made: PublishedGeneration) -> dict[str, tuple[str, ...]]:
    """Address spaces, and the smart hosts that they should have: those of the route, or none that exists.

    A connector asks for one name in a certificate: at level secure, `tls_match` or the name of all its hosts.
    """
    found = {}
    for key, row in outbound_rows(made):
        if row.kind is DeliveryKind.OWN:
            continue
        outbound = row.rule.outbound if row.rule else None
        routed = row.kind is DeliveryKind.ROUTED and outbound is not None
        one_port = [host for host in row.delivery.hosts if host.port == row.delivery.hosts[0].port] if routed else []
        if outbound and outbound.tls == "secure" and not outbound.tls_match:
            named = len({host.name for host in one_port}) == 1 and not any(host.is_address for host in one_port)
            one_port = one_port if named else []
        hosts = {f"[{host.name}]" if host.is_address else host.name for host in one_port}
        found[f"*{key}" if key.startswith(".") else key] = tuple(sorted(hosts)) or ("held.closedmail.invalid",)
    return found


def told(exchange: Exchange) -> dict[str, tuple[str, ...]]:
    """Address spaces of our enabled connectors with their smart hosts; none may be in two."""
    found: dict[str, tuple[str, ...]] = {}
    for name, entries in exchange.entries(SEND).items():
        assert exchange.objects[SEND][name]["enabled"]
        for entry in entries:
            assert entry not in found
            found[entry] = tuple(exchange.objects[SEND][name]["smarthosts"])
    return found


def nouns(exchange: Exchange) -> list[str]:
    return [name for name, _ in exchange.changes]


# The state is the list


@pytest.mark.parametrize("count", [1, 1000, 1001, 20_000])
def test_the_connectors_are_the_list(count: int) -> None:
    exchange = Exchange()
    exchange.run(script_of(shared(count)))
    assert told(exchange) == {f"d{number}.example": ("[192.0.2.1]",) for number in range(count)}
    sizes = [len(entries) for entries in exchange.entries(SEND).values()]
    assert max(sizes) <= 1000
    assert len(sizes) == {1: 1, 1000: 1, 1001: 2}.get(count, len(sizes))
    # Again: nothing changes.
    shell = exchange.run(script_of(shared(count)))
    assert (exchange.changes, shell.asked, shell.warnings) == ([], [], [])
    # One more, and one less: one connector each, by one command each, unless a portion splits.
    more = shared(count) + "new.example esmtp:[192.0.2.1]\n"
    exchange.run(script_of(more))
    assert told(exchange).keys() == {f"d{number}.example" for number in range(count)} | {"new.example"}
    if count != 1000:
        assert nouns(exchange) == ["Set-SendConnector"]
    exchange.run(script_of(shared(count)))
    assert told(exchange).keys() == {f"d{number}.example" for number in range(count)}
    if count != 1000:
        assert nouns(exchange) == ["Set-SendConnector"]


def test_a_connector_for_each_host() -> None:
    table = "".join(f"d{n}.example esmtp:[198.51.{n // 250}.{n % 250 + 1}]\n" for n in range(2000))
    exchange = Exchange()
    exchange.run(script_of(table))
    assert told(exchange) == {f"d{n}.example": (f"[198.51.{n // 250}.{n % 250 + 1}]",) for n in range(2000)}


@settings(max_examples=60)
@given(configurations(), TABLES, TABLES, st.integers(1, 4))
def test_any_list_after_any_other(config: Config, before: str, now: str, limit: int) -> None:
    """The state equals the list, whatever was there; a second run changes nothing; and what both lists have is routed
    at every moment between."""
    exchange = Exchange()
    request = ExportRequest(limit=limit)
    first, second = published(config, before), published(config, now, before=[before])
    exchange.run(text_of(TARGET, first, request=request), RemoveAtMost=ALL)
    assert told(exchange) == wanted(first)
    both = wanted(first).keys() & wanted(second).keys()
    exchange.watch = lambda exchange: _holds(both <= exchange.routed(SEND))
    script = text_of(TARGET, second, request=request)
    exchange.run(script, RemoveAtMost=ALL)
    assert told(exchange) == wanted(second)
    assert all(len(entries) <= limit for entries in exchange.entries(SEND).values())
    exchange.run(script)
    assert exchange.changes == []


def _holds(condition: bool) -> None:
    assert condition


def test_only_differences_are_changed() -> None:
    exchange = Exchange()
    exchange.run(script_of(SMALL_LIST))
    same, moved = sorted(exchange.entries(SEND), key=lambda name: exchange.entries(SEND)[name])
    exchange.run(script_of(SMALL_LIST.replace("b.zone.example esmtp:[192.0.2.1]", "b.zone.example esmtp:[192.0.2.2]")))
    calls = [(name, call["identity"], call["addressspaces"]) for name, call in exchange.changes]
    assert calls == [
        ("Set-SendConnector", moved, ["SMTP:c.zone.example;1", "SMTP:b.zone.example;1"]),
        ("Set-SendConnector", same, ["SMTP:a.zone.example;1"]),
    ]


def test_a_connector_that_nothing_needs_goes_last() -> None:
    exchange = Exchange()
    exchange.run(script_of(shared(3)))
    exchange.run(script_of(shared(3, "192.0.2.9")))
    assert nouns(exchange) == ["New-SendConnector", "Set-SendConnector", "Remove-SendConnector"]
    assert exchange.changes[0][1]["enabled"] is False
    assert exchange.changes[1][1]["enabled"] is True


def test_what_was_changed_by_hand_is_mended() -> None:
    exchange = Exchange()
    exchange.run(script_of(SMALL_LIST))
    before = {name: dict(item) for name, item in exchange.objects[SEND].items()}
    name = sorted(before)[0]
    for key, value in (("port", 2525), ("requiretls", False), ("enabled", False)):
        exchange.objects[SEND][name][key] = value
    exchange.objects[SEND][name]["tlsauthlevel"] = None
    exchange.run(script_of(SMALL_LIST))
    assert exchange.objects[SEND] == before
    assert nouns(exchange) == ["Set-SendConnector"] * 2


def test_what_is_not_ours_is_left_alone() -> None:
    other = {"enabled": False, "addressspaces": ["SMTP:*;1"], "smarthosts": []}
    names = ("Internet", "my closedmail-x", "closedmail")
    exchange = Exchange({SEND: {name: {**other, "name": name} for name in names}})
    before = {name: dict(item) for name, item in exchange.objects[SEND].items()}
    exchange.run(script_of(SMALL_LIST))
    exchange.run(script_of(""), RemoveAtMost=ALL)
    assert exchange.objects[SEND] == before


def test_what_if_changes_nothing() -> None:
    exchange = Exchange()
    exchange.run(script_of(SMALL_LIST), what_if=True)
    assert exchange.objects == {SEND: {}}
    exchange.run(script_of(SMALL_LIST))
    before = {name: dict(item) for name, item in exchange.objects[SEND].items()}
    shell = exchange.run(script_of("b.zone.example esmtp:[192.0.2.1]\nn.example esmtp:[192.0.2.3]\n"), what_if=True)
    assert exchange.changes == []
    assert exchange.objects[SEND] == before
    assert sorted(action for _, action in shell.asked) == [
        "Make SendConnector with 1 entries",
        "Remove SendConnector",
        "Remove a.zone.example",
    ]


def test_removals_are_capped() -> None:
    exchange = Exchange()
    exchange.run(script_of(shared(30) + "x.example esmtp:[192.0.2.2]\n"))
    now = "x.example esmtp:[192.0.2.3]\nd29.example esmtp:[192.0.2.2]\n"
    shell = exchange.run(script_of(now))
    assert shell.warnings == ["29 entries of SendConnector would go, more than 20: kept. See -RemoveAtMost"]
    # What the list still has is where it belongs, all else where it was.
    assert told(exchange) == {
        **{f"d{number}.example": ("[192.0.2.1]",) for number in range(29)},
        "x.example": ("[192.0.2.3]",),
        "d29.example": ("[192.0.2.2]",),
    }
    exchange.run(script_of(now), RemoveAtMost=29)
    assert told(exchange).keys() == {"x.example", "d29.example"}


def test_a_portion_that_changes_wholly() -> None:
    """1,000 domains leave a connector that stays, and 1,000 come: the directory's limit is not passed on the way."""
    exchange = Exchange()
    exchange.run(script_of(shared(1000)))
    other = shared(1000).replace("d", "n")
    shell = exchange.run(script_of(other), RemoveAtMost=ALL)
    assert told(exchange).keys() == {f"n{number}.example" for number in range(1000)}
    assert shell.warnings == []
    moved = shared(1000).replace("d", "n").replace("[192.0.2.1]", "[192.0.2.2]") + shared(1000)
    shell = exchange.run(script_of(moved), RemoveAtMost=ALL)
    assert len(told(exchange)) == 2000
    assert len(shell.warnings) == 1
    assert "for a moment" in shell.warnings[0]
    with pytest.raises(PowerShellError, match="no room"):
        exchange.run(script_of(shared(1000).replace("d", "x")))


@given(st.sets(st.text("abc", min_size=1, max_size=4), max_size=60), st.integers(1, 10), st.text("abc", min_size=5))
def test_portions(names: set[str], limit: int, more: str) -> None:
    before = dict(portions(names, limit))
    assert sorted(name for part in before.values() for name in part) == sorted(names)
    assert all(1 <= len(part) <= limit for part in before.values())
    after = dict(portions(names | {more}, limit))
    changed = {bits for bits in before.keys() | after.keys() if before.get(bits) != after.get(bits)}
    # All that changed is one portion, or the portions that one was split into.
    assert len(before.keys() & changed) <= 1
    assert all(bits.startswith(next(iter(before.keys() & changed), bits)) for bits in changed)


# Hostile text


def _nothing(key: str) -> None:
    return None


@pytest.mark.parametrize(
    "entry",
    [
        "'; Remove-Item x; '",
        "$(Remove-Item x)",
        "a`n'",
        "\u2019; evil \u2018",
        "@{x=1}",
        "a.example' #",
        "<#",
        '"@',
        "ü",
    ],
)
def test_hostile_names_are_inert(entry: str) -> None:
    """No list brings such a name this far; if one did, it would be an address space of that name."""
    script = script_of("a.zone.example esmtp:[192.0.2.1]\n")
    made = published(configuration(), "a.zone.example esmtp:[192.0.2.1]\n")
    ((_, record),) = made.records()
    hostile = PublishedGeneration(7, made.published_at, made.rules, made.own, lambda: [(entry, record)], _nothing)
    script = text_of(TARGET, hostile)
    exchange = Exchange()
    exchange.run(script)
    ((name, call), _) = exchange.changes
    assert (name, call["addressspaces"]) == ("New-SendConnector", [f"SMTP:{entry};1"])


@settings(max_examples=40)
@given(configurations(), TABLES)
def test_it_parses(config: Config, table: str) -> None:
    script = script_of(table, config, ExportRequest(domain_secure=True))
    assert script.count("\r\n") == script.count("\n")
    parse(script)


# TLS, ports, hosts


def connector(outbound: Outbound, value: str = "esmtp:[mx.p.example]") -> dict[str, object]:
    """The settings of the only connector."""
    exchange = Exchange()
    exchange.run(script_of(f"a.zone.example {value}\n", configuration(network(outbound=outbound))))
    (found,) = exchange.objects[SEND].values()
    return found


def tls(outbound: Outbound, value: str = "esmtp:[mx.p.example]") -> tuple[object, ...]:
    found = connector(outbound, value)
    return tuple(found[key] for key in ("smarthosts", "requiretls", "tlsauthlevel", "tlsdomain", "ignorestarttls"))


MX = ["mx.p.example"]
NOWHERE = (["held.closedmail.invalid"], True, "DomainValidation", "held.closedmail.invalid", False)


@pytest.mark.parametrize(
    ("outbound", "value", "expected"),
    [
        (Outbound("none"), "esmtp:[mx.p.example]", (MX, False, None, None, True)),
        (Outbound("may"), "esmtp:[mx.p.example]", (MX, False, None, None, False)),
        (Outbound("encrypt"), "esmtp:[mx.p.example]", (MX, True, "EncryptionOnly", None, False)),
        (Outbound("verify"), "esmtp:[mx.p.example]", (MX, True, "DomainValidation", "mx.p.example", False)),
        (Outbound("secure"), "esmtp:[mx.p.example]", (MX, True, "DomainValidation", "mx.p.example", False)),
        (Outbound("secure"), "esmtp:mx.p.example", (MX, True, "DomainValidation", "mx.p.example", False)),
        (
            Outbound("verify", tls_match=("MX.q.example",)),
            "esmtp:[192.0.2.1]",
            (["[192.0.2.1]"], True, "DomainValidation", "mx.q.example", False),
        ),
        (Outbound("verify"), "esmtp:mx.p.example", NOWHERE),
        (Outbound("verify", tls_match=(".p.example",)), "esmtp:[mx.p.example]", NOWHERE),
        (Outbound("secure", tls_match=("dot-nexthop",)), "esmtp:[mx.p.example]", NOWHERE),
        (Outbound("secure"), "esmtp:[mx.p.example]:[mx2.p.example]", NOWHERE),
        (Outbound("secure", tls_match=("a.example", "b.example")), "esmtp:[mx.p.example]", NOWHERE),
        (Outbound("fingerprint", tls_match=("AA:BB",)), "esmtp:[mx.p.example]", NOWHERE),
        (Outbound("dane"), "esmtp:[mx.p.example]", NOWHERE),
        (Outbound("dane-only"), "esmtp:[mx.p.example]", NOWHERE),
    ],
)
def test_tls_is_kept_or_the_mail_waits(outbound: Outbound, value: str, expected: tuple[object, ...]) -> None:
    assert tls(outbound, value) == expected
    script = script_of(f"a.zone.example {value}\n", configuration(network(outbound=outbound)))
    assert ("NO WORKING ROUTE" in script) == (expected == NOWHERE)


def test_a_connector_has_one_port() -> None:
    smarthosts = Outbound("encrypt", smarthost=("[r1.example]:26", "[r2.example]:26", "[192.0.2.9]"))
    found = connector(smarthosts)
    assert (found["smarthosts"], found["port"]) == (["r1.example", "r2.example"], 26)
    script = script_of("a.zone.example esmtp:[h.example]\n", configuration(network(outbound=smarthosts)))
    assert "several ports" in script


def test_held_and_closed_domains_have_no_way_out() -> None:
    config = configuration(network(closed=["kim.example"]), own=["city.example", "own.zone.example"])
    now = ".zone.example esmtp:[192.0.2.1]\nno.example error:5.1.2:no\n"
    exchange = Exchange()
    script = script_of(now, config, before="lost.example esmtp:[192.0.2.1]\n")
    exchange.run(script)
    nowhere = ("held.closedmail.invalid",)
    assert told(exchange) == {
        "*.zone.example": ("[192.0.2.1]",),
        **dict.fromkeys(["lost.example", "kim.example", "*.kim.example", "no.example"], nowhere),
    }
    assert exchange.objects[SEND]["closedmail-held"]["errorpolicies"] == "DowngradeDnsFailures"
    flat = re.sub(r"\r\n#   ", " ", script)
    assert "takes d itself, too (1 domain): .zone.example" in flat
    assert "keep it an accepted domain (2 domains): .own.zone.example, own.zone.example" in flat
    assert "returns it later (3 domains): .kim.example, kim.example, no.example" in flat


# Inbound


RANGES = tuple(map(ip_network, ["10.0.0.0/8", "192.0.2.1", "2001:db8::/32"]))


def test_receive_connectors_are_made_where_wanted() -> None:
    config = configuration(
        network(inbound=Inbound("enforce", allow_from=RANGES)),
        partners=[Partner("p.zone.example", Inbound("enforce", allow_from=RANGES[:1], require_tls=True))],
    )
    script = script_of(SMALL_LIST, config)
    exchange = Exchange()
    exchange.run(script)
    assert "ReceiveConnector" not in exchange.objects
    exchange.run(script, ReceiveOn=["EX1", "EX2"])
    assert exchange.entries("ReceiveConnector") == {
        f"{server}\\closedmail-{name}": ranges
        for server in ("EX1", "EX2")
        for name, ranges in (("in", ["192.0.2.1", "2001:db8::/32"]), ("in-tls", ["10.0.0.0/8"]))
    }
    assert "10.0.0.0/8 is in rules with and without require_tls" in script
    exchange.run(script, ReceiveOn=["EX1", "EX2"])
    assert exchange.changes == []
    # A server that is not named is left alone.
    exchange.run(script_of(SMALL_LIST), ReceiveOn=["EX1"])
    assert [name.split("\\")[0] for name in exchange.entries("ReceiveConnector")] == ["EX2", "EX2"]


CERTIFIED = Inbound("enforce", "cert", certificates=(CertificatePin(subject="mx.p.example"),))
SECURE = ExportRequest(domain_secure=True)


def test_the_list_of_domains_with_mutual_tls() -> None:
    exchange = Exchange(secure=["own.example", "a.zone.example"])
    config = configuration(network(inbound=CERTIFIED))
    exchange.run(script_of(SMALL_LIST, config))
    assert exchange.secure == ["own.example", "a.zone.example"]
    exchange.run(script_of(SMALL_LIST + ".s.example esmtp:[192.0.2.1]\n", config, SECURE))
    assert sorted(exchange.secure) == ["a.zone.example", "b.zone.example", "c.zone.example", "own.example"]
    exchange.run(script_of(SMALL_LIST + ".s.example esmtp:[192.0.2.1]\n", config, SECURE))
    assert exchange.changes == []
    # Of what goes, only what came from us goes.
    exchange.run(script_of("c.zone.example esmtp:[192.0.2.1]\n", config, SECURE))
    assert sorted(exchange.secure) == ["a.zone.example", "c.zone.example", "own.example"]
    exchange.run(script_of(SMALL_LIST, configuration(), SECURE), what_if=True)
    assert len(exchange.secure) == 3
    exchange.run(script_of(SMALL_LIST, configuration(), SECURE))
    assert sorted(exchange.secure) == ["a.zone.example", "own.example"]


def test_too_many_domains_for_one_setting() -> None:
    with pytest.raises(ClosedmailError, match=r"1001 domains have to show a certificate.*at most 1000"):
        script_of(shared(1001), configuration(network(inbound=CERTIFIED)), SECURE)


# The model itself


def calls(exchange: Exchange, lines: Iterable[str]) -> None:
    exchange.run("\n".join(lines) + "\n")


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("New-SendConnector -Name 'a' -AddressSpaces @() -DNSRoutingEnabled $false -SmartHosts 'h'", "is empty"),
        ("New-SendConnector -Name 'a' -Colour 'red'", "has no"),
        ("Set-SendConnector -Identity 'a' -Enabled $true", "does not exist"),
        ("throw 'x'", "x"),
        ("$a = $nothing", "is not set"),
    ],
)
def test_the_model_refuses(line: str, said: str) -> None:
    with pytest.raises(PowerShellError, match=said):
        calls(Exchange(), [line])
