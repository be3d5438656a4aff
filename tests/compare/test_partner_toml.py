"""Old tables as texts, and the [partner] tables that are written for their rows."""

import tomllib

import pytest

from closedmail.compare.comparison import OldRow
from closedmail.compare.old_rows import parse_text
from closedmail.compare.partner_toml import partner_tables
from closedmail.config import parse
from closedmail.maps.row_value import parse_row_value

CONFIG = '[gateway]\nown_domains = ["city.example"]\n'


@pytest.mark.parametrize(
    ("text", "rows"),
    [
        ("", {}),
        ("# comment\n\n  # too\na.example smtp:x\n", {"a.example": "smtp:x"}),
        ("A.Example\t smtp:x \n", {"a.example": "smtp:x"}),
        ("a.example smtp:[192.0.2.1],\n  [192.0.2.2]\nb.example x:y\n", {
            "a.example": "smtp:[192.0.2.1], [192.0.2.2]", "b.example": "x:y",
        }),
        ("a.example smtp:x\na.example smtp:y\n", {"a.example": "smtp:x"}),
        ("a.example\n", {"a.example": ""}),
    ],
)  # fmt: skip
def test_a_text(text: str, rows: dict[str, str]) -> None:
    assert parse_text(text.splitlines(keepends=True)) == rows


@pytest.mark.parametrize(
    ("key", "value", "route", "port", "smarthost"),
    [
        ("bank.example", "smtp:[198.51.100.1]", "esmtp:[198.51.100.1]", 0, ()),
        (".land.example", "smtp:[198.51.100.1]:25", "esmtp:[198.51.100.1]", 0, ()),
        ("x.example", "smtp:[2001:db8::1]:2525", "esmtp:[IPv6:2001:db8::1]", 2525, ()),
        ("xn--kln-sna.example", "smtp:mx.x.example", "esmtp:mx.x.example", 0, ()),
        ("x.example", "smtp:[192.0.2.1]:26, [192.0.2.2]:26", "esmtp:[192.0.2.1]:[192.0.2.2]", 26, ()),
        ("x.example", "smtp:[192.0.2.1]:26, mx.x.example", "", 0, ("[192.0.2.1]:26", "mx.x.example")),
        ("x.example", "smtp:[127.0.0.1]:10025", "esmtp:[127.0.0.1]", 10025, ()),
    ],
)
def test_a_table_is_valid(key: str, value: str, route: str, port: int, smarthost: tuple[str, ...]) -> None:
    """By the program's own reader."""
    text = "\n".join(partner_tables({key: OldRow(key, value, parse_row_value(value))}))
    (partner,) = parse(CONFIG + text, "/etc/closedmail/closedmail.toml").partners
    assert partner.outbound
    assert (partner.key, partner.network, partner.route) == (key, "", route)
    assert (partner.outbound.port, partner.outbound.smarthost, partner.outbound.tls) == (port, smarthost, "may")
    assert partner.inbound.mode == "off"


@pytest.mark.parametrize("value", ["error:5.1.2 gone", "retry:", "local:\x1b[31m", "x"])
def test_what_is_no_route_is_a_comment(value: str) -> None:
    text = "\n".join(partner_tables({"x.example": OldRow("x.example", value, parse_row_value(value))}))
    assert tomllib.loads(text) == {}
    assert "# x.example" in text
    assert text.replace("\n", "").isprintable()
