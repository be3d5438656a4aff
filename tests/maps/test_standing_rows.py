"""Rows read back from a table that sync wrote: whose they are, and of which generation."""

import pytest

from closedmail.maps.standing_rows import StandingRows, parse_standing
from closedmail.publish.built_maps import header
from closedmail.words import iso

THEN = 1_795_489_200
HEAD = header(7, iso(THEN))
HELD = "mail for this domain is held: "


@pytest.mark.parametrize(
    ("row", "service", "held"),
    [
        ("koeln.example\tsmtp:[192.0.2.1]", "smtp", False),
        (".koeln.example\tclosedmail-ndb:[192.0.2.1]:25, [192.0.2.2]", "closedmail-ndb", False),
        ("koeln.example\tesmtp:[192.0.2.1]:[192.0.2.2]", "esmtp", False),
        ("koeln.example\terror:5.4.4 no route", "", False),
        ("koeln.example\tretry:4.1.2 says the list", "", False),
        (f"koeln.example\tretry:4.3.2 {HELD}it has disappeared from the list of its closed network", "", True),
        (f"koeln.example\tretry:4.7.5 {HELD}its TLS policy can not be met", "", True),
        (f'koeln.example\terror:4.3.2:"450 {HELD}it has disappeared from the list of its closed network"', "", True),
        (f"koeln.example\tretry:4.3.2 {HELD}its spelling is also that of another domain", None, False),
        ("koeln.example\t:", None, False),
        ("koeln.example\tunlisted", None, False),
        ("köln.example\tsmtp:[192.0.2.1]", None, False),  # its A-label has a row as well
        ("own.example\tsmtp:[192.0.2.1]", None, False),  # the administrator's own
        ("koeln.example", None, False),
        ("koeln example\tsmtp:[192.0.2.1]", None, False),
        ("", None, False),
    ],
)
def test_rows(row: str, service: str | None, held: bool) -> None:
    key = row.partition("\t")[0]
    found = parse_standing([*HEAD.splitlines(keepends=True), f"{row}\n"], {"own.example"})
    rows = {} if service is None else {key: service}
    assert found == StandingRows(7, THEN, rows, {key} if held else set())


@pytest.mark.parametrize(
    "text", ["", "# closedmail generation x\n", "# Published yesterday by closedmail sync\n", "# x\n"]
)
def test_no_header(text: str) -> None:
    assert parse_standing(text.splitlines(keepends=True)) == StandingRows()
