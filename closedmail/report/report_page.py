"""Build one static HTML page of all that is known of a gateway: no script, nothing that is fetched from anywhere.

The policy in its head (Content-Security-Policy, CSP level 3) allows this very style sheet and nothing else, so that a
text which should ever get through as markup still could neither run nor load anything.
"""

import base64
import hashlib
from collections.abc import Callable, Iterator, Sequence

from closedmail.report.gateway_sections import changes, held, networks, partner_tables, skipped, state
from closedmail.report.hosts_section import hosts
from closedmail.report.markup import Markup, element, join
from closedmail.report.refusals_section import refusals
from closedmail.report.report_data import ReportData
from closedmail.report.report_pieces import moment
from closedmail.report.report_style import STYLE

_Body = Sequence[Markup | None]
_SECTIONS: Sequence[tuple[str, str, Callable[[ReportData], _Body]]] = (
    ("state", "State", state),
    ("networks", "Networks", networks),
    ("refusals", "Refusals", refusals),
    ("held", "Held domains", held),
    ("changes", "Last changes", changes),
    ("probe", "Route hosts and their certificates", hosts),
    ("partners", "Partners with rules of their own", partner_tables),
    ("skipped", "Skipped lines", skipped),
)


def report_page(data: ReportData) -> Iterator[str]:
    """Build the page, in pieces. All texts in `data` may be hostile."""
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
    for identity, title, build in _SECTIONS:
        yield element("section", element("h2", title, id=identity), *build(data), aria_labelledby=identity)
        yield "\n"
    yield "</main>\n</body>\n</html>\n"


def _made(data: ReportData) -> Markup:
    in_force = f"generation {data.generation}" if data.generation else "no generation"
    since = join((" of ", moment(data.published_at))) if data.generation else None
    return element("p", "Made ", moment(data.generated_at), ", with ", in_force, since, " in force.", class_="made")


def _navigation() -> Markup:
    links = [element("li", element("a", title, href=f"#{identity}")) for identity, title, _ in _SECTIONS]
    return element("nav", element("ul", *links), aria_label="Sections")
