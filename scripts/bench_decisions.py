"""CPU time for each decision of `closedmail policyd`, beside a bare asyncio responder with the same requests.

Every server answers the same kinds of requests one by one on one connection, as Postfix asks, in alternating rounds.
All run on one CPU: on two, a large part of what is measured is how they wake each other, and it changes by the minute.
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

_FEW, _MANY = 100, 100_000  # partners
_WARM_UP = 2_000  # requests before the first round

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
sender=amt.fuer.statistik@{domain}
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


@dataclass(slots=True)
class Subject:
    """A server under measurement: its process, its connection, and microseconds of CPU a request by round."""

    name: str
    partners: int
    pid: int
    connection: socket.socket
    rounds: list[float] = field(default_factory=list)


def bench_decisions(work: Path, rounds: int, requests: int) -> None:
    """Measure and print."""
    print(f"Decisions: {rounds} alternating rounds of {requests} requests, a third each of a partner's right address,")
    print("a partner's wrong address and strangers; one connection, logging to a file; medians of CPU time a request")
    with ExitStack() as stack:
        stack.enter_context(_one_cpu())
        subjects = [
            _responder(stack, work),
            _policyd(stack, work, _FEW),
            _policyd(stack, work, _MANY),
        ]
        for subject in subjects:
            _ask(subject.connection, _requests(subject.partners, _WARM_UP, "warm"))
        for number in range(rounds):
            for subject in subjects:
                batch = _requests(subject.partners, requests, str(number))
                before = cpu_seconds(subject.pid)
                _ask(subject.connection, batch)
                subject.rounds.append((cpu_seconds(subject.pid) - before) / requests * 1e6)
    bare, few, many = subjects
    print(f"\n  {'':32}{'µs':>8}{'beside bare':>14}{'aim':>8}")
    print(f"  {bare.name:32}{median(bare.rounds):8.1f}")
    for subject in (few, many):
        print(f"  {subject.name:32}{median(subject.rounds):8.1f}{_ratio(subject, bare):14.2f}{'1.8':>8}")
    print(f"  {f'{_MANY} beside {_FEW} partners':32}{'':8}{_ratio(many, few):14.2f}{'1.15':>8}\n")


@contextmanager
def _one_cpu() -> Iterator[None]:
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {max(before)})
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def _ratio(one: Subject, other: Subject) -> float:
    """The median over rounds, each compared with the one that it ran beside."""
    return median(mine / theirs for mine, theirs in zip(one.rounds, other.rounds, strict=True))


def _responder(stack: ExitStack, work: Path) -> Subject:
    path = work / "bare.sock"
    program = Path(__file__).with_name("bench_responder.py")
    pid = stack.enter_context(server([executable, str(program), str(path)], work / "bare.log"))
    return Subject("bare asyncio responder", _MANY, pid, stack.enter_context(_connect(path)))


def _policyd(stack: ExitStack, work: Path, partners: int) -> Subject:
    folder = work / f"partners-{partners}"
    folder.mkdir()
    source, config, path = folder / "list", folder / "closedmail.toml", folder / "policy.sock"
    ListShape(partners).write(source)
    policyd = f'[policyd]\nlisten = ["unix:{path}"]'
    config.write_text(configuration(folder / "state", source, more='signature = "none"', policyd=policyd))
    run(closedmail(config, "sync"))
    pid = stack.enter_context(server(closedmail(config, "policyd"), folder / "log"))
    return Subject(f"closedmail, {partners} partners", partners, pid, stack.enter_context(_connect(path)))


def _connect(path: Path) -> socket.socket:
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


def _requests(partners: int, count: int, mark: str) -> list[bytes]:
    """Requests about `partners` partners, no two with one instance; the same ones for the same `mark`."""
    chance = random.Random(mark)  # noqa: S311
    kinds = (("10.20.30.40", ""), ("203.0.113.9", ""), ("203.0.113.9", "fremd-"))
    requests = []
    for number in range(count):
        client, prefix = kinds[number % 3]
        name = prefix + domain(chance.randrange(partners))
        instance = f"{mark}.{number:x}.65f0c1a2.7b3c4.0"
        requests.append(_REQUEST.format(client=client, domain=name, instance=instance).encode())
    return requests


def _ask(connection: socket.socket, requests: Sequence[bytes]) -> None:
    for request in requests:
        connection.sendall(request)
        answer = connection.recv(4096)
        while not answer.endswith(b"\n\n"):
            more = connection.recv(4096)
            if not more:
                raise SystemExit("scripts/bench: the server closed the connection")
            answer += more
