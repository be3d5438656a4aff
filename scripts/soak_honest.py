"""Peers that ask as Postfix does, and know the one right answer: a few busy ones, and two thousand at once."""

import socket
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass

from soak_shared import CLOSED, OF, Surroundings
from soak_world import EDITIONS, World
from support.policy_reading import read_stream
from support.recorded import altered, recorded

_CONNECTIONS = 24
_QUESTIONS = 400  # on one connection, before it is given up for another; Postfix has such a limit as well
_PAUSE = 3.0  # seconds between two crowds, at most
_RECIPIENT = "plain-rcpt", "plain-data", "end-end-of-message", "two-recipients-rcpt", "early-mail"
_CLIENTS = "192.0.2.1", "192.0.2.9", "198.51.100.7", "2001:db8::25", "::ffff:192.0.2.77", "unknown", "203.0.113.5", ""


@dataclass(frozen=True, slots=True)
class Question:
    """A request without its instance, and what is right for it in each edition (bits A and B)."""

    head: bytes
    tail: bytes
    right: dict[int, bytes]

    def about(self, instance: bytes) -> bytes:
        """The request of one mail."""
        return self.head + instance + self.tail


def questions(world: World, chance: "Surroundings") -> list[Question]:
    """Every partner's right and wrong mails, strangers, bounces, logins, in random order."""
    templates = recorded()
    pick = chance.chance.choice
    made = []
    for domain in [*world.senders(), *("stranger.example", "city.example", "a.kim.example", "below.city.example") * 50]:
        made += [
            altered(templates[pick(_RECIPIENT)], sender=f"u@{domain}", client_address=client)
            for client in (_CLIENTS[0], pick(_CLIENTS), pick(_CLIENTS))
        ]
        other = pick(("certificate-rcpt", "self-signed-rcpt", "tls-data", "sasl-rcpt", "ipv6-rcpt"))
        made.append(altered(templates[other], sender=f"U.{other}@{domain.upper()}"))
    made += [templates[name] for name in ("null-rcpt", "null-data", "early-connect", "early-ehlo")] * 50
    chance.chance.shuffle(made)
    return [_question(world, request) for request in made]


def _question(world: World, request: bytes) -> Question:
    (attributes,) = read_stream(request).requests
    right = {}
    for edition in EDITIONS:
        answer = world.right(attributes, edition)
        assert answer is not None, request  # noqa: S101, the questions are ours
        right[OF[edition]] = answer + b"\n\n"
    head, mark, tail = request.partition(b"\ninstance=")
    return Question(head + mark, b"\n" + tail.partition(b"\n")[2], right)


class _Line:
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
        if self._socket is not None:
            self._socket.close()
            self._socket = None


def ask_at_full_speed(around: Surroundings) -> None:
    """Some two dozen smtpd processes that never rest; each mail has an instance of its own, and is asked about once."""
    asked = _endless(around)
    lines = [_Line(around, number % len(around.where)) for number in range(_CONNECTIONS)]
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
        lines = [_Line(around, at) for _ in range(number)]
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
    pool = questions(around.world, around)
    number = 0
    mark = f"{int(time.time()):x}.{around.chance.randrange(1 << 20):x}"
    while True:
        for question in pool:
            number += 1
            yield question, f"{mark}.{number:x}.0".encode()
