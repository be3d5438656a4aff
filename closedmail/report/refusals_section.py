"""Build the section of a report on refused mail: by network and by partner."""

from closedmail.inbound.counters import ALONE
from closedmail.report.charts import Bar, bar_chart
from closedmail.report.markup import Child, Markup, element
from closedmail.report.report_data import CountRow, ReportData
from closedmail.report.report_pieces import moment, rest, table
from closedmail.words import excerpt

_BARS = 15
_VERDICTS = {"reject": "refused", "defer": "deferred", "report": "reported", "accept": "accepted"}


def refusals(data: ReportData) -> list[Markup | None]:
    """Show mails by network and verdict, and the partners with the most refusals, as a chart and as numbers."""
    if not data.counts:
        return [element("p", "No mail in a partner's name has been counted yet.", class_="empty")]
    rows = [
        (element("strong", item.network if item.network != ALONE else "partners without a network"), *_counts(item))
        for item in data.counts
    ]
    heads = ("Network", *(f"#{word.capitalize()}" for word in _VERDICTS.values()), "Reasons")
    span = element(
        "p", "Mails in partners' names from ", moment(data.counted_since), " to ", moment(data.counted_until), "."
    )
    found: list[Markup | None] = [span, table("Mails by network and verdict", heads, rows, "")]
    if not data.refusals.rows:
        return [*found, element("p", "None was refused, deferred or reported.", class_="empty")]
    shown = data.refusals.rows[:_BARS]
    bars = [
        Bar(
            _partner(item),
            [(kind, item.verdicts.get(kind, 0)) for kind in _VERDICTS if kind != "accept"],
            f"{item.refused:,}",
        )
        for item in shown
    ]
    legend = [element("li", element("span", "", class_=f"swatch {kind}"), f" {_VERDICTS[kind]}") for kind in _VERDICTS]
    found.append(
        element(
            "figure",
            element("figcaption", f"Partners with the most refusals ({len(shown)} of {data.refusals.total:,})"),
            bar_chart("Refused, deferred and reported mails by partner", bars),
            element("ul", *legend[:3], class_="legend"),
        )
    )
    partners = [(_partner(item), item.network, *_counts(item)) for item in data.refusals.rows]
    heads = ("Partner", "Network", *heads[1:])
    found.append(table("The same as numbers, with reasons", heads, partners, ""))
    found.append(rest(data.refusals, "partners"))
    return found


def _counts(item: CountRow) -> tuple[Child, ...]:
    numbers = tuple(f"{item.verdicts.get(verdict, 0):,}" for verdict in _VERDICTS)
    ordered = sorted(item.reasons.items(), key=lambda pair: (-pair[1], pair[0]))
    return (*numbers, ", ".join(f"{reason} {number:,}" for reason, number in ordered))


def _partner(item: CountRow) -> str:
    return excerpt(item.partner) or "(others)"
