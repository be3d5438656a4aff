"""A complete private Postfix below one directory, beside any other Postfix of the machine.

`PrivatePostfix` writes its own main.cf and master.cf, keeps queue, data and log below the directory it is given, and
ends everything it started when its `with` block is left, also by an exception, Ctrl-C, SIGTERM or SIGHUP. What it
needs of the machine are the installed programs, the accounts `postfix` and `postdrop`, and root, because master(8)
insists on it. The system's own main.cf is neither read nor changed, except that postfix(1) looks there for a list of
Postfix instances.

Nothing leaves the machine unless the caller says so: no DNS, no route to the outside (`default_transport` refuses), and
clients on loopback are strangers (`mynetworks` is an address that nobody uses).

The directory must be reachable for the user postfix: master(8)'s children give up root, and come back to the
directory by its path. A directory made by tempfile (mode 0700) is opened here; its parents are not touched.
"""

import contextlib
import json
import os
import pwd
import random
import re
import shutil
import signal
import socket
import stat
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import FrameType, TracebackType
from typing import Self

from closedmail.errors import ClosedmailError
from closedmail.programs import run

# Debian keeps Postfix's commands in /usr/sbin, which is not in every caller's PATH.
_PATH = "/usr/sbin:/usr/bin:/sbin:/bin"

# sun_path of unix(7) holds 108 bytes with the final NUL. The longest socket that Postfix opens by its absolute path is
# the log's; all others are relative to the queue directory.
_SOCKET_PATH_LIMIT = 107
_LONGEST_SOCKET = "/queue/public/postlog"

# Below the kernel's range for outgoing connections (32768 and up), so that a port found free stays so.
_PORTS = range(20000, 32000)

_DEFAULTS: Mapping[str, str] = {
    "compatibility_level": "3.6",
    "myhostname": "gateway.city.example",
    "mydestination": "city.example",
    "mynetworks": "127.0.0.255/32",
    "inet_interfaces": "loopback-only",
    "smtpd_relay_restrictions": "permit_mynetworks, reject_unauth_destination",
    "alias_maps": "",
    "alias_database": "",
    "local_recipient_maps": "",
    "local_transport": "discard:delivered",
    "default_transport": "error:5.4.4 this private Postfix has no route to that domain",
    "relay_transport": "$default_transport",
    "smtp_dns_support_level": "disabled",
    "smtp_host_lookup": "native",
    "smtpd_peername_lookup": "no",
    "biff": "no",
    "enable_long_queue_ids": "yes",
    # Queued mail is tried again within seconds, and a dead host is not remembered for a minute.
    "queue_run_delay": "1s",
    "minimal_backoff_time": "1s",
    "maximal_backoff_time": "2s",
    "transport_retry_time": "1s",
    "smtp_connect_timeout": "5s",
    "in_flow_delay": "0s",
    # Clients that make many mistakes on purpose, from one address.
    "smtpd_error_sleep_time": "0s",
    "smtpd_soft_error_limit": "1000",
    "smtpd_hard_error_limit": "1000",
    "smtpd_client_connection_count_limit": "0",
}

_SERVICES = """\
pickup    unix  n       -       n       60      1       pickup
cleanup   unix  n       -       n       -       0       cleanup
qmgr      unix  n       -       n       300     1       qmgr
tlsmgr    unix  -       -       n       1000?   1       tlsmgr
rewrite   unix  -       -       n       -       -       trivial-rewrite
bounce    unix  -       -       n       -       0       bounce
defer     unix  -       -       n       -       0       bounce
trace     unix  -       -       n       -       0       bounce
verify    unix  -       -       n       -       1       verify
flush     unix  n       -       n       1000?   0       flush
proxymap  unix  -       -       n       -       -       proxymap
proxywrite unix -       -       n       -       1       proxymap
smtp      unix  -       -       n       -       -       smtp
relay     unix  -       -       n       -       -       smtp
showq     unix  n       -       n       -       -       showq
error     unix  -       -       n       -       -       error
retry     unix  -       -       n       -       -       error
discard   unix  -       -       n       -       -       discard
local     unix  -       n       n       -       -       local
virtual   unix  -       n       n       -       -       virtual
lmtp      unix  -       -       n       -       -       lmtp
anvil     unix  -       -       n       -       1       anvil
scache    unix  -       -       n       -       1       scache
postlog   unix-dgram n  -       n       -       1       postlogd
"""


@dataclass(frozen=True, slots=True)
class Listener:
    """One smtpd of master.cf. Port 0 becomes a free one at the start; `options` are its own `-o` settings."""

    address: str = "127.0.0.1"
    port: int = 0
    options: Mapping[str, str] = field(default_factory=dict)

    def entry(self) -> str:
        host = f"[{self.address}]" if ":" in self.address else self.address
        options = "".join(f"\n  -o {{ {name} = {value} }}" for name, value in self.options.items())
        return f"{host}:{self.port} inet n - n - - smtpd{options}\n"


@dataclass(frozen=True, slots=True)
class QueueEntry:
    """One message of the queue. `recipients` gives for each waiting recipient why it waits, "" where it doesn't yet."""

    queue_name: str
    queue_id: str
    sender: str
    recipients: Mapping[str, str]


class PrivatePostfix:
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
        listeners: Sequence[Listener] = (Listener(),),
    ) -> None:
        self.directory = directory.resolve()
        self.etc = self.directory / "etc"
        self.queue_directory = self.directory / "queue"
        self.log_file = self.directory / "log" / "mail.log"
        self.listeners = tuple(listeners)
        self._parameters = dict(parameters or {})
        self._services = tuple(services)
        self._wanted = tuple(listeners)
        self._handlers: dict[int, signal.Handlers] = {}

    @property
    def address(self) -> str:
        return self.listeners[0].address

    @property
    def port(self) -> int:
        return self.listeners[0].port

    # Life

    def __enter__(self) -> Self:
        self._raise_on_signals()
        try:
            self.start()
        except BaseException:
            self._restore_signals()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            self.stop()
        finally:
            self._restore_signals()

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

        SIGTERM to master is what `postfix stop` sends; its script then waits in whole seconds, this does not. What
        belongs to us is told by its working directory, which is the queue directory for every Postfix process: so
        nothing is missed when a start was cut short, and no process of another Postfix is ever met.
        """
        with _signals_held():
            master = self._master_pid()
            if master is not None:
                _kill(master, signal.SIGTERM)
            deadline = time.monotonic() + timeout
            patience = time.monotonic() + min(5.0, timeout / 2)
            while processes := self._processes():
                now = time.monotonic()
                if now > deadline:
                    raise ClosedmailError(f"Postfix in {self.directory} does not end: processes {sorted(processes)}")
                # Without its master nobody tells the children.
                if now > patience:
                    for process in processes:
                        _kill(process, signal.SIGKILL)
                elif master not in processes:
                    for process in processes:
                        _kill(process, signal.SIGTERM)
                time.sleep(0.01)

    def running(self) -> bool:
        return self._master_pid() is not None

    def reload(self) -> None:
        """Have the configuration read again, and return when that is done.

        Between the signal and master's line in the log an old smtpd may still take a connection.
        """
        _settle(self.etc / "main.cf", self.etc / "master.cf")
        before = self.log().count(": reload -- version")
        self._run("postfix", "-c", str(self.etc), "reload")
        deadline = time.monotonic() + 10
        while self.log().count(": reload -- version") == before and time.monotonic() < deadline:
            time.sleep(0.02)

    # Questions

    def log(self) -> str:
        """All that was logged since the first start."""
        try:
            return self.log_file.read_text(encoding="utf-8", errors="replace")
        except FileNotFoundError:
            return ""

    def wait_for_log(self, pattern: str, timeout: float = 10.0) -> re.Match[str]:
        """The first match of a regular expression in the log, as soon as it is there: the log comes a moment later."""
        deadline = time.monotonic() + timeout
        while (match := re.search(pattern, self.log(), re.MULTILINE)) is None:
            if time.monotonic() > deadline:
                raise ClosedmailError(f"Postfix did not log {pattern!r} within {timeout:g} s: {self._last_lines()}")
            time.sleep(0.02)
        return match

    def queue(self) -> list[QueueEntry]:
        """What is in the queue, as postqueue(1) tells it, each message once.

        showq(8) reads one queue after the other: a message that moves from active to deferred meanwhile is listed in
        both. The later listing is the newer one, and has the reason. One that goes the other way, to be tried again,
        may be missing for one look.
        """
        entries: dict[str, QueueEntry] = {}
        for line in self._run("postqueue", "-c", str(self.etc), "-j").splitlines():
            entry = json.loads(line)
            recipients = {item["address"]: item.get("delay_reason", "") for item in entry["recipients"]}
            found = QueueEntry(entry["queue_name"], entry["queue_id"], entry["sender"], recipients)
            entries[found.queue_id] = found
        return list(entries.values())

    def flush(self) -> None:
        """Try all queued mail now."""
        self._run("postqueue", "-c", str(self.etc), "-f")

    def submit(self, sender: str, recipients: Sequence[str], data: bytes = b"Subject: test\n\ntest\n") -> None:
        """Hand in a mail on the machine itself, past smtpd and its restrictions, as sendmail(1) does."""
        self._run("sendmail", "-C", str(self.etc), "-f", sender, "-i", "--", *recipients, stdin=data)

    def postconf(self, *arguments: str) -> str:
        """What `postconf -c` says to these arguments; also for `postconf("-e", "name = value")` before a reload."""
        return self._run("postconf", "-c", str(self.etc), *arguments)

    def postmap(self, *arguments: str) -> str:
        """Run `postmap -c` with these arguments, to build a map."""
        return self._run("postmap", "-c", str(self.etc), *arguments)

    def lookup(self, key: str, table: str) -> str | None:
        """What a table (`lmdb:/path`) has for the key, looked up by Postfix itself; None when it has nothing."""
        return self.lookup_all([key], table).get(key)

    def lookup_all(self, keys: Iterable[str], table: str) -> dict[str, str]:
        """What a table has for each of these keys, in one run; keys without a value are left out."""
        lines = "".join(f"{key}\n" for key in keys).encode()
        # Exit status 1 says that no key at all was found.
        output = self._run("postmap", "-c", str(self.etc), "-q", "-", table, stdin=lines, accept=(0, 1))
        return dict(line.split("\t", 1) for line in output.splitlines())

    # Inside

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
        settings = {
            # Without IPv6, XCLIENT refuses IPv6 addresses, also where no listener has one.
            "inet_protocols": "all" if _has_ipv6() else "ipv4",
            **_DEFAULTS,
            **self._parameters,
            "queue_directory": str(self.queue_directory),
            "data_directory": str(self.directory / "data"),
            "maillog_file": str(self.log_file),
            # Where a log may lie at all is a setting too; the default is /var alone.
            "maillog_file_prefixes": f"{self.directory}, /dev/stdout",
        }
        main = "".join(f"{name} = {value}\n" for name, value in settings.items())
        own = {tuple(entry.split()[:2]) for entry in self._services}
        standard = [line for line in _SERVICES.splitlines() if tuple(line.split()[:2]) not in own]
        entries = [*standard, *(listener.entry().rstrip() for listener in self.listeners), *self._services]
        for name, text in (("main.cf", main), ("master.cf", "\n".join(entries) + "\n")):
            path = self.etc / name
            path.write_text(text, encoding="utf-8")
            path.chmod(0o644)
            _settle(path)

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
        taken = [f"{at.address}:{at.port}" for at in self.listeners if not _is_free(at.address, at.port)]
        if taken and not last:
            return False
        if taken:
            raise ClosedmailError(f"Postfix does not start: cannot listen on {', '.join(taken)}, it is in use")
        said = (started.stdout + started.stderr).decode(errors="replace").split("\n")
        reasons = [line.strip() for line in (*said, self._last_lines()) if line.strip()]
        raise ClosedmailError(f"Postfix does not start: {' / '.join(reasons)}")

    def _wait_for_listeners(self, deadline: float) -> None:
        for listener in self.listeners:
            # These wait for the client to speak first.
            silent = {"smtpd_tls_wrappermode", "smtpd_upstream_proxy_protocol"} & listener.options.keys()
            while not _answers(listener, banner=not silent):
                if time.monotonic() > deadline or not self.running():
                    where = f"{listener.address}:{listener.port}"
                    raise ClosedmailError(f"Postfix does not answer on {where}: {self._last_lines()}")
                time.sleep(0.05)

    def _last_lines(self) -> str:
        """The last complaints of the log in one line, the gravest where there are several kinds."""
        lines = self.log().splitlines()
        for kind in ("(fatal|panic): ", "(error|warning): "):
            if found := [line for line in lines if re.search(kind, line)]:
                return " / ".join(found[-3:])
        return ""

    def _master_pid(self) -> int | None:
        """The process id of our running master, or None. The file outlives it, so the process is looked at."""
        try:
            pid = int((self.queue_directory / "pid" / "master.pid").read_text())
        except (OSError, ValueError):
            return None
        return pid if _works_in(pid, self.queue_directory) else None

    def _processes(self) -> set[int]:
        pids = (int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit())
        return {pid for pid in pids if pid != os.getpid() and _works_in(pid, self.queue_directory)}

    def _run(self, command: str, *arguments: str, stdin: bytes = b"", accept: tuple[int, ...] = (0,)) -> str:
        done = run([command, *arguments], time_limit=300, stdin=stdin, env=_environment(), accepted=accept)
        return done.stdout.decode(errors="replace")

    def _raise_on_signals(self) -> None:
        """Turn the signals that would end Python on the spot into an exception, where nobody handles them yet."""
        for number in (signal.SIGTERM, signal.SIGHUP):
            if signal.getsignal(number) is signal.SIG_DFL:
                # Only the main thread may do that; elsewhere the caller has to.
                with contextlib.suppress(ValueError):
                    signal.signal(number, _exit)
                    self._handlers[number] = signal.SIG_DFL

    def _restore_signals(self) -> None:
        for number, handler in self._handlers.items():
            signal.signal(number, handler)
        self._handlers.clear()


def free_port(address: str = "127.0.0.1") -> int:
    """A TCP port on which nobody listens at this address."""
    for port in random.sample(_PORTS, 200):
        if _is_free(address, port):
            return port
    raise ClosedmailError(f"no free port on {address}: is it an address of this machine?")


def _is_free(address: str, port: int) -> bool:
    with socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((address, port))
        except OSError:
            return False
    return True


def _answers(listener: Listener, *, banner: bool) -> bool:
    try:
        with socket.create_connection((listener.address, listener.port), timeout=5) as connection:
            if not banner:
                return True
            greeting = connection.recv(512)
            connection.sendall(b"QUIT\r\n")
            return greeting[:3].isdigit()
    except OSError:
        return False


def _has_ipv6() -> bool:
    try:
        return bool(Path("/proc/net/if_inet6").read_text())
    except OSError:
        return False


def _settle(*paths: Path) -> None:
    """Make files look ten seconds old: Postfix reads one that has just been written over and over until it is not."""
    for path in paths:
        os.utime(path, (time.time() - 10,) * 2)


def _environment() -> dict[str, str]:
    # Nothing of the caller's environment: MAIL_CONFIG alone would lead every command to another Postfix.
    return {"PATH": _PATH, "LC_ALL": "C.UTF-8"}


def _works_in(pid: int, directory: Path) -> bool:
    """Whether the process runs with this working directory, and is no zombie."""
    try:
        return Path(f"/proc/{pid}/cwd").readlink() == directory
    except OSError:
        return False


def _kill(pid: int, number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, number)


def _exit(number: int, _frame: FrameType | None) -> None:
    raise SystemExit(128 + number)


@contextlib.contextmanager
def _signals_held() -> Iterator[None]:
    """Hold back Ctrl-C and its like until the block is done, so that a second one does not cut the cleaning short."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, signal.SIGTERM, signal.SIGHUP})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
