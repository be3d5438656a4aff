"""A gateway whose runs are killed, under the eyes of `watching`'s readers.

After each kill the next run has to complete, and nothing may be left then but what a run leaves that nobody kills.
"""

import hashlib
import os
import signal
import time
from collections import Counter
from collections.abc import Callable, Iterable
from contextlib import ExitStack
from functools import partial
from itertools import count
from pathlib import Path
from types import TracebackType
from typing import Self

from support.daemon import Daemon
from support.killed_runs.victims import Victims
from support.killed_runs.watching import NICE, REJECT_TEXT, Watch, listing, must
from support.network import DAY, MINUTE, Site

_PATIENCE = 60.0  # seconds; only a test that fails waits so long
_PRUNE = 20  # runs after which the TLS rows that linger are let go


class Kills:
    """`with Kills(site) as kills:` every run brings another list. `patch` is Python for the killed runs alone."""

    def __init__(self, site: Site, patch: str = "") -> None:
        self.site, self.number = site, 1
        self._signed = site.now - MINUTE
        site.set(shrink_limit="100%", on_removed="release")
        site.set(inbound__allow_from=[], inbound__allow_route_hosts=True, inbound__reject_text=REJECT_TEXT)
        site.settings["postfix.map_type"] = site.map_type
        site.put(listing(1), when=self._signed)
        must(site.spawn("sync").status == 0, "the first run fails")
        self._files = self._names()
        self._patch = patch
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        with self._stack as stack:
            self.run = Victims(self.site, self._patch)
            stack.callback(self.run.close)
            socket = f"unix:{self.site.folder}/policy.sock"
            daemon = stack.enter_context(Daemon(self.site.config_path, "--listen", socket))
            os.setpriority(os.PRIO_PROCESS, daemon.process.pid, NICE)
            self.watch = stack.enter_context(Watch(self.site, socket))
            self.watch.look()
            self._stack = stack.pop_all()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self._stack.__exit__(kind, error, tb)
        if error is None:
            wait_until(lambda: not processes(self.site.folder), "a process that was started here goes on")

    def cycle(self, run: Callable[[], int], *, take_back: bool = False) -> int:
        """Bring the next list by a run that may be killed, look, and let an ordinary run follow.

        Gives the first run's exit status. `take_back`: the list is gone before the second run, unless it is in force.
        """
        self.number += 1
        self.watch.high = self.number
        self.site.put(listing(self.number), when=self._signed)
        status = run()
        self.watch.look()
        must(status == -signal.SIGKILL or self._names() == self._files, "a run that ended by itself left files")
        if take_back and self.site.manifest.generation < self.number:
            self.number -= 1
            self.site.put(listing(self.number), when=self._signed)
        self._recover()
        if take_back:
            self.watch.look()
            self.watch.high = self.number
        return status

    def before_each(self, calls: Iterable[str] = (), first: int = 1, *, take_back: bool = False) -> Counter[str]:
        """Kill a run before each of these calls that it makes, by default before all; how many there are, by name."""
        if not calls:
            self.cycle(self.run.note_calls)
            calls = sorted(self.run.calls())
        found: Counter[str] = Counter()
        for call in calls:
            for nth in count(first):
                if self.cycle(partial(self.run.before, call, nth), take_back=take_back) == 0:
                    break
                found[call] = nth
        return found

    def duration(self) -> float:
        """Seconds that a run takes which nobody kills."""
        spans: list[float] = []

        def run() -> int:
            start = time.monotonic()
            status = self.run.whole()
            spans.append(time.monotonic() - start)
            return status

        self.cycle(run)
        return spans[0]

    def _recover(self) -> None:
        wait_until(lambda: not self._busy(), "the next run finds itself busy")
        number = self.site.manifest.generation
        must(number == self.number, f"the next run put {number} in force, not {self.number}")
        self.watch.low = self.number
        left = self._names() ^ self._files
        must(not left, f"other files than a run leaves that nobody kills: {left}")
        texts = list((self.site.state_dir / "lists").iterdir())
        for path in texts:
            digest = hashlib.sha256(path.read_bytes()).hexdigest()
            must(path.name == f"ndb-{digest[:32]}", f"{path} is not what its name says")
        with self.site.store() as store:
            kept = {text for _, line in store.current().history() for text in line["texts"]}
        must({path.name for path in texts} == kept, "other texts than those of the generations kept")
        if self.number % _PRUNE == 0:
            self.watch.look()
            self.site.sync(now=int(time.time()) + 2 * DAY)

    def _busy(self) -> bool:
        """The next, ordinary run, which must complete, but for the lock that a child has until it becomes a program."""
        outcome = self.site.run("sync")
        busy = outcome.status == 1 and "another sync is running" in outcome.stdout + outcome.stderr
        must(outcome.status == 0 or busy, f"the next run fails: {outcome}")
        return busy

    def _names(self) -> set[str]:
        """All that lies in the two folders, but for the texts of lists, whose names differ, and what policyd counts."""
        folders = (self.site.map_dir, self.site.state_dir)
        found = (path.relative_to(self.site.folder) for folder in folders for path in folder.rglob("*"))
        return {str(name) for name in found if name.parent.name != "lists" and "counters" not in name.parts}


def wait_until(true: Callable[[], bool], otherwise: str) -> None:
    """Wait for something that other processes do. Raises Violation."""
    deadline = time.monotonic() + _PATIENCE
    while not true():
        must(time.monotonic() < deadline, otherwise)
        time.sleep(0.005)


def processes(folder: Path) -> list[int]:
    """Processes whose command line names the folder."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            if os.fsencode(folder) in path.read_bytes():
                found.append(int(path.parent.name))
        except OSError:
            continue  # it has ended
    return found
