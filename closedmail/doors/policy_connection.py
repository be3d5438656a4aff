"""Connections of Postfix's smtpd processes, on the event loop: bytes to the service, its answers back."""

import asyncio
from collections.abc import Callable

from closedmail.doors.policy_protocol import ProtocolError, RequestReader
from closedmail.doors.policy_service import PolicyService, StoreUnreadableError

# What is read at a time, into one buffer for all connections: nothing else happens between a read and its answer. A
# plain asyncio.Protocol is handed a new object of 256 KiB for each read: where the C library asks the kernel for it
# (M_MMAP_THRESHOLD in mallopt(3)), that costs as much as half of the decision.
_READ = 64 * 1024


class PolicyConnections:
    """Those that are `open`; calling it makes one more, for asyncio. `accepted` and `errors` count."""

    def __init__(self, service: PolicyService, write: Callable[[str], object]) -> None:
        """`write` takes log lines, newline included."""
        self.service, self.write = service, write
        self.open: set[PolicyConnection] = set()
        self.accepted = self.errors = 0
        self.buffer = memoryview(bytearray(_READ))

    def __call__(self) -> "PolicyConnection":
        """A connection that is about to begin."""
        self.accepted += 1
        return PolicyConnection(self)


class PolicyConnection(asyncio.BufferedProtocol):
    """One smtpd process's connection: many requests, one at a time or several in a row."""

    __slots__ = ("_all", "_reader", "_service", "_transport", "heard")

    def __init__(self, connections: PolicyConnections) -> None:
        """`heard` is set whenever something comes."""
        self._all, self._service = connections, connections.service
        self._reader = RequestReader()
        self.heard = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin."""
        assert isinstance(transport, asyncio.Transport)  # noqa: S101, what create_server gives
        self._transport = transport
        self._all.open.add(self)

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002
        """End."""
        self._all.open.discard(self)

    def get_buffer(self, sizehint: int) -> memoryview:  # noqa: ARG002
        """Where to read to."""
        return self._all.buffer

    def buffer_updated(self, nbytes: int) -> None:
        """Answer what has come."""
        self.heard = True
        data = bytes(self._all.buffer[:nbytes])
        answers: list[bytes] = []
        try:
            answers.extend(map(self._service.respond, self._reader.feed(data)))
        except ProtocolError as error:
            if not isinstance(error, StoreUnreadableError):
                self._all.errors += 1
                self._all.write(f"error: {error}: closing the connection from {self._from()}\n")
            self._transport.write(b"".join(answers))  # those of the requests in front of it
            self._transport.close()
        else:
            if answers:
                self._transport.write(b"".join(answers))

    def pause_writing(self) -> None:
        """Read no more: a client that never reads shall not fill our memory."""
        self._transport.pause_reading()

    def resume_writing(self) -> None:
        """The client reads after all."""
        self._transport.resume_reading()

    def close(self) -> None:
        """Send what is answered, and end."""
        self._transport.close()

    def _from(self) -> str:
        peer = self._transport.get_extra_info("peername")
        return f"{peer[0]}:{peer[1]}" if isinstance(peer, tuple) else "the UNIX socket"
