"""What no Postfix of this machine can show: other versions, systemd's units, and a machine that is made up."""

from collections.abc import Mapping
from dataclasses import replace

import pytest

from closedmail.config import parse
from closedmail.core.rule import rules_of
from closedmail.doctor.checks.policy_endpoint import best_endpoint, fails_closed, policyd_findings
from closedmail.doctor.checks.postfix_clients import client_findings
from closedmail.doctor.checks.postfix_domains import domain_findings
from closedmail.doctor.checks.postfix_transports import transport_findings, version_findings
from closedmail.doctor.checks.running import Running, state_findings
from closedmail.doctor.finding import Finding, Fix
from closedmail.doctor.finding_ids import Phase
from closedmail.doctor.postfix_facts import FileState, PostfixFacts
from closedmail.doctor.systemd_unit import UnitState, start_fix
from closedmail.mta.domain_lists import Item, read_domains
from closedmail.mta.postfix_config import PostfixConfig, Service
from closedmail.mta.restrictions import PolicyClient
from closedmail.status.problems import Problem

CONFIG = parse(
    """
[gateway]
own_domains = ["city.example"]
[postfix]
[network.ndb]
source = "/list"
signature = "none"
outbound = { transport = "ndb", tls = "encrypt" }
inbound = { mode = "enforce", allow_from = ["192.0.2.0/24"] }
""",
    "/etc/closedmail/closedmail.toml",
)
ENABLE = ("systemctl enable --now closedmail-sync.timer",)


class NoMachine:
    """Nothing is there, and nobody answers, but where `answering` says so."""

    def __init__(self, *answering: str) -> None:
        self.answering = answering

    def file(self, _path: str) -> FileState:
        return FileState()

    def table(self, table: str) -> Mapping[str, str] | None:
        tables = {"hash:/a": {"a.example": "x", "!b.example": "", "root": ""}, "/file": {"c.example": ""}}
        return tables.get(table)

    def answers(self, where: str) -> bool:
        return where in self.answering

    def stranger(self, _where: str) -> str:
        return ""


def facts(
    main: Mapping[str, str], *options: tuple[str, str], version: tuple[int, ...] = (3, 7), **how: str
) -> PostfixFacts:
    """A Postfix with one listener and one service `ndb`, which has these -o settings."""
    own = dict(options)
    ndb = Service("ndb", "unix", False, "smtp", own, {**main, **own})
    postfix = PostfixConfig(version, main, main, (ndb, Service("smtp", "inet", True, "smtpd", {}, main)))
    return PostfixFacts(CONFIG, tuple(rules_of(CONFIG)), postfix, NoMachine(*how.values()))


@pytest.mark.parametrize(
    ("version", "old"), [((2, 11), True), ((3, 4, 27), True), ((3, 5), False), ((3, 10, 1), False), ((4,), False)]
)
def test_a_postfix_that_is_too_old(version: tuple[int, ...], old: bool) -> None:
    assert [item.id for item in version_findings(facts({}, version=version))] == ["postfix-version"] * old


@pytest.mark.parametrize(
    ("main", "options", "fix"),
    [
        ({}, (), None),  # before 3.10
        ({"tls_required_enable": "yes"}, (), ("postconf -e 'tls_required_enable = no'",)),
        ({"tls_required_enable": "no"}, (), None),
        ({"tls_required_enable": "yes"}, (("tls_required_enable", "no"),), None),
        (
            {"tls_required_enable": "no"},
            (("tls_required_enable", "yes"),),
            ("postconf -P ndb/unix/tls_required_enable=no",),
        ),
    ],
)
def test_tls_required(
    main: Mapping[str, str], options: tuple[tuple[str, str], ...], fix: tuple[str, ...] | None
) -> None:
    found = [(item.id, item.fix) for item in transport_findings(facts(main, *options))]
    assert found == ([("tls-required", fix)] if fix else [])


PRIVATE = "/etc/closedmail/private/client.key"
# The lines of the configuration, the timer's state, and the key that is named.
CLIENT_KEYS: list[tuple[str, UnitState, str]] = [
    ('client_cert = "/etc/client.pem"\nclient_key = "/etc/client.key"', "on", "client_key is /etc/client.key"),
    ('client_cert = "/etc/client.pem"', "off", "client_cert is /etc/client.pem"),
    ('client_cert = "/etc/client.pem"\nclient_key = "/etc/client.key"', "missing", ""),
    ('client_cert = "/etc/client.pem"\nclient_key = "/etc/client.key"', "", ""),
    (f'client_cert = "/etc/client.pem"\nclient_key = "{PRIVATE}"', "on", ""),
    ('client_cert = "/etc/ssl/private/client.pem"', "on", ""),
    ("", "on", ""),
]


@pytest.mark.parametrize(("lines", "timer", "named"), CLIENT_KEYS)
def test_a_client_key_that_the_daemons_can_read(lines: str, timer: UnitState, named: str) -> None:
    text = f"""
[gateway]
own_domains = ["city.example"]
[network.ndb]
source = "https://lists.example/list"
signature = "none"
{lines}
outbound = {{ tls = "encrypt", smarthost = ["[192.0.2.1]:25"] }}
inbound = {{ mode = "off" }}
"""
    running = Running(generation=1, timer=timer, cron=True)
    found = list(state_findings(parse(text, "/etc/closedmail/closedmail.toml"), running))
    assert [item.id for item in found] == ["client-key"] * bool(named)
    assert all(named in item.text for item in found)


@pytest.mark.parametrize(
    ("running", "identifier", "fix"),
    [
        (Running(generation=1), "", ()),  # no systemd
        (Running(generation=1, timer="on"), "", ()),
        (Running(generation=1, timer="off"), "timer", ENABLE),
        (Running(generation=1, timer="off", cron=True), "", ()),
        (Running(generation=1, timer="missing"), "timer", ()),
        (Running(generation=1, timer="missing", cron=True), "", ()),
        (Running(timer="on", trouble="nothing"), "no-generation", ("closedmail sync",)),
        (Running(generation=1, keys=(Problem("key-expires", "warning", "old"),)), "signing-key", ()),
    ],
)
def test_what_runs(running: Running, identifier: str, fix: tuple[str, ...]) -> None:
    found = [(item.id, item.fix) for item in state_findings(CONFIG, running)]
    assert found == ([(identifier, fix)] if identifier else [])


def test_without_a_list_nothing_has_to_be_fetched() -> None:
    alone = replace(CONFIG, networks=(replace(CONFIG.networks[0], source=None),))
    assert list(state_findings(alone, Running(generation=1, timer="off"))) == []


SOCKET = "closedmail-policyd.socket"


@pytest.mark.parametrize(
    ("state", "fix", "text"),
    [
        ("", (), "start it: closedmail --config /where.toml policyd"),
        ("missing", (), "start it: closedmail --config /where.toml policyd"),
        ("off", (f"systemctl enable --now {SOCKET}",), "Postfix defers all mail"),
        ("on", ("systemctl restart closedmail-policyd.service",), "Postfix defers all mail"),
    ],
)
def test_policyd_does_not_answer(state: UnitState, fix: tuple[str, ...], text: str) -> None:
    given = replace(facts({}), config=replace(CONFIG, path="/where.toml"))
    (finding,) = policyd_findings(given, start_fix(SOCKET, state, "closedmail-policyd.service"))
    assert (finding.id, finding.fix) == ("policyd", fix)
    assert finding.text.endswith(text)


def test_a_socket_unit_has_it_listen_below_the_queue() -> None:
    where = "unix:/var/spool/postfix/closedmail/policy.sock"
    assert list(policyd_findings(facts({}, where=where), None)) == []
    outside = facts({}, where="unix:/run/closedmail/policy.sock")
    assert [item.id for item in policyd_findings(outside, None)] == ["socket-chroot"]


@pytest.mark.parametrize(
    ("raw", "found"),
    [({}, []), ({"mynetworks": "192.0.2.128/25"}, ["allow-from-mynetworks", "mynetworks-trusted"])],
)
def test_the_machines_own_addresses_need_no_trust(raw: Mapping[str, str], found: list[str]) -> None:
    """They are what Postfix takes where nobody has set mynetworks."""
    main = {"mynetworks": raw.get("mynetworks", "127.0.0.0/8 203.0.113.25/32 [2001:db8::25]/128")}
    given = facts(main)
    given = replace(given, postfix=replace(given.postfix, raw=raw))
    assert [item.id for item in client_findings(given)] == found


@pytest.mark.parametrize(
    ("keys", "found"),
    [
        ({"koeln.example"}, ["partner-local"]),
        ({".example"}, ["partner-local"]),
        ({"x.koeln.example"}, ["own-domains"]),
        # Below our own, nothing but a [partner] table makes a partner.
        ({"koeln.example", "sub.city.example"}, ["partner-local"]),
    ],
)
def test_partners_in_mydestination(keys: set[str], found: list[str]) -> None:
    given = replace(facts({"mydestination": "sub.city.example koeln.example"}), partner_keys=frozenset(keys))
    assert [item.id for item in domain_findings(given)] == found


def test_domains_of_a_list() -> None:
    value = "A.example, .b.example !x.example localhost localhost.localdomain hash:/a /file ldap:/none [192.0.2.1] -"
    assert list(read_domains(value, NoMachine())) == [
        Item("a.example", literal="A.example"),
        Item(".b.example", literal=".b.example"),
        Item("a.example", source="hash:/a"),
        Item("c.example", source="/file"),
    ]


def test_a_finding_as_json() -> None:
    fix = Fix.postconf("/my postfix", "-e", "a = b")
    finding = Finding("a", Phase.CONFIGURE, "error", "b", (fix,))
    shown = "postconf -c '/my postfix' -e 'a = b'"
    assert finding.to_json() == {"id": "a", "severity": "error", "text": "b", "fix": [shown]}


@pytest.mark.parametrize(
    ("answering", "spelled"),
    [
        (("/run/closedmail/policy.sock",), "unix:/run/closedmail/policy.sock"),
        (("/run/closedmail/policy.sock", "/q/closedmail/policy.sock"), "unix:closedmail/policy.sock"),
    ],
)
def test_the_socket_that_a_chrooted_smtpd_finds_is_taken_first(answering: tuple[str, ...], spelled: str) -> None:
    """Also where none is chrooted: one may be, some day."""
    given = facts({"queue_directory": "/q"})
    listener = replace(given.postfix.services[1], chroot=False)
    machine = NoMachine(*(f"unix:{path}" for path in answering))
    found = best_endpoint(replace(given, postfix=replace(given.postfix, services=(listener,)), machine=machine))
    assert found is not None
    assert found.spelled == spelled


@pytest.mark.parametrize(
    ("action", "closed"),
    [
        ("451 4.3.5 Server configuration problem", True),
        ("554 5.7.1 no", True),
        ("DEFER", True),
        ("defer_if_permit later", True),
        ("reject", True),
        ("REJECT not now", True),
        ("defer_if_reject", False),
        ("reject_unauth_destination", False),
        ("defer_unauth_destination", False),
        ("451", False),  # a number alone is OK
        ("OK", False),
        ("dunno", False),
        ("", False),
    ],
)
def test_what_fails_closed(action: str, closed: bool) -> None:
    smtpd = Service("smtp", "inet", True, "smtpd", {}, {"smtpd_policy_service_default_action": action})
    assert fails_closed(PolicyClient("unix:a"), smtpd) is closed
    assert (
        fails_closed(PolicyClient("unix:a", {"default_action": action}), Service("smtp", "inet", True, "smtpd"))
        is closed
    )
