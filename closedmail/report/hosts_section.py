"""Build the section of a report on route hosts, as last probed: results and certificates."""

from closedmail.probe.probe_result import HostResult, days_in_words
from closedmail.report.charts import Bar, bar_chart
from closedmail.report.markup import Markup, element, join
from closedmail.report.report_data import ReportData
from closedmail.report.report_pieces import badge, rest, stamp, table
from closedmail.words import excerpt

_BARS = 15
_NAMES = 4  # of a certificate
_SOON = 30  # days that a certificate still has, to be marked


def hosts(data: ReportData) -> list[Markup | None]:
    """Show the route hosts, those that are not ok first, and the days left of their certificates as a chart."""
    if not data.hosts.rows:
        return [element("p", "Not probed yet: run ", element("code", f"{data.closedmail} probe"), ".", class_="empty")]
    known = sorted((item for item in data.hosts.rows if item.days_left is not None), key=_days)[:_BARS]
    found: list[Markup | None] = []
    if data.probed_at:
        found.append(element("p", "All of them were last probed at ", stamp(data.probed_at), "."))
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
                    badge("ok" if item.ok else "critical", "ok" if item.ok else "not ok"),
                    " ",
                    excerpt(item.error or ""),
                )
            ),
            f"{item.domains:,}",
            element("code", excerpt(item.policy)),
            item.protocol
            or ("STARTTLS offered" if item.starttls else "no STARTTLS" if item.reachable else "not reached"),
            stamp(item.probed_at) if item.probed_at else "",
            _certificate(item),
        )
        for item in data.hosts.rows
    ]
    heads = ("Host", "Result", "#Domains", "TLS policy", "Connection", "Probed", "Certificate")
    return [*found, table("Route hosts, those that are not ok first", heads, rows, ""), rest(data.hosts, "hosts")]


def _certificate(item: HostResult) -> Markup | None:
    if not item.not_after:
        return None
    more = f" and {len(item.names) - _NAMES} more" if len(item.names) > _NAMES else ""
    parts = (
        ", ".join(map(excerpt, item.names[:_NAMES])) + more or "no name",
        f"by {excerpt(item.issuer or '')}" if item.issuer else None,
        join(("until ", stamp(item.not_after), f" ({days_in_words(_days(item))})")),
    )
    return join([element("div", part) for part in parts if part])


def _host(item: HostResult) -> str:
    named = f" {item.host}" if item.host and item.host not in item.nexthop else ""
    return excerpt(f"{item.nexthop}{named}")


def _days(item: HostResult) -> int:
    return item.days_left or 0


def _urgency(item: HostResult) -> str:
    return "bad" if _days(item) < 0 else "soon" if _days(item) < _SOON else "fine"
