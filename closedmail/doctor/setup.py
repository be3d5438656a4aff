"""`closedmail setup`: what `doctor` proposes, applied one by one. The check is wired in last, once it can answer."""

import time
from collections.abc import Callable, Iterator

from closedmail.core.model import Config, PostfixMaps
from closedmail.doctor.doctor import find_findings
from closedmail.doctor.finding import Finding
from closedmail.doctor.fix_command import apply_command, run
from closedmail.doctor.setup_record import SetupRecord
from closedmail.doctor.undo import undo
from closedmail.errors import ClosedmailError

# Before the first sync: without these nothing is published.
_BEFORE_SYNC = ("transport-missing", "own-rows")
# What makes the mail server ask closedmail, or look into its maps: with one of the blockers, it would put all mail off.
_WIRING = (
    "sender-restrictions",
    "data-restrictions",
    "check-after-permit",
    "socket-path",
    "socket-chroot",
    "transport-maps",
    "tls-policy-maps",
    "map-type",
    "sendmail-stale",
)
_BLOCKERS = (
    "no-generation",
    "policyd",
    "map-missing",
    "map-access",
    "socket-access",
    "not-asked",
    "milter",
    "milter-folder",
    "map-folder",
)

Ask = Callable[[Finding], bool]


class Setup:
    """One run. `ask` shows a finding and says whether to apply it, `say` takes lines; with `unattended`, what has to be
    decided by hand is left alone."""

    def __init__(self, config: Config, ask: Ask, say: Callable[[str], object], *, unattended: bool) -> None:
        """Raises ClosedmailError for a record that can't be used."""
        self.config, self._ask, self._say, self._unattended = config, ask, say, unattended
        self._directory = (config.postfix or PostfixMaps()).config_directory
        self._record = SetupRecord(config)
        self._seen: set[tuple[str, tuple[str, ...]]] = set()
        self._changed = False

    def run(self) -> list[Finding]:
        """Apply what can be; what is left. Raises ClosedmailError for the first command that fails."""
        while finding := self._next(lambda item: item.id in _BEFORE_SYNC):
            self._apply(finding)
        self._sync()
        while finding := self._next(lambda _: True):
            self._apply(finding)
        if self._changed:
            self._say(reload_postfix(self._directory))
        left = self._findings()
        if any(item.id in _WIRING for item in left) and any(item.id in _BLOCKERS for item in left):
            self._say(
                "The mail server does not ask closedmail yet: it is wired in once what stands in front is mended."
            )
        return left

    def _findings(self) -> list[Finding]:
        return find_findings(self.config, int(time.time()))

    def _next(self, wanted: Callable[[Finding], bool]) -> Finding | None:
        """The first finding that was not yet asked about, and may be applied now."""
        findings = self._findings()
        blocked = any(item.id in _BLOCKERS for item in findings)
        for item in findings:
            known = (item.id, item.fix) in self._seen
            if not item.fix or known or not wanted(item) or (item.by_hand and self._unattended):
                continue
            if not (blocked and item.id in _WIRING):
                return item
        return None

    def _apply(self, finding: Finding) -> None:
        self._seen.add((finding.id, finding.fix))
        if not self._ask(finding):
            return
        for command in finding.fix:
            try:
                changed = apply_command(command, finding.id, self._directory, self._record)
            except ClosedmailError as error:
                raise ClosedmailError(f"{error}; nothing more was done, and setup --undo takes back what was") from None
            self._changed = self._changed or changed

    def _sync(self) -> None:
        """The newest list, before anything depends on it. Where it fails, what is in force counts."""
        command = self.config.command("sync")
        finding = Finding("sync", "warning", "the lists are fetched and published first", (command,))
        self._seen.add(("no-generation", (command,)))
        if not self._ask(finding):
            return
        try:
            apply_command(command, finding.id, self._directory, self._record)
        except ClosedmailError as error:
            self._say(f"closedmail sync did not do all that it should: {error}")


def take_back(config: Config) -> Iterator[str]:
    """Undo all that setup did; a sentence for each thing. Raises ClosedmailError."""
    record = SetupRecord(config)
    files = any(step.files for step in record.steps)
    if not record.steps:
        yield "Nothing is to be taken back."
        return
    yield from undo(record)
    if files:
        yield reload_postfix((config.postfix or PostfixMaps()).config_directory)


def reload_postfix(config_directory: str) -> str:
    """Have a running Postfix read its configuration; a sentence about that. Raises ClosedmailError."""
    try:
        run(["postfix", "-c", config_directory, "status"])
    except ClosedmailError:
        return "Postfix does not run; the new configuration counts when it is started."
    run(["postfix", "-c", config_directory, "reload"])
    return "Postfix has read its configuration anew."
