"""Shared by the benchmarks: invented lists, a configuration, child processes and what they cost."""

import os
import random
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from threading import Event, Thread

_SAMPLE = 0.02  # seconds between two looks at a process's memory


def domain(number: int) -> str:
    """An invented partner's domain."""
    return f"stadt{number:07}.example"


@dataclass(frozen=True, slots=True)
class ListShape:
    """The shape of a list: its lines, the distinct addresses that they route to, and whether they are shuffled."""

    lines: int
    nexthops: int = 20_000
    shuffled: bool = False

    def write(self, path: Path, rerouted: int = -1) -> None:
        """Write it as a mailertable; the domain with number `rerouted` gets another route than without it."""
        numbers = list(range(self.lines))
        if self.shuffled:
            random.Random(self.lines).shuffle(numbers)  # noqa: S311, the same list in every run
        with path.open("w") as file:
            for number in numbers:
                # A prime that divides no sensible number of nexthops: neighbours do not share a route.
                at = (number * 7919 + (number == rerouted)) % self.nexthops
                file.write(f"{domain(number)}\tesmtp:[10.{at >> 16}.{at >> 8 & 255}.{at & 255}]\n")


def configuration(state_dir: Path, source: Path, *, more: str = "", postfix: str = "", policyd: str = "") -> str:
    """A configuration of one network; `more` stands in its table, the others are tables of their own."""
    return f"""
[gateway]
state_dir = "{state_dir}"
own_domains = ["city.example"]
{postfix}
{policyd}
[network.ndb]
title = "Netz des Bundes"
source = "{source}"
max_size = "1024MiB"
{more}
[network.ndb.outbound]
tls = "encrypt"

[network.ndb.inbound]
mode = "enforce"
allow_from = ["10.0.0.0/8", "127.0.0.0/8", "192.0.2.0/24", "2001:db8::/32"]
"""


def closedmail(config: Path, *args: str) -> list[str]:
    """The command line of closedmail in this checkout."""
    return [sys.executable, "-m", "closedmail", "--config", str(config), *args]


@dataclass(frozen=True, slots=True)
class Cost:
    """The cost of a command: seconds, and the most memory (bytes) of its own process and of its largest child."""

    wall: float
    user: float
    system: float
    own_memory: int = 0
    child_memory: int = 0

    @property
    def cpu(self) -> float:
        """User and system time."""
        return self.user + self.system

    def __add__(self, other: "Cost") -> "Cost":
        return Cost(
            self.wall + other.wall,
            self.user + other.user,
            self.system + other.system,
            max(self.own_memory, other.own_memory),
            max(self.child_memory, other.child_memory),
        )


def run(command: Sequence[str], *, stdout: Path | None = None) -> Cost:
    """Run a command to its end and say what it cost, its children included. Raises SystemExit when it fails."""
    with (stdout or Path(os.devnull)).open("wb") as sink:
        started = time.monotonic()
        process = subprocess.Popen(command, stdout=sink, stdin=subprocess.DEVNULL)
        watch = _MemoryWatch(process.pid)
        _, status, usage = os.wait4(process.pid, 0)
        wall = time.monotonic() - started
        process.returncode = os.waitstatus_to_exitcode(status)
    own, child = watch.end()
    if process.returncode:
        raise SystemExit(f"scripts/bench: {' '.join(command)}: exit status {process.returncode}")
    return Cost(wall, usage.ru_utime, usage.ru_stime, own, child)


class _MemoryWatch:
    """Looks at a process's and its children's peak memory as long as they live.

    The kernel's own figure for a child that has ended (ru_maxrss) begins with its parent's size at the fork.
    """

    def __init__(self, pid: int) -> None:
        self._process, self._own, self._child = Path(f"/proc/{pid}"), 0, 0
        self._ended = Event()
        self._thread = Thread(target=self._watch, daemon=True)
        self._thread.start()

    def end(self) -> tuple[int, int]:
        """The most of its own, and the most of any child."""
        self._ended.set()
        self._thread.join()
        return self._own, self._child

    def _watch(self) -> None:
        while not self._ended.wait(_SAMPLE):
            with suppress(OSError):
                program = self._process.joinpath("exe").readlink()
                self._own = max(self._own, _peak_memory(self._process))
                children = self._process / "task" / self._process.name / "children"
                for child in children.read_text().split():
                    process = Path("/proc") / child
                    # Before it becomes another program, a child still lives in its parent's memory.
                    if process.joinpath("exe").readlink() != program:
                        self._child = max(self._child, _peak_memory(process))


def _peak_memory(process: Path) -> int:
    """VmHWM of a process, in bytes; 0 where it has none any more. Raises OSError where it is gone."""
    for line in process.joinpath("status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    return 0


@contextmanager
def server(command: Sequence[str], log: Path) -> Iterator[int]:
    """Run a server with stderr in a file, give its pid, and end it."""
    with log.open("wb") as stderr:
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stderr=stderr)
        try:
            yield process.pid
        finally:
            process.terminate()
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def cpu_seconds(pid: int) -> float:
    """User and system time of a running process, to the nanosecond.

    The number is the process's clock (clock_getcpuclockid(3)): /proc/PID/stat counts hundredths of a second only.
    """
    return time.clock_gettime((~pid << 3) | 2)
