"""Meter an HTTP answer, so that a server can't keep this machine busy with what is not the list.

http.client has no limit for interim answers (`100 Continue`), chunk extensions, trailers and a proxy's header, for how
small chunks are, and reads on to the end of the connection where a chunk has a negative size. Here every byte from the
socket counts, whatever http.client takes it for.
"""

import io
from typing import Any

from closedmail.lists.transfer import fetch_failed

# Bytes beside the list that any answer may have, and those that a list's bytes may bring with them: chunk sizes.
_BESIDE = 1 << 20
_SHARE = 8
# A read from the socket is as much work as so many bytes. It is about what a TLS record has beside its data.
_READ = 32


class AnswerMeter:
    """Counts what comes from the socket in one attempt, redirects included, and what of it is the list.

    `shown` is the source's name in messages.
    """

    def __init__(self, shown: str) -> None:
        self._shown = shown
        self._left = _BESIDE

    def received(self, size: int) -> None:
        """Count a read from the socket. Raises Refused (`fetch-failed`) when there is too much beside the list."""
        self._left -= size + _READ
        if self._left < 0:
            raise fetch_failed(
                f"{self._shown}: the answer is much longer than the list in it (endless headers, or tiny chunks); "
                "check source, and ask the server's operator"
            )

    def delivered(self, size: int) -> None:
        """Count bytes of the list that http.client has given out."""
        self._left += size + size // _SHARE


class _MeteredReader(io.RawIOBase):
    def __init__(self, raw: io.RawIOBase, meter: AnswerMeter) -> None:
        self._raw, self._meter = raw, meter

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int | None:
        size = self._raw.readinto(buffer)
        self._meter.received(size or 0)
        return size

    def close(self) -> None:
        self._raw.close()
        super().close()


class MeteredConnection:
    """A connection as http.client's answers use it: they read from its file, which the meter counts."""

    def __init__(self, connection: Any, meter: AnswerMeter) -> None:
        self._connection, self._meter = connection, meter

    def makefile(self, _mode: str) -> io.BufferedReader:
        """Return the file that is counted."""
        return io.BufferedReader(_MeteredReader(self._connection.makefile("rb", buffering=0), self._meter))
