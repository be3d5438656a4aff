"""`closedmail setup`: apply what `doctor` proposes, phase by phase. The check is connected last, once it can answer."""

import time
from collections.abc import Callable, Iterator
from pathlib import Path

from closedmail.core.model import Config, PostfixMaps
from closedmail.doctor.doctor import find_findings
from closedmail.doctor.finding import Finding, Fix
from closedmail.doctor.finding_ids import Phase
from closedmail.doctor.fix_command import apply_fix
from closedmail.doctor.setup_record import SetupRecord
from closedmail.doctor.undo import reload_postfix, undo
from closedmail.errors import ClosedmailError

Ask = Callable[[Finding], bool]


class Setup:
    """One run. `ask` shows a finding and says whether to apply it, `say` takes lines; with `unattended`, what has to be
    decided by hand is left alone."""

    def __init__(self, config: Config, ask: Ask, say: Callable[[str], object], *, unattended: bool) -> None:
        """Read the record of former runs. Raises ClosedmailError for one that can't be used."""
        self.config, self._ask, self._say, self._unattended = config, ask, say, unattended
        self._directory = (config.postfix or PostfixMaps()).config_directory
        self._undo = config.command("setup", "--undo")
        self._record = SetupRecord(Path(config.gateway.state_dir))
        self._seen: set[tuple[str, tuple[Fix, ...]]] = set()
        self._changed = False

    def run(self) -> list[Finding]:
        """Apply what can be; what is left. Raises ClosedmailError for the first command that fails."""
        self._apply_up_to(Phase.PUBLISH)
        self._sync()
        self._apply_up_to(Phase.CONNECT)
        if self._changed:
            self._say(reload_postfix(self._directory))
            self._say(f"To undo what setup did, run: {self._undo}")
        left = self._findings()
        if {Phase.ANSWER, Phase.CONNECT} <= {item.phase for item in left}:
            command = self.config.command("setup")
            self._say(f"The mail server does not ask closedmail yet: fix what is left, then run again: {command}")
        return left

    def _findings(self) -> list[Finding]:
        return find_findings(self.config, int(time.time()))

    def _apply_up_to(self, phase: Phase) -> None:
        while finding := self._next(phase):
            self._apply(finding)

    def _next(self, last: Phase) -> Finding | None:
        """Find the first finding that was not yet asked about, and may be applied now. While anything that the mail
        server would ask is not there, connecting it would have it defer all mail."""
        findings = self._findings()
        blocked = any(item.phase is Phase.ANSWER for item in findings)
        for item in findings:
            known = (item.id, item.fixes) in self._seen
            if not item.fixes or known or item.phase > last or (item.by_hand and self._unattended):
                continue
            if not (blocked and item.phase is Phase.CONNECT):
                return item
        return None

    def _apply(self, finding: Finding) -> None:
        self._seen.add((finding.id, finding.fixes))
        if not self._ask(finding):
            return
        for fix in finding.fixes:
            try:
                changed = apply_fix(fix, finding.id, self._directory, self._record)
            except ClosedmailError as error:
                message = f"{error}; nothing more was done"
                raise ClosedmailError(message, f"to undo what was done, run: {self._undo}") from None
            self._changed = self._changed or changed

    def _sync(self) -> None:
        """Publish the newest lists before anything depends on them. Where that fails, what is in force counts."""
        fix = Fix.closedmail(self.config, "sync")
        finding = Finding(
            "sync", Phase.PUBLISH, "warning", "the lists are fetched and published before anything else", (fix,)
        )
        self._seen.add(("no-generation", (fix,)))
        if not self._ask(finding):
            return
        try:
            apply_fix(fix, finding.id, self._directory, self._record)
        except ClosedmailError as error:
            self._say(f"Not everything was fetched and published ({error}); setup goes on with what is in force.")


def undo_all(state_dir: Path, *, release_queue: bool = False) -> Iterator[str]:
    """Undo all that setup did; a sentence for each thing, none if there is nothing. Raises ClosedmailError.

    `release_queue` lets partners' mail that waits go by another way.
    """
    record = SetupRecord(state_dir)
    if record.steps:
        yield from undo(record, release_queue=release_queue)
