"""Run `closedmail rollback`: rebuild an earlier generation from the archive, and publish it under a new number.

Lists, rules, holds and releases are as they were; partners that came since are lost, and held. Paths, and where lists
come from and who may sign them, are as they are today. TLS rows linger as in every publication. The newest signing
times that were ever accepted stay, so that no old list gets in, and the lists that were rolled back from are noted, so
that the next sync does not take them again.
"""

from dataclasses import replace

from closedmail.core.model import Config
from closedmail.core.rule import rules_of
from closedmail.errors import ClosedmailError
from closedmail.generation.earlier import Earlier, hold_anew
from closedmail.lists.fetch_log import FetchRecord
from closedmail.store.archive import Archived
from closedmail.store.manifest import ListInForce, Manifest
from closedmail.store.snapshot import Snapshot
from closedmail.sync.in_force import InForce
from closedmail.sync.inputs import check_services, gather
from closedmail.sync.locked_run import LockedRun, locked_run
from closedmail.sync.plan import Plan, report_in_force
from closedmail.sync.publication import GenerationLabel
from closedmail.sync.rules import archived_rules, set_aside_digest
from closedmail.sync.sync_report import SyncReport

_NAMED = 10  # domains that the report names
_REMEMBERED = 100  # texts of unsigned lists that were rolled back from, a network


def rollback(file: Config, number: int, *, now: int | None = None) -> SyncReport:
    """Put generation `number` back in force; nothing is done where it is in force.

    Raises ClosedmailError for a generation that is not kept or can't be made again, Refused (`busy`, `publish-failed`),
    ConfigError and StoreError; then nothing has changed.
    """
    with locked_run(file, now) as run:
        snapshot, manifest = run.in_force()
        if number == manifest.generation:
            return report_in_force(run.rules_in_force(), snapshot)
        archived = snapshot.archived(number)
        if archived is None:
            kept = ", ".join(str(known) for known, _ in snapshot.history())
            raise ClosedmailError(f"generation {number} is not kept (kept: {kept})", "look at: {closedmail} history")
        report = _put_back(run, snapshot, manifest, archived, number)
        run.tidy()
        return report


def _put_back(run: LockedRun, snapshot: Snapshot, manifest: Manifest, archived: Archived, number: int) -> SyncReport:
    rules = archived_rules(archived, run.file, number)
    inputs = gather(rules)
    check_services(inputs)
    lists = run.lists(inputs, _lists_put_back(run, manifest, archived))
    for item in lists:
        if not item.is_whole():
            raise ClosedmailError(
                f"the list of {item.network.name} in generation {number} is no longer there, or is not what was "
                "verified then",
                "go back to another generation, see: {closedmail} history",
            )
    held = hold_anew(archived.beyond, archived.networks, rules, max(run.now, run.latest))
    report = report_in_force(rules, snapshot)
    found = InForce(run, inputs)
    plan = Plan(run, inputs, lists, found.before, report)
    aside = set_aside_digest(run.file)
    stays = aside != set_aside_digest(rules)
    label = GenerationLabel(
        found.number + 1,
        "rollback",
        rolled_back_to=number,
        rules_of=number if stays else 0,
        set_aside=aside if stays else "",
    )
    then = (*rules_of(inputs.config), *archived.rules)
    before = _held(report)
    listed = frozenset(key for listing in plan.listings if listing for key in listing.entries)
    base = Earlier(archived.networks, held, then, found.before, run.now, listed)
    plan.publish(label, archived.released, base=base)
    since = sorted(_held(report) - before - held.keys())
    if since:
        more = f" and {len(since) - _NAMED} more" if len(since) > _NAMED else ""
        report.partners_notes = (
            *report.partners_notes,
            f"Held, since generation {number} has no route for them: {', '.join(since[:_NAMED])}{more}; let them go "
            f"with: {run.file.command('release')} DOMAIN…",
        )
    return report


def _held(report: SyncReport) -> set[str]:
    return {key for own in report.networks.values() for key in own.held} | set(report.partners_held)


def _lists_put_back(run: LockedRun, manifest: Manifest, archived: Archived) -> dict[str, ListInForce]:
    """Return the lists that the generation had, by network, with what is known of them since."""
    current = {item.name: item for item in manifest.lists}
    found = {}
    for item in archived.lists:
        now, record = current.get(item.name, ListInForce(item.name)), run.log.get(item.name, FetchRecord())
        newest = max(
            item.newest_signed_at, now.newest_signed_at, manifest.former.get(item.name, 0), record.newest_signed_at
        )
        if now.text == item.text:  # the same list, perhaps signed again since
            found[item.name] = replace(now, newest_signed_at=newest)
            continue
        back_from = max(now.rolled_back_from, now.signed_at)
        texts = now.rolled_back_texts
        if now.text and not now.signed_at:
            texts = (*texts, now.text)[-_REMEMBERED:]
        found[item.name] = replace(
            item,
            newest_signed_at=newest,
            # Two lists that were signed in the same second: equal is not later.
            rolled_back_from=back_from if back_from >= item.signed_at else 0,
            rolled_back_texts=tuple(text for text in texts if text != item.text),
        )
    return found
