"""Go from lists to a generation in force: read, compare, brake, settle, report, publish.

`sync`, `rollback` and `release` all do so. Each provides what differs: its lists, the base of the generation, and its
label.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace

from closedmail.core.model import Config
from closedmail.errors import Refused
from closedmail.generation.brakes import check_brakes
from closedmail.generation.difference import Previous, compare, report_changes
from closedmail.generation.generation import Changes, Generation
from closedmail.generation.settle import settle
from closedmail.mailertable.listing import Listing, SkippedLine
from closedmail.maps.local_rows import note_local_rows
from closedmail.store.manifest import Details
from closedmail.store.snapshot import Snapshot
from closedmail.sync.inputs import Inputs
from closedmail.sync.locked_run import LockedRun
from closedmail.sync.network_list import NetworkList, new_texts
from closedmail.sync.publication import GenerationLabel, Publication
from closedmail.sync.sync_report import NetworkReport, SyncReport

Progress = Callable[[str], None]


class Plan:
    """One generation, from the lists that it is made of to its publication.

    `listings` are the lists as read, in the order of the networks, None where a network has none.
    """

    def __init__(
        self,
        run: LockedRun,
        inputs: Inputs,
        lists: Sequence[NetworkList],
        before: Previous,
        report: SyncReport,
        *,
        stored: Snapshot | None = None,
        progress: Progress = lambda _: None,
    ) -> None:
        """Read the lists and compare them with `before`, the generation in force as the command sees it.

        `stored` gives the entries of a list whose text is gone. `report` has what is in force (`report_in_force`), and
        is updated by what happens.
        """
        self._run, self._inputs, self._lists, self._before = run, inputs, lists, before
        self._report, self._stored, self._progress = report, stored, progress
        progress("reading the lists")
        self.listings = [item.read(inputs.admission, stored) for item in lists]
        self._comparison = compare(before, inputs.config, self.listings)
        self._braked: dict[str, Listing] = {}

    def brake(self) -> None:
        """Refuse new lists that change too much; those in force are used instead."""
        for number, item in enumerate(self._lists):
            listing = self.listings[number]
            if item.new and listing is not None:
                try:
                    check_brakes(
                        item.network.name,
                        listing,
                        self._comparison.networks[number],
                        item.network.brakes,
                        self._before,
                        self._run.file.command,
                    )
                except Refused as refusal:
                    item.refuse(refusal)
                    self._braked[item.network.name] = listing
                    self.listings[number] = item.read(self._inputs.admission, self._stored)
        if self._braked:
            self._comparison = compare(self._before, self._inputs.config, self.listings)

    def publish(
        self,
        label: GenerationLabel,
        released: Mapping[str, str],
        *,
        base: Previous | None = None,
        touched: Collection[str] | None = None,
        ends: Mapping[str, int] | None = None,
        anew: int = 0,
        ended: Collection[str] = frozenset(),
    ) -> dict[str, int]:
        """Settle the generation, publish it and report it. Raises Refused(publish-failed); then nothing has changed.

        `released` are marks of bad lines (`generation.settle`). `base` is what the generation is made on top of, where
        that is not the generation in force; what it changes is reported against the latter all the same. `touched` are
        the networks of which more than domains changed, by default all. `ends` and `anew` say which holds end, and
        which begin anew (`settle`), `ended` which TLS rows stay no longer (`Publication`). Returns when the first hold
        of each network is due.
        """
        run, inputs = self._run, self._inputs
        self._progress("settling routes and rules")
        generation = settle(
            inputs.config,
            self.listings,
            self._comparison if base is None else compare(base, inputs.config, self.listings),
            self._before if base is None else base,
            run.now,
            released,
            latest=run.latest,
            ends=ends,
            anew=anew,
        )
        report_changes(generation, self._comparison.networks, self._before)
        note_local_rows(generation, inputs.local_rows.mailertable, inputs.local_rows.access)
        details = self._details(generation)
        self._progress("building and checking the maps")
        lists = [item.next_in_force() for item in self._lists]
        Publication(run, inputs, anew, ended).publish(generation, label, lists, details, new_texts(self._lists))
        names = [item.network.name for item in self._lists] if touched is None else touched
        self._report_published(generation, label.number, details, names)
        for item in lists:
            own = self._report.networks[item.name]
            own.signed_at, own.signer = item.signed_at, item.signer
        self.report_braked()
        return generation.holds_due

    def report_braked(self) -> None:
        """Report the skipped lines of the lists that the brakes refused: the administrator needs these."""
        for name, listing in self._braked.items():
            self._report.networks[name].skipped = listing.skipped

    def _details(self, generation: Generation) -> dict[str, Details]:
        """Collect what `status` shows of each network, and of partners without one (""), while it is in force."""
        skipped = {
            item.network.name: _skipped(generation.changes[item.network.name], item, listing, self._inputs)
            for item, listing in zip(self._lists, self.listings, strict=True)
        }
        return {
            name: Details(tuple(changes.held), skipped.get(name, ()), tuple(changes.notes))
            for name, changes in generation.changes.items()
        }

    def _report_published(
        self, generation: Generation, number: int, details: Mapping[str, Details], touched: Collection[str]
    ) -> None:
        """Replace in the report what was in force by what has been published."""
        report = self._report
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


def report_in_force(config: Config, snapshot: Snapshot | None, *, dry_run: bool = False) -> SyncReport:
    """Report the generation in force, as it is before a run changes anything."""
    report = SyncReport(dry_run=dry_run)
    manifest = snapshot.manifest if snapshot else None
    in_force = {item.name: item for item in manifest.lists} if manifest else {}
    report.generation = manifest.generation if manifest else None
    for network in config.networks:
        own = report.networks[network.name] = NetworkReport(network.title)
        own.partners = sum(partner.network == network.name for partner in config.partners)
        own.unsigned = network.source is not None and network.source.signature == "none"
        item = in_force.get(network.name)
        if item and snapshot:
            details = snapshot.details(network.name)
            own.domains, own.signed_at, own.signer = item.domains, item.signed_at, item.signer
            own.held, own.skipped, own.notes = details.held, details.skipped, details.notes
    if snapshot:
        partners = snapshot.details("")
        report.partners_held, report.partners_notes = partners.held, partners.notes
    return report


def _skipped(changes: Changes, item: NetworkList, listing: Listing | None, inputs: Inputs) -> tuple[SkippedLine, ...]:
    """Collect a network's skipped lines, with those whose key another network has in force, in their order."""
    if listing is None:
        return ()
    skipped = list(listing.skipped)
    reasons = {key: f"{key} is in force from the list of {winner}" for key, winner in changes.yielded.items()}
    reasons |= changes.barred
    for key, line in item.lines_of(reasons.keys(), inputs.admission):
        skipped.append(replace(line, reason=f"{reasons[key]}; a [partner] table decides otherwise"))
    return tuple(sorted(skipped, key=lambda line: line.line))
