"""Build the sections of a report on the gateway itself: state, networks, held domains, changes, tables, bad lines."""

from collections.abc import Sequence

from closedmail.report.charts import ChartLine, step_chart
from closedmail.report.markup import Markup, element, join
from closedmail.report.report_data import GenerationRow, ReportData, Some
from closedmail.report.report_pieces import age_in_words, badge, domain, moment, rest, table
from closedmail.words import excerpt

_GENERATIONS = 20  # rows; the chart has more


def state(data: ReportData) -> list[Markup | None]:
    """Show whether all is well, what is not, and the main figures."""
    facts = [
        ("Generation in force", str(data.generation) if data.generation else "none"),
        ("Partners", f"{data.partners:,}"),
        ("Held domains", f"{data.held.total:,}"),
        ("Route hosts not ok", f"{data.hosts_bad:,} of {data.hosts.total:,}" if data.hosts.total else "not probed"),
    ]
    tiles = [element("div", element("dt", name), element("dd", value)) for name, value in facts]
    problems = [element("li", excerpt(problem)) for problem in data.problems.rows]
    return [
        element("p", badge(data.state), " ", "Nothing is wrong." if not problems else "What is wrong:"),
        element("ul", *problems, class_="problems") if problems else None,
        rest(data.problems, "problems"),
        element("dl", *tiles, class_="tiles"),
    ]


def networks(data: ReportData) -> list[Markup]:
    """Show each network, and the age of its list."""
    rows = [
        (
            element("strong", excerpt(item.title or item.name)),
            badge(item.state),
            f"{item.domains:,}",
            f"{item.tables:,}",
            f"{item.held:,}",
            moment(item.signed_at),
            moment(item.fetched_at),
            "" if item.age is None else age_in_words(item.age),
            item.rules,
        )
        for item in data.networks
    ]
    heads = ("Network", "State", "#Domains", "#Tables", "#Held", "Signed", "Fetched", "Age", "Rules")
    return [table("The closed networks, and the age of their lists", heads, rows, "No network is configured.")]


def held(data: ReportData) -> list[Markup | None]:
    """Show the held domains, with the reason."""
    rows = [
        (
            domain(item.key),
            item.network,
            item.why,
            moment(item.since),
            moment(item.until) if item.until else "it is released",
        )
        for item in data.held.rows
    ]
    heads = ("Domain", "Network", "Why", "Since", "Until")
    caption = "Their mail waits, and their senders stay checked"
    return [table(caption, heads, rows, "No domain is held."), rest(data.held, "domains")]


def changes(data: ReportData) -> list[Markup | None]:
    """Show the generations that are kept, and their numbers of domains as a chart."""
    if not data.history.rows:
        return [element("p", "No generation has been published yet.", class_="empty")]
    rows = []
    for item in data.history.rows[:_GENERATIONS]:
        counted = join(
            (
                f"{name}: {domains:,} (+{added:,} -{removed:,} ~{changed:,})"
                for name, (domains, added, removed, changed) in item.networks.items()
            ),
            "; ",
        )
        reason = item.reason + (", in force" if item.in_force else "")
        rows.append((str(item.number), moment(item.published_at), reason, counted))
    heads = ("#Generation", "Published", "Reason", "Domains (added, removed, changed)")
    return [
        element(
            "figure",
            element("figcaption", "Domains by network, over the generations that are kept"),
            step_chart("Number of domains over time", _chart_lines(data.history.rows), data.generated_at),
        ),
        table("Generations, newest first", heads, rows, ""),
        rest(Some(rows, data.history.total), "generations"),
    ]


def _chart_lines(history: Sequence[GenerationRow]) -> list[ChartLine]:
    lines: dict[str, list[tuple[int, int]]] = {}
    for item in reversed(history):
        for name, (domains, *_) in item.networks.items():
            lines.setdefault(name, []).append((item.published_at, domains))
    return [ChartLine(name, points) for name, points in lines.items()]


def partner_tables(data: ReportData) -> list[Markup | None]:
    """Show the `[partner]` tables in force."""
    rows = [(domain(item.key), item.network, item.rules, excerpt(item.contact)) for item in data.tables.rows]
    intro = element(
        "p",
        f"There are {data.partners:,} partners in all. The rules of each are shown by ",
        element("code", f"{data.closedmail} explain --recipient DOMAIN"),
        ".",
    )
    heads = ("Partner", "Network", "Rules", "Contact")
    found = table("[partner] tables in force", heads, rows, "No partner has a table of its own.")
    return [intro, found, rest(data.tables, "tables")]


def skipped(data: ReportData) -> list[Markup | None]:
    """Show the lines of the lists that were skipped, with the reason."""
    rows = [
        (item.network, f"{item.line:,}", element("code", excerpt(item.text)), excerpt(item.reason))
        for item in data.skipped.rows
    ]
    heads = ("Network", "#Line", "Text", "Reason")
    found = table("Lines of the lists in force that were skipped", heads, rows, "None.")
    return [found, rest(data.skipped, "lines")]
