"""The rows of Sendmail's mailertable for a generation, and the administrator's own rows among them."""

from collections.abc import Mapping

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.core_samples import advance, configuration, network

from closedmail.core.domain import DomainSet
from closedmail.core.model import Config, Inbound, Outbound, Partner, SendmailMaps
from closedmail.mailertable.grammar import parse_value
from closedmail.maps.local_rows import LocalRowError, covering, fold_key, parse_local_rows
from closedmail.maps.sendmail_mailertable import mailertable_rows
from closedmail.routes.delivery import CLOSED, Delivery, DeliveryKind, route_of
from closedmail.routes.sendmail_route import LONGEST_VALUE, SHIELD, mailertable_value

CLOSED_ROW = 'error:5.4.4:"550 this domain is reached inside of its closed network only, and no route to it is known"'


def made(text: str, config: Config | None = None, local_rows: Mapping[str, str] | None = None) -> dict[str, str]:
    """The rows of a first list; sorted, and each key once."""
    config = config or configuration()
    generation = advance(config, text)
    found = list(mailertable_rows(generation, DomainSet(config.gateway.own_domains), local_rows or {}))
    assert [key for key, _ in found] == sorted({key for key, _ in found})
    return dict(found)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a.example ESMTP:[192.0.2.1]\n", {"a.example": "esmtp:[192.0.2.1]"}),
        (".a.example relay:MX.p.example:[2001:db8::1]\n", {".a.example": "relay:mx.p.example:[IPv6:2001:db8::1]"}),
        ("a.example dsmtp:[192.0.2.1],[192.0.2.2]:b.c\n", {"a.example": "dsmtp:[192.0.2.1],[192.0.2.2]:b.c"}),
        ("a.example error:5.7.1:550 no\n", {"a.example": 'error:5.7.1:"550 no"'}),
        ("a.example error:4.7.1:450 later\n", {"a.example": 'error:4.7.1:"450 later"'}),
        ("a.example error:nohost:\n", {"a.example": 'error:5.1.2:"550 address refused"'}),
        ('a.example error:<>%0$h"\\\\@\n', {"a.example": 'error:5.0.0:"550 0h"'}),
        (
            "grüße.example esmtp:[192.0.2.1]\n.grüsse.example smtp:[192.0.2.2]\n",
            {
                "xn--gre-6ka8l.example": "esmtp:[192.0.2.1]",
                "grüße.example": "esmtp:[192.0.2.1]",
                ".xn--grsse-lva.example": "smtp:[192.0.2.2]",
                ".grüsse.example": "smtp:[192.0.2.2]",
            },
        ),
        ("a.example local:joe\nb.example esmtp:[192.0.2.1]:25\nc.example *file*:/etc/passwd\n", None),
    ],
)
def test_rows(text: str, expected: dict[str, str] | None) -> None:
    found = made(text)
    if expected is None:
        held = (
            'error:4.3.2:"450 mail for this domain is held: its line in the closed network\'s list is not understood"'
        )
        expected = {"b.example": held}
    assert found == expected


@pytest.mark.parametrize(
    ("smarthost", "expected"),
    [
        (("[192.0.2.7]:25", "[2001:db8::7]:25"), "relay:[192.0.2.7]:[IPv6:2001:db8::7]"),
        (("relay.example", "[mx.example]:25"), "relay:relay.example:[mx.example]"),
        ((), "esmtp:[192.0.2.1]"),
    ],
)
def test_smart_hosts(smarthost: tuple[str, ...], expected: str) -> None:
    assert mailertable_value(route_of("esmtp:[192.0.2.1]", Outbound("may", smarthost=smarthost))) == expected
    assert mailertable_value(route_of("esmtp:[192.0.2.1]", Outbound("may", smarthost=smarthost, port=25))) == expected


def test_closed_domains_and_own_domains() -> None:
    closed = configuration(network(closed=["kim.example", "land.example"]), own=["own.land.example", "city.example"])
    assert made("x.kim.example esmtp:[192.0.2.1]\n", closed) == {
        **dict.fromkeys(("kim.example", ".kim.example", "land.example", ".land.example"), CLOSED_ROW),
        "x.kim.example": "esmtp:[192.0.2.1]",
        "own.land.example": SHIELD,
        ".own.land.example": SHIELD,
    }
    assert mailertable_value(CLOSED) == CLOSED_ROW


def test_own_domains_below_a_listed_suffix() -> None:
    config = configuration(own=["city.land.example"])
    text = ".land.example esmtp:[192.0.2.1]\n"
    listed = {".land.example": "esmtp:[192.0.2.1]"}
    keys = ("city.land.example", ".city.land.example")
    assert made(text, config) == listed | dict.fromkeys(keys, SHIELD)
    own = {".example": "smtp:[10.0.0.1]", "city.land.example": "relay:[10.0.0.2]"}
    assert made(text, config, own) == listed | own | {".city.land.example": "smtp:[10.0.0.1]"}
    moving = {".example": "smtp:%1.inside"}
    assert made(text, config, moving) == listed | moving | dict.fromkeys(keys, SHIELD)


def test_local_rows_win() -> None:
    own = {"a.example": "procmail:/etc/x", "zz.example": "local:joe", ".": "smtp:[10.0.0.1]"}
    assert made("a.example esmtp:[192.0.2.1]\nb.example esmtp:[192.0.2.2]\n", None, own) == {
        **own,
        "b.example": "esmtp:[192.0.2.2]",
    }


def test_a_route_that_sendmail_can_not_use_is_held() -> None:
    hosts = ":".join(f"[192.0.2.{number}]" for number in range(1, 60))
    line = f"a.example esmtp:{hosts}\nb.example esmtp:[192.0.2.1]\n"
    config = Config("", configuration().gateway, sendmail=SendmailMaps(), networks=(network(),))
    generation = advance(config, line)
    rows = dict(mailertable_rows(generation, DomainSet([]), {}))
    assert rows == {
        "a.example": 'error:4.3.5:"450 mail for this domain is held: its route is too long"',
        "b.example": "esmtp:[192.0.2.1]",
    }
    changes = generation.changes["ndb"]
    assert changes.held == ["a.example"]
    assert changes.notes == [
        f"held: the route of a.example has more than {LONGEST_VALUE} bytes, which Sendmail can't use"
    ]


def test_a_long_text_stays_one_token() -> None:
    """A quoted text ends at 255 bytes for Sendmail, whatever is behind."""
    row = mailertable_value(Delivery(DeliveryKind.REFUSED, "5.1.2", "sorry " * 60))
    assert row
    assert row.startswith('error:5.1.2:"550 sorry sorry')
    assert row.endswith('"')
    assert 200 < len(row.partition('"')[2]) < 255


VALUES = st.text(st.characters(exclude_categories=["Cs"]), max_size=300)


@given(st.sampled_from(["error:5.1.1:", "error:4.7.1:450 ", "error:nohost:", "error:", ""]), VALUES)
def test_nothing_of_a_text_has_a_meaning_of_its_own(head: str, text: str) -> None:
    """Whatever a list says, what is written is a route or one quoted word of harmless signs."""
    try:
        value = str(parse_value((head + text).strip()))
    except ValueError:
        return
    partner = Partner("a.example", Inbound("off"), Outbound("may"), route=value)
    row = made("", configuration(partners=[partner]))["a.example"]
    if value.startswith("error:"):
        start, quoted, end = row.split('"')
        assert (start.count(":"), end) == (2, "")
        assert not set(quoted) & set("<>%$\\@|&{}[]")
        assert quoted.isascii()
        assert quoted.isprintable()
    else:
        assert row == value
    assert len(row.encode()) <= LONGEST_VALUE or not value.startswith("error:")


@pytest.mark.parametrize(
    ("text", "rows"),
    [
        (b"# no row\n\n  \nA.Example\tsmtp:[10.0.0.1] \r\n", {"a.example": "smtp:[10.0.0.1]"}),
        (b"a.example  x y\na.example z", {"a.example": "x y"}),
        ("ÄB.example x\xff".encode("latin-1"), {"\udcc4b.example": "x\udcff"}),
    ],
)
def test_local_rows(text: bytes, rows: dict[str, str]) -> None:
    assert parse_local_rows(text.splitlines(keepends=True)) == rows


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (b"a.example x\nb.example\n", "line 2 has no value"),
        (b" a.example x\n", "line 1 begins with white space"),
        (b"a.example " + b"x" * 1014, "line 1 is longer"),
        (b"a.example x\0y\n", "line 1 has a NUL"),
    ],
)
def test_local_rows_that_makemap_refuses(text: bytes, reason: str) -> None:
    with pytest.raises(LocalRowError, match=reason):
        parse_local_rows(text.splitlines(keepends=True))


def test_own_suffixes() -> None:
    rows = {".b.example": "x", ".example": "y"}
    assert [covering(rows, name) for name in ("a.b.example", "b.example", "example")] == ["x", "y", None]
    assert covering({".": "z"}, "a.other") == "z"
    assert fold_key("Ä.EXAMPLE") == "Ä.example"
