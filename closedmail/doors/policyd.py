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
from closedmail.doors.counters_file import CountersFile
from closedmail.doors.listener import parse_listen
from closedmail.doors.metrics_http import MetricsVisits
from closedmail.doors.policy_connection import PolicyConnections
from closedmail.doors.policy_service import PolicyService
from closedmail.doors.servers import Factory, Place, Servers
from closedmail.errors import ClosedmailError, ConfigError
from closedmail.store.environment import store_path
from closedmail.store.reader import StoreReader

# After SIGTERM: a connection is closed once nothing has come for the first time, all are after the second (seconds).
_QUIET, _GRACE = 0.2, 1.0

_FILES = 64  # that are not for connections of smtpd; there are some twenty

_POLICY, _METRICS = "policy", "metrics"  # what is served at a place
_NO_PROMETHEUS = "prometheus_client is missing: install python3-prometheus-client (Debian) or closedmail[metrics] (pip)"


class PolicyDaemon:
    """The daemon for one configuration file. `override` are `--listen` values, which stand in place of the file's."""

    def __init__(self, config: Config, override: Sequence[str], write: Callable[[str], object]) -> None:
        """No socket is opened yet. `write` takes log lines, newline included."""
        self._config_path = Path(config.path)
        self._override = tuple(override)
        self._settings = config.policyd
        self._servers = Servers()
        self._changing = asyncio.Lock()
        self._complained = 0.0
        self._write = write
        self._store = StoreReader(store_path(config.gateway.state_dir))
        self._counters = CountersFile(config.gateway.state_dir, write)
        self._service = PolicyService(self._store, write, config.policyd.on_failure, self._counters.counters)
        self._connections = PolicyConnections(self._service, write, _most_connections())
        self._visits: MetricsVisits | None = None

    async def run(self, started: Callable[[Sequence[str]], object] = lambda _: None) -> None:
        """Serve until SIGTERM or SIGINT. `started` is told the addresses once all listen. Raises ClosedmailError."""
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
            started(self._servers.names(_POLICY))
            keeping = loop.create_task(self._counters.keep())
            await stop.wait()
            keeping.cancel()
        finally:
            await self._end()

    async def _listen(self, settings: Policyd) -> None:
        """Open what is new, close what is no longer wanted; all or nothing. Raises ClosedmailError."""
        wanted: dict[Place, Factory] = {}
        for where in self._override or settings.listen:
            parse_listen(where)
            wanted[_POLICY, where] = self._connections
        if settings.metrics_listen:
            self._visits = self._visits or self._make_visits()
            wanted[_METRICS, settings.metrics_listen] = self._visits
        before = self._servers.names(_METRICS)
        await self._servers.change(wanted, settings.socket_mode, settings.socket_group)
        self._settings = settings
        metrics = self._servers.names(_METRICS)
        if metrics != before:
            self._write(f"metrics are served on {', '.join(metrics)}\n" if metrics else "metrics are served no more\n")

    def _make_visits(self) -> MetricsVisits:
        try:
            # Not at the top: prometheus_client is wanted by those alone who set the key.
            from closedmail.doors.metrics import CONTENT_TYPE, Metrics
        except ImportError as error:
            raise ConfigError("policyd.metrics_listen", f"{_NO_PROMETHEUS} ({error})") from None
        return MetricsVisits(Metrics(self._store, self._connections).page, CONTENT_TYPE)

    async def _reload(self) -> None:
        try:
            async with self._changing:
                settings = load(self._config_path).policyd
                await self._listen(settings)
        except ClosedmailError as error:
            self._write(f"error: {error}: going on with the configuration from before\n")
            return
        self._service.on_failure = settings.on_failure
        await self._counters.save_aside()
        self._write("configuration re-read\n")

    async def _end(self) -> None:
        """Answer what has been asked, then close everything."""
        await asyncio.sleep(0)  # what waits in the listen queues is accepted first
        async with self._changing:
            self._servers.close()
        for visit in set(self._visits.open if self._visits else ()):
            visit.close()
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
        """What asyncio has to say, such as that no file is left for a connection: a line, at most one a second."""
        error, message = context.get("exception"), context.get("message", "")
        if isinstance(error, OSError):
            if loop.time() > self._complained + 1:
                self._complained = loop.time()
                self._write(f"error: {message}: {error.strerror or error}\n")
        elif "_start_serving" not in message:  # asyncio tries to accept again on a socket that we have closed since
            loop.default_exception_handler(context)


def _most_connections() -> int:
    """So many that files are left for a new generation, the counters and metrics."""
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    return sys.maxsize if limit == resource.RLIM_INFINITY else max(limit - _FILES, limit // 2)


def run_policyd(config: Config, override: Sequence[str]) -> None:
    """Run the daemon in the foreground, logging to stderr. Raises ClosedmailError."""

    def write(line: str) -> None:
        try:  # `suppress` costs half as much as the write
            sys.stderr.write(line)
        except (OSError, ValueError):
            return  # a log that is gone must not stop mail

    def started(names: Sequence[str]) -> None:
        write(f"closedmail policyd is listening on {', '.join(names)}\n")

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        with suppress(OSError, ValueError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    asyncio.run(PolicyDaemon(config, override, write).run(started))
