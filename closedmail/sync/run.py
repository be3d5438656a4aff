"""Run `closedmail sync`: bring in the lists, compare, brake, settle, publish; or find that nothing has changed."""

from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from closedmail.core.model import Config
from closedmail.errors import ClosedmailError, ConfigError, Refused, StoreError
from closedmail.files import remove_tree
from closedmail.lists.fetch_log import FetchRecord, write_log
from closedmail.lists.gpg_status import CLOCK_SKEW
from closedmail.maps.linger_times import longest_linger
from closedmail.mta.recipient_guard import guard_sentence
from closedmail.publish.built_maps import maps_in_force, repair_modes
from closedmail.publish.switch import interrupted
from closedmail.store.environment import store_path
from closedmail.store.snapshot import StoreReader
from closedmail.sync.hold_ends import SeenTimes
from closedmail.sync.in_force import InForce
from closedmail.sync.inputs import Inputs, check_services, gather
from closedmail.sync.locked_run import LockedRun, locked_run
from closedmail.sync.network_list import NetworkList, new_texts
from closedmail.sync.plan import Plan, Progress, report_in_force
from closedmail.sync.publication import GenerationLabel, Publication, Reason
from closedmail.sync.rules import is_set_aside, set_aside_sentence
from closedmail.sync.sync_report import SyncReport


def sync(
    config: Config,
    *,
    names: Sequence[str] = (),
    dry_run: bool = False,
    force: bool = False,
    forget_signing_time: bool = False,
    now: int | None = None,
    progress: Progress = lambda _: None,
) -> SyncReport:
    """Do one sync of all networks, or of the named ones, and report it.

    `forget_signing_time` goes back, for the named networks, behind a newest signing time that is ahead of the clock.
    `now` is Unix time, the clock's by default; `progress` is called with each step. Raises ConfigError, StoreError and
    ClosedmailError; whatever is refused, `busy` and `publish-failed` included, is in the report.
    """
    _check_names(names, config, "configured")
    try:
        with locked_run(config, now, dry_run=dry_run) as run:
            return _Sync(run, progress, force=force, forget=forget_signing_time).carry_out(names)
    except Refused as refusal:  # busy: all others are in the report
        return _busy(config, names, refusal)


def _check_names(names: Sequence[str], config: Config, which: str) -> None:
    known = [network.name for network in config.networks]
    for name in names:
        if name not in known:
            raise ConfigError("--network", f"unknown network {name!r} ({which}: {', '.join(known) or 'none'})")


def _busy(config: Config, names: Sequence[str], refusal: Refused) -> SyncReport:
    """Report what is in force, and that another sync is running."""
    with StoreReader(store_path(config.gateway.state_dir)) as store:
        snapshot = None
        with suppress(StoreError):
            snapshot = store.current()
        report = report_in_force(config, snapshot)
    report.failure = refusal
    for name in names or report.networks:
        network = report.networks[name]
        network.result, network.code, network.reason = "refused", refusal.code, refusal.reason
    return report


class _Sync:
    """One sync under the lock: what it has to know, and its steps in their order."""

    def __init__(self, run: LockedRun, progress: Progress, *, force: bool, forget: bool) -> None:
        self.run, self.progress, self.force, self.forget = run, progress, force, forget
        self.manifest = run.manifest
        # Rules that `rollback` has put in force stay until the file's rules change, or until these are requested.
        self.set_aside = self.manifest is not None and not force and is_set_aside(run.file, self.manifest)
        self.config = run.rules_in_force() if self.set_aside else run.file
        self.report = report_in_force(self.config, run.snapshot, dry_run=run.dry_run)
        if self.manifest and self.set_aside:
            self.report.set_aside = set_aside_sentence(run.file, self.manifest)
        self.lists: list[NetworkList] = []
        self.names: Sequence[str] = ()
        self.readable = self._repair_modes()

    def carry_out(self, names: Sequence[str]) -> SyncReport:
        """Do all steps. What is refused is in the report, and in the log for `status`."""
        _check_names(names, self.config, "in force since the rollback")
        self.names = names = names or [network.name for network in self.config.networks]
        try:
            inputs = gather(self.config)
            if inputs.lacks_guard:
                self.report.unguarded = guard_sentence(self.config)
            self._bring_in(names, inputs)
            due = self.manifest.holds_due if self.manifest else {}
            check_services(inputs)
            if self._is_due(inputs):
                due = self._publish(inputs) or due
            elif any(item.signed_anew for item in self.lists):
                lists = [item.next_in_force() for item in self.lists]
                Publication(self.run, inputs).touch(lists, new_texts(self.lists))
            if seen := self._seen():
                seen.note(due)
            for item in self.lists:
                item.accepted()
                self._report_list(item)
        except Refused as refusal:  # publish-failed: no network of this run was published
            self.report.failure = refusal
            own = {item.network.name: item.refusal for item in self.lists if item.refusal}
            for name, report in self.report.networks.items():
                first = own.get(name, refusal)
                report.result, report.code, report.reason = "refused", first.code, first.reason
        if not self.run.dry_run:
            self.run.tidy()
            remove_tree(self.run.work)  # its disk space may be what the log needs
            try:
                self._write_log(names)
            except OSError as error:
                if not self.report.refused:  # else the reason of the refusal counts
                    number = self.report.generation
                    done = f"generation {number} is in force, but " if number else ""
                    place = self.run.state_dir / "sync.json"
                    raise ClosedmailError(
                        f"{done}{place}: {error.strerror}",
                        "fix that, or {closedmail} status shows the run before this one",
                    ) from None
        return self.report

    def _bring_in(self, names: Sequence[str], inputs: Inputs) -> None:
        """Fetch the lists side by side, each with its own time limit, and verify one after the other.

        That is in the file's order: no server's answer, nor the time it takes, changes what becomes of another's list.
        """
        self.lists = self.run.lists(inputs)
        wanted = [item for item in self.lists if item.network.name in names and item.network.source]
        if self.forget:
            for item in wanted:
                self._forget_signing_time(item)
        try:
            for item in wanted:
                item.start_transfer(self.run.work, alone=len(wanted) == 1)
            for item in wanted:
                self.progress(f"fetching and verifying the list of {item.network.name}")
                item.bring_in(self.run.now, force=self.force)
        except Exception:
            for item in wanted:  # what they write into goes next
                item.wait()
            raise

    def _forget_signing_time(self, item: NetworkList) -> None:
        """Raise ClosedmailError where the newest signing time is not ahead of the clock: that is the guard."""
        name, latest = item.network.name, self.run.now + CLOCK_SKEW
        if not item.forget_signing_time(self.run.signed_until(name, latest), self.run.now):
            raise ClosedmailError(
                f"the newest list of {name} was not signed ahead of this machine's clock: its time is not forgotten",
                "older lists stay refused as replayed; ask the network for the current one",
            )

    def _seen(self) -> SeenTimes | None:
        """Find the times in force, as this run sees them by the networks whose newest list it has verified, and takes.

        None where nothing is in force, or while the clock can't be right: before the time of a signature.
        """
        manifest, now, postfix = self.manifest, self.run.now, self.config.postfix
        if manifest is None or any(item.signed_at > now + CLOCK_SKEW for item in manifest.lists):
            return None
        records = {
            item.network.name: item.record
            for item in self.lists
            if item.network.name in self.names and item.network.source and item.refusal is None
        }
        signed = any(item.signed_at for item in manifest.lists if item.name in records)
        return SeenTimes(manifest, records, longest_linger(postfix), now, signed=signed, confirmed=self.force)

    def _is_due(self, inputs: Inputs) -> bool:
        """Check whether there is anything to publish, or to repair."""
        new = any(item.new for item in self.lists)
        manifest, now = self.manifest, self.run.now
        if manifest is None:
            # Where everything waits for its first list, a generation without one would let mail leave that the list
            # keeps in. Networks and partners that have no list wait for nobody.
            alone = any(not item.network for item in self.config.partners)
            return new or alone or any(not item.source for item in self.config.networks)
        seen = self._seen()
        due = 0 < manifest.rows_due <= now or (seen is not None and bool(seen.ends or seen.anew))
        torn = not self.readable or interrupted(self.run.state_dir)
        for maps, known in ((self.config.postfix, manifest.maps), (self.config.sendmail, manifest.sendmail_maps)):
            torn = torn or (maps is not None and not maps_in_force(Path(maps.map_dir), known))
        return new or manifest.configuration != inputs.digest or due or torn

    def _repair_modes(self) -> bool:
        """Repair modes that somebody has changed, whatever becomes of the lists; tell whether all maps can be read."""
        if self.manifest is None or self.run.dry_run:
            return True
        readable = True
        for maps, known, withdrawn in (
            (self.config.postfix, self.manifest.maps, 0o002),
            (self.config.sendmail, self.manifest.sendmail_maps, 0o022),
        ):
            if maps is not None:
                readable &= repair_modes(Path(maps.map_dir), known, self.run.state_dir, withdrawn)
        return readable

    def _publish(self, inputs: Inputs) -> dict[str, int] | None:
        """Publish, unless the brakes leave nothing to publish; returns when the first hold of each network is due."""
        run, manifest = self.run, self.manifest
        new = [item for item in self.lists if item.new]
        found = InForce(run, inputs)
        plan = Plan(run, inputs, self.lists, found.before, self.report, stored=run.snapshot, progress=self.progress)
        if not self.force:
            plan.brake()
        if any(not item.new for item in new) and not self._is_due(inputs):  # braked, or unreadable
            plan.report_braked()
            return None
        self._check_renamed()
        seen = self._seen()
        ends, anew = (seen.ends, seen.anew) if seen else ({}, 0)
        label = GenerationLabel(
            self._number(inputs, found, due=bool(ends or anew)),
            self._reason(inputs),
            rules_of=manifest.rules_of if manifest and self.set_aside else 0,
            set_aside=manifest.set_aside if manifest and self.set_aside else "",
        )
        configured = manifest is None or manifest.configuration != inputs.digest
        touched = None if configured else [item.network.name for item in self.lists if item.new]
        return plan.publish(label, manifest.released if manifest else {}, touched=touched, ends=ends, anew=anew)

    def _check_renamed(self) -> None:
        """Raise Refused where a network is gone and another one has no list.

        It may be the same network under a new name, and without its list its partners' mail would leave.
        """
        known = {item.network.name for item in self.lists}
        gone = (
            [item.name for item in self.manifest.lists if item.text and item.name not in known] if self.manifest else []
        )
        lacking = [item.network.name for item in self.lists if item.refusal and not item.in_force]
        if gone and lacking:
            raise Refused(
                "publish-failed",
                f"{', '.join(gone)} is no longer configured, and {', '.join(lacking)} has no list yet: mail for their "
                "partners would leave by the Internet; fix the fetch, or undo one of the two changes",
            )

    def _number(self, inputs: Inputs, found: InForce, *, due: bool) -> int:
        """Return the next number; the same one where the generation is only put right again, or a TLS row may go.

        `due` says that holds end or begin anew.
        """
        if self.manifest is None or found.unknown:
            return found.number + 1
        renewed = any(item.new for item in self.lists) or self.manifest.configuration != inputs.digest
        return self.manifest.generation + (renewed or due)

    def _reason(self, inputs: Inputs) -> Reason:
        """Return the reason: `configuration` where only the rules are new."""
        new = any(item.new for item in self.lists)
        return (
            "sync" if self.manifest is None or new or self.manifest.configuration == inputs.digest else "configuration"
        )

    def _report_list(self, item: NetworkList) -> None:
        report = self.report.networks[item.network.name]
        if item.signed_anew:
            report.signed_at, report.signer = item.signed_anew.signed_at, item.signed_anew.signer
        if item.refusal:
            report.result, report.code, report.reason = "refused", item.refusal.code, item.refusal.reason

    def _write_log(self, names: Sequence[str]) -> None:
        log = self.run.log
        for name in names:
            record, report = log.setdefault(name, FetchRecord()), self.report.networks[name]
            record.attempted_at = self.run.now
            record.result, record.code, record.reason = report.result, report.code, report.reason
        write_log(self.run.state_dir, log)
