"""The run itself: fetch, verify, read, compare, brake, settle, publish.

Networks fail alone: one that is refused keeps the list that it has in force, and the others move on. Nothing that is
in force is touched before the switch.
"""

import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack, suppress
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

from closedmail.core.difference import NothingInForce, check_brakes, compare
from closedmail.core.generation import Changes, Generation
from closedmail.core.listing import Admission, Listing, SkippedLine
from closedmail.core.model import Config
from closedmail.core.settle import settle
from closedmail.errors import ClosedmailError, ConfigError, Refused, StoreError
from closedmail.lists.fetch_log import FetchRecord, read_log, write_log
from closedmail.publish.files import fresh_folder, remove_tree
from closedmail.publish.postfix import maps_in_force
from closedmail.publish.switch import interrupted
from closedmail.store.environment import open_environment, store_path
from closedmail.store.manifest import Details, Manifest
from closedmail.store.reader import Snapshot, StoreReader
from closedmail.sync.inputs import Inputs, check_services, gather
from closedmail.sync.lock import prepare_state_dir, sync_lock
from closedmail.sync.network_list import NetworkList
from closedmail.sync.publication import Publication
from closedmail.sync.report import NetworkReport, SyncReport

Progress = Callable[[str], None]


def sync(
    config: Config,
    *,
    names: Sequence[str] = (),
    dry_run: bool = False,
    force: bool = False,
    now: int | None = None,
    progress: Progress = lambda _: None,
) -> SyncReport:
    """Do one sync of all networks, or of the named ones, and report it.

    `now` is Unix time, the clock's by default; `progress` is told each step. Raises ConfigError, StoreError and
    ClosedmailError; whatever is refused, `busy` and `publish-failed` included, is in the report.
    """
    known = [network.name for network in config.networks]
    for name in names:
        if name not in known:
            raise ConfigError("--network", f"unknown network {name!r} (configured: {', '.join(known) or 'none'})")
    with ExitStack() as stack:
        state_dir = Path(config.gateway.state_dir)
        if dry_run and not store_path(config.gateway.state_dir).exists():
            # Nothing is in force and nothing may be made: the whole run happens elsewhere.
            state_dir = Path(stack.enter_context(TemporaryDirectory(prefix="closedmail-")))
        prepare_state_dir(state_dir)
        try:
            stack.enter_context(sync_lock(state_dir))
        except Refused as refusal:
            return _busy(config, names or known, refusal)
        seconds = int(time.time()) if now is None else now
        try:
            return _Run(config, state_dir, stack, seconds, progress, force=force, dry_run=dry_run).run(names or known)
        except OSError as error:
            raise ClosedmailError(f"{error.filename or state_dir}: {error.strerror or error}") from None


def _busy(config: Config, names: Sequence[str], refusal: Refused) -> SyncReport:
    """Another sync is running: what is in force now stays as far as this one is concerned."""
    report = SyncReport(failure=refusal)
    with StoreReader(store_path(config.gateway.state_dir)) as store:
        snapshot = None
        with suppress(StoreError):
            snapshot = store.current()
        _report_standing(report, config, snapshot)
    for name in names:
        network = report.networks[name]
        network.result, network.code, network.reason = "refused", refusal.code, refusal.reason
    return report


def _report_standing(report: SyncReport, config: Config, snapshot: Snapshot | None) -> None:
    """What is in force, before anything happens."""
    manifest = snapshot.manifest if snapshot else None
    standing = {item.name: item for item in manifest.lists} if manifest else {}
    report.generation = manifest.generation if manifest else None
    for network in config.networks:
        own = report.networks[network.name] = NetworkReport(network.title)
        own.partners = sum(partner.network == network.name for partner in config.partners)
        item = standing.get(network.name)
        if item and snapshot:
            details = snapshot.details(network.name)
            own.domains, own.signed_at, own.signer = item.domains, item.signed_at, item.signer
            own.held, own.skipped, own.notes = details.held, details.skipped, details.notes
    if snapshot:
        partners = snapshot.details("")
        report.partners_held, report.partners_notes = partners.held, partners.notes


class _Run:
    """One sync under the lock: what it has to know, and its steps in their order."""

    def __init__(
        self,
        config: Config,
        state_dir: Path,
        stack: ExitStack,
        now: int,
        progress: Progress,
        *,
        force: bool,
        dry_run: bool,
    ) -> None:
        self.config, self.state_dir, self.now, self.progress = config, state_dir, now, progress
        self.force, self.dry_run = force, dry_run
        aside = Path(stack.enter_context(TemporaryDirectory(prefix="closedmail-"))) if dry_run else state_dir
        self.work = fresh_folder(aside / "work")
        stack.callback(remove_tree, self.work)
        path = store_path(str(state_dir))
        self.environment = open_environment(path, writable=True)
        stack.callback(self.environment.close)
        self.snapshot: Snapshot | None = None
        if self.environment.stat()["entries"]:
            self.snapshot = stack.enter_context(Snapshot(self.environment, path))
        self.manifest: Manifest | None = self.snapshot.manifest if self.snapshot else None
        self.log = read_log(state_dir)
        self.lists: list[NetworkList] = []
        self.report = SyncReport(dry_run=dry_run)

    def run(self, names: Sequence[str]) -> SyncReport:
        """All steps. What is refused is in the report, and in the log for `status`."""
        _report_standing(self.report, self.config, self.snapshot)
        try:
            inputs = gather(self.config)
            self._bring_in(names, inputs)
            check_services(inputs)
            if self._is_due(inputs):
                self._publish(inputs)
            elif any(item.signed_anew for item in self.lists):
                self._publication(inputs).touch([item.next_in_force() for item in self.lists], self._texts())
            for item in self.lists:
                item.accepted()
                self._report_list(item)
        except Refused as refusal:  # publish-failed: no network of this run was published
            self.report.failure = refusal
            own = {item.network.name: item.refusal for item in self.lists if item.refusal}
            for name, report in self.report.networks.items():
                first = own.get(name, refusal)
                report.result, report.code, report.reason = "refused", first.code, first.reason
        if not self.dry_run:
            self._write_log(names)
        return self.report

    def _bring_in(self, names: Sequence[str], inputs: Inputs) -> None:
        standing = {item.name: item for item in self.manifest.lists} if self.manifest else {}
        former = self.manifest.former if self.manifest else {}
        for network in self.config.networks:
            record = self.log.setdefault(network.name, FetchRecord())
            digest = inputs.key_digests[network.name]
            item = NetworkList(
                network, self.state_dir, standing.get(network.name), record, digest, former.get(network.name, 0)
            )
            self.lists.append(item)
            if network.name in names and network.source:
                self.progress(f"fetching and verifying the list of {network.name}")
                item.bring_in(self.work, self.now)

    def _is_due(self, inputs: Inputs) -> bool:
        """Whether there is anything to publish, or to put right again."""
        new = any(item.new for item in self.lists)
        manifest, postfix = self.manifest, self.config.postfix
        if manifest is None:
            # Where everything waits for its first list, a generation without one would let mail leave that the list
            # keeps in. Networks and partners that have no list wait for nobody.
            alone = any(not item.network for item in self.config.partners)
            return new or alone or any(not item.source for item in self.config.networks)
        due = any(0 < second <= self.now for second in (manifest.holds_due, manifest.rows_due))
        torn = interrupted(self.state_dir)
        if postfix is not None:
            torn = torn or not maps_in_force(Path(postfix.map_dir), manifest.maps)
        return new or manifest.configuration != inputs.digest or due or torn

    def _publish(self, inputs: Inputs) -> None:
        self.progress("reading the lists")
        previous = self.snapshot or NothingInForce()
        names = [item.network.name for item in self.lists]
        listings = [item.read(inputs.admission, self.snapshot) for item in self.lists]
        differences = compare(previous, names, listings)
        braked: dict[str, Listing] = {}
        for number, item in enumerate(self.lists):
            listing = listings[number]
            if item.new and listing is not None and not self.force:
                try:
                    check_brakes(names[number], listing, differences[number], item.network.brakes)
                except Refused as refusal:
                    item.refuse(refusal)
                    braked[names[number]] = listing
                    listings[number] = item.read(inputs.admission, self.snapshot)
        if braked:
            if not self._is_due(inputs):
                self._report_braked(braked)
                return
            differences = compare(previous, names, listings)
        self._check_renamed()
        self.progress("settling routes and rules")
        generation = settle(self.config, listings, differences, previous, self.now)
        details = {
            name: self._details(name, changes, listings, inputs.admission)
            for name, changes in generation.changes.items()
        }
        self.progress("building and checking the maps")
        number = self._number(inputs)
        self._publication(inputs).publish(
            generation, number, [item.next_in_force() for item in self.lists], details, self._texts()
        )
        self._report_published(inputs, generation, number, details)
        self._report_braked(braked)

    def _check_renamed(self) -> None:
        """Raise Refused where a network is gone and another one has no list: with a new name, it is the same one, and
        without its list its partners' mail would leave."""
        known = {item.network.name for item in self.lists}
        gone = (
            [item.name for item in self.manifest.lists if item.text and item.name not in known] if self.manifest else []
        )
        lacking = [item.network.name for item in self.lists if item.refusal and not item.standing]
        if gone and lacking:
            raise Refused(
                "publish-failed",
                f"{', '.join(gone)} is no longer configured, and {', '.join(lacking)} has no list yet: mail of their "
                "partners would leave; mend the fetch, or take one change back",
            )

    def _number(self, inputs: Inputs) -> int:
        """The next number; the same one where the generation is only put right again, or a TLS row may go."""
        if self.manifest is None:
            return 1
        renewed = any(item.new for item in self.lists) or self.manifest.configuration != inputs.digest
        return self.manifest.generation + (renewed or 0 < self.manifest.holds_due <= self.now)

    def _texts(self) -> dict[str, Path]:
        return dict(filter(None, (item.new_text() for item in self.lists)))

    def _details(
        self, name: str, changes: Changes, listings: Sequence[Listing | None], admission: Admission
    ) -> Details:
        skipped: list[SkippedLine] = []
        for item, listing in zip(self.lists, listings, strict=True):
            if item.network.name == name and listing is not None:
                skipped = list(listing.skipped)
                for key, line in item.lines_of(changes.yielded.keys(), admission):
                    winner = changes.yielded[key]
                    reason = f"{key} is in force from the list of {winner}; a [partner] table decides otherwise"
                    skipped.append(replace(line, reason=reason))
        return Details(tuple(changes.held), tuple(sorted(skipped, key=lambda line: line.line)), tuple(changes.notes))

    def _publication(self, inputs: Inputs) -> Publication:
        return Publication(self.environment, self.state_dir, self.work, inputs, self.snapshot, self.now, self.dry_run)

    # What happened: the report first says what stands, and each step writes over it what it changed.

    def _report_list(self, item: NetworkList) -> None:
        report, obtained = self.report.networks[item.network.name], item.new or item.signed_anew
        if obtained:
            report.signed_at, report.signer = obtained.signed_at, obtained.signer
        if item.refusal:
            report.result, report.code, report.reason = "refused", item.refusal.code, item.refusal.reason

    def _report_published(
        self, inputs: Inputs, generation: Generation, number: int, details: dict[str, Details]
    ) -> None:
        renewed = self.manifest is None or number != self.manifest.generation
        self.report.generation, self.report.published = number, renewed
        new = {item.network.name for item in self.lists if item.new}
        configured = self.manifest is None or self.manifest.configuration != inputs.digest
        for name, report in self.report.networks.items():
            changes = generation.changes[name]
            touched = name in new or configured or changes.added or changes.removed or changes.changed
            report.result = "published" if renewed and touched else "unchanged"
            report.domains, report.held = changes.domains, changes.held
            report.added, report.removed, report.changed = changes.added, changes.removed, changes.changed
            report.skipped, report.notes = details[name].skipped, details[name].notes
        self.report.partners_held, self.report.partners_notes = details[""].held, details[""].notes

    def _report_braked(self, braked: dict[str, Listing]) -> None:
        """Of a list that the brakes refused, its own skipped lines are what the administrator needs."""
        for name, listing in braked.items():
            self.report.networks[name].skipped = listing.skipped

    def _write_log(self, names: Sequence[str]) -> None:
        for name in names:
            record, report = self.log.setdefault(name, FetchRecord()), self.report.networks[name]
            record.attempted_at = self.now
            record.result, record.code, record.reason = report.result, report.code, report.reason
        write_log(self.state_dir, self.log)
