"""`closedmail release`: held domains are let go at once, and a kept one is routed no longer."""

from collections.abc import Sequence

from closedmail.core.model import Config
from closedmail.core.record import Entry, State, Why
from closedmail.errors import ClosedmailError
from closedmail.generation.changes import report_changes
from closedmail.generation.difference import compare
from closedmail.generation.earlier import Without
from closedmail.generation.settle import released_line, settle
from closedmail.maps.local_rows import note_own_rows
from closedmail.sync.inputs import check_services, gather
from closedmail.sync.outcome import details_of, report_published, standing_report
from closedmail.sync.publication import Edition, Publication
from closedmail.sync.session import open_session
from closedmail.sync.sync_report import SyncReport

_MEND = {
    Why.TLS: "its TLS demand can't be met, which closedmail sync explains: mend that in place of letting its mail go",
    Why.ROUTE: "its route is too long for Sendmail: ask for a shorter one, or give it a [partner] table",
    Why.FOLDED: "its spelling is also another domain's for Postfix: a [partner] table decides",
}


def release(file: Config, keys: Sequence[str], *, now: int | None = None) -> SyncReport:
    """Let go what is held, or kept, under these keys: all of them, or none where one is not held.

    The rules are those in force: a file that has changed since is the next sync's. A domain that is held because its
    line is not understood stays released as long as that line stays as it is.

    Raises ClosedmailError for a domain that is not held, Refused (`busy`, `publish-failed`), ConfigError and
    StoreError; then nothing has changed.
    """
    with open_session(file, now) as session:
        snapshot, manifest = session.in_force()
        for key in keys:
            _check_held(key, snapshot.entry(key))
        rules = session.rules_in_force()
        inputs = gather(rules)
        check_services(inputs)
        lists = session.lists(inputs)
        names = [item.network.name for item in lists]
        listings = [item.read(inputs.admission, snapshot) for item in lists]
        marks = {
            released_line(name, key): mark
            for name, listing in zip(names, listings, strict=True)
            for key, mark in (listing.unclear.items() if listing else ())
            if key in keys
        }
        standing = Without(snapshot, frozenset(keys))
        differences = compare(standing, names, listings)
        report = standing_report(rules, snapshot)
        generation = settle(
            rules, listings, differences, standing, session.now, manifest.released | marks, latest=session.latest
        )
        report_changes(generation, differences, standing)
        note_own_rows(generation, inputs.own_rows.mailertable, inputs.own_rows.access)
        details = details_of(generation, lists, listings, inputs.admission)
        edition = Edition(
            manifest.generation + 1,
            "release",
            [item.next_in_force() for item in lists],
            details,
            rules_of=manifest.rules_of,
            set_aside=manifest.set_aside,
        )
        Publication(session, inputs).publish(generation, edition)
        session.tidy()
        report_published(report, generation, edition.number, details, names)
        return report


def _check_held(key: str, entry: Entry | None) -> None:
    if entry is None or entry.state not in (State.HELD, State.KEPT):
        raise ClosedmailError(f"{key} is not held", "{closedmail} status names what is")
    if entry.why in _MEND:
        raise ClosedmailError(f"{key} can't be released: {_MEND[entry.why]}")
