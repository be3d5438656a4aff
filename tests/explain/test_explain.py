"""`closedmail explain`: why a mail passes or not, and where a mail goes; always what the doors and the maps do."""

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from support.daemon import Daemon, Output, closedmail, closedmail_inside
from support.gateway import LIST, PARTNERS, Gateway, make_gateway
from support.network import Site
from support.policy_cases import CASES

RIGHT, WRONG = "192.0.2.1", "192.0.2.9"
INBOUND = ["verdict", "action", "network", "partner", "reason", "facts", "generation"]
OUTBOUND = ["verdict", "transport", "tls_policy", "network", "partner", "generation"]
OURS = ["text", "configuration_changed"]

GUARDED = 'signature = "none"\nsource = "{list}"\nclosed_domains = ["kim.example", "telematik.example"]'


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Gateway:
    """In force: LIST, with one domain held because its line is not understood, one because the list lost it."""
    folder = tmp_path_factory.mktemp("explain")
    partners = f'{PARTNERS}\n[partner."routed.example"]\nnetwork = "ndb"\nroute = "esmtp:[192.0.2.40]"\n'
    gateway = make_gateway(folder, network=GUARDED, partners=partners)
    gateway.write_list([*LIST, "lost.example esmtp:[192.0.2.24]"])
    gateway.sync()
    gateway.write_list([*LIST, "unclear.example esmtp:"])
    gateway.sync()
    return gateway


@pytest.fixture(scope="module")
def daemon(gateway: Gateway) -> Iterator[Daemon]:
    with Daemon(gateway.config) as daemon:
        yield daemon


def explain(gateway: Gateway, *arguments: str) -> Output:
    return closedmail_inside("explain", "--json", *arguments, config=gateway.config)


def inbound(gateway: Gateway, sender: str, client: str, **more: str) -> Output:
    options = [part for name, value in more.items() for part in (f"--{name.replace('_', '-')}", value)]
    found = explain(gateway, "--sender", sender, "--client-address", client, *options)
    assert found.stderr == ""
    assert list(found.json) == [*INBOUND, *OURS]
    return found


def without_text(found: Output) -> dict[str, Any]:
    value = found.json
    assert value.pop("text")
    assert value.pop("configuration_changed") is False
    return value


# Inbound

VERDICTS = [
    ("u@koeln.example", RIGHT, {}, ("accept", "DUNNO", "ndb", "koeln.example", "ok", (True, False, False)), 0),
    ("u@koeln.example", WRONG, {}, ("reject", "REJECT 5.7.1 ", "ndb", "koeln.example", "address", (False,) * 3), 1),
    ("u@defer.example", WRONG, {}, ("defer", "DEFER 4.7.1 ", "ndb", "defer.example", "address", (False,) * 3), 1),
    ("u@report.example", WRONG, {}, ("report", "WARN ", "ndb", "report.example", "address", (False,) * 3), 0),
    ("u@off.example", WRONG, {}, ("accept", "DUNNO", "ndb", "off.example", "off", (False,) * 3), 0),
    ("u@alone.example", RIGHT, {}, ("reject", "REJECT 5.7.1 ", None, "alone.example", "address", (False,) * 3), 1),
    (
        "u@cert.example",
        RIGHT,
        {},
        ("reject", "REJECT 5.7.1 ", "ndb", "cert.example", "certificate", (True, False, False)),
        1,
    ),
    ("u@tls.example", RIGHT, {}, ("reject", "REJECT 5.7.1 ", "ndb", "tls.example", "tls", (True, False, False)), 1),
    (
        "u@tls.example",
        RIGHT,
        {"encryption_protocol": "TLSv1.3"},
        ("accept", "DUNNO", "ndb", "tls.example", "ok", (True, False, True)),
        0,
    ),
    ("u@a.land.example", WRONG, {}, ("reject", "REJECT 5.7.1 ", "ndb", ".land.example", "address", (False,) * 3), 1),
    ("u@gone.example", WRONG, {}, ("reject", "REJECT 5.7.1 ", "ndb", "gone.example", "address", (False,) * 3), 1),
    ("u@lost.example", WRONG, {}, ("reject", "REJECT 5.7.1 ", "ndb", "lost.example", "address", (False,) * 3), 1),
    ("u@unclear.example", WRONG, {}, ("reject", "REJECT 5.7.1 ", "ndb", "unclear.example", "address", (False,) * 3), 1),
    ("u@kim.example", WRONG, {}, ("reject", "REJECT 5.7.1 ", "ndb", "kim.example", "address", (False,) * 3), 1),
    ("u@x.kim.example", WRONG, {}, ("reject", "REJECT 5.7.1 ", "ndb", "kim.example", "address", (False,) * 3), 1),
    ("u@stranger.example", WRONG, {}, ("none", "DUNNO", None, None, "not-listed", (None,) * 3), 0),
    ("", WRONG, {}, ("none", "DUNNO", None, None, "null-sender", (None,) * 3), 0),
    ("u@city.example", WRONG, {}, ("none", "DUNNO", None, None, "own-domain", (None,) * 3), 0),
    ("u@a.own.land.example", WRONG, {}, ("none", "DUNNO", None, None, "own-domain", (None,) * 3), 0),
    ("u@koeln.example", "203.0.113.1", {}, ("none", "DUNNO", None, None, "trusted", (None,) * 3), 0),
    ("u@koeln.example", WRONG, {"sasl_username": "joe"}, ("none", "DUNNO", None, None, "sasl", (None,) * 3), 0),
]


@pytest.mark.parametrize(("sender", "client", "more", "told", "status"), VERDICTS)
def test_inbound_json(
    gateway: Gateway,
    sender: str,
    client: str,
    more: dict[str, str],
    told: tuple[str, str, str | None, str | None, str, tuple[bool | None, ...]],
    status: int,
) -> None:
    found = inbound(gateway, sender, client, **more)
    verdict, action, network, partner, reason, facts = told
    value = without_text(found)
    if action.endswith(" "):
        assert value["action"].startswith(action)
        value["action"] = action
    assert value == {
        "verdict": verdict,
        "action": action,
        "network": network,
        "partner": partner,
        "reason": reason,
        "facts": dict(zip(("ip", "cert", "tls"), facts, strict=True)),
        "generation": 3,
    }
    assert found.status == status


@pytest.mark.parametrize("attributes", [attributes for attributes, _, _ in CASES])
def test_the_same_decision_as_the_daemon(gateway: Gateway, daemon: Daemon, attributes: dict[str, str | bytes]) -> None:
    given = {
        name: value if isinstance(value, str) else value.decode("utf-8", "surrogateescape")
        for name, value in attributes.items()
    }
    found = inbound(gateway, given.pop("sender"), given.pop("client_address", ""), **given).json
    instance = f"explain.{CASES.index(next(case for case in CASES if case[0] == attributes))}"
    assert daemon.ask(**attributes, instance=instance) == found["action"]
    if found["partner"]:
        line = f" partner={found['partner']} verdict={found['verdict']} reason={found['reason']} "
        daemon.wait_for(
            f"^network={found['network'] or '-'}{line}.* instance={instance} generation={found['generation']}$"
        )


def test_the_words_for_people(gateway: Gateway) -> None:
    said = closedmail_inside("explain", "--sender", "u@koeln.example", "--client-address", WRONG, config=gateway.config)
    assert (said.status, said.stderr) == (1, "")
    assert said.stdout.splitlines() == [
        "koeln.example is the partner koeln.example, by the rule of network ndb (require ip, mode enforce). "
        "The client's address is not authorised for this partner.",
        "verdict: reject (address)",
        "facts: address no, certificate no, TLS no",
        "Postfix gets: REJECT 5.7.1 Mail from koeln.example is accepted through ndb only: client address 192.0.2.9 "
        "is not authorised for it",
        "generation: 3",
    ]


def test_a_sender_that_the_door_would_not_answer(gateway: Gateway) -> None:
    said = closedmail("explain", "--sender", b"u@k\xf6ln.example", "--client-address", WRONG, config=gateway.config)
    assert (said.status, "not UTF-8" in said.error) == (1, True)


# Outbound

ROUTES = [
    ("u@koeln.example", "routed", "smtp:[192.0.2.20]", {"[192.0.2.20]": "encrypt"}, "ndb", "koeln.example", 0),
    ("koeln.example", "routed", "smtp:[192.0.2.20]", {"[192.0.2.20]": "encrypt"}, "ndb", "koeln.example", 0),
    ("U@Koeln.Example.", "routed", "smtp:[192.0.2.20]", {"[192.0.2.20]": "encrypt"}, "ndb", "koeln.example", 0),
    (
        "u@bonn.example",
        "routed",
        "smtp:[192.0.2.21], [192.0.2.22]",
        {"[192.0.2.21]": "encrypt", "[192.0.2.22]": "encrypt"},
        "ndb",
        "bonn.example",
        0,
    ),
    ("u@mx.example", "routed", "smtp:relay.mx.example", {"relay.mx.example": "encrypt"}, "ndb", "mx.example", 0),
    (
        "u@düsseldorf.example",
        "routed",
        "smtp:[192.0.2.23]",
        {"[192.0.2.23]": "encrypt"},
        "ndb",
        "xn--dsseldorf-q9a.example",
        0,
    ),
    ("u@a.b.land.example", "routed", "smtp:[2001:db8::25]", {"[2001:db8::25]": "encrypt"}, "ndb", ".land.example", 0),
    ("u@routed.example", "routed", "smtp:[192.0.2.40]", {"[192.0.2.40]": "encrypt"}, "ndb", "routed.example", 0),
    ("u@gone.example", "error", "error:5.1.2 moved away", {}, "ndb", "gone.example", 1),
    ("u@kim.example", "error", "error:5.4.4", {}, "ndb", "kim.example", 1),
    ("u@a.b.telematik.example", "error", "error:5.4.4", {}, "ndb", "telematik.example", 1),
    ("u@lost.example", "held", "retry:4.", {}, "ndb", "lost.example", 1),
    ("u@unclear.example", "held", "retry:4.", {}, "ndb", "unclear.example", 1),
    ("u@stranger.example", "none", None, {}, None, None, 1),
    ("u@land.example", "none", None, {}, None, None, 1),
    ("u@city.example", "none", None, {}, None, None, 1),
    ("u@own.land.example", "none", None, {}, None, None, 1),  # shielded from .land.example
    ("u@a.own.land.example", "none", None, {}, None, None, 1),
    ("u@a.city.example", "none", None, {}, None, None, 1),
    ("", "none", None, {}, None, None, 1),
    ("u@", "none", None, {}, None, None, 1),
]


@pytest.mark.parametrize(("recipient", "verdict", "transport", "policies", "network", "partner", "status"), ROUTES)
def test_outbound_json(
    gateway: Gateway,
    recipient: str,
    verdict: str,
    transport: str | None,
    policies: dict[str, str],
    network: str | None,
    partner: str | None,
    status: int,
) -> None:
    found = explain(gateway, "--recipient", recipient)
    assert (found.status, found.stderr) == (status, "")
    assert list(found.json) == [*OUTBOUND, *OURS]
    value = without_text(found)
    if transport and verdict != "routed":
        assert value["transport"].startswith(transport)
        value["transport"] = transport
    assert value == {
        "verdict": verdict,
        "transport": transport,
        "tls_policy": policies,
        "network": network,
        "partner": partner,
        "generation": 3,
    }


@pytest.mark.real("gpg", "postmap", "postconf")
def test_outbound_says_what_the_maps_say(plain: Site) -> None:
    """Every row of the real maps, and what stands in none."""
    plain.set(closed_domains=["kim.example"], outbound__tls="secure", outbound__tls_match=["mx.net.example"])
    plain.settings["gateway.own_domains"] = ["city.example", "own.land.example"]
    plain.partner("stays.example", network="ndb", route="esmtp:[192.0.2.50]", outbound__tls="may")
    plain.put("".join(f"{line}\n" for line in [*LIST, "lost.example esmtp:[192.0.2.24]"]))
    plain.published()
    plain.put("".join(f"{line}\n" for line in LIST))
    plain.published()
    rows, policies = plain.rows(), plain.rows("tls_policy")
    asked = [key for key in rows if not key.startswith(".")] + [f"any{key}" for key in rows if key.startswith(".")]
    verdicts = set()
    for name in asked:
        found = plain.run("explain", "--json", "--recipient", f"u@{name}").json
        row = plain.route(name) or plain.route("." + name.partition(".")[2])
        assert found["transport"] == (None if row == ":" else row), name
        assert all(policies[nexthop] == policy for nexthop, policy in found["tls_policy"].items())
        verdicts.add(found["verdict"])
    assert verdicts == {"routed", "held", "error", "none"}


def test_outbound_words_for_people(gateway: Gateway) -> None:
    said = closedmail_inside("explain", "--recipient", "u@koeln.example", config=gateway.config)
    assert (said.status, said.stderr) == (0, "")
    assert said.stdout.splitlines() == [
        "Mail to koeln.example goes by the row for koeln.example to smtp:[192.0.2.20], with TLS policy "
        "[192.0.2.20]: encrypt.",
        "generation: 3",
    ]


# Generation and configuration


def test_it_says_when_the_configuration_has_changed_since(tmp_path: Path) -> None:
    own = make_gateway(tmp_path)
    asked = ["--sender", "u@koeln.example", "--client-address", WRONG]
    own.configure(inbound='mode = "report"\nallow_from = ["192.0.2.1"]')
    found = explain(own, *asked)
    assert (found.json["verdict"], found.json["configuration_changed"], found.status) == ("reject", True, 1)
    assert explain(own, "--recipient", "u@koeln.example").json["configuration_changed"] is True
    said = closedmail_inside("explain", *asked, config=own.config)
    assert said.stdout.endswith(
        f"\nNote: the configuration file has changed since generation 1; closedmail --config {own.config} sync "
        "puts it in force.\n"
    )
    own.sync()
    found = explain(own, *asked)
    assert (found.json["verdict"], found.json["configuration_changed"], found.status) == ("report", False, 0)
    # What no generation depends on is no change.
    own.configure(inbound='mode = "report"\nallow_from = ["192.0.2.1"]', policyd='socket_mode = "0600"')
    assert explain(own, *asked).json["configuration_changed"] is False


def test_without_a_generation(tmp_path: Path) -> None:
    own = make_gateway(tmp_path)
    shutil.rmtree(own.state_dir)
    for asked in (["--sender", "u@koeln.example", "--client-address", WRONG], ["--recipient", "u@koeln.example"]):
        said = explain(own, *asked)
        assert said.status == 1
        assert said.error == f"{own.store}: no generation is in force yet; run: closedmail --config {own.config} sync"
    assert not own.state_dir.exists()


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["--json"],
        ["--sender", "u@koeln.example"],
        ["--client-address", WRONG],
        ["--sender", "u@koeln.example", "--client-address", WRONG, "--recipient", "u@koeln.example"],
        ["--recipient", "u@koeln.example", "--sasl-username", "joe"],
        ["--recipient"],
        ["--recipient", "a@b.example", "c@d.example"],
        ["--sender", "a@b.example", "--client-address", WRONG, "--no-such-option", "x"],
        ["u@koeln.example"],
    ],
)
def test_usage_errors(gateway: Gateway, arguments: list[str]) -> None:
    said = closedmail_inside("explain", *arguments, config=gateway.config)
    assert said.status == 2
    assert said.error
