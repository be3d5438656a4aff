"""The daemon of a soak: started, measured through /proc, its log read to the end by a process of its own, ended."""

import os
import re
import signal
import subprocess
import time
from collections import deque
from collections.abc import MutableSequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from bench_common import closedmail
from soak_shared import CONTEXT, Texts

_PATIENCE = 30.0
# What the daemon may write: a verdict, or a sentence; never a control character, never a second line of something.
_VERDICT = re.compile(
    rb"network=[!-~]+ partner=[!-~]+ verdict=(?:accept|reject|defer|report) reason=[a-z]+ domain=[!-~]+ client=[!-~]+ "
    rb"instance=[!-~]+ generation=[0-9]+"
)
_SENTENCE = re.compile(
    rb"(?:error: |warning: |configuration re-read|policy store is back|closedmail policyd is listening on )[ -~]*"
)


@dataclass(frozen=True)
class Measure:
    """The resources of a process at a moment; sizes in KiB. `own` is memory without mapped files."""

    resident: int
    own: int
    shared: int
    files: int
    threads: int

    def __str__(self) -> str:
        return (
            f"{self.resident / 1024:.1f} MiB ({self.own / 1024:.1f} own, {self.shared / 1024:.1f} shared), "
            f"{self.files} files, {self.threads} threads"
        )


def _read_log(pipe: IO[bytes], ready: Texts, lines: MutableSequence[int]) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    bad: list[str] = []
    last: deque[str] = deque(maxlen=15)
    for line in pipe:
        lines[0] += 1
        text = line.rstrip(b"\n")
        if not _VERDICT.fullmatch(text):
            last.append(text[:300].decode("utf-8", "backslashreplace"))
            if not _SENTENCE.fullmatch(text) and len(bad) < 30:
                bad.append(last[-1])
        if b"is listening on" in text:
            ready.put(text.decode())
    ready.put("\n".join(bad))
    ready.put("\n".join(last))


class SoakDaemon:
    """A policyd that runs. Its log is never written to a disk."""

    def __init__(self, config: Path) -> None:
        """Start it, and wait until it listens."""
        self._process = subprocess.Popen(
            closedmail(config, "policyd"), stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
        )
        assert self._process.stderr is not None  # noqa: S101
        self.pid = self._process.pid
        self._said: Texts = CONTEXT.SimpleQueue()
        self._lines = CONTEXT.RawArray("L", 1)
        self._reader = CONTEXT.Process(target=_read_log, args=(self._process.stderr, self._said, self._lines))
        self._reader.start()
        self._process.stderr.close()
        self.where = self._said.get().partition("listening on ")[2].split(", ")
        if len(self.where) < 2:
            raise SystemExit(f"scripts/soak: the daemon does not start: {self.where}")

    @property
    def lines(self) -> int:
        """Lines of its log so far."""
        return int(self._lines[0])

    @property
    def running(self) -> bool:
        """Whether it still runs."""
        return self._process.poll() is None

    def measure(self) -> Measure:
        """Measure it now. Raises OSError where it is gone."""
        process = Path(f"/proc/{self.pid}")
        fields = dict(line.split(":", 1) for line in (process / "status").read_text().splitlines())

        def size(name: str) -> int:
            return int(fields[name].split()[0])

        files = len(os.listdir(process / "fd"))  # noqa: PTH208
        return Measure(size("VmRSS"), size("RssAnon"), size("RssShmem"), files, size("Threads"))

    def stop(self) -> tuple[int, str, str]:
        """SIGTERM. Exit status, lines that it should not have written, and the last that were no verdicts."""
        self._process.send_signal(signal.SIGTERM)
        deadline = time.monotonic() + _PATIENCE
        while self.running and time.monotonic() < deadline:
            time.sleep(0.05)
        self.kill()
        bad, last = self._said.get(), self._said.get()
        self._reader.join()
        return self._process.returncode, bad, last

    def kill(self) -> None:
        """End it at once, if it is still there."""
        if self.running:
            self._process.kill()
        self._process.wait()
