"""Gather what `status`, `history`, the counters and the last probe know, and write the page of `closedmail report`."""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar

from closedmail.core.model import Config
from closedmail.core.record import State
from closedmail.core.rule import Rule
from closedmail.errors import ClosedmailError, StoreError
from closedmail.files import replace_file
from closedmail.inbound.counters import ALONE, Counters
from closedmail.probe.probe_file import read_probe
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
from closedmail.status.status import NetworkStatus, Status
from closedmail.status.traffic import find_counters
from closedmail.store.environment import store_path
from closedmail.store.snapshot import Snapshot, StoreReader
from closedmail.words import counted

T = TypeVar("T")
_SHOWN = 200  # rows of one table; a page for people, not an export
_GENERATIONS = 60


def render_report(config: Config, status: Status, now: int) -> Iterator[bytes]:
    """Render the page, at a time (Unix seconds)."""
    for piece in report_page(gather_report(config, status, now)):
        yield piece.encode("utf-8", "replace")


def write_report(path: Path, page: Iterable[bytes]) -> None:
    """Write the page, in one step, to a file for everybody to read. Raises ClosedmailError and keeps the old one."""
    try:
        replace_file(path, page)
    except OSError as error:
        raise ClosedmailError(
            f"{path}: {error.strerror}; the folder must exist and be writable by the user that runs this"
        ) from None


def gather_report(config: Config, status: Status, now: int) -> ReportData:
    """Gather the contents of a report, at a time (Unix seconds). `status` has the problems of what can't be read."""
    state_dir = Path(config.gateway.state_dir)
    tables: Sequence[PartnerRow] = ()
    held: Sequence[HeldRow] = ()
    skipped: Sequence[SkippedRow] = ()
    history: Sequence[GenerationRow] = ()
    partners, kept, rules = 0, Counter[str](), dict[str, Rule]()
    with StoreReader(store_path(config.gateway.state_dir)) as store:
        try:
            snapshot = store.current()
            rules = {rule.network: rule for rule in snapshot.manifest.rules if not rule.partner}
            tables = list(_tables(config, snapshot.manifest.rules))
            kept = Counter(rule.network for rule in snapshot.manifest.rules if rule.partner)
            partners = snapshot.partners
            held, skipped, history = list(_held(snapshot)), list(_skipped(snapshot)), list(_history(snapshot))
        except StoreError:
            pass  # one of status's problems
    networks = []
    for network in config.networks:
        of = status.networks[network.name]
        networks.append(_network(network.name, network.title, of, kept.get(network.name, 0), rules.get(network.name)))
    saved = find_counters(state_dir)
    refusals = sorted(_refusals(saved.counters) if saved else (), key=lambda row: (-row.refused, row.partner))
    probe = read_probe(state_dir)
    hosts = sorted(probe.results if probe else (), key=lambda item: (item.ok, item.key))
    state, problems = status.state, status.problems
    if bad := sum(not item.ok for item in hosts):
        problems.append(f"probe: {bad:,} of {counted(len(hosts), 'route host')} not ok (below)")
        state = "warning" if state == "ok" else state
    return ReportData(
        generated_at=now,
        closedmail=config.command(),
        own_domains=config.gateway.own_domains,
        state=state,
        problems=_first(problems),
        generation=status.generation,
        published_at=status.published_at,
        networks=networks,
        partners=partners,
        tables=_first(tables),
        held=_first(held),
        skipped=_first(skipped),
        history=_first(history, _GENERATIONS),
        counted_since=saved.counters.since if saved else 0,
        counted_until=saved.saved_at if saved else 0,
        counts=list(_totals(saved.counters)) if saved else (),
        refusals=_first(refusals),
        hosts=_first(hosts),
        hosts_bad=bad,
        probed_at=probe.probed_at if probe else "",
    )


def _first(rows: Sequence[T], most: int = _SHOWN) -> Some[T]:
    return Some(rows[:most], len(rows))


def _network(name: str, title: str, status: NetworkStatus, tables: int, rule: Rule | None) -> NetworkRow:
    return NetworkRow(
        name=name,
        title=f"{title} ({name})" if title and title != name else name,
        state=status.found.state,
        domains=status.domains,
        tables=tables,
        signed_at=status.signed_at,
        fetched_at=status.fetched_at,
        age=status.age,
        held=len(status.held),
        rules=_words(rule) if rule else "",
    )


def _words(rule: Rule) -> str:
    """Describe a rule in a few words."""
    inbound, outbound = rule.inbound, rule.outbound
    tls = " and TLS" if inbound.require_tls else ""
    to = f"outbound TLS {outbound.tls}" if outbound else "not routed"
    return f"inbound {inbound.mode}, by {inbound.require}{tls}; {to}"


def _tables(config: Config, rules: Iterable[Rule]) -> Iterator[PartnerRow]:
    contacts = {partner.key: partner.contact for partner in config.partners}
    for rule in rules:
        if rule.partner:
            yield PartnerRow(rule.partner, rule.network, _words(rule), contacts.get(rule.partner, ""))


def _held(snapshot: Snapshot) -> Iterator[HeldRow]:
    for name in (*snapshot.networks, ""):
        for key in snapshot.details(name).held:
            entry = snapshot.entry(key)
            if entry and entry.state is State.HELD:
                yield HeldRow(key, name, entry.why.reason.brief, entry.since, entry.until)


def _skipped(snapshot: Snapshot) -> Iterator[SkippedRow]:
    for name in snapshot.networks:
        for item in snapshot.details(name).skipped:
            yield SkippedRow(name, item.line, item.text, item.reason)


def _history(snapshot: Snapshot) -> Iterator[GenerationRow]:
    for number, line in snapshot.history():
        back_to = f" to {line['rolled_back_to']}" if line.get("rolled_back_to") else ""
        networks = {name: _numbers(item) for name, item in line["networks"].items()}
        published = datetime.strptime(line["published_at"], "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=UTC)
        yield GenerationRow(
            number, int(published.timestamp()), line["reason"] + back_to, number == snapshot.generation, networks
        )


def _numbers(item: Mapping[str, Any]) -> tuple[int, int, int, int]:
    return item["domains"], item["added"], item["removed"], item["changed"]


def _totals(counters: Counters) -> Iterator[CountRow]:
    yield from (row for (_, partner), row in _by(counters, whole=True) if not partner)


def _refusals(counters: Counters) -> Iterator[CountRow]:
    yield from (row for _, row in _by(counters, whole=False) if row.refused)


def _by(counters: Counters, *, whole: bool) -> Iterator[tuple[tuple[str, str], CountRow]]:
    """Add up the counts of each network as a whole, or of each partner."""
    verdicts: dict[tuple[str, str], Counter[str]] = {}
    reasons: dict[tuple[str, str], Counter[str]] = {}
    for series, number in counters:
        key = (series.network, "" if whole else series.partner)
        verdicts.setdefault(key, Counter())[series.verdict] += number
        if series.verdict != "accept":
            reasons.setdefault(key, Counter())[series.reason] += number
    for key in sorted(verdicts):
        network = "" if key[0] == ALONE and not whole else key[0]
        yield key, CountRow(network, key[1], verdicts[key], reasons.get(key, Counter()))
