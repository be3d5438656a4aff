"""Provide what all ways of fetching share: a time limit over all, a size limit, one line on what went wrong."""

import socket
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol

from closedmail.errors import Refused

Progress = Callable[[int, int | None], None]

_BLOCK = 1 << 16


@dataclass(frozen=True, slots=True)
class Validators:
    """The values that make the next fetch conditional.

    `etag` and `last_modified` are what the server sent, `stat` is device, inode, size, mtime and ctime (nanoseconds)
    of a path.
    """

    etag: str = ""
    last_modified: str = ""
    stat: tuple[int, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Return them as JSON can carry them."""
        return {"etag": self.etag, "last_modified": self.last_modified, "stat": list(self.stat)}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> "Validators":
        """Read what `to_dict` gave; missing keys are empty."""
        return cls(
            str(data.get("etag", "")), str(data.get("last_modified", "")), tuple(int(n) for n in data.get("stat", ()))
        )


class RetryError(Exception):
    """This attempt failed, and another one may not; the message is for when none is left."""


def fetch_failed(reason: str) -> Refused:
    return Refused("fetch-failed", reason)


def too_large(what: str, max_size: int) -> Refused:
    return Refused("too-large", f"{what} is longer than max_size ({max_size} bytes); raise max_size if it may be")


class Deadline:
    """The time limit over all: when it passes, every socket it watches is shut down, in whatever thread it is used."""

    def __init__(self, seconds: float) -> None:
        self.expired = False
        self._seconds = seconds
        self._end = time.monotonic() + seconds
        self._lock = threading.Lock()
        self._sockets: list[socket.socket] = []
        self._timer = threading.Timer(seconds, self._expire)
        self._timer.daemon = True

    def __enter__(self) -> "Deadline":
        self._timer.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self._timer.cancel()
        with self._lock:
            for watched in self._sockets:
                watched.close()
            self._sockets.clear()

    def remaining(self) -> float:
        return max(0.0, self._end - time.monotonic())

    def reason(self, what: str) -> str:
        return f"{what}: not fetched within {self._seconds:g} seconds; the next sync tries again"

    def watch(self, connection: socket.socket) -> None:
        # A duplicate reaches the connection even after TLS has taken the descriptor over.
        with self._lock:
            self._sockets.append(connection.dup())
        if self.expired:
            self._expire()

    def _expire(self) -> None:
        with self._lock:
            self.expired = True
            for watched in self._sockets:
                with suppress(OSError):
                    watched.shutdown(socket.SHUT_RDWR)


class Copier:
    """A copier of a stream to a file, which counts."""

    def __init__(self, max_size: int, progress: Progress | None) -> None:
        self.max_size = max_size
        self._progress = progress

    def copy(self, read: Callable[[int], bytes], part: Path, total: int | None, what: str) -> int:
        if total is not None and total > self.max_size:
            raise too_large(what, self.max_size)
        done = 0
        try:
            # Unbuffered: what did not fit would be written once more when the file is closed, and raise there.
            file = part.open("wb", buffering=0)
        except OSError as error:
            raise fetch_failed(f"{part}: {error.strerror}; it must be writable by closedmail") from None
        with file:
            while data := read(_BLOCK):
                done += len(data)
                if done > self.max_size:
                    raise too_large(what, self.max_size)
                rest = memoryview(data)
                try:
                    while rest:
                        rest = rest[file.write(rest) :]
                except OSError as error:
                    raise fetch_failed(f"{part}: {error.strerror}; free some space") from None
                if self._progress:
                    self._progress(done, total)
        return done


class ListSource(Protocol):
    """A source that a list is fetched from; `shown` is its name in messages."""

    shown: str

    def read(self, part: Path, previous: Validators, copier: Copier, deadline: Deadline) -> Validators | None:
        """Make one attempt: write `part`, return the validators, or None if unchanged. Raises Refused or RetryError."""
