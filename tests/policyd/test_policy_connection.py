"""Connections of smtpd inside of this process: what is half done stays neither for long nor much, what idles stays."""

import asyncio
import re
import socket
from collections.abc import Awaitable, Callable
from contextlib import suppress
from pathlib import Path

import pytest
from support.daemon import request
from support.gateway import Gateway, make_gateway

from closedmail.inbound.counters import Counters
from closedmail.policyd import policy_connection
from closedmail.policyd.policy_connection import PolicyConnections
from closedmail.policyd.policy_service import PolicyService
from closedmail.store.snapshot import StoreReader

ASKED = request(sender="u@koeln.example", client_address="192.0.2.9", instance="same")
REFUSED = (
    b"action=REJECT 5.7.1 Mail from koeln.example is accepted through ndb only: "
    b"client address 192.0.2.9 is not authorised for it\n\n"
)
SOON = 0.1  # seconds in which a half request has to be whole here
PATIENCE = 20  # seconds; only a test that fails waits so long


class PolicySocket:
    """Connections on a UNIX socket of the test's own loop."""

    def __init__(self, path: Path, connections: PolicyConnections, log: list[str]) -> None:
        self.connections, self.log = connections, log
        self._path = str(path)

    async def connect(self, data: bytes = b"") -> socket.socket:
        """A connection that has sent these bytes; they have come."""
        client = socket.socket(socket.AF_UNIX)
        client.setblocking(False)
        loop = asyncio.get_running_loop()
        before = self.connections.accepted
        await loop.sock_connect(client, self._path)
        await loop.sock_sendall(client, data)
        await until(lambda: self.connections.accepted > before)
        return client


async def until(true: Callable[[], bool]) -> None:
    async with asyncio.timeout(PATIENCE):
        while not true():
            await asyncio.sleep(0.005)


async def receive(client: socket.socket, size: int = -1) -> bytes:
    """So many bytes, or all until the connection is closed."""
    received = b""
    loop = asyncio.get_running_loop()
    async with asyncio.timeout(PATIENCE):
        while len(received) != size:
            data = b""
            with suppress(ConnectionResetError):
                data = await loop.sock_recv(client, size - len(received) if size >= 0 else 1 << 16)
            if not data:
                break
            received += data
    return received


async def ask(client: socket.socket) -> bytes:
    await asyncio.get_running_loop().sock_sendall(client, ASKED)
    return await receive(client, len(REFUSED))


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Gateway:
    return make_gateway(tmp_path_factory.mktemp("gateway"))


@pytest.fixture(autouse=True)
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(policy_connection, "_PATIENCE", SOON)


Exchange = Callable[[PolicySocket], Awaitable[None]]


@pytest.fixture
def opened(gateway: Gateway, tmp_path: Path) -> Callable[..., PolicySocket]:
    """Serve one exchange, with at most so many connections."""

    def exchange(behave: Exchange, most: int = 100) -> PolicySocket:
        log: list[str] = []

        async def serve() -> PolicySocket:
            with StoreReader(gateway.store) as store:
                service = PolicyService(store, log.append, "disconnect", Counters(0))
                connections = PolicyConnections(service, log.append, most)
                path = tmp_path / "policy.sock"
                server = await asyncio.get_running_loop().create_unix_server(connections, str(path))
                policyd = PolicySocket(path, connections, log)
                async with server:
                    await behave(policyd)
                    for connection in set(connections.open):
                        connection.close()
                await until(lambda: not connections.open)
                return policyd

        return asyncio.run(serve())

    return exchange


def errors(policyd: PolicySocket) -> list[str]:
    return [line for line in policyd.log if line.startswith("error: ")]


def test_half_requests_end_and_idle_connections_stay(opened: Callable[..., PolicySocket]) -> None:
    """Postfix keeps connections for many minutes on which nothing happens."""

    async def exchange(policyd: PolicySocket) -> None:
        new, used = await policyd.connect(), await policyd.connect()
        assert await ask(used) == REFUSED
        first, second = await policyd.connect(ASKED[:-1]), await policyd.connect(ASKED + ASKED[:1])
        assert await receive(first) == b""
        assert await receive(second) == REFUSED
        assert [await ask(client) for client in (new, used, new)] == [REFUSED] * 3
        for client in (new, used, first, second):
            client.close()

    policyd = opened(exchange)
    assert (
        errors(policyd) == ["error: half a request for 0.1 seconds: closing the connection from the UNIX socket\n"] * 2
    )
    assert (policyd.connections.errors, policyd.connections.kept) == (2, 0)


def test_more_bytes_buy_no_more_time(opened: Callable[..., PolicySocket]) -> None:
    async def exchange(policyd: PolicySocket) -> None:
        slow = await policyd.connect(b"request=smtpd_access_policy\nx=")

        async def send_on() -> None:
            while True:
                await asyncio.get_running_loop().sock_sendall(slow, b"x")
                await asyncio.sleep(SOON / 20)

        with pytest.raises(OSError, match=r"Broken pipe|reset"):
            await asyncio.wait_for(send_on(), PATIENCE)
        slow.close()

    assert len(errors(opened(exchange))) == 1


def test_each_request_has_time_of_its_own(opened: Callable[..., PolicySocket], monkeypatch: pytest.MonkeyPatch) -> None:
    """A client that always sends the end of one request with the beginning of the next is not a slow one."""
    timers = []
    began: list[bool] = []
    wait = policy_connection.PolicyConnection._wait

    def note(self: policy_connection.PolicyConnection, *, half_done: bool) -> None:
        wait(self, half_done=half_done)
        began.append(half_done)
        timers.append(self._timer)

    monkeypatch.setattr(policy_connection.PolicyConnection, "_wait", note)
    monkeypatch.setattr(policy_connection, "_PATIENCE", 1000.0)

    async def exchange(policyd: PolicySocket) -> None:
        client = await policyd.connect(ASKED[:10])
        for _ in range(3):
            await asyncio.get_running_loop().sock_sendall(client, ASKED[10:] + ASKED[:10])
            assert await receive(client, len(REFUSED)) == REFUSED
        await asyncio.get_running_loop().sock_sendall(client, ASKED[10:])
        assert await receive(client, len(REFUSED)) == REFUSED
        client.close()

    opened(exchange)
    assert began[:7] == [True, *[False, True] * 3]
    assert len({id(timer) for timer in timers if timer}) == 4
    assert timers[-1] is None


def test_answers_that_nobody_takes(opened: Callable[..., PolicySocket]) -> None:
    """They are not made any further than the client takes them, and not kept for long."""

    async def exchange(policyd: PolicySocket) -> None:
        greedy, other = await policyd.connect(), await policyd.connect()
        service = policyd.connections.service
        sending = asyncio.create_task(asyncio.get_running_loop().sock_sendall(greedy, ASKED * 20_000))
        with pytest.raises(OSError, match=r"Broken pipe|reset"):
            async with asyncio.timeout(PATIENCE):
                await sending
        assert service.requests * len(REFUSED) < 1 << 20
        assert await ask(other) == REFUSED
        greedy.close()
        other.close()

    policyd = opened(exchange)
    said = "error: answers that are not taken for 0.1 seconds: closing the connection from the UNIX socket\n"
    assert errors(policyd) == [said]
    assert policyd.connections.kept == 0


def test_answers_that_are_taken_late(opened: Callable[..., PolicySocket], monkeypatch: pytest.MonkeyPatch) -> None:
    """None is lost, and none comes twice."""
    monkeypatch.setattr(policy_connection, "_PATIENCE", 1000.0)
    stuck = []
    pause = policy_connection.PolicyConnection.pause_writing

    def note(self: policy_connection.PolicyConnection) -> None:
        pause(self)
        stuck.append(self)

    monkeypatch.setattr(policy_connection.PolicyConnection, "pause_writing", note)

    async def exchange(policyd: PolicySocket) -> None:
        client = await policyd.connect()
        sending = asyncio.create_task(asyncio.get_running_loop().sock_sendall(client, ASKED * 20_000))
        for part in range(1, 4):
            await until(lambda: len(stuck) >= part)  # noqa: B023, awaited here
            assert await receive(client, 4_000 * len(REFUSED)) == REFUSED * 4_000
        assert await receive(client, 8_000 * len(REFUSED)) == REFUSED * 8_000
        await sending
        assert await ask(client) == REFUSED
        assert policyd.connections.kept == 0
        client.close()

    assert errors(opened(exchange)) == []


def test_half_requests_together(opened: Callable[..., PolicySocket], monkeypatch: pytest.MonkeyPatch) -> None:
    """Those of all connections have a bound, which hits the one that wants more; the others go on."""
    monkeypatch.setattr(policy_connection, "_PATIENCE", 1000.0)
    monkeypatch.setattr(policy_connection, "_MOST_KEPT", 100_000)
    half = b"request=smtpd_access_policy\nx=" + b"x" * 40_000

    async def exchange(policyd: PolicySocket) -> None:
        kept = policyd.connections
        one, two, idle = await policyd.connect(half), await policyd.connect(half), await policyd.connect()
        await until(lambda: kept.kept == 2 * len(half))
        three = await policyd.connect(half)
        assert await receive(three) == b""
        assert kept.kept == 2 * len(half)
        assert await ask(idle) == REFUSED
        await asyncio.get_running_loop().sock_sendall(one, b"\n\n")
        assert await receive(one, 14) == b"action=DUNNO\n\n"
        assert kept.kept == len(half)
        for client in (one, two, three, idle):
            client.close()

    policyd = opened(exchange)
    assert len(errors(policyd)) == 1
    assert re.search("have more than 100000 bytes: closing the connection from the UNIX socket", errors(policyd)[0])
    assert policyd.connections.kept == 0


def test_more_connections_than_there_is_room_for(opened: Callable[..., PolicySocket]) -> None:
    """They are closed at once; those that are there go on, and who comes when one has left is served."""

    async def exchange(policyd: PolicySocket) -> None:
        first, second = await policyd.connect(), await policyd.connect()
        for _ in range(3):
            late = await policyd.connect()
            assert await receive(late) == b""
            late.close()
        assert [await ask(client) for client in (first, second)] == [REFUSED] * 2
        first.close()
        await until(lambda: len(policyd.connections.open) == 1)
        third = await policyd.connect()
        assert await ask(third) == REFUSED
        for client in (second, third):
            client.close()

    assert errors(opened(exchange, 2)) == ["error: 2 connections are open: closing all that come\n"]
