"""Peers that mean harm: mutants of requests, half ones, slow ones, endless lines, and clients that never read."""

import socket
import time
from collections.abc import Callable
from contextlib import suppress

from soak_shared import CLOSED, Surroundings
from soak_world import EDITIONS, OF
from support.mutants import Mutator
from support.policy_reading import VALID_ANSWER, read_stream


def send_mutants(around: Surroundings) -> None:
    """One connection for each mutant; what it asks is read by other code than the daemon's, and compared."""
    mutator = Mutator(around.seed, around.corpus)
    while not around.stop.is_set():
        since = around.phases.number
        sent = []
        for _ in range(_MUTANTS):
            at, stream = int(not around.chance.randrange(8)), mutator.stream()
            sent.append((at, stream, around.connect(at)))
            _send(sent[-1][2], mutator.pieces(stream))
        for at, stream, connection in sent:
            received, reset = _receive(connection)
            around.tally.add("mutants")
            # A reset takes what was on its way with it, but not on a UNIX socket.
            _judge(around, stream, received, around.phases.since(since), reset=reset and at != 0)


_MUTANTS = 16  # at a time


def _send(connection: socket.socket, pieces: list[bytes]) -> None:
    with suppress(BrokenPipeError, ConnectionResetError):  # closed before all was sent
        for piece in pieces:
            connection.sendall(piece)
    with suppress(OSError):  # there is nothing left to shut down
        connection.shutdown(socket.SHUT_WR)


def _receive(connection: socket.socket) -> tuple[bytes, bool]:
    """All that comes back, and whether the connection was reset."""
    received: list[bytes] = []
    with connection:
        while True:
            try:
                data = connection.recv(65536)
            except ConnectionResetError:
                return b"".join(received), True
            if not data:
                return b"".join(received), False
            received.append(data)


def _judge(around: Surroundings, stream: bytes, received: bytes, mask: int, *, reset: bool) -> None:
    reading = read_stream(stream)
    *answers, rest = received.split(b"\n\n")
    if (rest and not reset) or len(answers) > len(reading.requests):
        around.wrong(f"too much was answered: {received!r} to {stream!r}")
        return
    for attributes, answer in zip(reading.requests, answers, strict=False):
        rights = {around.world.right(attributes, edition) for edition in EDITIONS if mask & OF[edition]}
        if not VALID_ANSWER.fullmatch(answer) or not rights & {answer, None}:
            around.wrong(f"answered {answer!r} and not {rights}, while {mask} was in force, to {stream!r}")
        around.count_answer(answer)
    if len(answers) < len(reading.requests) or reading.malformed:
        around.tally.add("closes")
    for attributes in reading.requests[len(answers) : len(answers) + 1]:
        # A sender that is too odd to tell may be none at all.
        odd = None in {around.world.right(attributes, edition) for edition in EDITIONS}
        if not (odd or reset or mask & CLOSED):
            around.wrong(f"closed without an answer to number {len(answers)}, while {mask} was in force, of {stream!r}")


def crowd(around: Surroundings) -> None:
    """A crowd on one event loop's account: each member does its harm a little at a time, and others come after it."""
    members: list[_Member] = []
    while not around.stop.is_set():
        while len(members) < _CROWD:
            members.append(_Member(around, around.chance.choice(around.corpus)))
        for member in members:
            member.step()
        members = [member for member in members if not member.done]
        around.stop.wait(0.01)
    for member in members:
        member.end()


_CROWD = 300
_MOST_TAKEN = 64 << 20  # more than the kernel keeps on the way


class _Member:
    """One hostile connection."""

    def __init__(self, around: Surroundings, request: bytes) -> None:
        self._around, self._request = around, request
        self._since = around.phases.number
        self._until = time.monotonic() + around.chance.choice((1, 5, 20, 60))
        self._received = b""
        self._sent = 0
        self.done = False
        self._socket = around.connect(around.chance.randrange(len(around.where)))
        self._socket.setblocking(False)
        chance = around.chance
        ways: list[Callable[[], None]] = [self._slowly, self._half, self._endlessly, self._never_read]
        (self._way,) = chance.choices(ways, (4, 4, 2, 1))
        self._half_at = chance.randrange(1, len(request) - 1)

    def step(self) -> None:
        """Do a little."""
        try:
            self._way()
        except BlockingIOError:
            pass
        except (BrokenPipeError, ConnectionResetError):
            self._receive()
            self.end()
        if time.monotonic() > self._until:
            self.end()

    def end(self) -> None:
        """Hang up."""
        self._socket.close()
        self.done = True

    def _receive(self) -> bool:
        """Take what there is; False at the end."""
        try:
            data = self._socket.recv(65536)
        except BlockingIOError:
            return True
        except ConnectionResetError:
            data = b""
        self._received += data
        if not data:
            self._around.tally.add("closes")
        return bool(data)

    def _slowly(self) -> None:
        """A whole request, a few bytes at a time; then its answer."""
        if self._sent < len(self._request):
            self._sent += self._socket.send(self._request[self._sent :][: self._around.chance.randrange(1, 40)])
            return
        if not self._receive() or self._received.endswith(b"\n\n"):
            mask = self._around.phases.since(self._since)
            _judge(self._around, self._request, self._received, mask, reset=False)
            self.end()

    def _half(self) -> None:
        """The beginning of a request, and nothing more: no answer may come, and the daemon may hang up."""
        if self._sent < self._half_at:
            self._sent += self._socket.send(self._request[self._sent : self._half_at])
        elif not self._receive():
            self.end()
        if self._received:
            self._around.wrong(f"answered {self._received!r} to {self._request[: self._half_at]!r}")
            self.end()

    def _endlessly(self) -> None:
        """A line without an end: no answer may come, and the daemon has to hang up."""
        self._sent += self._socket.send(b"x" * self._around.chance.choice((1, 1000, 60_000)))
        alive = self._receive()
        if self._received or self._sent > _MOST_TAKEN:
            self._around.wrong(f"endless line: {self._sent} bytes were taken, {self._received!r} was answered")
        if not alive:
            self.end()

    def _never_read(self) -> None:
        """Question upon question, and no answer is taken."""
        data = self._request * 50
        for _ in range(20):
            at = self._sent % len(self._request)
            self._sent += self._socket.send(data[at:])
        if self._sent > 256 << 20:
            self._around.wrong("a client that never reads was asked for ever more")
            self.end()
