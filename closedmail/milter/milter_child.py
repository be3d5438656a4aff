"""Run one process of the milter, since libmilter listens on one socket a process.

`python -m closedmail.milter.milter_child SETTINGS`: settings as JSON (`ChildSettings`). On stdout it reports that it
listens, then writes a line of JSON for each mail that is counted. On stdin come new settings; its end means that the
parent has ended, and so does this process. SIGTERM closes the socket, lets messages that are under way end, and ends.
"""

import json
import os
import signal
import socket
import sys
import threading
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import FrameType, TracebackType

import milter

from closedmail.core.where import socket_path
from closedmail.milter.milter_callbacks import register
from closedmail.milter.milter_service import MilterService
from closedmail.store.environment import store_path
from closedmail.store.snapshot import StoreReader

LISTENING = b"listening\n"
GRACE = 10.0  # seconds that messages under way get after SIGTERM
_SENDING = 0.05  # seconds that libmilter gets to send the last answer
_BACKLOG = 1024
_PRIVATE = 0o177  # umask of a new socket: the parent gives it its mode and group


@dataclass(frozen=True, slots=True)
class ChildSettings:
    """The settings. `conn` is as smfi_setconn() takes it: `unix:PATH`, `inet:PORT@HOST`, `inet6:PORT@HOST`.

    `closedmail` is the program with its --config, as errors name it.
    """

    conn: str
    state_dir: str
    authserv_id: str
    closedmail: str


class _CountsPipe:
    """A pipe to the parent, which keeps the counts: of several processes it alone writes the file."""

    def count(self, series: tuple[str, str, str, str]) -> None:
        """Count one mail. A line is shorter than PIPE_BUF, so that threads don't mix theirs."""
        os.write(1, (json.dumps(series) + "\n").encode())


def _write(line: str) -> None:
    with suppress(OSError, ValueError):  # a log that is gone must not stop mail
        os.write(2, line.encode("utf-8", "backslashreplace"))


def _complain(kind: type[BaseException], error: BaseException, _trace: TracebackType | None) -> None:
    """Log an exception that a callback raised; pymilter defers the mail."""
    _write(f"error: {kind.__name__}: {' '.join(str(error).split())[:400]}: the mail is deferred\n")


class _Stop(Exception):
    """SIGTERM or SIGINT came."""


def _stop(_number: int, _frame: FrameType | None) -> None:
    raise _Stop


def _serve(stopping: threading.Event, conn: str) -> None:
    """Run libmilter's own loop.

    It takes SIGTERM by itself, and then abandons the messages under way (in Debian, where it has a pool of threads): so
    it runs beside the main thread, to which the kernel prefers to deliver the signal.
    """
    with suppress(milter.error):
        milter.main()
    if not stopping.is_set():
        _unlink(conn)
        os._exit(1)


def _unlink(conn: str) -> None:
    if path := socket_path(conn):
        with suppress(OSError):
            Path(path).unlink()


def _close_sockets(conn: str) -> None:
    """Stop accepting on a socket that libmilter alone knows."""
    _unlink(conn)
    # In its place libmilter gets one to which nobody connects, so that it goes on, and with it the messages under way.
    nobody = socket.socket(socket.AF_UNIX)
    nobody.bind("")  # an abstract name that the kernel makes up (unix(7))
    nobody.listen()
    for name in os.listdir("/proc/self/fd"):  # noqa: PTH208
        with suppress(OSError):
            if int(name) != nobody.fileno():
                _replace_listener(int(name), nobody)


def _replace_listener(descriptor: int, other: socket.socket) -> None:
    """Put another socket in the place of one that listens. Raises OSError for what is no socket."""
    old = socket.socket(fileno=os.dup(descriptor))
    with old:
        if old.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
            os.dup2(other.fileno(), descriptor)
            old.shutdown(socket.SHUT_RDWR)


def main() -> None:
    """Serve until SIGTERM, or until the parent is gone."""
    settings = ChildSettings(**json.loads(sys.argv[1]))
    sys.excepthook = _complain
    store = StoreReader(store_path(settings.state_dir), settings.closedmail)
    service = MilterService(store, _write, _CountsPipe(), settings.authserv_id)
    register(service, settings.conn)
    milter.setbacklog(_BACKLOG)
    before = os.umask(_PRIVATE)
    try:
        milter.opensocket(True)
    except milter.error as error:
        _write(f"error: {settings.conn}: {error}\n")
        os._exit(1)
    os.umask(before)
    signals = {signal.SIGTERM, signal.SIGINT, signal.SIGHUP}
    signal.pthread_sigmask(signal.SIG_BLOCK, signals)
    stopping = threading.Event()
    threading.Thread(target=_serve, args=(stopping, settings.conn), daemon=True).start()
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, _stop)
    signal.signal(signal.SIGINT, _stop)
    try:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, signals)
        os.write(1, LISTENING)
        for line in sys.stdin:
            service.authserv_id = ChildSettings(**json.loads(line)).authserv_id
    except (_Stop, OSError, ValueError):
        pass
    stopping.set()
    for number in (signal.SIGTERM, signal.SIGINT):  # once is enough
        signal.signal(number, signal.SIG_IGN)
    _close_sockets(settings.conn)
    deadline = time.monotonic() + GRACE
    while service.busy and time.monotonic() < deadline:
        time.sleep(0.02)
    time.sleep(_SENDING)
    os._exit(0)  # not through the interpreter's end, while libmilter's threads still run


if __name__ == "__main__":
    main()
