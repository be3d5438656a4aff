"""The policy daemon: PolicyService behind sockets, in one process with one event loop.

SIGTERM stops accepting, answers what has been asked, and ends. SIGHUP re-reads `[policyd]`. Rules need no signal: the
next request sees the generation in force.
"""

import asyncio
import resource
import signal
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from closedmail.config import load
from closedmail.core.model import Config, Policyd
from closedmail.doors.listener import BACKLOG, Listener, open_listener, parse_listen
from closedmail.doors.policy_protocol import ProtocolError, RequestReader
from closedmail.doors.policy_service import PolicyService, StoreUnreadableError
from closedmail.errors import ClosedmailError, ConfigError
from closedmail.store.environment import store_path
from closedmail.store.reader import StoreReader

# After SIGTERM: a connection is closed once nothing has come for the first time, all are after the second (seconds).
_QUIET, _GRACE = 0.2, 1.0


# What is read at a time, into one buffer for all connections: nothing else happens between a read and its answer. A
# plain asyncio.Protocol is handed a new object of 256 KiB for each read: where the C library asks the kernel for it
# (M_MMAP_THRESHOLD in mallopt(3)), that costs as much as half of the decision.
_READ = 64 * 1024


class _Connection(asyncio.BufferedProtocol):
    """One smtpd process's connection: many requests, one at a time or several in a row."""

    __slots__ = ("_daemon", "_reader", "_service", "_transport", "heard")

    def __init__(self, daemon: "PolicyDaemon") -> None:
        self._daemon, self._service = daemon, daemon.service
        self._reader = RequestReader()
        self.heard = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)  # noqa: S101, what create_server gives
        self._transport = transport
        self._daemon.connections.add(self)

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002
        self._daemon.connections.discard(self)

    def get_buffer(self, sizehint: int) -> memoryview:  # noqa: ARG002
        return self._daemon.buffer

    def buffer_updated(self, nbytes: int) -> None:
        self.heard = True
        data = bytes(self._daemon.buffer[:nbytes])
        answers: list[bytes] = []
        try:
            answers.extend(map(self._service.respond, self._reader.feed(data)))
        except ProtocolError as error:
            if not isinstance(error, StoreUnreadableError):
                self._daemon.write(f"error: {error}: closing the connection from {self._from()}\n")
            self._transport.write(b"".join(answers))  # those of the requests in front of it
            self._transport.close()
        else:
            if answers:
                self._transport.write(b"".join(answers))

    def pause_writing(self) -> None:
        self._transport.pause_reading()  # a client that never reads shall not fill our memory

    def resume_writing(self) -> None:
        self._transport.resume_reading()

    def close(self) -> None:
        self._transport.close()

    def _from(self) -> str:
        peer = self._transport.get_extra_info("peername")
        return f"{peer[0]}:{peer[1]}" if isinstance(peer, tuple) else "the UNIX socket"


class PolicyDaemon:
    """The daemon for one configuration file. `override` are `--listen` values, which stand in place of the file's."""

    def __init__(self, config: Config, override: Sequence[str], write: Callable[[str], object]) -> None:
        """Nothing is opened yet. `write` takes log lines, newline included."""
        self._config_path = Path(config.path)
        self._override = tuple(override)
        self._settings = _checked(config.policyd)
        self._listeners: dict[str, Listener] = {}
        self._servers: dict[str, list[asyncio.Server]] = {}
        self._changing = asyncio.Lock()
        self._complained = 0.0
        self.write = write
        self.store = StoreReader(store_path(config.gateway.state_dir))
        self.service = PolicyService(self.store, write, config.policyd.on_failure)
        self.connections: set[_Connection] = set()
        self.buffer = memoryview(bytearray(_READ))

    async def run(self, started: Callable[[Sequence[str]], object] = lambda _: None) -> None:
        """Serve until SIGTERM or SIGINT. `started` is told the addresses once all listen. Raises ClosedmailError."""
        loop, stop = asyncio.get_running_loop(), asyncio.Event()
        loop.set_exception_handler(self._complain)
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, stop.set)
        reloading: set[asyncio.Task[None]] = set()

        def reload() -> None:
            task = loop.create_task(self._reload())
            reloading.add(task)
            task.add_done_callback(reloading.discard)

        loop.add_signal_handler(signal.SIGHUP, reload)
        try:
            await self._listen(self._settings)
            started([name for listener in self._listeners.values() for name in listener.names()])
            await stop.wait()
        finally:
            await self._end()

    async def _listen(self, settings: Policyd) -> None:
        """Open what is new, close what is no longer wanted; all or nothing."""
        loop = asyncio.get_running_loop()
        wanted = dict.fromkeys(self._override or settings.listen)
        opened: dict[str, Listener] = {}
        try:
            for where in wanted:
                if where not in self._listeners:
                    opened[where] = open_listener(parse_listen(where), settings.socket_mode, settings.socket_group)
            for where in wanted:
                if where in self._listeners:
                    self._listeners[where].set_access(settings.socket_mode, settings.socket_group)
        except ClosedmailError:
            for listener in opened.values():
                listener.close()
            raise
        for where, listener in opened.items():
            self._listeners[where] = listener
            self._servers[where] = [
                await loop.create_server(lambda: _Connection(self), sock=each, backlog=BACKLOG)
                for each in listener.sockets
            ]
        for where in [where for where in self._listeners if where not in wanted]:
            self._stop_listening(where)
        self._settings = settings

    def _stop_listening(self, where: str) -> None:
        for server in self._servers.pop(where):
            server.close()
        self._listeners.pop(where).close()

    async def _reload(self) -> None:
        try:
            async with self._changing:
                settings = _checked(load(self._config_path).policyd)
                await self._listen(settings)
        except ClosedmailError as error:
            self.write(f"error: {error}: going on with the configuration from before\n")
            return
        self.service.on_failure = settings.on_failure
        self.write("configuration re-read\n")

    async def _end(self) -> None:
        """Answer what has been asked, then close everything."""
        await asyncio.sleep(0)  # what waits in the listen queues is accepted first
        async with self._changing:
            for where in list(self._listeners):
                self._stop_listening(where)
        deadline = asyncio.get_running_loop().time() + _GRACE
        while self.connections and asyncio.get_running_loop().time() < deadline:
            for connection in self.connections:
                connection.heard = False
            await asyncio.sleep(_QUIET)
            for connection in [each for each in self.connections if not each.heard]:
                connection.close()
        for connection in set(self.connections):
            connection.close()
        await asyncio.sleep(0)
        self.store.close()

    def _complain(self, loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        """What asyncio has to say, such as that no file is left for a connection: a line, at most one a second."""
        error, message = context.get("exception"), context.get("message", "")
        if isinstance(error, OSError):
            if loop.time() > self._complained + 1:
                self._complained = loop.time()
                self.write(f"error: {message}: {error.strerror or error}\n")
        elif "_start_serving" not in message:  # asyncio tries to accept again on a socket that we have closed since
            loop.default_exception_handler(context)


def run_policyd(config: Config, override: Sequence[str]) -> None:
    """Run the daemon in the foreground, logging to stderr. Raises ClosedmailError."""

    def write(line: str) -> None:
        with suppress(OSError, ValueError):  # a log that is gone must not stop mail
            sys.stderr.write(line)

    def started(names: Sequence[str]) -> None:
        write(f"closedmail policyd is listening on {', '.join(names)}\n")

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        with suppress(OSError, ValueError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    asyncio.run(PolicyDaemon(config, override, write).run(started))


def _checked(settings: Policyd) -> Policyd:
    if settings.metrics_listen:
        raise ConfigError("policyd.metrics_listen", "this version serves no metrics: take the key out")
    return settings
