"""Words that reports share, and that nothing invisible gets into them."""

import string
from collections.abc import Callable
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from closedmail.words import (
    ascii_text,
    counted,
    excerpt,
    iso,
    iso_or_none,
    one_line,
    printable,
    public_location,
    smtp_text,
)

# What moves a terminal, ends a line or turns text around: C0, DEL, C1 (U+0085 ends a line for some), separators, marks
# and overrides of direction, and what is no character.
UNSEEN = [*map(chr, (*range(0x20), *range(0x7F, 0xA0))), *"\u200b\u200e\u200f\u2028\u2029\ufeff\ufffe"]
UNSEEN += [*map(chr, (*range(0x202A, 0x202F), *range(0x2066, 0x206A), 0xD800, 0xDCFF, 0xE0001))]


@pytest.mark.parametrize("spell", [printable, excerpt, one_line, smtp_text, ascii_text, public_location])
@pytest.mark.parametrize("char", UNSEEN, ids=[f"U+{ord(char):04X}" for char in UNSEEN])
def test_nothing_unseen_is_shown(spell: Callable[[str], str], char: str) -> None:
    shown = spell(f"a{char}b")
    assert char not in shown.replace(" ", "")
    assert shown.isprintable()
    assert (shown[0], shown[-1]) == ("a", "b")


@given(st.text() | st.binary())
def test_what_is_shown_is_one_line_of_what_can_be_shown(data: str | bytes) -> None:
    shown = excerpt(data)
    assert shown.isprintable() or not shown
    assert len(shown) <= 200
    whole = printable(data)
    assert whole.isprintable() or not whole
    assert whole == shown or (len(whole) > 200 and shown == whole[:199] + "…")


@given(st.text())
def test_one_line(text: str) -> None:
    line = one_line(text)
    assert line.isprintable()
    assert line == " ".join(line.split())


@pytest.mark.parametrize(
    ("given", "shown"),
    [
        ("grüße " + string.ascii_letters, "grüße " + string.ascii_letters),
        (b"\x1b[31m\xff\xe2\x80\xae", "\\x1b[31m\\xff\\u202e"),
        ("tab\tend\n", "tab\\tend\\n"),
        (b"", ""),
        ("\U000e0001", "\\U000e0001"),
    ],
)
def test_printable(given: str | bytes, shown: str) -> None:
    assert printable(given) == shown
    assert excerpt(given) == shown


def test_reply_text() -> None:
    assert smtp_text("550 5.1.2 für\r\n\x85 immer") == "550 5.1.2 für??? immer"


def test_ascii_text() -> None:
    assert ascii_text("550 5.1.2 gone ~ für\r\n\x7f") == "550 5.1.2 gone ~ f?r???"


def test_times() -> None:
    assert iso(0) == "1970-01-01T00:00:00Z"
    assert iso_or_none(0) is None
    moment = datetime(2026, 11, 24, 3, 0, 7, tzinfo=UTC)
    assert iso_or_none(int(moment.timestamp())) == iso(int(moment.timestamp())) == "2026-11-24T03:00:07Z"


@pytest.mark.parametrize(
    ("number", "said"), [(0, "0 domains"), (1, "1 domain"), (2, "2 domains"), (1000, "1000 domains")]
)
def test_counted(number: int, said: str) -> None:
    assert counted(number, "domain") == said


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("/var/lib/lists/a?b#c;d@e", "/var/lib/lists/a?b#c;d@e"),
        ("https://lists.example", "https://lists.example"),
        ("https://lists.example:8443/a/b.asc", "https://lists.example:8443/a/b.asc"),
        ("https://[2001:db8::1]:8443/a", "https://[2001:db8::1]:8443/a"),
        ("https://lists.example/a?sig=geheim", "https://lists.example/a?…"),
        ("https://lists.example?geheim/x", "https://lists.example?…"),
        ("https://lists.example/a#geheim", "https://lists.example/a?…"),
        ("https://lists.example/a;session=geheim/b", "https://lists.example/a?…"),
        ("https://city:geheim@lists.example/a", "https://lists.example/a"),
        ("https://geheim@lists.example", "https://lists.example"),
        ("https://a:b@city:geheim@lists.example/a", "https://lists.example/a"),
        ("https://city:geh/eim@lists.example/a", "https://…"),
        ("https://city:geh?eim@lists.example/a", "https://…"),
        ("https://city:geh#eim@lists.example/a", "https://…"),
        ("https://city:1;geheim@lists.example/a", "https://…"),
        ("https://city:a@geheim/b@lists.example/a", "https://…"),
        ("https://city:geheim\\@lists.example/a", "https://…"),
        ("https://lists.example/@geheim/a", "https://lists.example/…"),
        ("https://lists.example/a?mail=geheim@city.example", "https://lists.example/…"),
        ("//city:geheim@lists.example/a?geheim", "//lists.example/a?…"),
        ("https:city:geheim@lists.example/a", "https:lists.example/a"),
        ("city:geheim@lists.example/a", "lists.example/a"),
        ("lists.example/a?geheim", "lists.example/a?…"),
        ("data:,x", "data:,x"),
        ("https://", "https://"),
        ("", ""),
    ],
)
def test_a_location_is_spelled_without_secrets(text: str, shown: str) -> None:
    assert public_location(text) == shown


_URL_TEXT = st.text("abz019:/?#;@[]\\.%&= \u00e9")


@given(_URL_TEXT, _URL_TEXT, st.sampled_from(["https://", "HTTP://", "https:", "//", ""]))
def test_no_secret_in_a_location(before: str, after: str, scheme: str) -> None:
    """Whatever stands around it, a password and the value of a query aren't shown."""
    assert "geheim" not in public_location(f"{scheme}city:{before}geheim{after}@lists.example/list")
    assert "geheim" not in public_location(f"{scheme}lists.example/list?{before}geheim{after}")
