"""Run the milter daemon: one process of libmilter's for each socket, since libmilter can listen on one alone.

SIGTERM closes the sockets, lets messages that are under way end, and ends. SIGHUP re-reads `[milter]`: what is new is
opened, what is no longer wanted closed; a process that goes on gets the rest. Rules need no signal. systemd gets a
notice when all is ready, and while each process answers (sd_notify(3)); one that does not is ended, and started again.
"""

import asyncio
import importlib.util
import os
import signal
import socket
import sys
from collections.abc import Callable, Coroutine, Iterable, Sequence
from contextlib import suppress
from pathlib import Path

from closedmail.config import load
from closedmail.core.model import Config, Milter
from closedmail.daemon.counters_file import MILTER, CountersFile
from closedmail.daemon.listener import parse_listen
from closedmail.daemon.systemd_notify import SystemdNotifier, take_notifier
from closedmail.daemon.systemd_sockets import take_sockets
from closedmail.errors import ClosedmailError, ConfigError
from closedmail.milter.milter_process import MilterProcess, check_sockets, give_access

_NO_PYMILTER = "pymilter is missing: install python3-milter (Debian) or closedmail[milter] (pip)"


class MilterDaemon:
    """The daemon for one configuration file. `override` are `--listen` values, which replace the file's."""

    def __init__(
        self,
        config: Config,
        override: Sequence[str],
        write: Callable[[str], object],
        notifier: SystemdNotifier | None = None,
    ) -> None:
        """Start nothing yet. `write` takes log lines, newline included; `notifier` notifies systemd."""
        self._notifier = notifier or SystemdNotifier()
        self._config_path, self._state_dir = Path(config.path), config.gateway.state_dir
        self._closedmail = config.command()
        self._override = tuple(override)
        self._settings = config.milter
        self._write = write
        self._counters = CountersFile(config.gateway.state_dir, write, MILTER)
        self._processes: dict[str, list[MilterProcess]] = {}  # by WHERE as it is configured
        self._tasks: set[asyncio.Task[None]] = set()
        self._changing = asyncio.Lock()

    async def run(self, started: Callable[[Sequence[str]], object] = lambda _: None) -> None:
        """Serve until SIGTERM or SIGINT. `started` gets the addresses once all listen. Raises ClosedmailError."""
        loop, stop = asyncio.get_running_loop(), asyncio.Event()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, stop.set)
        loop.add_signal_handler(signal.SIGHUP, lambda: self._spawn(self._reload()))
        lasting = [loop.create_task(self._counters.keep())]
        try:
            await self._listen(self._settings)
            started([process.where for process in self._all()])
            self._check_name()
            self._notifier.ready(self._status())
            lasting.append(loop.create_task(self._notifier.stay_alive(self._answer, self._status)))
            await stop.wait()
            self._notifier.stopping()
        finally:
            for task in lasting:
                task.cancel()
            async with self._changing:
                await _stop(self._all())
            await asyncio.gather(*self._tasks)  # all that was counted has come
            self._counters.save(self._counters.counters)

    def _all(self) -> list[MilterProcess]:
        return [process for group in self._processes.values() for process in group]

    async def _answer(self, seconds: float) -> bool:
        """Check that each process answers. Those that don't are ended, whereupon they are started again."""
        return all(await asyncio.gather(*(process.answers(seconds) for process in self._all())))

    def _status(self) -> str:
        return f"{len(self._all())} sockets, {self._counters.counters.mails} mails in partners' names counted"

    def _spawn(self, work: Coroutine[None, None, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _listen(self, settings: Milter) -> None:
        """Open what is new, close what is no longer wanted; all or nothing. Raises ClosedmailError."""
        wanted = self._override or settings.listen
        opened: dict[str, list[MilterProcess]] = {}
        before, self._settings = self._settings, settings
        try:
            for where in wanted:
                parse_listen(where)
                if where in self._processes:
                    give_access(where, settings)
                else:
                    opened[where] = []
                    for each in check_sockets(where, settings):
                        process = MilterProcess(each, self._child_settings, self._counters.counters.count, self._write)
                        opened[where].append(process)
                        await process.start(settings)
        except ClosedmailError:
            self._settings = before
            await _stop(process for group in opened.values() for process in group)
            raise
        for group in opened.values():
            for process in group:
                self._spawn(process.keep(lambda: self._settings))
        self._processes.update(opened)
        gone = [self._processes.pop(where) for where in list(self._processes) if where not in wanted]
        await _stop(process for group in gone for process in group)

    def _child_settings(self) -> dict[str, str]:
        return {
            "state_dir": self._state_dir,
            "authserv_id": self._settings.authserv_id or socket.getfqdn(),
            "closedmail": self._closedmail,
        }

    def _check_name(self) -> None:
        """Log that the name for marks is a short one: the unit does not let us ask the DNS for its domain."""
        if not self._settings.authserv_id and "." not in (name := socket.getfqdn()):
            self._write(
                f"milter.authserv_id is not set, and the domain of this host is not in /etc/hosts: it is {name}\n"
            )

    async def _reload(self) -> None:
        try:
            async with self._changing:
                self._notifier.reloading()
                await self._listen(load(self._config_path).milter)
                for process in self._all():
                    process.send_settings()
        except ClosedmailError as error:
            self._write(f"error: {error}: going on with the configuration from before\n")
            self._notifier.ready(f"going on with the configuration from before: {error}")
            return
        await self._counters.save_aside()
        self._write("configuration re-read\n")
        self._check_name()
        self._notifier.ready(self._status())


async def _stop(processes: Iterable[MilterProcess]) -> None:
    """End processes, all at once."""
    some = list(processes)
    for process in some:
        process.begin_stop()
    for process in some:
        await process.stop()


def _has_pymilter() -> bool:
    try:
        return importlib.util.find_spec("milter") is not None
    except ValueError:  # what is there is no module
        return False


def run_milter(config: Config, override: Sequence[str]) -> None:
    """Run the daemon in the foreground, logging to stderr. Raises ClosedmailError."""
    if not _has_pymilter():
        raise ConfigError("", _NO_PYMILTER)

    def write(line: str) -> None:
        with suppress(OSError, ValueError):  # a log that is gone must not stop mail
            sys.stderr.write(line)
            sys.stderr.flush()

    def started(names: Sequence[str]) -> None:
        write(f"closedmail milter is listening on {', '.join(names)}\n")

    if handed_over := take_sockets(os.environ):
        raise ClosedmailError(f"{handed_over[0].unit}: the milter opens its sockets itself; take the socket unit away")
    notifier = take_notifier(os.environ, write)
    asyncio.run(MilterDaemon(config, override, write, notifier).run(started))
