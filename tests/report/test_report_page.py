"""The page of a report: well-formed, on its own, and inert whatever the texts in it are."""

import base64
import hashlib
import re
from dataclasses import fields, is_dataclass, replace
from html.parser import HTMLParser
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from closedmail.probe.probe_result import HostResult
from closedmail.report.charts import Bar, ChartLine, bar_chart, nice, step_chart
from closedmail.report.markup import Markup, element, join
from closedmail.report.report_data import (
    CountRow,
    GenerationRow,
    HeldRow,
    NetworkRow,
    PartnerRow,
    ReportData,
    SkippedRow,
    Some,
)
from closedmail.report.report_page import report_page

NOW = 1795500000
WORD = "Größe"
OTHER = "b" * 61  # a second network, of a name that no drawn word has
EVIL = (
    "<script>alert(1)</script>",
    '"><img src=x onerror=y>',
    "'&amp;</style></title><a href=http://x.example>",
    "\x1b]\u202e",
)
HOST = HostResult(
    "[192.0.2.1]:25",
    3,
    True,
    True,
    WORD,
    False,
    (WORD,),
    WORD,
    "2027-01-01T00:00:00Z",
    "AA",
    "BB",
    WORD,
    WORD,
    "",
    WORD,
    WORD,
    37,
)
COUNT = CountRow(WORD, WORD, {"reject": 3, "defer": 2, "report": 1, "accept": 9}, {WORD: 6})


def sample(word: str = WORD) -> ReportData:
    """A report with everything in it, and that word wherever somebody's text may stand."""
    host = replace(HOST, policy=word, issuer=word, error=word, host=word, transport=word, protocol=word)
    return ReportData(
        NOW,
        (word,),
        "warning",
        Some([word], 1),
        7,
        NOW - 60,
        [NetworkRow(word, word, "warning", 1234567, 1, NOW, 0, 7200, 1, word)],
        1234567,
        Some([PartnerRow(word, word, word, word)], 5),
        Some([HeldRow(word, word, word, NOW, 0), HeldRow("xn--mller-kva.example", word, word, NOW, NOW + 60)], 2),
        Some([SkippedRow(word, 1234, word, word)], 1),
        Some(
            [
                GenerationRow(7, NOW - 60, word, True, {word: (5, 1, 2, 3), OTHER: (1, 0, 0, 0)}),
                GenerationRow(6, 5, word, False, {word: (5, 1, 2, 3)}),
            ],
            2,
        ),
        NOW - 90,
        NOW,
        [replace(COUNT, network=word, partner="", reasons={word: 6})],
        Some([replace(COUNT, network=word, partner=word, reasons={word: 6})], 1),
        Some([replace(host, names=(word,))], 1),
        1,
        "2026-11-24T03:00:00Z",
    )


EMPTY = ReportData(NOW, ("city.example",), "critical", Some(["no generation"], 1), None, 0)


class Reader(HTMLParser):
    """Reads a page strictly: each element ends where it should. `shape` has the tags, `texts` what stands between."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.shape: list[tuple[str, tuple[str, ...]]] = []
        self.attributes: list[tuple[str, str, str | None]] = []
        self.texts: list[str] = []
        self._open: list[str] = []
        self.feed(page)
        self.close()
        assert self._open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.note(tag, attrs)
        if tag != "meta":
            self._open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert "svg" in self._open
        self.note(tag, attrs)

    def note(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        names = [name for name, _ in attrs]
        assert len(names) == len(set(names))
        self.shape.append((tag, tuple(names)))
        self.attributes += ((tag, name, value) for name, value in attrs)

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self._open and self._open[-1] != "style":
            self.texts.append(data)

    def error(self, message: str) -> None:
        raise AssertionError(message)


def read(data: ReportData) -> Reader:
    return Reader("".join(report_page(data)))


@pytest.mark.parametrize("data", [sample(), EMPTY], ids=["full", "empty"])
def test_the_page_stands_on_its_own(data: ReportData) -> None:
    page = "".join(report_page(data))
    reader = Reader(page)
    tags = {tag for tag, _ in reader.shape}
    assert not tags & {"script", "link", "img", "iframe", "object", "form", "base", "image", "use"}
    for _, name, value in reader.attributes:
        assert not name.startswith("on")
        assert name not in ("src", "style", "xlink:href", "srcset", "action")
        if name == "href":
            assert (value or "").startswith("#")
    assert "url(" not in page
    assert "@import" not in page
    assert "http" not in page.replace("http-equiv", "")


def test_the_policy_admits_just_this_style_sheet() -> None:
    page = "".join(report_page(sample()))
    (style,) = re.findall(r"<style>(.*?)</style>", page, re.DOTALL)
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    (policy,) = [
        value for tag, name, value in Reader(page).attributes if tag == "meta" and value and "default-src" in value
    ]
    assert policy == f"default-src 'none'; style-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'"


def test_it_can_be_found_one_s_way_in() -> None:
    """Headings in order, links that lead somewhere, tables with captions and scopes, charts with names."""
    reader = read(sample())
    headings = [tag for tag, _ in reader.shape if re.fullmatch(r"h\d", tag)]
    assert headings == ["h1", *["h2"] * 8]
    identities = [value for _, name, value in reader.attributes if name == "id"]
    targets = [value for _, name, value in reader.attributes if name == "href"]
    assert [f"#{identity}" for identity in identities] == targets
    count = [tag for tag, _ in reader.shape].count
    assert count("table") == count("caption") == 8
    assert all("scope" in names for tag, names in reader.shape if tag == "th")
    assert count("figure") == count("figcaption") == 3
    images = [names for tag, names in reader.shape if tag == "svg" and "role" in names]
    assert len(images) == 3
    assert ("html", "lang", "en") in reader.attributes


def test_all_that_is_known_stands_there() -> None:
    text = " ".join(read(sample("köln.example")).texts)
    for word in (
        "1,234,567",
        "2 hours",
        "müller.example",
        "xn--mller-kva.example",
        "37 days left",
        "… and 4 more tables.",
    ):
        assert word in text
    assert text.count("köln.example") >= 25
    empty = " ".join(read(EMPTY).texts)
    for word in (
        "no generation",
        "No mail in a partner's name has been counted yet.",
        "No domain is held.",
        "Not probed yet: ",
    ):
        assert word in empty


@pytest.mark.parametrize("word", EVIL)
def test_hostile_texts_are_texts(word: str) -> None:
    """The page has the same elements and attributes as with an honest word, and no byte that moves a terminal."""
    reader = read(sample(word))
    assert shape(reader) == shape(read(sample()))
    assert any("script" in text or "img" in text or "href" in text or "u202e" in text for text in reader.texts)
    page = "".join(report_page(sample(word)))
    assert all(char.isprintable() or char == "\n" for char in page)


@settings(deadline=None)
@given(st.text(min_size=1, max_size=60))
def test_any_text_is_text(word: str) -> None:
    page = "".join(report_page(sample(word)))
    assert shape(Reader(page)) == shape(read(sample()))
    page.encode()


def shape(reader: Reader) -> list[tuple[str, tuple[str, ...]]]:
    """The elements, without the titles that a chart gives to labels which it has cut."""
    return [item for item in reader.shape if item[0] != "title"]


def test_markup() -> None:
    assert element("a", "<&", href='"x"', class_="b", data_x=None) == '<a href="&quot;x&quot;" class="b">&lt;&amp;</a>'
    assert element("p", Markup("<b>"), None, 5) == "<p><b>5</p>"
    assert element("rect", x=1.25, y=2) == '<rect x="1.25" y="2"/>'
    assert join(("<", Markup("<br>")), "&") == "&lt;&amp;<br>"


@pytest.mark.parametrize(("value", "expected"), [(0, 4), (4, 4), (5, 8), (9, 12), (13, 20), (21, 40), (8580, 12000)])
def test_the_end_of_an_axis(value: int, expected: int) -> None:
    assert nice(value) == expected


def numbers(chart: Markup, tag: str, name: str) -> list[float]:
    return [float(value or 0) for kind, key, value in Reader(chart).attributes if (kind, key) == (tag, name)]


@settings(deadline=None)
@given(st.lists(st.lists(st.integers(0, 10**9), min_size=1, max_size=3), min_size=1, max_size=20))
def test_bars_are_as_long_as_their_values(rows: list[list[int]]) -> None:
    chart = bar_chart("x", [Bar(f"r{n}", [("a", value) for value in row], "v") for n, row in enumerate(rows)])
    widths = numbers(chart, "rect", "width")
    values = [value for row in rows for value in row if value > 0]
    assert len(widths) == len(values)
    assert all(0 < width <= 340 for width in widths)
    longest = max(map(sum, rows))
    for width, value in zip(widths, values, strict=True):
        assert width == pytest.approx(max(value / longest * 330, 1), rel=1e-4)


@settings(deadline=None)
@given(st.lists(st.tuples(st.integers(0, 1 << 33), st.integers(0, 10**7)), max_size=20), st.integers(0, 1 << 33))
def test_steps_stay_inside(points: list[tuple[int, int]], until: int) -> None:
    """Whatever the clock did."""
    points.sort()
    chart = step_chart("x", [ChartLine("a", points), ChartLine("b", points), ChartLine("c", [])], until)
    assert all(72 <= x <= 704 for x in numbers(chart, "circle", "cx"))
    assert all(12 <= y <= 210 for y in numbers(chart, "circle", "cy"))
    assert len(numbers(chart, "circle", "cx")) == 2 * len(points)


def test_every_field_is_in_the_sample() -> None:
    """A new field must be in the sample, or nobody asks whether it is escaped."""

    def blank(value: Any) -> bool:
        return value in ("", (), [], 0, None) or (isinstance(value, Some) and not value.rows)

    data = sample()
    assert is_dataclass(data)
    assert [item.name for item in fields(data) if blank(getattr(data, item.name))] == []
