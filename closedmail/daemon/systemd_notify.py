"""Notify systemd of a daemon's state: sd_notify(3), one datagram at a time, and its watchdog, sd_watchdog_enabled(3).

Without systemd nothing is sent.
"""

import asyncio
import os
import socket
import time
from collections.abc import Awaitable, Callable, MutableMapping

_PATIENCE = 1.0  # seconds that a datagram may wait for a busy systemd
# Parts of the usual time: how long an answer may take, and when a daemon that did not answer is asked again.
_SLOWEST, _SOONER = 3, 5


class SystemdNotifier:
    """A sender to the service manager at `address`, a path or `@` and an abstract name; "" for nobody.

    `interval`: seconds between two keep-alives, half of the watchdog's time; 0 for none.
    """

    def __init__(
        self, address: str = "", interval: float = 0.0, write: Callable[[str], object] = lambda _: None
    ) -> None:
        """Send nothing yet. `write` takes log lines, newline included: one, where the manager can't be reached."""
        self.interval = interval
        self._address = "\0" + address[1:] if address.startswith("@") else address
        self._write = write
        self._complained = False

    def ready(self, status: str) -> None:
        """Report that the daemon has started, or re-read its configuration. `status`: a line for `systemctl status`."""
        self._send("READY=1", _status(status))

    def reloading(self) -> None:
        """Report that the configuration is being re-read; `ready` must follow. The time is for Type=notify-reload."""
        self._send("RELOADING=1", f"MONOTONIC_USEC={time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000}")

    def stopping(self) -> None:
        """Report that the daemon is about to end."""
        self._send("STOPPING=1")

    async def stay_alive(self, answers: Callable[[float], Awaitable[bool]], status: Callable[[], str]) -> None:
        """Send keep-alives for ever while the health check `answers` succeeds; else check again soon.

        `answers` gets the seconds that it may take.
        """
        if not self.interval:
            return
        while True:
            if await answers(self.interval / _SLOWEST):
                self._send("WATCHDOG=1", _status(status()))
                await asyncio.sleep(self.interval)
            else:
                await asyncio.sleep(self.interval / _SOONER)

    def _send(self, *lines: str) -> None:
        if not self._address:
            return
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
                sender.settimeout(_PATIENCE)
                sender.sendto("\n".join(lines).encode(), self._address)
        except OSError as error:
            if not self._complained:
                self._complained = True
                self._write(f"error: can't notify systemd: {lines[0]}: {error.strerror or error}\n")


def take_notifier(environment: MutableMapping[str, str], write: Callable[[str], object]) -> SystemdNotifier:
    """Make the notifier of this process. Its variables are taken out of the environment: they are not for children.

    `write` takes log lines, newline included.
    """
    address = environment.pop("NOTIFY_SOCKET", "")
    usec, pid = environment.pop("WATCHDOG_USEC", ""), environment.pop("WATCHDOG_PID", "")
    mine = usec.isascii() and usec.isdigit() and pid in ("", str(os.getpid()))
    if not address.startswith(("/", "@")):  # vsock: is for virtual machines as a whole
        return SystemdNotifier()
    return SystemdNotifier(address, int(usec) / 2e6 if mine else 0.0, write)


def _status(text: str) -> str:
    return f"STATUS={' '.join(text.split())}"
