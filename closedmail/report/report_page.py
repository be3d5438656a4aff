"""One static HTML page of all that is known of a gateway: no script, nothing that is fetched from anywhere.

The policy in its head (Content-Security-Policy, CSP level 3) allows this very style sheet and nothing else, so that a
text which should ever get through as markup still could neither run nor load anything.
"""

import base64
import hashlib
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime

from closedmail.core.domain import to_unicode
from closedmail.inbound.counters import ALONE
from closedmail.probe.probe_result import HostResult, days_in_words
from closedmail.report.charts import Bar, Series, bar_chart, step_chart
from closedmail.report.markup import Child, Markup, element, join
from closedmail.report.report_data import CountRow, GenerationRow, ReportData, Some
from closedmail.report.report_style import STYLE
from closedmail.words import excerpt, iso

_BARS = 15
_GENERATIONS = 20  # rows; the chart has more
_NAMES = 4  # of a certificate
_SOON = 30  # days that a certificate still has, to be marked
_VERDICTS = {"reject": "refused", "defer": "deferred", "report": "reported", "accept": "accepted"}


def report_page(data: ReportData) -> Iterator[str]:
    """The page, in pieces. All texts in `data` may be anybody's."""
    digest = base64.b64encode(hashlib.sha256(STYLE.encode()).digest()).decode()
    policy = f"default-src 'none'; style-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'"
    whose = ", ".join(data.own_domains[:3]) + (", …" if len(data.own_domains) > 3 else "")
    yield "<!DOCTYPE html>\n"
    yield '<html lang="en">\n'
    yield element(
        "head",
        element("meta", charset="utf-8"),
        element("meta", http_equiv="Content-Security-Policy", content=policy),
        element("meta", name="viewport", content="width=device-width, initial-scale=1"),
        element("meta", name="color-scheme", content="light dark"),
        element("meta", name="referrer", content="no-referrer"),
        element("meta", name="robots", content="noindex"),
        element("title", f"closedmail: {whose}"),
        element("style", Markup(STYLE)),
    )
    yield "\n<body>\n"
    yield element("header", element("h1", f"Closed mail networks of {whose}"), _made(data), _navigation())
    yield "\n<main>\n"
    for identity, title, body in _sections(data):
        yield element("section", element("h2", title, id=identity), *body, aria_labelledby=identity)
        yield "\n"
    yield "</main>\n</body>\n</html>\n"


_TITLES = {
    "state": "State",
    "networks": "Networks",
    "refusals": "Refusals",
    "held": "Held domains",
    "changes": "Last changes",
    "probe": "Route hosts and their certificates",
    "partners": "Partners with rules of their own",
    "skipped": "Skipped lines",
}


def _sections(data: ReportData) -> Iterator[tuple[str, str, Sequence[Markup | None]]]:
    bodies: tuple[Sequence[Markup | None], ...] = (
        _state(data),
        [_networks(data)],
        _refusals(data),
        [_held(data)],
        _changes(data),
        _hosts(data),
        [_tables(data)],
        [_skipped(data)],
    )
    for (identity, title), body in zip(_TITLES.items(), bodies, strict=True):
        yield identity, title, body


def _made(data: ReportData) -> Markup:
    in_force = f"generation {data.generation}" if data.generation else "no generation"
    since = join((" of ", _time(data.published_at))) if data.generation else None
    return element("p", "Made ", _time(data.generated_at), ", with ", in_force, since, " in force.", class_="made")


def _navigation() -> Markup:
    links = [element("li", element("a", title, href=f"#{identity}")) for identity, title in _TITLES.items()]
    return element("nav", element("ul", *links), aria_label="Sections")


def _state(data: ReportData) -> list[Markup | None]:
    facts = [
        ("Generation in force", str(data.generation) if data.generation else "none"),
        ("Partners", f"{data.partners:,}"),
        ("Held domains", f"{data.held.total:,}"),
        ("Route hosts not ok", f"{data.hosts_bad:,} of {data.hosts.total:,}" if data.hosts.total else "not probed"),
    ]
    tiles = [element("div", element("dt", name), element("dd", value)) for name, value in facts]
    problems = [element("li", excerpt(problem)) for problem in data.problems.rows]
    return [
        element("p", _badge(data.state), " ", "Nothing is wrong." if not problems else "What is wrong:"),
        element("ul", *problems, class_="problems") if problems else None,
        _rest(data.problems, "problems"),
        element("dl", *tiles, class_="tiles"),
    ]


def _networks(data: ReportData) -> Markup:
    rows = [
        (
            element("strong", excerpt(item.title or item.name)),
            _badge(item.state),
            f"{item.domains:,}",
            f"{item.tables:,}",
            f"{item.held:,}",
            _time(item.signed_at),
            _time(item.fetched_at),
            "" if item.age is None else _age(item.age),
            item.rules,
        )
        for item in data.networks
    ]
    heads = ("Network", "State", "#Domains", "#Tables", "#Held", "Signed", "Fetched", "Age", "Rules")
    return _table("The closed networks, and the age of their lists", heads, rows, "No network is configured.")


def _refusals(data: ReportData) -> list[Markup | None]:
    if not data.counts:
        return [element("p", "No mail in a partner's name has been counted yet.", class_="empty")]
    rows = [
        (element("strong", item.network if item.network != ALONE else "partners without a network"), *_counts(item))
        for item in data.counts
    ]
    heads = ("Network", *(f"#{word.capitalize()}" for word in _VERDICTS.values()), "Reasons")
    span = element(
        "p", "Mails in partners' names from ", _time(data.counted_since), " to ", _time(data.counted_until), "."
    )
    found: list[Markup | None] = [span, _table("Mails by network and verdict", heads, rows, "")]
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
    found.append(_table("The same as numbers, with reasons", heads, partners, ""))
    found.append(_rest(data.refusals, "partners"))
    return found


def _counts(item: CountRow) -> tuple[Child, ...]:
    numbers = tuple(f"{item.verdicts.get(verdict, 0):,}" for verdict in _VERDICTS)
    ordered = sorted(item.reasons.items(), key=lambda pair: (-pair[1], pair[0]))
    return (*numbers, ", ".join(f"{reason} {number:,}" for reason, number in ordered))


def _partner(item: CountRow) -> str:
    return excerpt(item.partner) or "(others)"


def _held(data: ReportData) -> Markup:
    rows = [
        (
            _domain(item.key),
            item.network,
            item.why,
            _time(item.since),
            _time(item.until) if item.until else "it is released",
        )
        for item in data.held.rows
    ]
    heads = ("Domain", "Network", "Why", "Since", "Until")
    table = _table("Their mail waits, and their senders stay checked", heads, rows, "No domain is held.")
    return join((table, _rest(data.held, "domains")))


def _changes(data: ReportData) -> list[Markup | None]:
    if not data.history.rows:
        return [element("p", "No generation has been published yet.", class_="empty")]
    rows = []
    for item in data.history.rows[:_GENERATIONS]:
        changes = join(
            (
                f"{name}: {domains:,} (+{added:,} -{removed:,} ~{changed:,})"
                for name, (domains, added, removed, changed) in item.networks.items()
            ),
            "; ",
        )
        rows.append(
            (str(item.number), _time(item.published_at), item.reason + (", in force" if item.in_force else ""), changes)
        )
    heads = ("#Generation", "Published", "Reason", "Domains (added, removed, changed)")
    return [
        element(
            "figure",
            element("figcaption", "Domains by network, over the generations that are kept"),
            step_chart("Number of domains over time", _series(data.history.rows), data.generated_at),
        ),
        _table("Generations, newest first", heads, rows, ""),
        _rest(Some(rows, data.history.total), "generations"),
    ]


def _series(history: Sequence[GenerationRow]) -> list[Series]:
    lines: dict[str, list[tuple[int, int]]] = {}
    for item in reversed(history):
        for name, (domains, *_) in item.networks.items():
            lines.setdefault(name, []).append((item.published_at, domains))
    return [Series(name, points) for name, points in lines.items()]


def _hosts(data: ReportData) -> list[Markup | None]:
    if not data.hosts.rows:
        return [element("p", "Not probed yet: ", element("code", "closedmail probe"), " looks.", class_="empty")]
    known = sorted((item for item in data.hosts.rows if item.days_left is not None), key=_days)[:_BARS]
    found: list[Markup | None] = []
    if data.probed_at:
        found.append(element("p", "All of them were last probed at ", _stamp(data.probed_at), "."))
    if known:
        bars = [Bar(_host(item), [(_urgency(item), max(_days(item), 0))], days_in_words(_days(item))) for item in known]
        found.append(
            element(
                "figure",
                element(
                    "figcaption",
                    f"Days left of certificates when probed, least first ({len(known)} of {data.hosts.total:,})",
                ),
                bar_chart("Days left of certificates", bars),
            )
        )
    rows = [
        (
            _host(item),
            join(
                (
                    _badge("ok" if item.ok else "critical", "ok" if item.ok else "not ok"),
                    " ",
                    excerpt(item.error or ""),
                )
            ),
            f"{item.domains:,}",
            element("code", excerpt(item.policy)),
            item.protocol
            or ("STARTTLS offered" if item.starttls else "no STARTTLS" if item.reachable else "not reached"),
            _stamp(item.probed_at) if item.probed_at else "",
            _certificate(item),
        )
        for item in data.hosts.rows
    ]
    heads = ("Host", "Result", "#Domains", "TLS policy", "Connection", "Probed", "Certificate")
    return [*found, _table("Route hosts, those that are not ok first", heads, rows, ""), _rest(data.hosts, "hosts")]


def _certificate(item: HostResult) -> Markup | None:
    if not item.not_after:
        return None
    more = f" and {len(item.names) - _NAMES} more" if len(item.names) > _NAMES else ""
    parts = (
        ", ".join(map(excerpt, item.names[:_NAMES])) + more or "no name",
        f"by {excerpt(item.issuer or '')}" if item.issuer else None,
        join(("until ", _stamp(item.not_after), f" ({days_in_words(_days(item))})")),
    )
    return join([element("div", part) for part in parts if part])


def _host(item: HostResult) -> str:
    named = f" {item.host}" if item.host and item.host not in item.nexthop else ""
    return excerpt(f"{item.nexthop}{named}")


def _days(item: HostResult) -> int:
    return item.days_left or 0


def _urgency(item: HostResult) -> str:
    return "bad" if _days(item) < 0 else "soon" if _days(item) < _SOON else "fine"


def _tables(data: ReportData) -> Markup:
    rows = [(_domain(item.key), item.network, item.rules, excerpt(item.contact)) for item in data.tables.rows]
    said = element(
        "p",
        f"There are {data.partners:,} partners in all. What counts for one of them says ",
        element("code", "closedmail explain --recipient DOMAIN"),
        ".",
    )
    heads = ("Partner", "Network", "Rules", "Contact")
    table = _table("[partner] tables in force", heads, rows, "No partner has a table of its own.")
    return join((said, table, _rest(data.tables, "tables")))


def _skipped(data: ReportData) -> Markup:
    rows = [
        (item.network, f"{item.line:,}", element("code", excerpt(item.text)), excerpt(item.reason))
        for item in data.skipped.rows
    ]
    table = _table(
        "Lines of the lists in force that were skipped", ("Network", "#Line", "Text", "Reason"), rows, "None."
    )
    return join((table, _rest(data.skipped, "lines")))


# Pieces


def _table(caption: str, heads: Sequence[str], rows: Sequence[Sequence[Child]], empty: str) -> Markup:
    """A table, or a sentence where it would be empty. A head with `#` in front is one of numbers."""
    if not rows:
        return element("p", empty, class_="empty")
    kinds = ["number" if head.startswith("#") else None for head in heads]
    head = [
        element("th", name.removeprefix("#"), scope="col", class_=kind) for name, kind in zip(heads, kinds, strict=True)
    ]
    lines = []
    for row in rows:
        first, *others = row
        cells = [element("th", first, scope="row", class_=kinds[0])]
        cells += [element("td", cell, class_=kind) for cell, kind in zip(others, kinds[1:], strict=True)]
        lines.append(element("tr", *cells))
    table = element(
        "table", element("caption", caption), element("thead", element("tr", *head)), element("tbody", *lines)
    )
    return element("div", table, class_="wide", tabindex=0, role="region", aria_label=caption)


def _rest(some: Some[object], what: str) -> Markup | None:
    more = some.total - len(some.rows)
    return element("p", f"… and {more:,} more {what}.", class_="rest") if more > 0 else None


_BADGES: Mapping[str, str] = {"ok": "✓", "warning": "!", "critical": "✕"}


def _badge(state: str, word: str = "") -> Markup:
    return element("span", f"{_BADGES.get(state, '')} {word or state}", class_=f"badge {state}")


def _domain(key: str) -> Markup:
    """A key as it is, and as people write it where that is something else."""
    spelled = to_unicode(key)
    shown = f" {excerpt(spelled)}" if spelled and spelled != key else None
    return join((element("code", excerpt(key)), shown))


def _time(seconds: int) -> Markup:
    if not seconds:
        return element("span", "never", class_="never")
    moment = datetime.fromtimestamp(seconds, UTC)
    return element("time", moment.strftime("%Y-%m-%d %H:%M UTC"), datetime=iso(seconds))


def _stamp(text: str) -> Markup:
    """A time as the public interface writes it."""
    return element("time", f"{text[:10]} {text[11:16]} UTC", datetime=text)


def _age(seconds: int) -> str:
    for size, unit in ((86400, "day"), (3600, "hour"), (60, "minute")):
        if seconds >= size:
            number = seconds // size
            return f"{number:,} {unit}{'' if number == 1 else 's'}"
    return "less than a minute"
