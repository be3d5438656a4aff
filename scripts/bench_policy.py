"""Shared by the benchmarks of the policy service: its requests, the servers that answer them, and their cost.

The servers under measurement run on one CPU with the client, where nothing else is said: on two, a large part of what
is measured is how they wake each other, and it changes by the minute.
"""

import os
import random
import socket
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from sys import executable

from bench_common import ListShape, closedmail, configuration, cpu_seconds, domain, run, server

# All attributes that Postfix 3.7 sends, in its order (check_policy_service() in src/smtpd/smtpd_check.c).
_REQUEST = """\
request=smtpd_access_policy
protocol_state=RCPT
protocol_name=ESMTP
client_address={client}
client_name=mail.{domain}
client_port=43210
reverse_client_name=mail.{domain}
server_address=192.0.2.250
server_port=25
helo_name=mail.{domain}
sender=amt.{instance}@{domain}
recipient=poststelle@city.example
recipient_count=0
queue_id=
instance={instance}
size=48213
etrn_domain=
stress=
sasl_method=
sasl_username=
sasl_sender=
ccert_subject=
ccert_issuer=
ccert_fingerprint=
ccert_pubkey_fingerprint=
encryption_protocol=TLSv1.3
encryption_cipher=TLS_AES_256_GCM_SHA384
encryption_keysize=256
policy_context=

"""


def requests(partners: int, count: int, mark: str) -> list[bytes]:
    """Requests about `partners` partners, a third each of a partner's right address, of a wrong one and of strangers.

    No two have one instance or one sender; the same ones come for the same `mark`.
    """
    chance = random.Random(mark)  # noqa: S311
    kinds = (("10.20.30.40", ""), ("203.0.113.9", ""), ("203.0.113.9", "fremd-"))
    made = []
    for number in range(count):
        client, prefix = kinds[number % 3]
        name = prefix + domain(chance.randrange(partners))
        instance = f"{mark}.{number:x}.65f0c1a2.7b3c4.0"
        made.append(_REQUEST.format(client=client, domain=name, instance=instance).encode())
    return made


@dataclass(slots=True)
class Subject:
    """A server under measurement: its processes, its socket, and microseconds a request by round, of CPU and in all."""

    name: str
    partners: int
    pids: Sequence[int]
    path: Path
    connection: socket.socket
    cpu: list[float] = field(default_factory=list)
    wall: list[float] = field(default_factory=list)

    def measure(self, batch: Sequence[bytes]) -> None:
        """One round: ask all, one by one on one connection, as Postfix does."""
        before, started = self._cpu_seconds(), time.perf_counter()
        ask(self.connection, batch)
        self.wall.append((time.perf_counter() - started) / len(batch) * 1e6)
        self.cpu.append((self._cpu_seconds() - before) / len(batch) * 1e6)

    def _cpu_seconds(self) -> float:
        return sum(map(cpu_seconds, self.pids))


def ratio(one: Sequence[float], other: Sequence[float]) -> float:
    """The median over rounds, each compared with the one that it ran beside."""
    return median(mine / theirs for mine, theirs in zip(one, other, strict=True))


@contextmanager
def one_cpu() -> Iterator[None]:
    """Keep this process, and those that it starts, on one CPU."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {max(before)})
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def responder(stack: ExitStack, work: Path, *, used: bool = False) -> Subject:
    """A bare asyncio responder, until the stack is left; `used`: it had a connection before (see its own file)."""
    name = "bare responder, used before" if used else "bare asyncio responder"
    path = work / f"bare-{used}.sock"
    program = Path(__file__).with_name("bench_responder.py")
    pid = stack.enter_context(server([executable, str(program), str(path)], work / f"bare-{used}.log"))
    if used:
        connect(path).close()
    return Subject(name, 100_000, [pid], path, stack.enter_context(connect(path)))


def policyd(stack: ExitStack, work: Path, partners: int) -> Subject:
    """`closedmail policyd` with that many partners, logging to a file, until the stack is left."""
    folder = gateway(work, partners)
    path = folder / "policy.sock"
    pid = stack.enter_context(server(closedmail(folder / "closedmail.toml", "policyd"), folder / "log"))
    return Subject(f"closedmail, {partners} partners", partners, [pid], path, stack.enter_context(connect(path)))


def gateway(work: Path, partners: int) -> Path:
    """A folder with `closedmail.toml` and what `closedmail sync` makes of that many partners; made once."""
    folder = work / f"partners-{partners}"
    if folder.exists():
        return folder
    folder.mkdir()
    source, config = folder / "list", folder / "closedmail.toml"
    ListShape(partners).write(source)
    listen = f'[policyd]\nlisten = ["unix:{folder}/policy.sock"]'
    config.write_text(configuration(folder / "state", source, more='signature = "none"', policyd=listen))
    run(closedmail(config, "sync"))
    return folder


def connect(path: Path) -> socket.socket:
    """A connection to a UNIX socket, as soon as somebody listens there. Raises SystemExit."""
    deadline = time.monotonic() + 20
    while True:
        connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        connection.settimeout(20)
        try:
            connection.connect(str(path))
        except OSError:
            connection.close()
            if time.monotonic() > deadline:
                raise SystemExit(f"scripts/bench: nobody listens on {path}") from None
            time.sleep(0.05)
        else:
            return connection


def ask(connection: socket.socket, batch: Sequence[bytes]) -> list[bytes]:
    """The answers to requests that are asked one by one. Raises SystemExit."""
    answers = []
    for request in batch:
        connection.sendall(request)
        answer = connection.recv(4096)
        while not answer.endswith(b"\n\n"):
            more = connection.recv(4096)
            if not more:
                raise SystemExit("scripts/bench: the server closed the connection")
            answer += more
        answers.append(answer)
    return answers
