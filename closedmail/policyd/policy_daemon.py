"""Run the policy daemon: PolicyService behind sockets, in one process with one event loop.

SIGTERM stops accepting, answers what has been asked, and ends. SIGHUP re-reads `[policyd]`. Rules need no signal: the
next request sees the generation in force. systemd may hand over its sockets (sd_listen_fds(3)), and gets a notice when
all is ready, and while requests are answered (sd_notify(3)).
"""

import asyncio
import os
import resource
import signal
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from closedmail.config import load
from closedmail.core.model import Config, Policyd
from closedmail.daemon.counters_file import CountersFile
from closedmail.daemon.exposition import CONTENT_TYPE
from closedmail.daemon.listener import parse_listen
from closedmail.daemon.servers import Factory, ListenKey, Servers
from closedmail.daemon.systemd_notify import SystemdNotifier, take_notifier
from closedmail.daemon.systemd_sockets import HandedOver, take_sockets
from closedmail.errors import ClosedmailError, ConfigError, StoreError
from closedmail.inbound.counters import Counters
from closedmail.policyd.metrics import Metrics
from closedmail.policyd.metrics_http import MetricsConnections
from closedmail.policyd.policy_connection import PolicyConnections
from closedmail.policyd.policy_health import policy_answers
from closedmail.policyd.policy_service import PolicyService
from closedmail.store.environment import store_path
from closedmail.store.snapshot import StoreReader

# After SIGTERM: a connection is closed once nothing has come for the first time, all are after the second (seconds).
_QUIET, _GRACE = 0.2, 1.0

_FILES = 64  # that are not for connections of smtpd; there are some twenty

_POLICY, _METRICS = "policy", "metrics"  # what is served
_UNLIKE = "is not as socket_mode and socket_group say, which are for sockets that policyd opens"


class PolicyDaemon:
    """The daemon for one configuration file. `override` are `--listen` values, which replace the file's."""

    def __init__(
        self,
        config: Config,
        override: Sequence[str],
        write: Callable[[str], object],
        handed_over: Sequence[HandedOver] = (),
        notifier: SystemdNotifier | None = None,
    ) -> None:
        """Open no socket yet. `write` takes log lines, newline included. The last two are systemd's."""
        self._config_path = Path(config.path)
        self._override = tuple(override)
        self._settings = config.policyd
        self._servers = Servers(handed_over)
        self._notifier = notifier or SystemdNotifier()
        self._changing = asyncio.Lock()
        self._complained = 0.0
        self._write = write
        self._store = StoreReader(store_path(config.gateway.state_dir), config.command())
        self._counters = CountersFile(config.gateway.state_dir, write)
        self._service = PolicyService(self._store, write, config.policyd.on_failure, self._counters.counters)
        self._connections = PolicyConnections(self._service, write, _most_connections())
        # The health check's requests are neither logged nor counted.
        own = PolicyService(self._store, _ignore, "dunno", Counters(0))
        self._own_connections = PolicyConnections(own, _ignore)
        self._metrics_connections = MetricsConnections(Metrics(self._store, self._connections).page, CONTENT_TYPE)

    async def run(self, started: Callable[[Sequence[str]], object] = lambda _: None) -> None:
        """Serve until SIGTERM or SIGINT. `started` gets the addresses once all listen. Raises ClosedmailError."""
        loop, stop = asyncio.get_running_loop(), asyncio.Event()
        loop.set_exception_handler(self._complain)
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, stop.set)
        tasks: set[asyncio.Task[None]] = set()

        def reload() -> None:
            task = loop.create_task(self._reload())
            tasks.add(task)
            task.add_done_callback(tasks.discard)

        loop.add_signal_handler(signal.SIGHUP, reload)
        try:
            await self._listen(self._settings)
            await self._servers.serve_handed_over(_POLICY, self._connections)
            started(self._servers.names(_POLICY))
            self._notifier.ready(self._status())
            lasting = [
                loop.create_task(self._counters.keep()),
                loop.create_task(self._notifier.stay_alive(self._answers, self._status)),
            ]
            await stop.wait()
            self._notifier.stopping()
            for task in lasting:
                task.cancel()
        finally:
            await self._end()

    async def _answers(self, seconds: float) -> bool:
        return await policy_answers(self._own_connections, seconds)

    def _status(self) -> str:
        try:
            store = f"generation {self._store.current().generation} in force"
        except StoreError as error:
            store = f"no generation can be read: {error}"
        return f"{store}; {len(self._connections.open)} connections, {self._service.requests} requests so far"

    async def _listen(self, settings: Policyd) -> None:
        """Open what is new, close what is no longer wanted; all or nothing. Raises ClosedmailError."""
        wanted: dict[ListenKey, Factory] = {}
        wheres = self._override or settings.listen
        for where in wheres:
            parse_listen(where)
            wanted[_POLICY, where] = self._connections
        if settings.metrics_listen:
            if settings.metrics_listen in self._servers.handed_over:
                unit = self._servers.handed_over[settings.metrics_listen].unit
                raise ConfigError("policyd.metrics_listen", f"{unit} has opened this for requests; choose another port")
            wanted[_METRICS, settings.metrics_listen] = self._metrics_connections
        before = self._servers.names(_METRICS)
        await self._servers.change(wanted, settings.socket_mode, settings.socket_group)
        self._settings = settings
        for each in self._servers.unlike(wheres, settings.socket_mode, settings.socket_group):
            self._write(f"{each.where} {_UNLIKE}; this one has SocketMode= and SocketGroup= in {each.unit}\n")
        metrics = self._servers.names(_METRICS)
        if metrics != before:
            self._write(f"metrics are served on {', '.join(metrics)}\n" if metrics else "metrics are served no more\n")

    async def _reload(self) -> None:
        try:
            async with self._changing:
                self._notifier.reloading()
                settings = load(self._config_path).policyd
                await self._listen(settings)
        except ClosedmailError as error:
            self._write(f"error: {error}: going on with the configuration from before\n")
            self._notifier.ready(f"going on with the configuration from before: {error}")
            return
        self._service.on_failure = settings.on_failure
        await self._counters.save_aside()
        self._write("configuration re-read\n")
        self._notifier.ready(self._status())

    async def _end(self) -> None:
        """Answer what has been asked, then close everything."""
        await asyncio.sleep(0)  # what waits in the listen queues is accepted first
        async with self._changing:
            self._servers.close()
        for scrape in set(self._metrics_connections.open):
            scrape.close()
        open_ones = self._connections.open
        deadline = asyncio.get_running_loop().time() + _GRACE
        while open_ones and asyncio.get_running_loop().time() < deadline:
            for connection in open_ones:
                connection.heard = False
            await asyncio.sleep(_QUIET)
            for connection in [each for each in open_ones if not each.heard]:
                connection.close()
        for connection in set(open_ones):
            connection.close()
        await asyncio.sleep(0)
        self._counters.save(self._counters.counters)
        self._store.close()

    def _complain(self, loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        """Log a fault that asyncio reports, such as no file left for a connection: a line, at most one a second."""
        error, message = context.get("exception"), context.get("message", "")
        if isinstance(error, OSError):
            if loop.time() > self._complained + 1:
                self._complained = loop.time()
                self._write(f"error: {message}: {error.strerror or error}\n")
        elif "_start_serving" not in message:  # asyncio tries to accept again on a socket that we have closed since
            loop.default_exception_handler(context)


def _ignore(_: str) -> None:
    """Drop the log lines of our own requests."""


def _most_connections() -> int:
    """Return the most connections that leave files for a new generation, the counters and metrics."""
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    return sys.maxsize if limit == resource.RLIM_INFINITY else max(limit - _FILES, limit // 2)


def run_policyd(config: Config, override: Sequence[str]) -> None:
    """Run the daemon in the foreground, logging to stderr. Raises ClosedmailError."""

    def write(line: str) -> None:
        try:  # `suppress` costs half as much as the write
            sys.stderr.write(line)
        except (OSError, ValueError):
            return  # a log that is gone must not stop mail

    handed_over = take_sockets(os.environ)

    def started(names: Sequence[str]) -> None:
        write(f"closedmail policyd is listening on {', '.join(names)}\n")
        for each in handed_over:
            write(f"{each.where} is kept open by {each.unit}\n")

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        with suppress(OSError, ValueError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    notifier = take_notifier(os.environ, write)
    asyncio.run(PolicyDaemon(config, override, write, handed_over, notifier).run(started))
