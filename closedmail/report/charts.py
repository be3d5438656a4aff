"""Draw plain SVG charts: bars, and steps over time. Colours are the style sheet's; nothing is shown by colour alone."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from closedmail.report.markup import Markup, element, join

_WIDTH = 720
_ROW = 24  # height of a bar with the room around it
_LABELS, _VALUES = 280, 110  # width of the columns beside the bars
_LONGEST_LABEL = 32  # characters
_HEIGHT, _LEFT, _RIGHT, _TOP, _BOTTOM = 240, 72, 16, 12, 30
SERIES = 6  # lines for which the style sheet has a stroke


@dataclass(frozen=True, slots=True)
class Bar:
    """A row: its parts are (class, value) from left to right, `value` is the text after them."""

    label: str
    parts: Sequence[tuple[str, int]]
    value: str


def bar_chart(title: str, bars: Sequence[Bar]) -> Markup:
    """Draw horizontal bars from zero, each with its label and value as text."""
    longest = max((sum(size for _, size in bar.parts) for bar in bars), default=0) or 1
    scale = (_WIDTH - _LABELS - _VALUES) / longest
    pieces: list[Markup] = []
    for at, bar in enumerate(bars):
        middle = at * _ROW + _ROW / 2
        label = bar.label if len(bar.label) <= _LONGEST_LABEL else bar.label[: _LONGEST_LABEL - 1] + "…"
        full = element("title", bar.label) if label != bar.label else None
        pieces.append(element("text", label, full, x=_LABELS - 8, y=middle, class_="label"))
        left = float(_LABELS)
        for kind, size in bar.parts:
            if size > 0:
                width = max(size * scale, 1.0)
                pieces.append(element("rect", x=left, y=middle - 8, width=width, height=16, class_=kind))
                left += width
        pieces.append(element("text", bar.value, x=left + 6, y=middle, class_="value"))
    pieces.append(element("line", x1=_LABELS, y1=0, x2=_LABELS, y2=len(bars) * _ROW, class_="axis"))
    return _chart(title, len(bars) * _ROW, pieces)


@dataclass(frozen=True, slots=True)
class ChartLine:
    """A line: its name and (Unix seconds, value), oldest first. Each value holds until the next one."""

    name: str
    points: Sequence[tuple[int, int]]


def step_chart(title: str, series: Sequence[ChartLine], until: int) -> Markup:
    """Draw steps over time, up to `until` (Unix seconds); the first SERIES lines only."""
    drawn = [line for line in series if line.points][:SERIES]
    begin = min((line.points[0][0] for line in drawn), default=until)
    end = max(until, begin + 1)
    top = nice(max((value for line in drawn for _, value in line.points), default=0))

    def x(second: int) -> float:
        return _LEFT + (min(max(second, begin), end) - begin) / (end - begin) * (_WIDTH - _LEFT - _RIGHT)

    def y(value: float) -> float:
        return _HEIGHT - _BOTTOM - value / top * (_HEIGHT - _TOP - _BOTTOM)

    pieces: list[Markup] = []
    for part in range(5):
        value = top * part / 4
        if value == int(value):
            pieces.append(element("line", x1=_LEFT, x2=_WIDTH - _RIGHT, y1=y(value), y2=y(value), class_="grid"))
            pieces.append(element("text", f"{int(value):,}", x=_LEFT - 8, y=y(value), class_="label"))
    spans = 3 if end - begin >= 3 else 1
    for part in range(spans + 1):
        second = begin + (end - begin) * part // spans
        anchor = {0: "first", spans: "last"}.get(part, "tick")
        pieces.append(element("text", _moment(second, end - begin), x=x(second), y=_HEIGHT - 8, class_=anchor))
    for number, line in enumerate(drawn):
        path = ""
        for second, value in line.points:
            path += f"H{x(second):.1f}V{y(value):.1f}" if path else f"M{x(second):.1f} {y(value):.1f}"
        pieces.append(element("path", d=f"{path}H{x(end):.1f}", class_=f"line series{number}"))
        pieces += (
            element("circle", cx=x(second), cy=y(value), r=3, class_=f"dot series{number}")
            for second, value in line.points
        )
    return join((_chart(title, _HEIGHT, pieces), _legend(drawn)))


def _legend(drawn: Sequence[ChartLine]) -> Markup | None:
    if len(drawn) < 2:
        return None
    samples = []
    for number, line in enumerate(drawn):
        stroke = element("path", d="M0 6H32", class_=f"line series{number}")
        sample = element("svg", stroke, width=32, height=12, viewBox="0 0 32 12", aria_hidden="true")
        samples.append(element("li", sample, " ", line.name))
    return element("ul", *samples, class_="legend")


def nice(value: float) -> int:
    """Choose the end of an axis: the least of 4, 8, 12, 20, 40, 80, 120, … that is not below the value."""
    step = 4
    while True:
        for factor in (1, 2, 3, 5):
            if value <= step * factor:
                return step * factor
        step *= 10


def _chart(title: str, height: float, pieces: Sequence[Markup]) -> Markup:
    shapes = (element("title", title), *pieces)
    return element("svg", *shapes, viewBox=f"0 0 {_WIDTH} {height:.0f}", role="img", class_="chart")


def _moment(second: int, span: int) -> str:
    return datetime.fromtimestamp(second, UTC).strftime("%H:%M:%S" if span < 86400 else "%Y-%m-%d")
