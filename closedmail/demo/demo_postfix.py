"""Run a complete private Postfix below one directory, beside any other Postfix of the machine.

`DemoPostfix` writes its own main.cf and master.cf, keeps queue, data and log below the directory it is given, and
ends everything it started when its `with` block is left, also by an exception, Ctrl-C, SIGTERM or SIGHUP. What it
needs of the machine are the installed programs, the accounts `postfix` and `postdrop`, and root, because master(8)
insists on it. The system's own main.cf is neither read nor changed, except that postfix(1) looks there for a list of
Postfix instances.

The directory must be reachable for the user postfix: master(8)'s children give up root, and come back to the
directory by its path. A directory made by tempfile (mode 0700) is opened here; its parents are not touched.
"""

import contextlib
import os
import pwd
import re
import shutil
import signal
import stat
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Self

from closedmail.demo.ports import free_port, has_ipv6, is_free, smtp_answers
from closedmail.demo.postfix_configuration import SmtpdListener, main_cf, master_cf
from closedmail.demo.processes import processes_in, send_signal, signals_held, signals_raise, works_in
from closedmail.errors import ClosedmailError
from closedmail.programs import run

# Debian keeps Postfix's commands in /usr/sbin, which is not in every caller's PATH.
_PATH = "/usr/sbin:/usr/bin:/sbin:/bin"

# sun_path of unix(7) holds 108 bytes with the final NUL. The longest socket that Postfix opens by its absolute path is
# the log's; all others are relative to the queue directory.
_SOCKET_PATH_LIMIT = 107
_LONGEST_SOCKET = "/queue/public/postlog"


class DemoPostfix:
    """A Postfix of its own, running inside the `with` block (or between `start` and `stop`).

    `parameters` are main.cf settings on top of the defaults, `services` whole master.cf entries (a service that has the
    name and type of one of ours replaces it). `listeners` are the smtpd services; after the start the attribute of the
    same name has their real ports, and `address` and `port` those of the first.
    """

    def __init__(
        self,
        directory: Path,
        parameters: Mapping[str, str] | None = None,
        *,
        services: Sequence[str] = (),
        listeners: Sequence[SmtpdListener] = (SmtpdListener(),),
    ) -> None:
        self.directory = directory.resolve()
        self.etc = self.directory / "etc"
        self.queue_directory = self.directory / "queue"
        self.log_file = self.directory / "log" / "mail.log"
        self.listeners = tuple(listeners)
        self._parameters = dict(parameters or {})
        self._services = tuple(services)
        self._wanted = tuple(listeners)
        self._block = contextlib.ExitStack()

    @property
    def address(self) -> str:
        """The first listener's address."""
        return self.listeners[0].address

    @property
    def port(self) -> int:
        """The first listener's port."""
        return self.listeners[0].port

    def __enter__(self) -> Self:
        with contextlib.ExitStack() as block:
            block.enter_context(signals_raise())
            block.callback(self.stop)
            self.start()
            self._block = block.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._block.close()

    def start(self, timeout: float = 20.0) -> None:
        """Write the configuration, start, and return when every listener answers. A failure leaves nothing running."""
        self._check_machine()
        self._make_directories()
        try:
            # A port that was free a moment ago may be taken now: then with another one.
            attempts = 5 if any(listener.port == 0 for listener in self._wanted) else 1
            while not self._launch(timeout, last=attempts == 1):
                attempts -= 1
            self._wait_for_listeners(time.monotonic() + timeout)
        except BaseException:
            self.stop()
            raise

    def stop(self, timeout: float = 10.0) -> None:
        """End master(8) and all its children, and return when they are gone. Does nothing when nothing runs.

        SIGTERM to master is what `postfix stop` sends; its script then waits in whole seconds, this does not. Our
        processes are those whose working directory is the queue directory, as it is of every Postfix process: so
        nothing is missed when a start was cut short, and no process of another Postfix is ever signalled.
        """
        with signals_held():
            master = self._master_pid()
            if master is not None:
                send_signal(master, signal.SIGTERM)
            deadline = time.monotonic() + timeout
            patience = time.monotonic() + min(5.0, timeout / 2)
            while processes := processes_in(self.queue_directory):
                now = time.monotonic()
                if now > deadline:
                    raise ClosedmailError(f"Postfix in {self.directory} does not end: processes {sorted(processes)}")
                if now > patience:
                    for process in processes:
                        send_signal(process, signal.SIGKILL)
                elif master not in processes:
                    # Its children get no signal from a master that is gone.
                    for process in processes:
                        send_signal(process, signal.SIGTERM)
                time.sleep(0.01)

    def running(self) -> bool:
        """Check whether our master(8) runs."""
        return self._master_pid() is not None

    def log(self) -> str:
        """Read all that was logged since the first start."""
        try:
            return self.log_file.read_text(encoding="utf-8", errors="replace")
        except FileNotFoundError:
            return ""

    def lookup(self, key: str, table: str) -> str | None:
        """Have Postfix look up a key in a table (`lmdb:/path`); return None where it has no such row."""
        # postmap exits 1 when it finds nothing.
        found = self.run("postmap", "-c", str(self.etc), "-q", key, table, accept=(0, 1))
        return found.removesuffix("\n") or None

    def run(self, command: str, *arguments: str, stdin: bytes = b"", accept: Sequence[int] = (0,)) -> str:
        """Run one of Postfix's commands; return its output. Raises ClosedmailError for a status not in `accept`."""
        done = run([command, *arguments], time_limit=300, stdin=stdin, env=_environment(), accepted=accept)
        return done.stdout.decode(errors="replace")

    def _check_machine(self) -> None:
        if os.geteuid() != 0:
            raise ClosedmailError("a private Postfix can only be started by root: run this as root, or with sudo")
        for command in ("postfix", "postconf", "postqueue", "postmap"):
            if shutil.which(command, path=_PATH) is None:
                raise ClosedmailError(f"{command} not found: install Postfix (apt install postfix postfix-lmdb)")
        if len(os.fsencode(self.directory)) + len(_LONGEST_SOCKET) > _SOCKET_PATH_LIMIT:
            limit = _SOCKET_PATH_LIMIT - len(_LONGEST_SOCKET)
            raise ClosedmailError(f"{self.directory}: path too long for Postfix's sockets, at most {limit} bytes")
        if re.search(r"[\s,{}$#]", str(self.directory)):
            raise ClosedmailError(f"{self.directory}: Postfix cannot use a path with blanks, commas, braces, $ or #")
        for parent in self.directory.parents:
            if parent.exists() and not parent.stat().st_mode & stat.S_IXOTH:
                raise ClosedmailError(f"{parent}: the user postfix cannot enter it; use another directory")

    def _make_directories(self) -> None:
        self.directory.mkdir(parents=True, exist_ok=True)
        self.directory.chmod(self.directory.stat().st_mode | 0o755)
        # Modes are set, not left to the umask: a queue directory that postfix cannot read is no queue.
        for path in (self.etc, self.queue_directory, self.log_file.parent):
            path.mkdir(exist_ok=True)
            path.chmod(0o755)
        data = self.directory / "data"
        data.mkdir(exist_ok=True)
        data.chmod(0o700)
        try:
            owner = pwd.getpwnam("postfix")
        except KeyError:
            raise ClosedmailError("no user postfix on this machine: reinstall the package postfix") from None
        os.chown(data, owner.pw_uid, owner.pw_gid)

    def _choose_ports(self) -> None:
        taken: set[tuple[str, int]] = {(listener.address, listener.port) for listener in self._wanted}
        chosen = []
        for listener in self._wanted:
            port = listener.port
            while port == 0 or (listener.port == 0 and (listener.address, port) in taken):
                port = free_port(listener.address)
            taken.add((listener.address, port))
            chosen.append(replace(listener, port=port))
        self.listeners = tuple(chosen)

    def _write_configuration(self) -> None:
        main = main_cf(self.directory, self._parameters, ipv6=has_ipv6())
        for name, text in (("main.cf", main), ("master.cf", master_cf(self.listeners, self._services))):
            path = self.etc / name
            path.write_text(text, encoding="utf-8")
            path.chmod(0o644)
            make_older(path)

    def _launch(self, timeout: float, *, last: bool) -> bool:
        """Write the configuration and run `postfix start`; False when a port was taken, unless this is the last try."""
        self._choose_ports()
        self._write_configuration()
        # A session of its own: a Ctrl-C on the terminal is for us, not for the half-started Postfix.
        command = ["postfix", "-c", str(self.etc), "start"]
        started = run(command, time_limit=timeout, env=_environment(), package="Postfix", accepted=None)
        if started.status == 0:
            return True
        # What master complains of is lost, as the log is a service that it has not started yet.
        taken = [f"{at.address}:{at.port}" for at in self.listeners if not is_free(at.address, at.port)]
        if taken and not last:
            return False
        if taken:
            raise ClosedmailError(f"Postfix does not start: cannot listen on {', '.join(taken)}, it is in use")
        said = (started.stdout + started.stderr).decode(errors="replace").split("\n")
        reasons = [line.strip() for line in (*said, self.last_complaints()) if line.strip()]
        raise ClosedmailError(f"Postfix does not start: {' / '.join(reasons)}")

    def _wait_for_listeners(self, deadline: float) -> None:
        for listener in self.listeners:
            while not smtp_answers(listener.address, listener.port, banner=not listener.silent):
                if time.monotonic() > deadline or not self.running():
                    where = f"{listener.address}:{listener.port}"
                    raise ClosedmailError(f"Postfix does not answer on {where}: {self.last_complaints()}")
                time.sleep(0.05)

    def last_complaints(self) -> str:
        """Return the last complaints of the log in one line, the gravest where there are several kinds."""
        lines = self.log().splitlines()
        for kind in ("(fatal|panic): ", "(error|warning): "):
            if found := [line for line in lines if re.search(kind, line)]:
                return " / ".join(found[-3:])
        return ""

    def _master_pid(self) -> int | None:
        """Return the process id of our running master, or None. The pid file outlives it, so the process is checked."""
        try:
            pid = int((self.queue_directory / "pid" / "master.pid").read_text())
        except (OSError, ValueError):
            return None
        return pid if works_in(pid, self.queue_directory) else None


def make_older(*paths: Path) -> None:
    """Make files look ten seconds old: Postfix reads one that has just been written over and over until it is not."""
    for path in paths:
        os.utime(path, (time.time() - 10,) * 2)


def _environment() -> dict[str, str]:
    # Nothing of the caller's environment: MAIL_CONFIG alone would lead every command to another Postfix.
    return {"PATH": _PATH, "LC_ALL": "C.UTF-8"}
