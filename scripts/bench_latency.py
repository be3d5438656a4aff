"""Measure how long a request waits for its answer while few or many connections ask, beside the bare asyncio responder.

On each connection the next request goes out as soon as the answer is there, so that all of them are waiting all the
time: smtpd processes are never that busy. What is measured is then above all how long a request stands in line. The
responder is one that was used before (see bench_responder.py), as it would be after the first round in any case.
"""

import select
import time
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from socket import socket
from statistics import median, quantiles

from bench_policy import ask, connect, one_cpu, policyd, requests, responder

_WARM_UP = 2_000


def bench_latency(work: Path, rounds: int, count: int, numbers: Sequence[int], partners: int) -> None:
    """Measure and print: `rounds` alternating rounds of `count` requests at each number of connections."""
    print(f"Latency: {rounds} alternating rounds of {count} requests on each number of connections, all of them busy;")
    print(f"closedmail with {partners} partners, logging to a file; medians over rounds of milliseconds and requests/s")
    print(f"\n  {'':32}{'connections':>12}{'median':>10}{'99 %':>10}{'longest':>10}{'rate':>10}")
    with ExitStack() as stack:
        stack.enter_context(one_cpu())
        subjects = [responder(stack, work, used=True), policyd(stack, work, partners)]
        for subject in subjects:
            ask(subject.connection, requests(partners, _WARM_UP, "warm"))
        for number in numbers:
            with ExitStack() as open_ones:
                connections = {
                    subject.name: [open_ones.enter_context(connect(subject.path)) for _ in range(number)]
                    for subject in subjects
                }
                taken: dict[str, list[_Round]] = {subject.name: [] for subject in subjects}
                for lap in range(rounds):
                    batch = requests(partners, max(count, number), f"{number}.{lap}")
                    for subject in subjects:
                        taken[subject.name].append(_round(connections[subject.name], batch))
            for name, figures in taken.items():
                middle, late, longest, rate = (median(column) for column in zip(*figures, strict=True))
                print(f"  {name:32}{number:12}{middle:10.2f}{late:10.2f}{longest:10.2f}{rate:10.0f}")
    print()


_Round = tuple[float, float, float, float]  # milliseconds: median, 99 of 100, longest; requests a second


def _round(connections: Sequence[socket], batch: Sequence[bytes]) -> _Round:
    times, wall = _closed_loop(connections, batch)
    hundredths = quantiles(times, n=100)
    return hundredths[49] * 1e3, hundredths[98] * 1e3, max(times) * 1e3, len(batch) / wall


def _closed_loop(connections: Sequence[socket], batch: Sequence[bytes]) -> tuple[list[float], float]:
    """Ask all, on each connection one after the other; seconds of each request, and of all. Raises SystemExit."""
    clock, todo, times = time.perf_counter, iter(batch), list[float]()
    sent, answers = dict[int, float](), dict[int, bytes]()
    by_number = {connection.fileno(): connection for connection in connections}
    started = clock()
    with select.epoll() as poll:
        for number, connection in by_number.items():
            poll.register(number, select.EPOLLIN)
            sent[number], answers[number] = clock(), b""
            connection.sendall(next(todo))
        while len(times) < len(batch):
            events = poll.poll(20)
            if not events:
                raise SystemExit("scripts/bench: no answer within 20 s")
            for number, _ in events:
                connection = by_number[number]
                came = connection.recv(4096)
                if not came:
                    raise SystemExit("scripts/bench: the server closed the connection")
                answers[number] += came
                if not answers[number].endswith(b"\n\n"):
                    continue
                times.append(clock() - sent[number])
                answers[number] = b""
                request = next(todo, None)
                if request:
                    sent[number] = clock()
                    connection.sendall(request)
    return times, clock() - started
