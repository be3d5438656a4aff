"""Which zones are forwarded, and which are not resolved at all; and what policy zones do with hosts that they hide."""

import pytest
from support.core_samples import configuration, network
from support.export_samples import published, texts_of

from closedmail.core.model import Inbound, Outbound, Partner
from closedmail.errors import ClosedmailError
from closedmail.exports.forwarding import UNRESOLVED, private_names, zones
from closedmail.exports.notes import Notes
from closedmail.exports.targets import TARGETS

SERVERS = ("192.0.2.53", "2001:db8::53")
NDB = {"ndb": SERVERS}


@pytest.mark.parametrize(
    ("text", "expected", "noted"),
    [
        ("a.example smtp:[192.0.2.1]\n", {"a.example": SERVERS}, ""),
        (".a.example smtp:[192.0.2.1]\n", {"a.example": SERVERS}, ""),
        ("a.example smtp:[192.0.2.1]\n.a.example smtp:[192.0.2.2]\n", {"a.example": SERVERS}, ""),
        ("a.example error:4.7.0:no\n", {"a.example": UNRESOLVED}, ""),
        ("a.example error:5.7.0:no\n", {"a.example": UNRESOLVED}, ""),
        ("a.example smtp:\n", {"a.example": UNRESOLVED}, ""),
        (
            "a.example smtp:[192.0.2.1]\n.a.example error:5.7.0:no\n",
            {"a.example": UNRESOLVED},
            "the domain and the names below it differ, and a zone has one answer: not resolved (1 domain): a.example",
        ),
        (
            "a.example error:5.7.0:no\n.a.example smtp:[192.0.2.1]\n",
            {"a.example": UNRESOLVED},
            "the domain and the names below it differ, and a zone has one answer: not resolved (1 domain): a.example",
        ),
        (
            ".zone.example smtp:[192.0.2.1]\n",
            {"own.zone.example": None, "zone.example": SERVERS},
            "",
        ),
    ],
)
def test_zones(text: str, expected: dict[str, object], noted: str) -> None:
    config = configuration(own=["city.example", "own.zone.example"])
    notes = Notes()
    assert zones(published(config, text, dns_servers=NDB), notes) == expected
    assert "\n".join(notes.lines()) == noted


def test_closed_domains_are_asked_inside_and_held_ones_are_not() -> None:
    made = published(
        configuration(network(closed=["kim.example"])),
        "a.example smtp:[192.0.2.1]\n",
        before=["a.example smtp:[192.0.2.1]\nlost.example smtp:[192.0.2.2]\n"],
        dns_servers=NDB,
    )
    assert zones(made, Notes()) == {"a.example": SERVERS, "kim.example": SERVERS, "lost.example": UNRESOLVED}


def test_networks_and_partners_without_servers() -> None:
    config = configuration(
        network(),
        network("other", closed=["closed.example"]),
        partners=[Partner("alone.example", Inbound("enforce"), Outbound("may"), route="smtp:[192.0.2.3]")],
    )
    texts = ["a.example smtp:[192.0.2.1]\n", "b.example smtp:[192.0.2.2]\n"]
    notes = Notes()
    # What must not leave is not resolved, whether there is anybody to ask or not.
    assert zones(published(config, *texts, dns_servers=NDB), notes) == {
        "a.example": SERVERS,
        "closed.example": UNRESOLVED,
    }
    assert sorted(notes.lines()) == [
        "[network.other] has no DNS servers: resolved as before (1 domain): b.example",
        '[partner."alone.example"] has no DNS servers: resolved as before (1 domain): alone.example',
    ]
    with pytest.raises(ClosedmailError, match=r"no network in force has DNS servers .*\[network.NAME.dns\]"):
        zones(published(config, *texts), Notes())


def test_what_is_marked_insecure() -> None:
    """Zones that are forwarded; not those below another one, and not those that nobody is asked for."""
    found = {
        "a.x.example": SERVERS,
        "b.example": UNRESOLVED,
        "c.b.example": SERVERS,
        "x.example": SERVERS,
        "y.example": None,
    }
    assert list(private_names(found)) == ["c.b.example", "x.example"]


@pytest.mark.parametrize(
    ("route", "records"),
    [
        ("smtp:[h.example]", ["10 held.closedmail.invalid."]),  # it is a listed domain: the zone hides its address
        ("smtp:[h.example]:[192.0.2.2]", ["20 ip-192-0-2-2.closedmail.invalid."]),
        ("smtp:[k.example]", ["10 k.example."]),
        ("smtp:[h.example]:[k.example]", ["20 k.example."]),
    ],
)
def test_bind_leaves_out_hosts_that_it_hides(route: str, records: list[str]) -> None:
    made = published(configuration(), f"a.example {route}\nh.example smtp:[192.0.2.1]\n")
    texts = texts_of(TARGETS["bind"], made)
    lines = texts["closedmail.rpz"].splitlines()
    assert [line.partition(" MX ")[2] for line in lines if line.startswith("a.example ")] == records
    hidden = "a host of the route is a listed domain, and loses its address here: left out (1 domain): a.example"
    assert (hidden in texts["closedmail.conf"].replace("\n//   ", " ")) == ("[h.example]" in route)


@pytest.mark.parametrize("length", [228, 229, 253])
def test_names_that_are_too_long_for_a_policy_zone(length: int) -> None:
    labels = ["l" * 60] * 5
    name = (".".join(labels) + ".example")[-length:].lstrip(".")
    name = "x" * (length - len(name)) + name
    assert len(name) == length
    texts = texts_of(
        TARGETS["bind"], published(configuration(), f"{name} smtp:[192.0.2.1]\n.{name} smtp:[192.0.2.1]\n")
    )
    owners = [line.split()[0] for line in texts["closedmail.rpz"].splitlines() if name in line]
    said = "THE NAME IS TOO LONG" in texts["closedmail.conf"]
    assert (owners, said) == (([f"*.{name}", name], False) if length == 228 else ([], True))
    assert all(len(owner) + len(".rpz.closedmail.invalid") <= 253 for owner in owners)
