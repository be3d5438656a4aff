"""Build the pieces that the sections of a report share: tables, badges, domains and times."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime

from closedmail.core.domain import to_unicode
from closedmail.report.markup import Child, Markup, element, join
from closedmail.report.report_data import Some
from closedmail.words import excerpt


def table(caption: str, heads: Sequence[str], rows: Sequence[Sequence[Child]], empty: str) -> Markup:
    """Build a table, or a sentence where it would be empty. A head with `#` in front is one of numbers."""
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
    found = element(
        "table", element("caption", caption), element("thead", element("tr", *head)), element("tbody", *lines)
    )
    return element("div", found, class_="wide", tabindex=0, role="region", aria_label=caption)


def rest(some: Some[object], what: str) -> Markup | None:
    """Build the line on the rows that are not shown, None where all are."""
    more = some.total - len(some.rows)
    return element("p", f"… and {more:,} more {what}.", class_="rest") if more > 0 else None


_BADGES: Mapping[str, str] = {"ok": "✓", "warning": "!", "critical": "✕"}


def badge(state: str, word: str = "") -> Markup:
    """Build the badge of a state, with another word where given."""
    return element("span", f"{_BADGES.get(state, '')} {word or state}", class_=f"badge {state}")


def domain(key: str) -> Markup:
    """Build a domain: the key, and its Unicode spelling where that is another."""
    spelled = to_unicode(key)
    shown = f" {excerpt(spelled)}" if spelled and spelled != key else None
    return join((element("code", excerpt(key)), shown))


def moment(seconds: int) -> Markup:
    """Build a time from Unix seconds; 0 is never."""
    if not seconds:
        return element("span", "never", class_="never")
    at = datetime.fromtimestamp(seconds, UTC)
    return element("time", at.strftime("%Y-%m-%d %H:%M UTC"), datetime=at.strftime("%Y-%m-%dT%H:%M:%SZ"))


def stamp(text: str) -> Markup:
    """Build a time from the text of the public interface."""
    return element("time", f"{text[:10]} {text[11:16]} UTC", datetime=text)


def age_in_words(seconds: int) -> str:
    """Render an age in its largest unit."""
    for size, unit in ((86400, "day"), (3600, "hour"), (60, "minute")):
        if seconds >= size:
            number = seconds // size
            return f"{number:,} {unit}{'' if number == 1 else 's'}"
    return "less than a minute"
