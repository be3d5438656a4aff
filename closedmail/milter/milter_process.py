"""Keep a process of libmilter's: start it, read its counts, send new settings, start it again when it ends, stop it."""

import asyncio
import json
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from closedmail.core.model import Milter
from closedmail.core.where import parse_where
from closedmail.daemon.listener import open_listener, set_access
from closedmail.errors import ClosedmailError
from closedmail.milter.milter_health import milter_answers
from closedmail.programs import own_module

_MODULE = "closedmail.milter.milter_child"
_STARTING = 20.0  # seconds
_GRACE = 12.0  # a little longer than the process gives itself
# The wait before it is started again, in seconds: twice the last one, and short after it had run for the longest.
_SHORTEST, _LONGEST = 0.5, 30.0


def check_sockets(where: str, settings: Milter) -> list[str]:
    """Check that the sockets of a WHERE can be opened, and return them, each with its port.

    libmilter reports only to syslog why it can't open one. Raises ClosedmailError.
    """
    listener = open_listener(parse_where(where), settings.socket_mode, settings.socket_group, "milter")
    names = listener.names()
    listener.close()
    return names


def give_access(where: str, settings: Milter) -> None:
    """Set mode and group of a UNIX socket that is open. Raises ClosedmailError."""
    path = parse_where(where).path
    if path:
        try:
            set_access(Path(path), settings.socket_mode, settings.socket_group, "milter")
        except OSError as error:
            raise ClosedmailError(f"{path}: can't set mode and group: {error.strerror}") from None


class MilterProcess:
    """The process at one socket. `where` has its real port, `make_settings` returns the settings for the process."""

    def __init__(
        self,
        where: str,
        make_settings: Callable[[], dict[str, str]],
        count: Callable[[tuple[str, str, str, str]], object],
        write: Callable[[str], object],
    ) -> None:
        """Start nothing yet. `count` takes the process's counts, `write` log lines, newline included."""
        self.where = where
        self._make_settings, self._count, self._write = make_settings, count, write
        self._process: asyncio.subprocess.Process | None = None
        self._stopping = asyncio.Event()
        self._started = False

    async def start(self, settings: Milter) -> None:
        """Start, and wait until it listens. Raises ClosedmailError."""
        self._started = False
        self._process = process = await asyncio.create_subprocess_exec(
            *own_module(_MODULE, self._line()),
            cwd="/",
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
        )
        line = b""
        with suppress(TimeoutError):
            async with asyncio.timeout(_STARTING):
                line = await process.stdout.readline() if process.stdout else b""
        if not line:
            with suppress(ProcessLookupError):
                process.kill()
            raise ClosedmailError(f"can't listen on {self.where}: see libmilter's reason in the system's log")
        give_access(self.where, settings)
        self._started = True

    async def keep(self, settings: Callable[[], Milter]) -> None:
        """Count what it counts, and start it again whenever it ends, until `stop`."""
        loop, wait = asyncio.get_running_loop(), _SHORTEST / 2
        while self._process is not None:
            began = loop.time()
            if self._process.stdout:
                async for line in self._process.stdout:
                    network, partner, verdict, reason = json.loads(line)
                    self._count((network, partner, verdict, reason))
            status = await self._process.wait()
            wait = _SHORTEST if loop.time() > began + _LONGEST else min(2 * wait, _LONGEST)
            if await self._stops_within(0):
                return
            self._write(f"error: the process at {self.where} has ended ({status}): starting it again in {wait:g} s\n")
            while not await self._stops_within(wait):
                try:
                    check_sockets(self.where, settings())
                    await self.start(settings())
                    break
                except ClosedmailError as error:
                    wait = min(2 * wait, _LONGEST)
                    self._write(f"error: {error}: trying again in {wait:g} s\n")

    async def _stops_within(self, seconds: float) -> bool:
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._stopping.wait()
        return self._stopping.is_set()

    def send_settings(self) -> None:
        """Send it the current settings."""
        if self._process and self._process.stdin:
            with suppress(OSError):
                self._process.stdin.write(self._line().encode() + b"\n")

    async def answers(self, seconds: float) -> bool:
        """Check that it answers an MTA in time. If not, though it was to go on, end it; `keep` starts it again."""
        if await milter_answers(self.where, seconds) or self._stopping.is_set():
            return True
        if self._started and self._process and self._process.returncode is None:
            self._write(f"error: the process at {self.where} does not answer: ending it\n")
            with suppress(ProcessLookupError):
                self._process.kill()
        return False

    def begin_stop(self) -> None:
        """Have it close its socket and end its messages. Not by SIGTERM, which libmilter may take for itself."""
        self._stopping.set()
        if self._process and self._process.stdin:
            self._process.stdin.close()

    async def stop(self) -> None:
        """Wait for the end, for a while."""
        self.begin_stop()
        if self._process:
            try:
                async with asyncio.timeout(_GRACE):
                    await self._process.wait()
            except TimeoutError:
                with suppress(ProcessLookupError):
                    self._process.kill()

    def _line(self) -> str:
        return json.dumps({**self._make_settings(), "conn": parse_where(self.where).libmilter()})
