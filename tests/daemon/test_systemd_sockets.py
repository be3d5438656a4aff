"""policyd on sockets that were opened for it (sd_listen_fds(3)), in a process that is started as systemd does it."""

import asyncio
import os
import re
import socket
from collections.abc import Iterator
from contextlib import ExitStack, closing
from pathlib import Path

import pytest
from support.daemon import Daemon, PolicyClient, connect, request
from support.gateway import Gateway, make_gateway
from support.real import require

from closedmail.daemon.servers import Servers
from closedmail.daemon.systemd_sockets import HandedOver, take_sockets
from closedmail.demo.ports import free_port
from closedmail.errors import ClosedmailError

RIGHT, WRONG = "192.0.2.1", "192.0.2.9"
NAMES = {"LISTEN_FDNAMES": "closedmail-policyd.socket:closedmail-policyd.socket"}


@pytest.fixture
def gateway(tmp_path: Path) -> Gateway:
    return make_gateway(tmp_path)


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


def unix(stack: ExitStack, path: Path, mode: int = 0o660) -> socket.socket:
    """A socket as systemd opens it."""
    path.parent.mkdir(exist_ok=True)
    listener = stack.enter_context(socket.socket(socket.AF_UNIX))
    listener.bind(str(path))
    listener.listen(16)
    path.chmod(mode)
    return listener


def decides(where: str) -> None:
    """Whoever listens there decides about mail."""
    with PolicyClient(where) as client:
        assert client.ask(sender="u@koeln.example", client_address=RIGHT) == "DUNNO"
        assert (client.ask(sender="u@koeln.example", client_address=WRONG) or "").startswith("REJECT 5.7.1 ")


def test_what_came_before_the_start_is_answered(gateway: Gateway, stack: ExitStack) -> None:
    listener = unix(stack, gateway.socket)
    early = stack.enter_context(PolicyClient(gateway.listen))
    early.send(request(sender="u@koeln.example", client_address=RIGHT))
    with Daemon(gateway.config, sockets=[listener], environment=NAMES) as daemon:
        assert early.action() == "DUNNO"
        assert daemon.where == [gateway.listen]
        daemon.wait_for(f"^{re.escape(gateway.listen)} is kept open by closedmail-policyd.socket$")
        decides(gateway.listen)


def test_whoever_comes_between_two_processes_waits(gateway: Gateway, stack: ExitStack) -> None:
    listener = unix(stack, gateway.socket)
    with Daemon(gateway.config, sockets=[listener]) as first:
        decides(gateway.listen)
        assert first.stop() == 0
    assert gateway.socket.is_socket()
    waiting = stack.enter_context(PolicyClient(gateway.listen))
    waiting.send(request(sender="u@koeln.example", client_address=RIGHT))
    with Daemon(gateway.config, sockets=[listener]):
        assert waiting.action() == "DUNNO"


def test_at_the_end_nobody_is_taken_from_the_successor(tmp_path: Path, stack: ExitStack) -> None:
    listener = unix(stack, tmp_path / "policy.sock")
    where = f"unix:{tmp_path}/policy.sock"
    met = []

    def factory() -> asyncio.Protocol:
        met.append(1)
        return asyncio.Protocol()

    async def come() -> None:
        met.clear()
        stack.enter_context(closing(connect(where)))
        for _ in range(20):
            await asyncio.sleep(0.001)

    async def serve_and_end() -> None:
        copy = listener.dup()
        copy.setblocking(False)
        servers = Servers([HandedOver(copy, where, "closedmail-policyd.socket")])
        await servers.serve_handed_over("policy", factory)
        await come()
        assert met
        servers.close()
        await come()
        assert not met

    asyncio.run(serve_and_end())
    listener.settimeout(15)
    listener.accept()[0].close()


def test_all_sockets_are_served_named_in_the_file_or_not(gateway: Gateway, stack: ExitStack) -> None:
    port = free_port()
    own = f"unix:{gateway.folder}/own.sock"
    gateway.configure(listen=[gateway.listen, own])
    other = unix(stack, gateway.folder / "run" / "chroot.sock")
    listeners = [
        unix(stack, gateway.socket),
        other,
        stack.enter_context(socket.create_server(("127.0.0.1", port))),
    ]
    with Daemon(gateway.config, sockets=listeners) as daemon:
        chroot, inet = f"unix:{other.getsockname()}", f"inet:127.0.0.1:{port}"
        assert daemon.where == [gateway.listen, chroot, inet, own]
        for where in daemon.where:
            decides(where)
        gateway.configure(listen=[f"inet:localhost:{port}"])
        daemon.reload()
        for where in (gateway.listen, chroot, inet):
            decides(where)
        assert not Path(own.removeprefix("unix:")).exists()  # policyd's own goes
        gateway.configure(listen=[own])
        daemon.reload()
        for where in (gateway.listen, chroot, inet, own):
            decides(where)
        assert daemon.stop() == 0
    assert gateway.socket.is_socket()


def test_an_abstract_socket_has_a_name(gateway: Gateway, stack: ExitStack) -> None:
    listener = stack.enter_context(socket.socket(socket.AF_UNIX))
    listener.bind(f"\0closedmail-{os.getpid()}")
    listener.listen(16)
    with Daemon(gateway.config, sockets=[listener]) as daemon:
        assert daemon.where[0] == f"unix:@closedmail-{os.getpid()}"


def test_mode_and_group_are_systemd_s_and_a_difference_is_named(gateway: Gateway, stack: ExitStack) -> None:
    listener = unix(stack, gateway.socket, 0o600)
    gateway.configure(policyd='socket_mode = "0666"')
    with Daemon(gateway.config, sockets=[listener], environment=NAMES) as daemon:
        daemon.wait_for("is not as socket_mode and socket_group say.* in closedmail-policyd.socket$")
        assert gateway.socket.stat().st_mode & 0o777 == 0o600
        gateway.configure(policyd='socket_mode = "0600"')
        daemon.reload()
        gateway.configure(policyd='socket_mode = "0600"\nsocket_group = "no-such-group"')
        daemon.reload()
        assert daemon.log().count("is not as socket_mode") == 2
        assert gateway.socket.stat().st_mode & 0o777 == 0o600


def test_sockets_of_another_process_are_none_of_ours(gateway: Gateway, stack: ExitStack) -> None:
    listener = unix(stack, gateway.folder / "other.sock")
    with Daemon(gateway.config, sockets=[listener], environment={"LISTEN_PID": "1"}) as daemon:
        assert daemon.where == [gateway.listen]
        decides(gateway.listen)


# What can't be served


def start_fails(gateway: Gateway, *sockets: socket.socket) -> str:
    """The error with which policyd ends."""
    with pytest.raises(AssertionError, match=r"the daemon ended with [12]: ") as caught:
        Daemon(gateway.config, sockets=sockets, environment=NAMES).__enter__()
    assert "Traceback" not in str(caught.value)
    return str(caught.value)


def test_what_is_no_listening_stream_socket_is_named(gateway: Gateway, stack: ExitStack) -> None:
    datagrams = stack.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
    datagrams.bind(("127.0.0.1", 0))
    one, _other = map(stack.enter_context, map(closing, socket.socketpair()))
    packets = stack.enter_context(socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET))
    packets.bind(str(gateway.folder / "packets.sock"))
    packets.listen()
    for number, wrong in enumerate((datagrams, one, packets)):
        error = start_fails(gateway, unix(stack, gateway.folder / f"{number}.sock"), wrong)
        assert "closedmail-policyd.socket: file 4 that it hands over is no listening stream socket; write" in error
    with (gateway.folder / "file").open("w") as file:
        error = start_fails(gateway, file)  # type: ignore[arg-type]
    assert "closedmail-policyd.socket: file 3 that it hands over can't be used: " in error


def test_an_address_that_covers_another_is_named(gateway: Gateway, stack: ExitStack) -> None:
    port = free_port()
    listener = stack.enter_context(socket.create_server(("0.0.0.0", port)))  # noqa: S104
    gateway.configure(listen=[f"inet:127.0.0.1:{port}"])
    error = start_fails(gateway, listener)
    assert f"systemd has opened inet:0.0.0.0:{port}, write the same address in both places" in error


def test_metrics_need_a_port_of_their_own(gateway: Gateway, stack: ExitStack) -> None:
    port = free_port()
    listener = stack.enter_context(socket.create_server(("127.0.0.1", port)))
    gateway.configure(policyd=f'metrics_listen = "inet:127.0.0.1:{port}"')
    error = start_fails(gateway, listener)
    assert "policyd.metrics_listen: closedmail-policyd.socket has opened this for requests; choose another" in error


def test_the_milter_takes_no_sockets(gateway: Gateway) -> None:
    require("python3-milter")
    with closing(socket.create_server(("127.0.0.1", 0))) as listener:
        daemon = Daemon(gateway.config, command="milter", sockets=[listener])
        with pytest.raises(AssertionError, match="unknown: the milter opens its sockets itself"):
            daemon.__enter__()


# The environment


def test_the_environment_is_for_one_process_alone() -> None:
    environment = {"LISTEN_PID": "1", "LISTEN_FDS": "1", "LISTEN_FDNAMES": "a", "PATH": "/bin"}
    assert take_sockets(environment) == []
    assert environment == {"PATH": "/bin"}


@pytest.mark.parametrize("number", ["x", "-1", "1.0", "9999", "²"])
def test_an_odd_number_of_sockets_is_refused(number: str) -> None:
    with pytest.raises(ClosedmailError, match="LISTEN_FDS: found "):
        take_sockets({"LISTEN_PID": str(os.getpid()), "LISTEN_FDS": number})
