"""Keep a daemon's counters between two runs, and for `status`, in a file below the state directory.

It has a folder of its own there, the only one that the daemons' units let them write. The daemon alone writes the file,
every half minute in which something was counted, at SIGHUP and at its end. What was counted after that is lost where
the process is killed.
"""

import asyncio
import json
import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from closedmail.files import folder_owner, read_json, replace_file
from closedmail.inbound.counters import Counters, Series

POLICYD, MILTER = "counters/policyd.json", "counters/milter.json"  # below the state directory
_EVERY = 30.0  # seconds
_LONGEST = 32 << 20  # bytes: many times what MOST_NAMED series take
_LATEST = 1 << 37  # seconds: the year 6325, which datetime can still show


@dataclass(frozen=True, slots=True)
class SavedCounters:
    """Counters as they were at a time (Unix seconds)."""

    counters: Counters
    saved_at: int


def read_counters(state_dir: Path, name: str = POLICYD) -> SavedCounters | None:
    """Read the counters that were saved last, None where there are none. Raises OSError; ValueError if broken."""
    try:
        fields = read_json(state_dir / name, _LONGEST)
    except FileNotFoundError:
        return None
    try:
        counts = [_count(*row) for row in fields["counts"]]
        return SavedCounters(Counters(_time(fields["since"]), counts), _time(fields["saved_at"]))
    except (AttributeError, KeyError, TypeError) as error:
        raise ValueError(repr(error)) from None


class CountersFile:
    """The keeper of a daemon's counters.

    It never fails: a count is not worth a mail; `write` gets a line for a fault.
    """

    def __init__(self, state_dir: str, write: Callable[[str], object], name: str = POLICYD) -> None:
        """Read what was counted before. `write` takes log lines, newline included."""
        self._state_dir, self._write = Path(state_dir), write
        self._file = self._state_dir / name
        self._saved = -1  # how many mails had been counted when the file was written
        self._trouble = ""
        self._one, self._saving = threading.Lock(), asyncio.Lock()
        self.counters = Counters(int(time.time()))
        try:
            before = read_counters(self._state_dir, name)
        except (OSError, ValueError) as error:
            write(f"error: {self._file}: {_reason(error)}: counting starts again at zero\n")
        else:
            self.counters = before.counters if before else self.counters
        self._saved = self.counters.mails

    async def keep(self) -> None:
        """Save at intervals, for ever."""
        while True:
            await asyncio.sleep(_EVERY)
            await self.save_aside()

    async def save_aside(self) -> None:
        """Save in a thread, one at a time: a disk may take its time, and mail is decided meanwhile."""
        async with self._saving:
            if self.counters.mails != self._saved:
                await asyncio.to_thread(self.save, self.counters.copy())

    def save(self, counters: Counters) -> None:
        """Replace the file, unless nothing was counted since."""
        with self._one:
            if counters.mails <= self._saved:
                return  # also where a slow thread comes after the last save of all
            try:
                _make_folder(self._file.parent)
                replace_file(self._file, _encoded(counters, int(time.time())), 0o640, folder_owner(self._file))
            except OSError as error:
                if str(error) != self._trouble:
                    self._write(f"error: {self._file}: {_reason(error)}: counters are kept in memory only\n")
                self._trouble = str(error)
            else:
                self._saved, self._trouble = counters.mails, ""


def _make_folder(folder: Path) -> None:
    """Make the folder if it is missing. Where root makes it, it is the state directory's owner's. Raises OSError."""
    with suppress(FileExistsError):
        folder.mkdir(0o755)
        if (owner := folder_owner(folder)) is not None:
            # That owner may have put something else there meanwhile: no link is followed, and no file is given away.
            descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
            try:
                os.fchown(descriptor, *owner)
            finally:
                os.close(descriptor)


def _encoded(counters: Counters, now: int) -> Iterator[bytes]:
    # A row at a time: json.dumps of all would not let another thread decide about mail before it is done, and tens of
    # thousands of rows at one time leave memory in pieces that are not given back.
    yield f'{{"since": {counters.since}, "saved_at": {now}, "counts": ['.encode()
    comma = "\n"
    for series, number in counters:
        yield f"{comma}{json.dumps([*series, number])}".encode()
        comma = ",\n"
    yield b"\n]}\n"


def _count(network: str, partner: str, verdict: str, reason: str, number: int) -> tuple[Series, int]:
    series = Series(network, partner, verdict, reason)
    if not all(isinstance(word, str) for word in series):
        raise TypeError(series)
    return series, _number(number)


def _number(value: object) -> int:
    if type(value) is not int or value < 0:
        raise TypeError(value)
    return value


def _time(value: object) -> int:
    seconds = _number(value)
    if seconds > _LATEST:
        raise TypeError(value)
    return seconds


def _reason(error: Exception) -> str:
    return error.strerror or str(error) if isinstance(error, OSError) else f"broken ({error})"
