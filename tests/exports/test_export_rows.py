"""Where mail goes by an export: the same as by Postfix's transport table, and the formats that carry all of it."""

import csv
import io
import json

import pytest
from hypothesis import given
from support.core_samples import advance, configuration, hold, in_force, network, read
from support.export_samples import (
    HOLDS,
    PUBLISHED,
    SMARTHOSTS,
    TABLES,
    configurations,
    published,
    published_of,
    text_of,
)

from closedmail.core.domain import DomainSet, parents
from closedmail.core.hold_reason import Why
from closedmail.core.model import CertificatePin, Config, Inbound, Outbound
from closedmail.exports.export_rows import ExportRow, all_rows, outbound_rows
from closedmail.exports.header import header
from closedmail.exports.mailertable import value_of
from closedmail.exports.notes import Notes
from closedmail.exports.target import ExportRequest
from closedmail.exports.targets import TARGETS
from closedmail.mailertable.grammar import canonical
from closedmail.maps.postfix_transport import transport_rows
from closedmail.routes.delivery import DeliveryKind
from closedmail.routes.nexthop import MailHost

SHIELD = ":"


def told(row: ExportRow) -> str:
    """An export row as a row of Postfix's transport table."""
    outbound, delivery = row.rule.outbound if row.rule else None, row.delivery
    if delivery.kind is DeliveryKind.OWN:
        return SHIELD
    if delivery.kind is not DeliveryKind.ROUTED:
        printable = "".join(char if " " <= char <= "~" else "?" for char in delivery.text)
        return f"{'retry' if delivery.kind is DeliveryKind.HELD else 'error'}:{delivery.dsn} {printable}"
    nexthops = [host.name if host.mx else f"[{host.name}]" for host in delivery.hosts]
    spelled = [
        nexthop + (f":{host.port}" if host.port else "") for nexthop, host in zip(nexthops, delivery.hosts, strict=True)
    ]
    assert outbound is not None
    return f"{outbound.transport}:{', '.join(spelled)}"


@given(configurations(), TABLES, TABLES, HOLDS)
def test_the_same_rows_as_postfix_has(config: Config, before: str, now: str, holds: dict[str, Why]) -> None:
    """All but the words: the one oracle is the table that Postfix really reads. Only there a U-label may be an ASCII
    key of nobody's, which is held, and shields own domains below it."""
    generation = hold(advance(config, now, previous=in_force(advance(config, before))), holds)
    made = published_of(generation, config)
    rows = list(outbound_rows(made))
    assert [key for key, _ in rows] == sorted({key for key, _ in rows})
    expected = dict(transport_rows(generation, DomainSet(config.gateway.own_domains)))
    folded = {key for key in generation.spellings if key.isascii() and generation.get(key) is None}
    found = {key: told(row) for key, row in rows if key not in folded}
    ascii_rows = {key: value for key, value in expected.items() if key.isascii() and key not in folded}
    for key in ascii_rows.keys() - found.keys():
        assert ascii_rows.pop(key) == SHIELD
        assert any("." + parent in folded for parent in parents(key.removeprefix(".")))
    assert found.keys() == ascii_rows.keys()
    for key, value in found.items():
        if value.startswith(("retry:", "error:")):
            assert value[:11] == ascii_rows[key][:11]
        else:
            assert value == ascii_rows[key]


@pytest.mark.parametrize(
    ("value", "hosts"),
    [
        ("esmtp:[192.0.2.1]", (MailHost("192.0.2.1", 10, is_address=True),)),
        (
            "relay:[192.0.2.1],mx.p.example:[IPv6:2001:db8::1]",
            (
                MailHost("192.0.2.1", 10, is_address=True),
                MailHost("mx.p.example", 10, mx=True),
                MailHost("2001:db8::1", 20, is_address=True),
            ),
        ),
        ("smtp:[h.example]:[h.example]", (MailHost("h.example", 10),)),
    ],
)
def test_hosts_and_their_preferences(value: str, hosts: tuple[MailHost, ...]) -> None:
    made = published(configuration(), f"a.zone.example {value}\n")
    assert [row.delivery.hosts for _, row in outbound_rows(made)] == [hosts]


def test_smarthosts_stand_for_every_route() -> None:
    made = published(configuration(network(outbound=SMARTHOSTS)), "a.zone.example esmtp:[192.0.2.1]\n")
    ((_, row),) = outbound_rows(made)
    assert row.delivery.hosts == (MailHost("r1.example", 10, port=26), MailHost("192.0.2.9", 20, is_address=True))
    assert value_of(row) == "esmtp:[r1.example]:[192.0.2.9]"


# The mailertable


@given(configurations(), TABLES, TABLES, HOLDS)
def test_the_mailertable_reads_back(config: Config, before: str, now: str, holds: dict[str, Why]) -> None:
    """No bad line, and the same routes."""
    made = published(config, now, before=[before], holds=holds)
    text = text_of(TARGETS["mailertable"], made)
    listing = read(text, admitted=[partner.key for partner in config.partners], own=[])
    assert listing.skipped == []
    rows = {key: row for key, row in outbound_rows(made) if row.kind is not DeliveryKind.OWN}
    assert listing.entries.keys() == rows.keys()
    for key, row in rows.items():
        if row.kind is DeliveryKind.ROUTED:
            assert listing.entries[key] == canonical(value_of(row))
        else:
            assert listing.entries[key].startswith(f"error:{row.delivery.dsn}:")


def test_the_whole_mailertable() -> None:
    config = configuration(network(closed=["kim.example"]), own=["city.example", "own.zone.example"])
    made = published(config, ".zone.example esmtp:[192.0.2.1]\n", before=["lost.example smtp:mx.p.example\n"])
    assert text_of(TARGETS["mailertable"], made).splitlines() == [
        f"# closedmail export mailertable: generation 7, published {PUBLISHED}",
        "# Made by a program: changes are lost with the next export.",
        "#",
        "# NOT EXPRESSED here:",
        "# - an own domain lies below a listed suffix or a closed domain, and a mailertable has no row that leaves it",
        "#   alone: keep it in class {w} (local-host-names), or give it a row of its own in front (2 domains):",
        "#   .own.zone.example, own.zone.example",
        "# - a mailertable demands no TLS, [network.ndb] does: encrypt (1 domain): .zone.example",
        "#",
        "# Held domains are answered 4xx and wait, closed domains 5xx. Keys are A-labels, each in one line.",
        "# Sendmail: makemap hash /etc/mail/mailertable < this file. Others: import it where they take a list.",
        ".kim.example\terror:5.4.4:550 this domain is reached inside of its closed network only, and no route to it is "
        "known",
        ".zone.example\tesmtp:[192.0.2.1]",
        "kim.example\terror:5.4.4:550 this domain is reached inside of its closed network only, and no route to it is "
        "known",
        "lost.example\terror:4.3.2:450 mail for this domain is held: the list of its closed network has lost it",
    ]


def test_a_long_text_still_fits_in_a_line() -> None:
    made = published(configuration(), f"a.zone.example error:5.1.2:{'ü' * 498}\n")
    text = text_of(TARGETS["mailertable"], made)
    assert read(text).skipped == []
    assert max(len(line.encode()) for line in text.splitlines()) == 1023


# csv and json


@given(configurations(), TABLES, HOLDS)
def test_csv_and_json_have_every_key_and_its_state(config: Config, now: str, holds: dict[str, Why]) -> None:
    made = published(config, now, holds=holds)
    expected = {key: row.kind.value for key, row in all_rows(made) if row.kind is not DeliveryKind.OWN}
    rows = list(csv.DictReader(io.StringIO(text_of(TARGETS["csv"], made), newline="")))
    assert {("." if row["covers"] == "below" else "") + row["domain"]: row["state"] for row in rows} == expected
    assert all(None not in row and None not in row.values() for row in rows)
    document = json.loads(text_of(TARGETS["json"], made))
    assert {key: value["state"] for key, value in document["domains"].items()} == expected
    assert all(value["rule"] in document["rules"] for value in document["domains"].values())


def test_csv_and_json_carry_rule_and_hosts() -> None:
    pins = (CertificatePin(issuer="=Ä, CA", subject='m"x'), CertificatePin(fingerprint="ab" * 32))
    inbound = Inbound("enforce", "ip or cert", certificates=pins)
    config = configuration(network(inbound=inbound, outbound=Outbound("encrypt", port=26)))
    made = published(config, "a.zone.example esmtp:[192.0.2.1],h.example\n")
    (row,) = csv.DictReader(io.StringIO(text_of(TARGETS["csv"], made), newline=""))
    assert row["hosts"] == "[192.0.2.1]:26 h.example:26"
    assert row["certificates"] == f'subject=m"x and issuer==Ä, CA; fingerprint={"ab" * 32}'
    assert (row["generation"], row["published_at"]) == ("7", PUBLISHED)
    document = json.loads(text_of(TARGETS["json"], made))
    assert document["domains"]["a.zone.example"]["hosts"] == [
        {"name": "192.0.2.1", "mx_lookup": False, "preference": 10, "port": 26},
        {"name": "h.example", "mx_lookup": True, "preference": 10, "port": 26},
    ]
    rule = document["rules"]["network.ndb"]
    assert rule["inbound"]["certificates"][0] == {"subject": 'm"x', "issuer": "=Ä, CA"}


def test_no_cell_is_a_formula() -> None:
    made = published(configuration(network("-1+1")), "a.zone.example smtp:[192.0.2.1]\n")
    (row,) = csv.DictReader(io.StringIO(text_of(TARGETS["csv"], made), newline=""))
    assert (row["network"], row["rule"]) == ("'-1+1", "network.-1+1")


# Header and notes


def test_notes_are_bounded_and_count() -> None:
    notes = Notes()
    assert not notes
    for number in range(1000):
        notes.add("no ports", f"d{number}.example")
    notes.add("a word for all")
    first, second = notes.lines()
    assert first.startswith("no ports (1000 domains): d0.example, d1.example")
    assert first.endswith("d19.example, … and 980 more")
    assert second == "a word for all."


def test_nothing_breaks_out_of_the_header() -> None:
    notes = Notes()
    notes.add("evil\nserver: \x1b[31m\u2028", "a.zone.example\nevil")
    lines = list(header("x", published(configuration(), ""), notes, ["  a command\r\nevil"], ";; "))
    assert all(line.startswith(";;") and "\n" not in line and line.isprintable() for line in lines)
    assert any(r"a command\r\nevil" in line for line in lines)


@pytest.mark.parametrize("name", [name for name, target in TARGETS.items() if not target.folder])
def test_the_same_generation_gives_the_same_text(name: str) -> None:
    made = published(configuration(), "b.zone.example esmtp:[192.0.2.1]\na.zone.example smtp:mx.p.example\n")
    request = ExportRequest(relays=("relay.city.example",)) if "relay" in TARGETS[name].needed else None
    text = text_of(TARGETS[name], made, request=request)
    assert text_of(TARGETS[name], made, request=request) == text
    assert PUBLISHED in text
