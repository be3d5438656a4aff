"""Asks a running `closedmail policyd` without pause, as Postfix would and as an enemy would, while its store changes.

Honest peers know the one right answer to each question, and mutants are read by a second reading of the protocol; 2,000
connections come at once; some peers send half requests, slowly, endless lines, or never read; the store is published
anew, removed, cut short, spoiled, and replaced. The time has twelve parts; after each the daemon is left alone for a
moment and measured. Exit status 1 if it ever answered wrongly, ended, or has more memory, files or threads at the end
than after the first part.
"""

import argparse
import os
import random
import signal
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

# The checkout's closedmail and tests/support, here and in every process to come.
sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
os.environ["PYTHONPATH"] = os.pathsep.join(sys.path[:2])

from soak_daemon import Measure, SoakDaemon
from soak_honest import ask_at_full_speed, come_all_at_once
from soak_hostile import crowd, send_mutants
from soak_questions import corpus, questions
from soak_shared import CONTEXT, FIGURES, Phases, Surroundings, Tally, Texts
from soak_store import Disturber, Site
from soak_world import OF, World
from support.daemon import PolicyClient, raise_file_limit

_PARTS = 12
_MOST_FILES = 2_500  # a peer's own, with 2,000 connections
_MOST_THREADS = 1 + min(32, (os.cpu_count() or 1) + 4)  # the loop's, and those in which asyncio saves counters
_ENDED = 180.0  # seconds in which peers come to their end
_SETTLED = 60.0  # seconds that the daemon has to notice that all have gone

Peer = Callable[[Surroundings], None]


class Soak:
    """One run."""

    def __init__(self, folder: Path, options: argparse.Namespace) -> None:
        """A generation of edition A is in force then, and the daemon runs."""
        self._seconds, self._seed, self._burst = options.minutes * 60, options.seed, options.connections
        self._peers = options.peers
        self._margin = options.margin * 1024
        self._world = World(options.partners)
        chance = random.Random(f"{options.seed} questions")  # noqa: S311, the same ones in every run
        self._questions, self._corpus = questions(self._world, chance), corpus(self._world, chance)
        self._site = Site(folder, self._world)
        for edition in ("B", "A"):
            self._site.sync(edition)
            self._site.keep(edition)
        self._daemon = SoakDaemon(self._site.config)
        self._phases = Phases(OF["A"])
        self._tallies: list[Tally] = []
        self._reports: Texts = CONTEXT.SimpleQueue()
        self.wrong: list[str] = []
        self._started = self._told = time.monotonic()

    def run(self) -> None:
        """All of it; `wrong` says what was."""
        quiet: list[Measure] = []
        try:
            self._canary()
            first = self._daemon.measure()
            print(f"start: {first}", flush=True)
            for part in range(_PARTS):
                self._load(part)
                if not self._daemon.running or len(self.wrong) > 50:
                    break
                quiet.append(self._settle(first))
                print(f"quiet after part {part + 1}: {quiet[-1]}", flush=True)
        finally:
            status, bad, last = self._daemon.stop()
        self._tell()
        self._judge(first, quiet)
        if status != 0 or bad:
            print(f"the last lines of its log that are no verdicts:\n{last}")
            self.wrong.append(f"the daemon ended with {status}; lines that it should not write: {bad or 'none'}")

    def _judge(self, first: Measure, quiet: list[Measure]) -> None:
        if len(quiet) < _PARTS:
            return
        warm, end = quiet[0], quiet[-1]
        print(f"own memory: {warm.own} KiB after a twelfth of the time, {end.own} KiB at the end")
        if end.own > warm.own + self._margin:
            self.wrong.append(f"memory: {end.own - warm.own} KiB more than after a twelfth of the time")
        if end.files > first.files or end.threads > _MOST_THREADS:
            self.wrong.append(f"{end} at the end, {first} at the start; threads may be {_MOST_THREADS}")
        self.wrong += [
            f"nothing was tried: {name} 0" for name, number in self._totals() if not number and not self._peers
        ]

    def _load(self, part: int) -> None:
        """Let all peers loose for a twelfth of the time."""
        stop = CONTEXT.Event()
        until = self._started + self._seconds * (part + 1) / _PARTS
        peers: list[tuple[str, Peer]] = [
            ("honest", ask_at_full_speed),
            ("burst", partial(come_all_at_once, most=self._burst)),
            ("mutants", send_mutants),
            ("mutants too", send_mutants),
            ("crowd", crowd),
            ("store", self._disturb),
        ]
        processes = []
        for name, peer in peers:
            if self._peers and name not in self._peers:
                continue
            seed = f"{self._seed} {part} {name}"
            self._tallies.append(Tally())
            around = Surroundings(
                *(self._daemon.where, self._world, self._questions, self._corpus),
                *(self._phases, self._tallies[-1], stop, self._reports),
                *(random.Random(seed), seed),  # noqa: S311, the same peers in every run
            )
            processes.append(CONTEXT.Process(target=_run, args=(peer, around), name=name))
            processes[-1].start()
        try:
            while time.monotonic() < until and self._daemon.running and len(self.wrong) <= 50:
                time.sleep(0.2)
                self._collect()
                if time.monotonic() > self._told + 60:
                    self._tell()
        except BaseException:
            for process in processes:
                process.kill()
            raise
        stop.set()
        deadline = time.monotonic() + _ENDED
        while any(process.is_alive() for process in processes):
            self._collect()
            time.sleep(0.05)
            if time.monotonic() > deadline:
                for process in processes:
                    if process.is_alive():
                        self.wrong.append(f"{process.name} did not come to an end")
                        process.kill()
        for process in processes:
            process.join()
        self._collect()

    def _disturb(self, around: Surroundings) -> None:
        Disturber(around, self._site, self._daemon.pid).run()

    def _collect(self) -> None:
        if not self._daemon.running and "the daemon is dead" not in self.wrong:
            self.wrong.append("the daemon is dead")
        while not self._reports.empty():
            self.wrong.append(self._reports.get())
            print(f"WRONG: {self.wrong[-1]}", flush=True)

    def _settle(self, first: Measure) -> Measure:
        """Measure it once it has noticed that all have gone."""
        deadline = time.monotonic() + _SETTLED
        while True:
            self._canary()
            measure = self._daemon.measure()
            if measure.files <= first.files or time.monotonic() > deadline:
                return measure
            time.sleep(0.1)

    def _canary(self) -> None:
        """One question, so that the store is open."""
        try:
            with PolicyClient(self._daemon.where[0]) as client:
                answer = client.ask(sender="u@enforce00000.example", client_address="192.0.2.1")
        except (OSError, AssertionError) as error:
            answer = repr(error)
        if answer != "DUNNO":
            self.wrong.append(f"while all was quiet a partner's mail got {answer}")
        time.sleep(0.05)  # until it has noticed that this one has gone

    def _totals(self) -> list[tuple[str, int]]:
        sums = (sum(values) for values in zip(*(tally.values() for tally in self._tallies), strict=True))
        return list(zip(FIGURES, sums, strict=True))

    def _tell(self) -> None:
        self._told = time.monotonic()
        figures = ", ".join(f"{name} {number}" for name, number in self._totals())
        measure = self._daemon.measure() if self._daemon.running else "ended"
        minutes = (self._told - self._started) / 60
        print(f"{minutes:.1f} min: {figures}, log lines {self._daemon.lines}; {measure}", flush=True)


def _run(peer: Peer, around: Surroundings) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the one that started it
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    with around.reporting():
        peer(around)


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="scripts/soak", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--minutes", type=float, default=60, help="how long (default: %(default)s)")
    parser.add_argument("--seed", default="1", help="another one, other peers (default: %(default)s)")
    parser.add_argument("--partners", type=int, default=16_000, help="in the lists (default: %(default)s)")
    parser.add_argument("--connections", type=int, default=2_000, help="at once, at most (default: %(default)s)")
    parser.add_argument("--margin", type=int, default=6, help="MiB that memory may differ by (default: %(default)s)")
    parser.add_argument("--peers", nargs="+", help="only these, to hunt a fault: honest burst mutants crowd store")
    options = parser.parse_args()
    if not raise_file_limit(_MOST_FILES):
        raise SystemExit(f"scripts/soak: needs {_MOST_FILES} open files (ulimit -n)")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("scripts/soak: stopped"))  # and end what was started
    with tempfile.TemporaryDirectory(prefix="soak-") as name:
        soak = Soak(Path(name), options)
        soak.run()
    for each in soak.wrong:
        print(f"WRONG: {each}")
    print("soak: FAILED" if soak.wrong else "soak: passed")
    sys.exit(1 if soak.wrong else 0)


if __name__ == "__main__":
    main()
