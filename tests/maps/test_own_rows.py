"""Which rows of an own table Postfix finds before ours, and by which keys it looks."""

import pytest

from closedmail.core.domain import DomainSet
from closedmail.core.record import Entry
from closedmail.maps.own_rows import OwnRow, OwnRows, keys_to_ask, lookup_keys, rows_in_front, shield_keys
from closedmail.maps.protected_keys import ProtectedKeys

RECORDS = {key: Entry(0, "esmtp:[192.0.2.1]") for key in ("koeln.example", ".land.example", "xn--kln-sna.example")}
OURS = ProtectedKeys(DomainSet(("city.example", "own.land.example")), {"kim.example": 0}, RECORDS.get)


@pytest.mark.parametrize(
    ("key", "front", "behind"),
    [
        ("koeln.example", "koeln.example", None),
        ("KOELN.example", "koeln.example", None),
        ("köln.example", "xn--kln-sna.example", None),
        ("chef@koeln.example", "koeln.example", "koeln.example"),
        ("*@koeln.example", "koeln.example", "koeln.example"),
        ("chef@a.land.example", ".land.example", ".land.example"),
        (".koeln.example", None, None),
        ("a.koeln.example", None, None),
        # A longer key is looked up first, wherever its table stands.
        (".land.example", ".land.example", None),
        ("a.land.example", ".land.example", ".land.example"),
        (".a.land.example", ".land.example", ".land.example"),
        ("land.example", None, None),
        # A shorter one is looked up last.
        (".example", None, None),
        ("example", None, None),
        ("*", None, None),
        # A guard is a row of ours, a shield is none.
        ("kim.example", "kim.example", None),
        ("a.kim.example", ".kim.example", ".kim.example"),
        ("city.example", None, None),
        ("own.land.example", None, None),
        ("x.own.land.example", None, None),
        ("stranger.example", None, None),
        ("chef@stranger.example", None, None),
        ("not a domain", None, None),
        ("10.in-addr", None, None),
    ],
)
def test_a_row(key: str, front: str | None, behind: str | None) -> None:
    for first, ours in ((True, front), (False, behind)):
        found = list(rows_in_front([(key, "smtp:x")], OURS.row_key, first=first))
        assert found == ([(ours, key, "smtp:x")] if ours else [])


def test_where_parents_match() -> None:
    """parent_domain_matches_subdomains = transport_maps: `x` stands for all below x as well."""
    rows = [("land.example", "smtp:x"), ("koeln.example", "smtp:y")]
    found = list(rows_in_front(rows, OURS.row_key, first=True, parents_match=True))
    assert found == [(".land.example", *rows[0]), ("koeln.example", *rows[1])]


@pytest.mark.parametrize(
    ("address", "delimiter", "keys"),
    [
        ("u@a.b.example", "", "u@a.b.example a.b.example .b.example .example"),
        ("u+x@b.example", "+", "u+x@b.example u@b.example b.example .example"),
        ("u-x+y@b.example", "+-", "u-x+y@b.example u@b.example b.example .example"),
        ("+x@b.example", "+", "+x@b.example b.example .example"),
        ("u+x@b.example", "", "u+x@b.example b.example .example"),
        ("a@b@c.example", "", "a@b@c.example c.example .example"),
    ],
)
def test_keys_of_a_recipient(address: str, delimiter: str, keys: str) -> None:
    assert lookup_keys(address, delimiter) == keys.split()
    below = lookup_keys(address, delimiter, parents_match=True)
    assert below == [key.removeprefix(".") for key in keys.split()]


def test_what_a_table_is_asked() -> None:
    asked = keys_to_ask(["koeln.example", ".land.example", "xn--kln-sna.example"])
    assert set(asked.values()) == {"koeln.example", ".land.example", "xn--kln-sna.example"}
    whole = {key.rpartition("@")[2]: partner for key, partner in asked.items() if "@" in key}
    assert whole["closedmail-asks.land.example"] == ".land.example"
    assert whole["köln.example"] == asked["köln.example"] == "xn--kln-sna.example"


@pytest.mark.parametrize(
    ("rows", "own", "below"),
    [
        ({}, None, None),
        ({"*": "smtp:w"}, "smtp:w", "smtp:w"),
        ({".example": "smtp:e", "*": "smtp:w"}, "smtp:e", "smtp:e"),
        ({".land.example": "smtp:l", ".example": "smtp:e"}, "smtp:l", "smtp:l"),
        ({".own.land.example": "smtp:b", "*": "smtp:w"}, "smtp:w", "smtp:b"),
        ({"own.land.example": "smtp:o"}, "smtp:o", None),
        ({"land.example": "smtp:l", "x.own.land.example": "smtp:x"}, None, None),
    ],
)
def test_what_own_tables_say_of_an_own_domain(rows: dict[str, str], own: str | None, below: str | None) -> None:
    for key, value in (("own.land.example", own), (".own.land.example", below)):
        assert next((rows[one] for one in shield_keys(key) if one in rows), None) == value


@pytest.mark.parametrize(
    ("value", "ours", "kind", "differs"),
    [
        ("smtp:[192.0.2.1]", "ndb:[192.0.2.1]", "route", False),
        ("smtp:[192.0.2.1]:25", "ndb:[192.0.2.1]", "route", False),
        ("smtp:[192.0.2.1]:26", "ndb:[192.0.2.1]", "route", True),
        ("smtp:192.0.2.1", "ndb:[192.0.2.1]", "route", True),
        (":", "ndb:[192.0.2.1]", "route", True),
        ("smtp:[192.0.2.1]", "retry:4.3.2 held", "route", True),
        ("encrypt  protocols=x", "encrypt protocols=x", "tls", False),
        ("may", "encrypt", "tls", True),
    ],
)
def test_a_row_that_differs(value: str, ours: str, kind: str, differs: bool) -> None:
    row = OwnRow("x.example", "x.example", "hash:/t", value, ours, "tls" if kind == "tls" else "route")
    assert row.differs is differs


def test_those_that_differ_are_named_first() -> None:
    rows = tuple(
        OwnRow(f"d{n:02}.example", f"d{n:02}.example", "hash:/t", f"smtp:[192.0.2.{n}]", "ndb:[192.0.2.12]")
        for n in range(1, 13)
    )
    found = OwnRows((rows[11], *rows[:11]), (("ldap:/x", "no"),))
    first, last = found.sentences()
    assert "d01.example smtp:[192.0.2.1] (for ndb:[192.0.2.12])" in first
    assert first.endswith(", … and 2 more")
    assert "d12.example" not in first
    assert last.startswith("ldap:/x can't be read (no)")
    assert OwnRows.from_json(found.to_json()) == found
