"""Shared by the processes of a soak: the editions in force, counters, and errors."""

import multiprocessing
import random
import socket
import struct
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing.queues import SimpleQueue
from multiprocessing.synchronize import Event

from soak_questions import Question
from soak_world import World

Texts = SimpleQueue[str]  # from one process to another
CONTEXT = multiprocessing.get_context("fork")

# What may be answered at a moment: what is right in an edition, or nothing but a closed connection.
CLOSED = 4

_REMEMBERED = 1 << 16
_MOST_REPORTS = 10  # of one process
_PATIENCE = 120  # seconds; a machine that stands still for a while is no fault of the daemon

FIGURES = ("requests", "DUNNO", "REJECT", "DEFER", "WARN", "closes", "mutants", "connections", "disturbances", "syncs")


class Phases:
    """The editions that may be answered by, moment by moment. One process changes them, all read them."""

    def __init__(self, now: int) -> None:
        """`now` is a sum of those in OF and of CLOSED."""
        self._number = CONTEXT.RawValue("L", 0)
        self._masks = CONTEXT.RawArray("B", _REMEMBERED)
        self._masks[0] = now

    def change(self, mask: int) -> None:
        """From now on."""
        after = self._number.value + 1
        self._masks[after % _REMEMBERED] = mask
        self._number.value = after

    @property
    def number(self) -> int:
        """Of the present phase; for `since`."""
        return int(self._number.value)

    def since(self, number: int) -> int:
        """Give, as a bit mask, the editions that were right at some moment since that phase."""
        mask = 0
        for each in range(number, self._number.value + 1):
            mask |= self._masks[each % _REMEMBERED]
        return mask


class Tally:
    """One process's figures, to be read by another."""

    def __init__(self) -> None:
        self._figures = CONTEXT.RawArray("L", len(FIGURES))

    def add(self, figure: str, number: int = 1) -> None:
        """Count."""
        self._figures[FIGURES.index(figure)] += number

    def values(self) -> Sequence[int]:
        """In the order of FIGURES."""
        return list(self._figures)


@dataclass
class Surroundings:
    """The arguments of a peer: the daemon's sockets, the world, requests, editions in force, and where to report."""

    where: Sequence[str]
    world: World
    questions: Sequence[Question]
    corpus: Sequence[bytes]
    phases: Phases
    tally: Tally
    stop: Event
    reports: Texts
    chance: random.Random
    seed: str
    _reported: int = 0

    def wrong(self, what: str) -> None:
        """Report what must not be; the first few only, as one fault shows a thousand times."""
        self._reported += 1
        if self._reported <= _MOST_REPORTS:
            self.reports.put(f"{CONTEXT.current_process().name}: {what}"[:2000])

    def count_answer(self, answer: bytes) -> None:
        """Count an answer by its first word."""
        word = answer[7:].partition(b" ")[0].decode("ascii", "replace")
        self.tally.add("requests")
        if word in FIGURES:
            self.tally.add(word)
        else:
            self.wrong(f"answered {answer!r}")

    def connect(self, at: int) -> socket.socket:
        """A connection to one of the daemon's sockets. It waits, as Postfix does, while the queue there is full."""
        self.tally.add("connections")
        kind, _, place = self.where[at].partition(":")
        if kind != "unix":
            host, _, port = place.rpartition(":")
            connection = socket.create_connection((host, int(port)), timeout=_PATIENCE)
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            return connection
        connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            # Not settimeout(), with which connect(2) gives up at once when the queue is full.
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, struct.pack("ll", _PATIENCE, 0))
            connection.connect(place)
        except OSError:
            connection.close()
            raise
        connection.settimeout(_PATIENCE)
        return connection

    @contextmanager
    def reporting(self) -> Iterator[None]:
        """Whatever a peer raises is a fault of its own, and ends the soak as one."""
        try:
            yield
        except Exception as error:
            self.wrong(f"{type(error).__name__}: {error}")
