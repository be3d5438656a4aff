"""Peers that ask as Postfix does, and know the one right answer: a few busy ones, and two thousand at once."""

import socket
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress

from soak_questions import Question
from soak_shared import CLOSED, Surroundings

_CONNECTIONS = 24
_QUESTIONS = 400  # on one connection, before it is given up for another; Postfix has such a limit as well
_PAUSE = 3.0  # seconds between two crowds, at most


class Line:
    """One connection that asks."""

    def __init__(self, around: Surroundings, at: int) -> None:
        self._around, self._at = around, at
        self._socket: socket.socket | None = None
        self._left = 0
        self._asked: list[Question] = []
        self._since = 0

    def ask(self, asked: Sequence[tuple[Question, bytes]]) -> None:
        """Send requests, in one packet."""
        if self._socket is None or self._left <= 0:
            self.close()
            self._socket = self._around.connect(self._at)
            self._left = _QUESTIONS
        self._left -= len(asked)
        self._since = self._around.phases.number
        self._asked = [question for question, _ in asked]
        with suppress(BrokenPipeError, ConnectionResetError):  # closed while it idled and there was no store
            self._socket.sendall(b"".join(question.about(instance) for question, instance in asked))

    def check(self) -> None:
        """Receive the answers, and compare."""
        assert self._socket is not None  # noqa: S101
        received = b""
        while received.count(b"\n\n") < len(self._asked):
            try:
                data = self._socket.recv(65536)
            except ConnectionResetError:
                data = b""
            except TimeoutError:
                self._around.wrong(f"no answer to {self._asked[0].about(b'')!r}")
                data = b""
            if not data:
                break
            received += data
        self._compare(received)

    def _compare(self, received: bytes) -> None:
        around, at = self._around, 0
        mask = around.phases.since(self._since)
        for question in self._asked:
            end = received.find(b"\n\n", at) + 2
            if end < 2:
                around.tally.add("closes")
                if received[at:]:
                    around.wrong(f"half an answer: {received[at:]!r}")
                if not mask & CLOSED:
                    around.wrong(f"closed without an answer, while {mask} was in force: {question.about(b'')!r}")
                self.close()
                return
            answer, at = received[at:end], end
            if not any(mask & bit and answer == right for bit, right in question.right.items()):
                around.wrong(f"answered {answer!r}, while {mask} was in force, to {question.about(b'')!r}")
            around.count_answer(answer[:-2])
        if received[at:]:
            around.wrong(f"answered unasked: {received[at:]!r}")

    def close(self) -> None:
        """Hang up."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None


def ask_at_full_speed(around: Surroundings) -> None:
    """Some two dozen smtpd processes that never rest; each mail has an instance of its own, and is asked about once."""
    asked = _endless(around)
    lines = [Line(around, number % len(around.where)) for number in range(_CONNECTIONS)]
    while not around.stop.is_set():
        for line in lines:
            line.ask([next(asked) for _ in range(2 if not around.chance.randrange(20) else 1)])
        for line in lines:
            line.check()
    for line in lines:
        line.close()


def come_all_at_once(around: Surroundings, most: int) -> None:
    """Up to two thousand smtpd processes that connect at the same moment, as after Postfix's restart."""
    asked = _endless(around)
    while not around.stop.is_set():
        number = around.chance.choice((most, most // 2, most // 10))
        at = 0 if around.chance.randrange(4) else 1
        lines = [Line(around, at) for _ in range(number)]
        try:
            for line in lines:
                line.ask([next(asked)])
            for line in lines:
                line.check()
        finally:
            for line in lines:
                line.close()
        around.stop.wait(around.chance.random() * _PAUSE)


def _endless(around: Surroundings) -> Iterator[tuple[Question, bytes]]:
    pool = around.questions
    at = around.chance.randrange(len(pool))
    number = 0
    mark = f"{int(time.time()):x}.{around.chance.randrange(1 << 20):x}"
    while True:
        number += 1
        yield pool[(at + number) % len(pool)], f"{mark}.{number:x}.0".encode()
