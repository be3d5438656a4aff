"""Find processes by working directory, and handle signals so that none is left behind."""

import contextlib
import os
import signal
from collections.abc import Iterator
from pathlib import Path
from types import FrameType


def works_in(pid: int, directory: Path) -> bool:
    """Check whether the process runs with this working directory, and is no zombie."""
    try:
        return Path(f"/proc/{pid}/cwd").readlink() == directory
    except OSError:
        return False


def processes_in(directory: Path) -> set[int]:
    """Find all other processes that run with this working directory."""
    pids = (int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit())
    return {pid for pid in pids if pid != os.getpid() and works_in(pid, directory)}


def send_signal(pid: int, number: signal.Signals) -> None:
    """Send a signal to a process that may have ended meanwhile."""
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, number)


@contextlib.contextmanager
def signals_raise() -> Iterator[None]:
    """Turn SIGTERM and SIGHUP, which end Python on the spot, into SystemExit where nobody handles them yet."""
    changed = []
    for number in (signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) is signal.SIG_DFL:
            # Only the main thread may do that; elsewhere the caller has to.
            with contextlib.suppress(ValueError):
                signal.signal(number, _exit)
                changed.append(number)
    try:
        yield
    finally:
        for number in changed:
            signal.signal(number, signal.SIG_DFL)


@contextlib.contextmanager
def signals_held() -> Iterator[None]:
    """Hold back Ctrl-C and its like until the block is done, so that a second one does not cut the cleaning short."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, signal.SIGTERM, signal.SIGHUP})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _exit(number: int, _frame: FrameType | None) -> None:
    raise SystemExit(128 + number)
