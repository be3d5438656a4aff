"""`closedmail sync`: bring in the lists, compare, brake, settle, publish; or find that nothing has changed."""

from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path

from closedmail.core.model import Config
from closedmail.errors import ClosedmailError, ConfigError, Refused, StoreError
from closedmail.files import remove_tree
from closedmail.generation.changes import report_changes
from closedmail.generation.difference import Difference, NothingInForce, Previous, check_brakes, compare
from closedmail.generation.settle import settle
from closedmail.lists.fetch_log import FetchRecord, write_log
from closedmail.mailertable.listing import Listing
from closedmail.maps.local_rows import note_own_rows
from closedmail.publish.built_maps import maps_in_force
from closedmail.publish.switch import interrupted
from closedmail.store.environment import store_path
from closedmail.store.snapshot import StoreReader
from closedmail.sync.inputs import Inputs, check_services, gather
from closedmail.sync.network_list import NetworkList
from closedmail.sync.outcome import details_of, report_published, standing_report
from closedmail.sync.publication import Edition, Publication, Reason
from closedmail.sync.rules import is_set_aside, set_aside_sentence
from closedmail.sync.session import Session, open_session
from closedmail.sync.sync_report import SyncReport

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
    _check_names(names, config, "configured")
    try:
        with open_session(config, now, dry_run=dry_run) as session:
            return _Run(session, progress, force=force).run(names)
    except Refused as refusal:  # the lock's: all others are in the run's report
        return _busy(config, names, refusal)


def _check_names(names: Sequence[str], config: Config, which: str) -> None:
    known = [network.name for network in config.networks]
    for name in names:
        if name not in known:
            raise ConfigError("--network", f"unknown network {name!r} ({which}: {', '.join(known) or 'none'})")


def _busy(config: Config, names: Sequence[str], refusal: Refused) -> SyncReport:
    """Another sync is running: what is in force now stays as far as this one is concerned."""
    with StoreReader(store_path(config.gateway.state_dir)) as store:
        snapshot = None
        with suppress(StoreError):
            snapshot = store.current()
        report = standing_report(config, snapshot)
    report.failure = refusal
    for name in names or report.networks:
        network = report.networks[name]
        network.result, network.code, network.reason = "refused", refusal.code, refusal.reason
    return report


class _Run:
    """One sync under the lock: what it has to know, and its steps in their order."""

    def __init__(self, session: Session, progress: Progress, *, force: bool) -> None:
        self.session, self.progress, self.force = session, progress, force
        self.manifest = session.manifest
        # What `rollback` has put in force stays until the file's rules change, or until they are asked for.
        self.set_aside = self.manifest is not None and not force and is_set_aside(session.file, self.manifest)
        self.config = session.rules_in_force() if self.set_aside else session.file
        self.report = standing_report(self.config, session.snapshot, dry_run=session.dry_run)
        if self.manifest and self.set_aside:
            self.report.set_aside = set_aside_sentence(session.file, self.manifest)
        self.lists: list[NetworkList] = []

    def run(self, names: Sequence[str]) -> SyncReport:
        """All steps. What is refused is in the report, and in the log for `status`."""
        _check_names(names, self.config, "in force since the rollback")
        names = names or [network.name for network in self.config.networks]
        try:
            inputs = gather(self.config)
            self._bring_in(names, inputs)
            check_services(inputs)
            if self._is_due(inputs):
                self._publish(inputs)
            elif any(item.signed_anew for item in self.lists):
                Publication(self.session, inputs).touch([item.next_in_force() for item in self.lists], self._texts())
            for item in self.lists:
                item.accepted()
                self._report_list(item)
        except Refused as refusal:  # publish-failed: no network of this run was published
            self.report.failure = refusal
            own = {item.network.name: item.refusal for item in self.lists if item.refusal}
            for name, report in self.report.networks.items():
                first = own.get(name, refusal)
                report.result, report.code, report.reason = "refused", first.code, first.reason
        if not self.session.dry_run:
            self.session.tidy()
            remove_tree(self.session.work)  # its room may be what the log needs
            try:
                self._write_log(names)
            except OSError as error:
                if not self.report.refused:  # else what it was refused for is what counts
                    number = self.report.generation
                    done = f"generation {number} is in force, but " if number else ""
                    place = self.session.state_dir / "sync.json"
                    raise ClosedmailError(
                        f"{done}{place}: {error.strerror}; mend that, so that status knows of it"
                    ) from None
        return self.report

    def _bring_in(self, names: Sequence[str], inputs: Inputs) -> None:
        self.lists = self.session.lists(inputs)
        for item in self.lists:
            network = item.network
            if network.name in names and network.source:
                self.progress(f"fetching and verifying the list of {network.name}")
                item.bring_in(self.session.work, self.session.now, force=self.force)

    def _is_due(self, inputs: Inputs) -> bool:
        """Whether there is anything to publish, or to put right again."""
        new = any(item.new for item in self.lists)
        manifest, now = self.manifest, self.session.now
        if manifest is None:
            # Where everything waits for its first list, a generation without one would let mail leave that the list
            # keeps in. Networks and partners that have no list wait for nobody.
            alone = any(not item.network for item in self.config.partners)
            return new or alone or any(not item.source for item in self.config.networks)
        due = any(0 < second <= now for second in (manifest.holds_due, manifest.rows_due))
        torn = interrupted(self.session.state_dir)
        for maps, known in ((self.config.postfix, manifest.maps), (self.config.sendmail, manifest.sendmail_maps)):
            torn = torn or (maps is not None and not maps_in_force(Path(maps.map_dir), known))
        return new or manifest.configuration != inputs.digest or due or torn

    def _publish(self, inputs: Inputs) -> None:
        self.progress("reading the lists")
        snapshot = self.session.snapshot
        previous: Previous = snapshot or NothingInForce()
        names = [item.network.name for item in self.lists]
        new = [item for item in self.lists if item.new]
        listings = [item.read(inputs.admission, snapshot) for item in self.lists]
        differences = compare(previous, names, listings)
        braked = self._brake(inputs, listings, differences)
        if any(not item.new for item in new):  # braked, or not to be read at all
            if not self._is_due(inputs):
                self._report_braked(braked)
                return
            differences = compare(previous, names, listings)
        self._check_renamed()
        self.progress("settling routes and rules")
        released = self.manifest.released if self.manifest else {}
        generation = settle(
            self.config, listings, differences, previous, self.session.now, released, latest=self.session.latest
        )
        report_changes(generation, differences, previous)
        note_own_rows(generation, inputs.own_rows.mailertable, inputs.own_rows.access)
        details = details_of(generation, self.lists, listings, inputs.admission)
        self.progress("building and checking the maps")
        edition = Edition(
            self._number(inputs),
            self._reason(inputs),
            [item.next_in_force() for item in self.lists],
            details,
            self._texts(),
            rules_of=self.manifest.rules_of if self.manifest and self.set_aside else 0,
            set_aside=self.manifest.set_aside if self.manifest and self.set_aside else "",
        )
        Publication(self.session, inputs).publish(generation, edition)
        configured = self.manifest is None or self.manifest.configuration != inputs.digest
        touched = names if configured else [item.network.name for item in self.lists if item.new]
        report_published(self.report, generation, edition.number, details, touched)
        self._report_braked(braked)

    def _brake(
        self, inputs: Inputs, listings: list[Listing | None], differences: Sequence[Difference]
    ) -> dict[str, Listing]:
        """Refuse new lists that are not to be believed, and put those in force into their place in `listings`."""
        braked: dict[str, Listing] = {}
        for number, item in enumerate(self.lists):
            listing = listings[number]
            if item.new and listing is not None and not self.force:
                try:
                    check_brakes(
                        item.network.name, listing, differences[number], item.network.brakes, self.session.file.command
                    )
                except Refused as refusal:
                    item.refuse(refusal)
                    braked[item.network.name] = listing
                    listings[number] = item.read(inputs.admission, self.session.snapshot)
        return braked

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
        return self.manifest.generation + (renewed or 0 < self.manifest.holds_due <= self.session.now)

    def _reason(self, inputs: Inputs) -> Reason:
        """`configuration` where only the rules are new."""
        new = any(item.new for item in self.lists)
        return (
            "sync" if self.manifest is None or new or self.manifest.configuration == inputs.digest else "configuration"
        )

    def _texts(self) -> dict[str, Path]:
        return dict(filter(None, (item.new_text() for item in self.lists)))

    # What happened: the report first says what stands, and each step writes over it what it changed.

    def _report_list(self, item: NetworkList) -> None:
        report, obtained = self.report.networks[item.network.name], item.new or item.signed_anew
        if obtained:
            report.signed_at, report.signer = obtained.signed_at, obtained.signer
        if item.refusal:
            report.result, report.code, report.reason = "refused", item.refusal.code, item.refusal.reason

    def _report_braked(self, braked: dict[str, Listing]) -> None:
        """Of a list that the brakes refused, its own skipped lines are what the administrator needs."""
        for name, listing in braked.items():
            self.report.networks[name].skipped = listing.skipped

    def _write_log(self, names: Sequence[str]) -> None:
        log = self.session.log
        for name in names:
            record, report = log.setdefault(name, FetchRecord()), self.report.networks[name]
            record.attempted_at = self.session.now
            record.result, record.code, record.reason = report.result, report.code, report.reason
        write_log(self.session.state_dir, log)
