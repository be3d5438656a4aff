"""Log lines on stderr, gathered for an instant: under load one system call for many lines instead of one for each."""

import asyncio
import sys
from contextlib import suppress

_PATIENCE = 0.02  # seconds that a line may wait
_FULL = 1000  # lines that are written at once, however short they have waited


class LogWriter:
    """Call it with finished lines, newline included. Outside of a running event loop it writes at once."""

    def __init__(self) -> None:
        """Nothing is waiting."""
        self._lines: list[str] = []

    def __call__(self, line: str) -> None:
        """Take a line; it is written within an instant."""
        lines = self._lines
        lines.append(line)
        if len(lines) == 1:
            try:
                asyncio.get_running_loop().call_later(_PATIENCE, self.flush)
            except RuntimeError:
                self.flush()
        elif len(lines) >= _FULL:
            self.flush()

    def flush(self) -> None:
        """Write what is waiting."""
        text = "".join(self._lines)
        self._lines.clear()
        with suppress(OSError, ValueError):  # a log that is gone must not stop mail
            sys.stderr.write(text)
            sys.stderr.flush()
