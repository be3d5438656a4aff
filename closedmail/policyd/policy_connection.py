"""Handle connections of Postfix's smtpd processes, on the event loop: bytes to the service, its answers back."""

import asyncio
from collections.abc import Callable

from closedmail.policyd.policy_protocol import Layouts, ProtocolError, RequestReader
from closedmail.policyd.policy_service import PolicyService, StoreUnreadableError

# What is read at a time, into one buffer for all connections: nothing else happens between a read and its answer. A
# plain asyncio.Protocol is handed a new object of 256 KiB for each read: where the C library asks the kernel for it
# (M_MMAP_THRESHOLD in mallopt(3)), that costs as much as half of the decision.
_READ = 64 * 1024


# Seconds in which a request that has begun has to be whole, and in which a client has to take its answers. Postfix
# sends a request at once and waits for the answer; between two requests it may be silent for as long as it likes.
_PATIENCE = 30.0
# Answers that are written at a time; whether the client takes them is seen before more are made.
_AT_ONCE = 64
# Bytes of half requests and of answers not taken that are kept for all connections together.
_MOST_KEPT = 16 << 20


class PolicyConnections:
    """The `open` connections, at most `most`; calling it makes one, for asyncio. `accepted` and `errors` count."""

    def __init__(self, service: PolicyService, write: Callable[[str], object], most: int = 1 << 20) -> None:
        """Start with no connection. `write` takes log lines, newline included."""
        self.service, self.write, self.most = service, write, most
        self.open: set[PolicyConnection] = set()
        self.accepted = self.errors = self.kept = 0
        self.buffer = memoryview(bytearray(_READ))
        self.layouts = Layouts()
        self._full = False

    def __call__(self) -> "PolicyConnection":
        """Make a connection that is about to begin."""
        self.accepted += 1
        return PolicyConnection(self)

    def admit(self, connection: "PolicyConnection") -> bool:
        """Add a connection to the open ones; return False where there is no room."""
        if len(self.open) < self.most:
            self.open.add(connection)
            self._full = False
            return True
        if not self._full:  # once, not once for each
            self._full = True
            self.write(f"error: {self.most} connections are open: closing all that come\n")
        return False


class PolicyConnection(asyncio.BufferedProtocol):
    """One smtpd process's connection: many requests, one at a time or several in a row."""

    __slots__ = ("_all", "_kept", "_reader", "_service", "_stuck", "_timer", "_transport", "heard")

    def __init__(self, connections: PolicyConnections) -> None:
        """Wait for requests. `heard` is set whenever something comes."""
        self._all, self._service = connections, connections.service
        self._reader = RequestReader(connections.layouts)
        self._kept = 0
        self._stuck = False
        self._timer: asyncio.TimerHandle | None = None
        self.heard = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin."""
        assert isinstance(transport, asyncio.Transport)  # noqa: S101, what create_server gives
        self._transport = transport
        transport.set_write_buffer_limits(0)  # pause_writing comes with the first byte that the system does not take
        if not self._all.admit(self):
            transport.abort()

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002
        """End."""
        self._all.open.discard(self)
        self._wait(half_done=False)
        self._all.kept -= self._kept
        self._kept = 0

    def get_buffer(self, sizehint: int) -> memoryview:  # noqa: ARG002
        """Return the buffer to read into."""
        return self._all.buffer

    def buffer_updated(self, nbytes: int) -> None:
        """Answer what has come."""
        self.heard = True
        self._answer(bytes(self._all.buffer[:nbytes]))

    def pause_writing(self) -> None:
        """Read no more: a client that never reads shall not fill our memory."""
        self._stuck = True
        self._transport.pause_reading()
        self._wait(half_done=True)

    def resume_writing(self) -> None:
        """Answer what has waited: the client reads after all."""
        self._stuck = False
        if not self._transport.is_closing():
            self._transport.resume_reading()
            self._answer(b"")

    def close(self) -> None:
        """Send what is answered, and end."""
        self._transport.close()

    def _answer(self, data: bytes) -> None:
        """Answer requests, as long as the client takes the answers; what is left waits in the reader."""
        answers: list[bytes] = []
        progress = False
        reader = self._reader
        reader.receive_data(data)
        try:
            while request := reader.next_request():
                answers.append(self._service.respond(request))
                progress = True
                if len(answers) >= _AT_ONCE:
                    self._transport.write(b"".join(answers))
                    answers.clear()
                    if self._stuck:
                        break
        except (ProtocolError, StoreUnreadableError) as error:
            self._transport.write(b"".join(answers))  # those of the requests in front of it
            if isinstance(error, ProtocolError):
                self._log(str(error), error.hint)
            self._transport.close()
            return
        if answers:
            self._transport.write(b"".join(answers))
        if self._timer or self._kept or self._stuck or reader.kept:
            self._keep(progress=progress)

    def _keep(self, *, progress: bool) -> None:
        """Limit unfinished requests and answers in size and time. `progress`: something was done."""
        kept = self._reader.kept + self._transport.get_write_buffer_size()
        self._all.kept += kept - self._kept
        self._kept = kept
        if progress:
            self._wait(half_done=False)
        self._wait(half_done=kept > 0)
        if kept and self._all.kept > _MOST_KEPT:
            self._abort(f"half requests and answers not taken have more than {_MOST_KEPT} bytes")

    def _wait(self, *, half_done: bool) -> None:
        """Begin to wait for the rest, or wait no more."""
        if not half_done and self._timer:
            self._timer.cancel()
            self._timer = None
        elif half_done and not self._timer:
            self._timer = asyncio.get_running_loop().call_later(_PATIENCE, self._give_up)

    def _give_up(self) -> None:
        what = "answers that are not taken" if self._stuck else "half a request"
        self._abort(f"{what} for {_PATIENCE:g} seconds")

    def _abort(self, error: str) -> None:
        """Close at once, without what is not taken yet."""
        self._log(error)
        self._transport.abort()

    def _log(self, error: str, hint: str = "") -> None:
        self._all.errors += 1
        more = f" ({hint})" if hint else ""
        self._all.write(f"error: {error}: closing the connection from {self._from()}{more}\n")

    def _from(self) -> str:
        peer = self._transport.get_extra_info("peername")
        return f"{peer[0]}:{peer[1]}" if isinstance(peer, tuple) else "the UNIX socket"
