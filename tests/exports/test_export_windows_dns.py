"""The script for Windows DNS Server, run on a model of its zones and policies, and cut off at every call."""

import re
from collections.abc import Callable, Sequence
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.core_samples import configuration, network
from support.export_samples import KEYS, NAMES, TABLES, VALUES, configurations, published, text_of
from support.powershell.cut_off import finished, states
from support.powershell.dns_server import BOUNCES, PUBLIC, WAITS, DnsServer, Zone
from support.powershell.values import PowerShellError

from closedmail.core.domain import parents
from closedmail.core.model import Config
from closedmail.exports import dns
from closedmail.exports.export_rows import outbound_rows
from closedmail.exports.published_generation import PublishedGeneration
from closedmail.exports.target import Form
from closedmail.exports.targets import TARGETS
from closedmail.routes.delivery import DeliveryKind

TARGET = TARGETS["windows-dns"]
SERVERS = {"ndb": ("192.0.2.53", "2001:db8::53")}
FORMS: st.SearchStrategy[Form] = st.sampled_from(["mx", "forward"])
LIST = "a.zone.example esmtp:[192.0.2.1]\n.s.example esmtp:[192.0.2.2]\nb.s.example esmtp:[192.0.2.3]\n"


def made_of(table: str, config: Config | None = None, servers: Sequence[str] = SERVERS["ndb"]) -> PublishedGeneration:
    return published(config or configuration(), table, dns_servers={"ndb": tuple(servers)})


def script_of(table: str, form: Form = "mx", config: Config | None = None) -> str:
    return text_of(TARGET, made_of(table, config), form)


def served(script: str) -> DnsServer:
    """A server that had nothing, after a run."""
    server = DnsServer()
    server.run(script)
    return server


# What is served is the list


@settings(max_examples=60)
@given(configurations(), TABLES)
def test_what_is_served_is_what_the_rows_say(config: Config, table: str) -> None:
    made = made_of(table, config)
    server = served(text_of(TARGET, made))
    rows = dict(outbound_rows(made))
    zones = {key.removeprefix(".") for key, row in rows.items() if row.kind is not DeliveryKind.OWN}
    for key, row in rows.items():
        name = f"q{key}" if key.startswith(".") else key
        if row.kind is DeliveryKind.OWN or (key.startswith(".") and _nearer(name, rows) != key):
            continue
        hosts = {host.name for host in row.delivery.hosts if host.is_address or not dns.within(host.name, zones)}
        expected = {
            DeliveryKind.ROUTED: hosts or {WAITS},
            DeliveryKind.REFUSED: {BOUNCES},
            DeliveryKind.HELD: {WAITS},
        }[row.kind]
        assert server.mail(name) == expected, name


def _nearer(name: str, rows: object) -> str | None:
    assert isinstance(rows, dict)
    return next((key for key in (name, *("." + parent for parent in parents(name))) if key in rows), None)


def test_each_form_again_and_from_one_to_the_other() -> None:
    """The other form's zones are known as ours; a run that was whole leaves nothing to do, and -WhatIf does nothing."""
    config = configuration(network(closed=["kim.example"]))
    server = DnsServer()
    for form in ("mx", "forward", "mx", "forward"):
        script = script_of(LIST, form, config)
        before = server.state()
        assert server.run(script, what_if=True).asked
        assert (server.changes, server.state()) == ([], before)
        assert server.run(script).warnings == []
        names = ["a.zone.example", "b.s.example", "q.s.example", "kim.example"]
        assert [server.mail(name) for name in names] == [served(script).mail(name) for name in names]
        assert server.mail("a.zone.example") == ({"192.0.2.1"} if form == "mx" else {f"by {x}" for x in SERVERS["ndb"]})
        assert {zone.kind for zone in server.zones.values()} == {"Primary" if form == "mx" else "Forwarder"}
        shell = server.run(script)
        assert (server.changes, shell.asked, shell.warnings) == ([], [], [])


@pytest.mark.parametrize("form", ["mx", "forward"])
def test_what_is_not_ours_stays(form: Form) -> None:
    own = {
        "a.zone.example": Zone("Primary", "a.zone.example.dns"),
        "b.s.example": Zone("Forwarder", servers=["198.51.100.53"]),
        "own.example": Zone("Primary", "own.example.dns"),
    }
    server = DnsServer({name: replace(zone) for name, zone in own.items()}, {"blocked": "EQ,bad.example"})
    server.zones["s.example"] = Zone("Primary", "s.example.dns", paused=True)
    assert len(server.run(script_of(LIST, form)).warnings) == 3
    server.run(script_of("", form))
    assert {name: server.zones[name] for name in own} == own
    assert server.zones["s.example"].paused
    assert "blocked" in server.policies


# Cut off


# Short ones: each call of a run is a state, and after each the script runs twice.
SHORT_LISTS = st.dictionaries(KEYS, VALUES, max_size=5).map(
    lambda rows: "".join(f"{key}\t{value}\n" for key, value in rows.items())
)


@settings(max_examples=50)
@given(configurations(), st.lists(st.tuples(SHORT_LISTS, FORMS), min_size=3, max_size=3), st.lists(NAMES, max_size=2))
def test_cut_off_at_every_call(config: Config, lists: list[tuple[str, Form]], more: list[str]) -> None:
    """The second of three scripts is cut off at each call; after it the same, or the third, runs. At each state a
    domain goes where one of the lists says, or waits, and after a whole run all is as it would be anyway."""
    generations = [made_of(table, config) for table, _ in lists]
    scripts = [text_of(TARGET, made, form) for made, (_, form) in zip(generations, lists, strict=True)]
    names = {*more, *(key.removeprefix(".") for made in generations for key, _ in outbound_rows(made))}
    names |= {f"q.{name}" for name in names}
    alone = [_mail(served(script), names) for script in scripts]
    first = served(scripts[0])
    undisturbed = [served(scripts[0]), served(scripts[0])]
    undisturbed[0].run(scripts[1])
    undisturbed[1].run(scripts[2])
    for left in states(first, scripts[1], _sees(alone[:2])):
        for script, until, whole in ((scripts[1], 2, undisturbed[0]), (scripts[2], 3, undisturbed[1])):
            server = finished(left, script, _sees(alone[:until]))
            assert server.state() == whole.state()
            server.run(script)
            assert server.changes == []


def _mail(server: DnsServer, names: set[str]) -> dict[str, frozenset[str]]:
    return {name: server.mail(name) for name in names}


def _sees(alone: list[dict[str, frozenset[str]]]) -> Callable[[DnsServer], None]:
    allowed = {name: frozenset({WAITS}).union(*(mail[name] for mail in alone)) for name in alone[0]}

    def look(server: DnsServer) -> None:
        for name, outcomes in allowed.items():
            assert server.mail(name) <= outcomes, name
        assert not any(zone.paused for zone in server.zones.values())

    return look


def test_one_more_refused_name_changes_one_policy() -> None:
    """A policy is named by what it denies: the rest is refused at every moment, and nothing else is touched."""
    names = [f"d{number}.example" for number in range(200)]
    table = "".join(f"{name} error:4.7.0:no\n" for name in names)
    server = served(script_of(table, "forward"))
    assert all(len(criterion.split(",")) <= 21 for criterion in server.policies.values())
    assert 10 <= len(server.policies) <= 60
    for now in (f"a0.example error:4.7.0:no\n{table}", table):
        before = dict(server.policies)
        server = states(server, script_of(now, "forward"), lambda server: _refused(server, names))[-1]
        assert 1 <= len(before.items() ^ server.policies.items()) <= 4


def _refused(server: DnsServer, names: list[str]) -> None:
    assert {outcome for name in names for outcome in server.mail(name)} == {WAITS}


def _anything(server: DnsServer) -> None:
    """Nothing is asked of this state."""


def test_what_the_script_of_before_left() -> None:
    """It held names by their position, and paused zones while it filled them: cut off, it left both behind."""
    config = configuration(network(closed=["kim.example"]))
    script = script_of(LIST, "mx", config)
    server = served(script)
    for zone in ("closedmail.invalid", "b.s.example", "kim.example"):
        server.zones[zone].paused = True
    server.zones["b.s.example"].records.clear()
    server.policies = {"closedmail-deny-00000": server.policies.popitem()[1]}
    seen = states(server, script, _anything)
    assert server.copy().run(script, what_if=True).asked
    assert seen[-1].state() == served(script).state()
    for state in seen:
        assert state.mail("held.closedmail.invalid") == {WAITS}
        assert state.zones["b.s.example"].records or state.zones["b.s.example"].paused
    done = seen[-1]
    done.run(script)
    assert done.changes == []


def test_no_name_goes_before_the_zones_that_mention_it() -> None:
    """All hosts change: a new name is there before a zone points to it, and an old one until none does."""
    server = served(script_of(LIST))
    now = re.sub(r"192\.0\.2\.", "198.51.100.", LIST)
    seen = states(server, script_of(now), _anything)
    for state in seen:
        assert state.mail("a.zone.example") <= {"192.0.2.1", "198.51.100.1"}
        assert state.mail("q.s.example") <= {"192.0.2.2", "198.51.100.2"}
    assert seen[-1].mail("b.s.example") == {"198.51.100.3"}


@pytest.mark.parametrize(
    ("before", "now"),
    [
        (("zone.example esmtp:[192.0.2.1]\n", "forward"), (LIST + "zone.example esmtp:[192.0.2.9]\n", "mx")),
        ((LIST, "mx"), ("", "mx")),
        ((LIST, "mx"), ("", "forward")),
        ((".zone.example esmtp:[192.0.2.9]\n" + LIST, "mx"), (LIST, "forward")),
    ],
)
def test_a_zone_takes_nothing_that_is_below_it(before: tuple[str, Form], now: tuple[str, Form]) -> None:
    """Deeper zones are there before it, and go after it; and one zone at a time is unfinished."""
    scripts = [script_of(*before), script_of(*now)]
    names = {"a.zone.example", "b.s.example", "q.s.example", "zone.example"}
    look = _sees([_mail(served(script), names) for script in scripts])
    seen = states(served(scripts[0]), scripts[1], look)
    unfinished = [sum(name.endswith("-unfinished") for name in state.policies) for state in seen]
    assert max(unfinished) <= 1
    assert unfinished[-1] == 0


# The model itself


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("Add-DnsServerPrimaryZone -Name 'a.example' -ZoneFile 'x.dns' -DynamicUpdate None", "exists"),
        ("Add-DnsServerPrimaryZone -Name 'b.example' -ZoneFile 'a.dns' -DynamicUpdate None", "ZoneFile"),
        ("Add-DnsServerPrimaryZone -Name 'b.example' -Colour 'red'", "has no"),
        ("Remove-DnsServerZone -Name 'a.example'", "asks back"),
        ("Remove-DnsServerZone -Name 'b.example' -Force", "no zone"),
        ("Resume-DnsServerZone -Name 'a.example'", "asks back"),
        ("Add-DnsServerQueryResolutionPolicy -Name 'p' -Action DENY -FQDN 'EQ,x.example'", "policy p"),
        ("Add-DnsServerQueryResolutionPolicy -Name 'q' -Action DENY -FQDN 'EQ,'", "name"),
        ("Add-DnsServerQueryResolutionPolicy -Name 'q' -Action DENY -FQDN 'x.example'", "criterion"),
        ("Remove-DnsServerQueryResolutionPolicy -Name 'q' -Force", "policy q"),
        ("Add-DnsServerConditionalForwarderZone -Name 'b.example' -MasterServers 'c'", "not appear"),
        ("Set-DnsServerConditionalForwarderZone -Name 'a.example' -MasterServers '192.0.2.1'", "no forwarder"),
        ("Add-DnsServerResourceRecordMX -ZoneName 'a.example' -Name '@' -Preference 10 -MailExchange 'h.'", "exists"),
        ("Add-DnsServerResourceRecordMX -ZoneName 'a.example' -Name '@' -Preference 10 -MailExchange 'i'", "MX"),
        ("Get-DnsServerResourceRecord -ZoneName 'a.example' -Name 'x' -RRType 'MX'", "no such record"),
        ("Get-DnsServerResourceRecord -ZoneName 'b.example'", "no primary zone"),
    ],
)
def test_the_model_refuses(line: str, said: str) -> None:
    server = DnsServer(
        {"a.example": Zone("Primary", "a.dns", records=[("@", "MX", ("10", "h."))])}, {"p": "EQ,a.example"}
    )
    with pytest.raises((PowerShellError, ValueError), match=said):
        server.run(line + "\n")


def test_what_the_model_answers() -> None:
    zone = Zone("Primary", "z.dns", records=[("@", "MX", ("10", "h.example.")), ("*", "MX", ("10", "i.zone.example."))])
    server = DnsServer({"zone.example": zone, "f.example": Zone("Forwarder", servers=["192.0.2.53"])})
    assert server.mail("zone.example") == {"h.example"}
    assert server.mail("q.zone.example") == {BOUNCES}
    assert server.mail("q.f.example") == {"by 192.0.2.53", PUBLIC}
    assert server.mail("x.example") == {PUBLIC}
    server.policies["p"] = "EQ,h.example,*.f.example"
    assert server.mail("zone.example") == server.mail("f.example") == server.mail("q.f.example") == {WAITS}
    server.policies.clear()
    server.run("Suspend-DnsServerZone -Name 'zone.example' -Force\n")
    assert server.mail("zone.example") == {PUBLIC}
