"""`closedmail rollback`: an earlier generation is made again of what was kept of it, and published under a new number.

Lists, rules, holds and releases are as they were; places, and where lists come from and who may sign them, as they are
today. TLS rows linger as in every publication. The newest signing times that were ever accepted stay, so that no old
list gets in, and the lists that were rolled back from are noted, so that the next sync does not take them again.
"""

from dataclasses import replace

from closedmail.core.model import Config
from closedmail.errors import ClosedmailError
from closedmail.generation.changes import report_changes
from closedmail.generation.difference import compare
from closedmail.generation.earlier import Earlier, hold_anew
from closedmail.generation.settle import settle
from closedmail.lists.fetch_log import FetchRecord
from closedmail.maps.local_rows import note_own_rows
from closedmail.store.archive import Archived
from closedmail.store.manifest import ListInForce, Manifest
from closedmail.store.snapshot import Snapshot
from closedmail.sync.inputs import check_services, gather
from closedmail.sync.outcome import details_of, report_published, standing_report
from closedmail.sync.publication import Edition, Publication
from closedmail.sync.rules import archived_rules, set_aside_digest
from closedmail.sync.session import Session, open_session
from closedmail.sync.sync_report import SyncReport

_REMEMBERED = 100  # texts of unsigned lists that were rolled back from, a network


def rollback(file: Config, number: int, *, now: int | None = None) -> SyncReport:
    """Put generation `number` back in force; nothing is done where it is in force.

    Raises ClosedmailError for a generation that is not kept or can't be made again, Refused (`busy`, `publish-failed`),
    ConfigError and StoreError; then nothing has changed.
    """
    with open_session(file, now) as session:
        snapshot, manifest = session.in_force()
        if number == manifest.generation:
            return standing_report(session.rules_in_force(), snapshot)
        archived = snapshot.archived(number)
        if archived is None:
            kept = ", ".join(str(known) for known, _ in snapshot.history())
            raise ClosedmailError(f"generation {number} is not kept (kept: {kept})", "look at: {closedmail} history")
        report = _put_back(session, snapshot, manifest, archived, number)
        session.tidy()
        return report


def _put_back(session: Session, snapshot: Snapshot, manifest: Manifest, archived: Archived, number: int) -> SyncReport:
    rules = archived_rules(archived, session.file, number)
    inputs = gather(rules)
    check_services(inputs)
    lists = session.lists(inputs, _lists_put_back(session, manifest, archived))
    for item in lists:
        if not item.is_whole():
            raise ClosedmailError(
                f"the list of {item.network.name} in generation {number} is no longer there, or is not what was "
                "verified then",
                "go back to another generation, see: {closedmail} history",
            )
    names = [item.network.name for item in lists]
    listings = [item.read(inputs.admission, None) for item in lists]
    then = Earlier(
        archived.networks, hold_anew(archived.beyond, archived.networks, rules, max(session.now, session.latest))
    )
    report = standing_report(rules, snapshot)
    differences = compare(snapshot, names, listings)
    generation = settle(
        rules, listings, compare(then, names, listings), then, session.now, archived.released, latest=session.latest
    )
    report_changes(generation, differences, snapshot)
    note_own_rows(generation, inputs.own_rows.mailertable, inputs.own_rows.access)
    details = details_of(generation, lists, listings, inputs.admission)
    aside = set_aside_digest(session.file)
    stays = aside != set_aside_digest(rules)
    edition = Edition(
        manifest.generation + 1,
        "rollback",
        [item.next_in_force() for item in lists],
        details,
        rolled_back_to=number,
        rules_of=number if stays else 0,
        set_aside=aside if stays else "",
    )
    Publication(session, inputs).publish(generation, edition)
    report_published(report, generation, edition.number, details, names)
    for known in edition.lists:
        own = report.networks[known.name]
        own.signed_at, own.signer = known.signed_at, known.signer
    return report


def _lists_put_back(session: Session, manifest: Manifest, archived: Archived) -> dict[str, ListInForce]:
    """The lists that the generation had, by network, with what is known of them since."""
    current = {item.name: item for item in manifest.lists}
    found = {}
    for item in archived.lists:
        now, record = current.get(item.name, ListInForce(item.name)), session.log.get(item.name, FetchRecord())
        newest = max(
            item.newest_signed_at, now.newest_signed_at, manifest.former.get(item.name, 0), record.newest_signed_at
        )
        if now.text == item.text:  # the same list, perhaps signed anew since
            found[item.name] = replace(now, newest_signed_at=newest)
            continue
        back_from = max(now.rolled_back_from, now.signed_at)
        texts = now.rolled_back_texts
        if now.text and not now.signed_at:
            texts = (*texts, now.text)[-_REMEMBERED:]
        found[item.name] = replace(
            item,
            newest_signed_at=newest,
            rolled_back_from=back_from if back_from > item.signed_at else 0,
            rolled_back_texts=tuple(text for text in texts if text != item.text),
        )
    return found
