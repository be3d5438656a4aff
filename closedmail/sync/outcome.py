"""What a run comes to: what stood before it, what is to be said of each network, and what was published."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace

from closedmail.core.model import Config
from closedmail.generation.generation import Changes, Generation
from closedmail.mailertable.listing import Admission, Listing, SkippedLine
from closedmail.store.manifest import Details
from closedmail.store.snapshot import Snapshot
from closedmail.sync.network_list import NetworkList
from closedmail.sync.sync_report import NetworkReport, SyncReport


def standing_report(config: Config, snapshot: Snapshot | None, *, dry_run: bool = False) -> SyncReport:
    """What is in force, before anything happens."""
    report = SyncReport(dry_run=dry_run)
    manifest = snapshot.manifest if snapshot else None
    standing = {item.name: item for item in manifest.lists} if manifest else {}
    report.generation = manifest.generation if manifest else None
    for network in config.networks:
        own = report.networks[network.name] = NetworkReport(network.title)
        own.partners = sum(partner.network == network.name for partner in config.partners)
        own.unsigned = network.source is not None and network.source.signature == "none"
        item = standing.get(network.name)
        if item and snapshot:
            details = snapshot.details(network.name)
            own.domains, own.signed_at, own.signer = item.domains, item.signed_at, item.signer
            own.held, own.skipped, own.notes = details.held, details.skipped, details.notes
    if snapshot:
        partners = snapshot.details("")
        report.partners_held, report.partners_notes = partners.held, partners.notes
    return report


def details_of(
    generation: Generation, lists: Sequence[NetworkList], listings: Sequence[Listing | None], admission: Admission
) -> dict[str, Details]:
    """What is to be said of each network, and of partners that stand alone (""), as long as the generation lasts."""
    found = dict(zip((item.network.name for item in lists), zip(lists, listings, strict=True), strict=True))
    return {
        name: Details(
            tuple(changes.held), _skipped(changes, *found[name], admission) if name else (), tuple(changes.notes)
        )
        for name, changes in generation.changes.items()
    }


def _skipped(
    changes: Changes, item: NetworkList, listing: Listing | None, admission: Admission
) -> tuple[SkippedLine, ...]:
    if listing is None:
        return ()
    skipped = list(listing.skipped)
    for key, line in item.lines_of(changes.yielded.keys(), admission):
        winner = changes.yielded[key]
        reason = f"{key} is in force from the list of {winner}; a [partner] table decides otherwise"
        skipped.append(replace(line, reason=reason))
    return tuple(sorted(skipped, key=lambda line: line.line))


def report_published(
    report: SyncReport,
    generation: Generation,
    number: int,
    details: Mapping[str, Details],
    touched: Collection[str],
) -> None:
    """Write over what stood what has been published. `touched` are the networks of which more than domains changed."""
    renewed = number != report.generation
    report.generation, report.published = number, renewed
    for name, own in report.networks.items():
        changes = generation.changes[name]
        published = name in touched or changes.added or changes.removed or changes.changed
        own.result = "published" if renewed and published else "unchanged"
        own.domains, own.held = changes.domains, changes.held
        own.added, own.removed, own.changed = changes.added, changes.removed, changes.changed
        own.skipped, own.notes = details[name].skipped, details[name].notes
    report.partners_held, report.partners_notes = details[""].held, details[""].notes
