"""Serve GET /metrics over HTTP/1.1, and nothing else: one request a connection, in bounded time and memory.

Whoever can reach the port may be hostile, and decisions about mail are made on the same event loop.
"""

import asyncio
import re
from collections.abc import Awaitable, Callable
from http import HTTPStatus

_LONGEST_HEAD = 8 * 1024  # bytes of a request with all its headers; a scrape has some 300
_MOST = 8  # connections at a time; Prometheus has one
_TIME_LIMIT = 10.0  # seconds for a whole connection, Prometheus' own limit for a scrape
_END = re.compile(rb"\r?\n\r?\n")
_REQUEST_LINE = re.compile(rb"([A-Z]{1,16}) (/[!-~]*) HTTP/1\.[01]\r?\n").match
_PLAIN = "text/plain; charset=utf-8"

Page = Callable[[], Awaitable[bytes]]


class MetricsConnections:
    """The connections that are `open`. Calling it makes one, for asyncio. `page` makes the page, of type `content`."""

    def __init__(self, page: Page, content: str) -> None:
        """Begin with no connection."""
        self.page, self.content = page, content
        self.open: set[MetricsConnection] = set()

    def __call__(self) -> "MetricsConnection":
        """Make a connection that is about to begin."""
        return MetricsConnection(self)


class MetricsConnection(asyncio.Protocol):
    """One connection: a request, its answer, the end."""

    def __init__(self, connections: MetricsConnections) -> None:
        """Wait for the request."""
        self._all = connections
        self._head = b""
        self._task: asyncio.Task[None] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin, unless there are too many already."""
        assert isinstance(transport, asyncio.Transport)  # noqa: S101, what create_server gives
        self._transport = transport
        self._timer = asyncio.get_running_loop().call_later(_TIME_LIMIT, transport.abort)
        if len(self._all.open) >= _MOST:
            transport.abort()
        else:
            self._all.open.add(self)

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002
        """Forget the connection."""
        self._timer.cancel()
        self._all.open.discard(self)
        if self._task:
            self._task.cancel()

    def data_received(self, data: bytes) -> None:
        """Take bytes until the head of the request is whole."""
        if self._task or self._transport.is_closing():
            return
        self._head += data[: _LONGEST_HEAD + 1]
        end = _END.search(self._head)
        if (end.end() if end else len(self._head)) > _LONGEST_HEAD:
            self._refuse(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE)
        elif end:
            self._transport.pause_reading()
            self._respond(self._head)

    def eof_received(self) -> bool:
        """Check whether to stay open for a peer that has sent all it will: while its answer is being made."""
        return self._task is not None

    def close(self) -> None:
        """End at once."""
        self._transport.abort()

    def _respond(self, head: bytes) -> None:
        line = _REQUEST_LINE(head)
        if not line:
            self._refuse(HTTPStatus.BAD_REQUEST)
        elif line[2].partition(b"?")[0] != b"/metrics":
            self._refuse(HTTPStatus.NOT_FOUND)
        elif line[1] not in (b"GET", b"HEAD"):
            self._refuse(HTTPStatus.METHOD_NOT_ALLOWED, "Allow: GET, HEAD\r\n")
        else:
            self._task = asyncio.get_running_loop().create_task(self._serve(bodiless=line[1] == b"HEAD"))

    async def _serve(self, *, bodiless: bool) -> None:
        body = await self._all.page()
        self._answer(HTTPStatus.OK, self._all.content, body, bodiless=bodiless)

    def _refuse(self, status: HTTPStatus, more: str = "") -> None:
        self._answer(status, _PLAIN, f"{status.phrase}; this is closedmail, see /metrics\n".encode(), more)

    def _answer(self, status: HTTPStatus, content: str, body: bytes, more: str = "", *, bodiless: bool = False) -> None:
        head = (
            f"HTTP/1.1 {status.value} {status.phrase}\r\nContent-Type: {content}\r\nContent-Length: {len(body)}\r\n"
            f"{more}Connection: close\r\n\r\n"
        )
        self._transport.write(head.encode() + (b"" if bodiless else body))
        self._transport.close()  # once it is sent; the time limit holds for that too
