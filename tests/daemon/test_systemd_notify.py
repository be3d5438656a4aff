"""What systemd hears of the daemons (sd_notify(3)), at a socket in its place, and when it hears no sign of life."""

import asyncio
import os
import re
import signal
import socket
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path

import pytest
from support.daemon import Daemon
from support.gateway import Gateway, make_gateway
from support.real import require

from closedmail.daemon.systemd_notify import SystemdNotifier, take_notifier
from closedmail.inbound.counters import Counters
from closedmail.milter.milter_health import milter_answers
from closedmail.policyd.policy_connection import PolicyConnections
from closedmail.policyd.policy_health import policy_answers
from closedmail.policyd.policy_service import PolicyService
from closedmail.store.snapshot import StoreReader

QUICK = 0.05  # seconds


class Manager:
    """The receiving end, at a path or (with a leading @) an abstract name."""

    def __init__(self, address: str) -> None:
        self.address = address
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(address.replace("@", "\0", 1) if address.startswith("@") else address)
        self._socket.settimeout(15)

    def hear(self) -> list[str]:
        """The lines of the next datagram."""
        return self._socket.recv(4096).decode().split("\n")

    def hear_until(self, pattern: str) -> list[list[str]]:
        """All datagrams up to one that has this in a line of its own."""
        heard = [self.hear()]
        while not any(re.fullmatch(pattern, line) for line in heard[-1]):
            assert len(heard) < 200, heard
            heard.append(self.hear())
        return heard

    def is_silent(self) -> bool:
        self._socket.settimeout(0)
        try:
            return not self._socket.recv(4096)
        except BlockingIOError:
            return True
        finally:
            self._socket.settimeout(15)

    def close(self) -> None:
        self._socket.close()


@pytest.fixture(params=["path", "abstract"])
def manager(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Manager]:
    manager = Manager(f"@closedmail-{os.getpid()}" if request.param == "abstract" else str(tmp_path / "notify"))
    yield manager
    manager.close()


@pytest.fixture
def gateway(tmp_path: Path) -> Gateway:
    return make_gateway(tmp_path / "gateway", more=f'[milter]\nlisten = ["unix:{tmp_path}/milter.sock"]')


@pytest.mark.parametrize("command", ["policyd", "milter"])
def test_a_daemon_tells_of_its_life(gateway: Gateway, manager: Manager, command: str) -> None:
    if command == "milter":
        require("python3-milter")
    environment = {"NOTIFY_SOCKET": manager.address, "WATCHDOG_USEC": "300000"}
    with Daemon(gateway.config, command=command, environment=environment) as daemon:
        ready, status = manager.hear()
        assert ready == "READY=1"
        assert re.fullmatch(
            r"STATUS=(generation 1 in force; 0 connections, 0 requests so far|1 sockets, 0 mails in .*)", status
        )
        for _ in range(2):
            alive, status = manager.hear()
            assert (alive, status[:7]) == ("WATCHDOG=1", "STATUS=")
        daemon.reload()
        ((reloading, when),) = [each for each in manager.hear_until("READY=1")[:-1] if "RELOADING=1" in each]
        assert reloading == "RELOADING=1"
        assert re.fullmatch(r"MONOTONIC_USEC=\d+", when)
        gateway.configure(policyd="no_such_key = 1")
        daemon.reload()
        (_, status) = manager.hear_until("READY=1")[-1]
        assert status.startswith("STATUS=going on with the configuration from before: policyd.no_such_key: ")
        daemon.signal(signal.SIGTERM)
        manager.hear_until("STOPPING=1")
        assert daemon.wait() == 0
        assert manager.is_silent()


def test_our_own_questions_are_not_counted(gateway: Gateway, manager: Manager) -> None:
    with Daemon(gateway.config, environment={"NOTIFY_SOCKET": manager.address, "WATCHDOG_USEC": "100000"}) as daemon:
        daemon.ask(sender="u@koeln.example", client_address="192.0.2.1")
        manager.hear_until("STATUS=.* 1 requests so far")
        for _ in range(3):
            heard = manager.hear()
        assert heard[0] == "WATCHDOG=1"
        assert heard[1].endswith(" 1 requests so far")


def test_a_lost_store_is_no_reason_to_be_restarted(gateway: Gateway, manager: Manager) -> None:
    with Daemon(gateway.config, environment={"NOTIFY_SOCKET": manager.address, "WATCHDOG_USEC": "100000"}):
        manager.hear_until("WATCHDOG=1")
        for path in gateway.store.rglob("*.mdb"):
            path.unlink()
        heard = manager.hear_until("STATUS=no generation can be read: .*")
        assert heard[-1][0] == "WATCHDOG=1"


def test_nobody_to_be_told_is_said_once(gateway: Gateway, tmp_path: Path) -> None:
    with Daemon(gateway.config, environment={"NOTIFY_SOCKET": f"{tmp_path}/none"}) as daemon:
        daemon.wait_for("^error: can't notify systemd: READY=1: No such file or directory$")
        daemon.reload()
        assert daemon.stop() == 0
        assert daemon.log().count("can't notify") == 1


# The environment

ENVIRONMENTS: list[tuple[dict[str, str], float]] = [
    ({}, 0),
    ({"WATCHDOG_USEC": "30000000"}, 15),
    ({"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": str(os.getpid())}, 15),
    ({"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": "1"}, 0),
    ({"WATCHDOG_USEC": "0"}, 0),
    ({"WATCHDOG_USEC": "x"}, 0),
    ({"WATCHDOG_USEC": "-5"}, 0),
    ({"WATCHDOG_USEC": "²"}, 0),
]


@pytest.mark.parametrize(("environment", "interval"), ENVIRONMENTS)
def test_the_watchdog_is_asked_for_by_the_environment(environment: dict[str, str], interval: float) -> None:
    taken = {"NOTIFY_SOCKET": "/run/notify", "PATH": "/bin", **environment}
    assert take_notifier(taken, print).interval == interval
    assert taken == {"PATH": "/bin"}


def test_other_addresses_are_nobody_s(capsys: pytest.CaptureFixture[str]) -> None:
    for address in ("vsock:2:1", "", "relative"):
        notifier = take_notifier({"NOTIFY_SOCKET": address, "WATCHDOG_USEC": "1000"}, print)
        notifier.ready("well")
        assert notifier.interval == 0
    assert capsys.readouterr().out == ""


# Signs of life


def run_for_a_while(work: Callable[[], Awaitable[None]]) -> None:
    async def bounded() -> None:
        try:
            async with asyncio.timeout(10 * QUICK):
                await work()
        except TimeoutError:
            pass

    asyncio.run(bounded())


def test_there_is_no_sign_of_life_without_an_answer(manager: Manager) -> None:
    asked = []

    async def answers(seconds: float) -> bool:
        asked.append(seconds)
        return False

    run_for_a_while(lambda: SystemdNotifier(manager.address, QUICK).stay_alive(answers, lambda: "well"))
    assert len(asked) > 2
    assert all(0 < seconds < QUICK for seconds in asked)
    assert manager.is_silent()


def test_one_answer_makes_up_for_one_that_did_not_come(manager: Manager) -> None:
    given = iter([False, False])

    async def answers(_: float) -> bool:
        return next(given, True)

    run_for_a_while(lambda: SystemdNotifier(manager.address, QUICK).stay_alive(answers, lambda: "two\nlines"))
    assert manager.hear() == ["WATCHDOG=1", "STATUS=two lines"]


def test_without_a_watchdog_nobody_is_asked(manager: Manager) -> None:
    async def answers(_: float) -> bool:
        raise AssertionError

    asyncio.run(SystemdNotifier(manager.address).stay_alive(answers, lambda: ""))
    assert manager.is_silent()


class _Mute(PolicyConnections):
    """Connections on which nothing is ever answered."""

    def __call__(self) -> asyncio.Protocol:  # type: ignore[override]
        return asyncio.Protocol()


@pytest.mark.parametrize(("kind", "answered"), [(PolicyConnections, True), (_Mute, False)])
def test_a_policy_service_answers_or_not(tmp_path: Path, kind: type[PolicyConnections], answered: bool) -> None:
    service = PolicyService(StoreReader(tmp_path), print, "disconnect", Counters(0))
    assert asyncio.run(policy_answers(kind(service, print), 10 if answered else QUICK)) is answered


@pytest.mark.parametrize(
    ("said", "answered"),
    [(b"\0\0\0\x0dO" + bytes(12), True), (b"\0\0\0\x0dr", False), (b"\0\0", False), (b"", False), (None, False)],
)
def test_a_milter_answers_or_not(said: bytes | None, answered: bool) -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        got = await reader.readexactly(17)
        assert got[:9] == b"\0\0\0\x0dO\0\0\0\x06"
        if said is None:
            await reader.read()
        else:
            writer.write(said)
        writer.close()

    async def ask() -> bool:
        server = await asyncio.start_server(serve, "127.0.0.1", 0)
        async with server:
            port = server.sockets[0].getsockname()[1]
            return await milter_answers(f"inet:127.0.0.1:{port}", QUICK if said is None else 10)

    assert asyncio.run(ask()) is answered


def test_nobody_there_is_no_answer(tmp_path: Path) -> None:
    assert asyncio.run(milter_answers(f"unix:{tmp_path}/none", 10)) is False
