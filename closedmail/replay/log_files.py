"""Open mail logs, plain or compressed, recognized by content and not by name, and sort them by time."""

import bz2
import gzip
import io
import lzma
import os
import sys
import time
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import datetime, timedelta

from closedmail.errors import ClosedmailError
from closedmail.replay.mail_log import Line, export_time, first_time, is_export, read_export, read_lines

STDIN = "-"
_HEAD = 65536  # bytes in which a log's first time has to be
_COMPRESSED: tuple[tuple[bytes, Callable[[io.BufferedReader], io.BufferedIOBase]], ...] = (
    (b"\x1f\x8b", lambda file: gzip.GzipFile(fileobj=file)),
    (b"\xfd7zXZ\x00", lzma.LZMAFile),
    (b"BZh", bz2.BZ2File),
)
_UNREADABLE = (
    (
        b"\x28\xb5\x2f\xfd",
        "it is compressed by zstd",
        "unpack it, and pipe it in: zstdcat FILE | {closedmail} replay -",
    ),
    (b"LPKSHHRH", "it is a journal", "give what journalctl writes: journalctl -o export | {closedmail} replay -"),
)


@dataclass(frozen=True)
class LogFile:
    """An open log, and when it begins (Unix seconds)."""

    name: str
    begins: float
    _file: io.BufferedReader

    def lines(self) -> Iterator[Line]:
        """Read the lines of Postfix's smtpd and qmgr. Raises ClosedmailError."""
        read = read_export if is_export(_head(self._file)) else read_lines
        try:
            yield from read(self._file)
        except (OSError, EOFError, zlib.error, lzma.LZMAError) as error:
            raise _damaged(self.name, error) from None


def open_logs(names: Sequence[str], stack: ExitStack) -> list[LogFile]:
    """Open logs, and sort them by the times that they begin with. Raises ClosedmailError.

    Rotated logs are mostly given newest first (`mail.log*`), and a session may go on from one to the next.
    """
    return sorted((_open(name, stack) for name in names), key=lambda log: log.begins)


def _open(name: str, stack: ExitStack) -> LogFile:
    shown = "standard input" if name == STDIN else name
    try:
        raw = _stdin() if name == STDIN else _opened(name, stack)
        written = os.fstat(raw.fileno()).st_mtime or time.time()
        file = _unpacked(shown, raw)
        head = _head(file)
    except OSError as error:
        if error.strerror is None:
            raise _damaged(shown, error) from None
        raise ClosedmailError(f"{shown}: {error.strerror}; is it a mail log that you may read?") from None
    except (EOFError, zlib.error, lzma.LZMAError) as error:
        raise _damaged(shown, error) from None
    first = first_time(head)
    if head and first is None:
        raise ClosedmailError(
            f"{shown}: not a mail log: no line begins with a time as syslog writes it; give Postfix's log, or what "
            "journalctl -o export writes"
        )
    return LogFile(shown, _seconds(first, written) if first else written, file)


def _unpacked(name: str, raw: io.BufferedReader) -> io.BufferedReader:
    head = raw.peek(8)[:8]
    for magic, fault, remedy in _UNREADABLE:
        if head.startswith(magic):
            raise ClosedmailError(f"{name}: {fault}", remedy)
    for magic, unpack in _COMPRESSED:
        if head.startswith(magic):
            return io.BufferedReader(unpack(raw), _HEAD)
    return raw


def _opened(name: str, stack: ExitStack) -> io.BufferedReader:
    file: io.BufferedReader = stack.enter_context(io.BufferedReader(io.FileIO(name), _HEAD))
    return file


def _stdin() -> io.BufferedReader:
    if sys.stdin is None or not isinstance(sys.stdin.buffer, io.BufferedReader):
        raise ClosedmailError("standard input is closed: nothing to read from -")
    return sys.stdin.buffer


def _head(file: io.BufferedReader) -> bytes:
    return file.peek(_HEAD)[:_HEAD]


def _damaged(name: str, error: Exception) -> ClosedmailError:
    return ClosedmailError(f"{name}: cut short or damaged ({error}); leave it out, or give what can be unpacked of it")


def _seconds(text: str, written: float) -> float:
    """Return the Unix seconds of a time in a log.

    Classic syslog has no year: assume the last one possible for the file.
    """
    if text.startswith("_"):
        text = export_time(text.partition("=")[2].encode())
    try:
        if text[:1].isdigit():
            return datetime.fromisoformat(text).timestamp()
        latest = datetime.fromtimestamp(written) + timedelta(days=1)
        for year in range(latest.year, latest.year - 9, -1):  # 29 February is there every fourth or eighth year
            found = _in_year(text[:15], year)
            if found and found <= latest:
                return found.timestamp()
    except (ValueError, OverflowError):
        pass
    return written


def _in_year(text: str, year: int) -> datetime | None:
    try:
        return datetime.strptime(f"{year} {text}", "%Y %b %d %H:%M:%S")
    except ValueError:
        return None
