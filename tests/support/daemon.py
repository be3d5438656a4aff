"""The daemons as child processes, a policy client, and the command line, for tests."""

import io
import json
import os
import re
import resource
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import traceback
from collections.abc import Mapping, Sequence
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from types import TracebackType
from typing import Any, Self
from unittest import mock

from closedmail.cli.main import main

_PATIENCE = 15.0  # seconds; only a test that fails waits so long


def request(**attributes: str | bytes) -> bytes:
    """A policy request as Postfix writes it; attributes given here replace the usual ones or come after them."""
    usual: dict[str, str | bytes] = {
        "request": "smtpd_access_policy",
        "protocol_state": "RCPT",
        "protocol_name": "ESMTP",
        "helo_name": "client.example",
        "queue_id": "",
        "sender": "",
        "recipient": "office@city.example",
        "recipient_count": "0",
        "client_address": "",
        "client_name": "unknown",
        "instance": "",
        "sasl_username": "",
        "ccert_subject": "",
        "ccert_issuer": "",
        "ccert_fingerprint": "",
        "ccert_pubkey_fingerprint": "",
        "encryption_protocol": "",
    }
    pairs = {**usual, **attributes}
    lines = [
        name.encode() + b"=" + (value.encode() if isinstance(value, str) else value) for name, value in pairs.items()
    ]
    return b"".join(line + b"\n" for line in lines) + b"\n"


class PolicyClient:
    """One connection to the daemon at WHERE."""

    def __init__(self, where: str) -> None:
        self.socket = connect(where)
        self._received = b""

    def send(self, data: bytes) -> None:
        self.socket.sendall(data)

    def action(self) -> str | None:
        """The next answer's action; None when the connection was closed without one."""
        while b"\n\n" not in self._received:
            try:
                data = self.socket.recv(65536)
            except ConnectionResetError:
                data = b""
            if not data:
                assert not self._received, f"cut short: {self._received!r}"
                return None
            self._received += data
        answer, _, self._received = self._received.partition(b"\n\n")
        assert answer.startswith(b"action="), answer
        return answer.removeprefix(b"action=").decode()

    def ask(self, **attributes: str | bytes) -> str | None:
        """The action for a request."""
        self.send(request(**attributes))
        return self.action()

    def close(self) -> None:
        self.socket.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self.close()


def connect(where: str) -> socket.socket:
    """A connection to WHERE; OSError where nobody listens."""
    kind, _, rest = where.partition(":")
    if kind == "unix":
        connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            connection.settimeout(_PATIENCE)
            connection.connect(rest)
        except OSError:
            connection.close()
            raise
        return connection
    host, _, port = rest.rpartition(":")
    connection = socket.create_connection((host.strip("[]"), int(port)), timeout=_PATIENCE)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return connection


# Starts a program as systemd does with the sockets of a .socket unit (sd_listen_fds(3)): $1 are their descriptors here.
_HAND_OVER = """
import fcntl, os, sys
high = [fcntl.fcntl(int(each), fcntl.F_DUPFD, 100) for each in sys.argv[1].split(",")]
for number, descriptor in enumerate(high, 3):
    os.dup2(descriptor, number)
os.execve(sys.argv[2], sys.argv[2:], {"LISTEN_FDS": str(len(high)), "LISTEN_PID": str(os.getpid()), **os.environ})
"""


class Daemon:
    """`with Daemon(config) as daemon:` runs `closedmail policyd`, or `milter`, until the block ends.

    `where` are the addresses on which it listens. Its stderr is collected while it runs.
    """

    def __init__(
        self,
        config: Path,
        *arguments: str,
        command: str = "policyd",
        limit_files: int = 0,
        python: Sequence[str] = (sys.executable,),
        sockets: Sequence[socket.socket] = (),
        environment: Mapping[str, str] | None = None,
    ) -> None:
        """`python` is how to run Python, with nsenter(1) in front where that is on another machine.

        `sockets` are handed over as systemd does it, `environment` comes on top of what there is.
        """
        self._command = [*python, "-m", "closedmail", "--config", str(config), command, *arguments]
        self._entered = len(python) > 1
        self._limit = limit_files
        self._sockets = [each.fileno() for each in sockets]
        self._environment = environment or {}
        self.where: list[str] = []
        self._lines: list[str] = []
        self._process: subprocess.Popen[str] | None = None
        self._collector = threading.Thread(target=self._collect, daemon=True)

    def __enter__(self) -> Self:
        command = self._command
        if self._limit:
            command = ["prlimit", f"--nofile={self._limit}:{self._limit}", *command]
        if self._sockets:
            command = [sys.executable, "-c", _HAND_OVER, ",".join(map(str, self._sockets)), *command]
        self._process = subprocess.Popen(
            command,
            env={**os.environ, **self._environment},
            pass_fds=self._sockets,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            errors="surrogateescape",
        )
        self._collector.start()
        try:
            self.where = self.wait_for(r"is listening on (.*)")[1].split(", ")
        except BaseException:
            self.kill()
            raise
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        alive = self.running
        self.kill()
        if error is not None:
            print(self.log())
        else:
            assert alive or self._process is None or self.process.returncode == 0, self.log()
            assert "Traceback" not in self.log(), self.log()

    @property
    def process(self) -> subprocess.Popen[str]:
        assert self._process is not None, "not started"
        return self._process

    @property
    def running(self) -> bool:
        return self.process.poll() is None

    def client(self, at: int = 0) -> PolicyClient:
        return PolicyClient(self.where[at])

    def ask(self, **attributes: str | bytes) -> str | None:
        """The action for one request on a connection of its own."""
        with self.client() as client:
            return client.ask(**attributes)

    def log(self) -> str:
        """All that it has said so far."""
        return "".join(self._lines)

    def wait_for(self, pattern: str, times: int = 1) -> re.Match[str]:
        """The match number `times` of a regular expression in the log, as soon as it is there."""
        deadline = time.monotonic() + _PATIENCE
        while True:
            over = not self.running
            if over:
                self._collector.join(_PATIENCE)
            found = list(re.finditer(pattern, self.log(), re.MULTILINE))
            if len(found) >= times:
                return found[times - 1]
            assert not over, f"the daemon ended with {self.process.returncode}: {self.log()}"
            assert time.monotonic() < deadline, f"no {pattern!r} in the log: {self.log()}"
            time.sleep(0.005)

    def verdicts(self) -> list[dict[str, str]]:
        """The verdict lines of the log as dictionaries."""
        lines = [line for line in self.log().splitlines() if line.startswith("network=")]
        return [dict(field.split("=", 1) for field in line.split()) for line in lines]

    def memory(self) -> int:
        """Resident bytes that are its own (no files that it has mapped)."""
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        found = re.search(r"^RssAnon:\s+(\d+) kB", status, re.MULTILINE)
        assert found, status
        return int(found[1]) * 1024

    @property
    def pid(self) -> int:
        """Of the daemon itself, not of what has started it on another machine."""
        pid = self.process.pid
        if not self._entered:
            return pid
        return int(Path(f"/proc/{pid}/task/{pid}/children").read_text())

    def signal(self, number: signal.Signals) -> None:
        os.kill(self.pid, number)

    def reload(self) -> None:
        """SIGHUP, and wait until it was handled, well or not."""
        done = r"configuration re-read|going on with the configuration from before"
        before = len(re.findall(done, self.log()))
        self.signal(signal.SIGHUP)
        self.wait_for(done, before + 1)

    def wait(self) -> int:
        """The exit status, once it has ended by itself."""
        status = self.process.wait(_PATIENCE)
        self._collector.join(_PATIENCE)
        return status

    def stop(self) -> int:
        """SIGTERM, and the exit status."""
        self.signal(signal.SIGTERM)
        return self.wait()

    def kill(self) -> None:
        """End it at once."""
        if self._process is not None:
            if self.running and self._entered:
                os.kill(self.pid, signal.SIGKILL)
            self._process.kill()
            self._process.wait(_PATIENCE)
            self._collector.join(_PATIENCE)
            if self._process.stderr:
                self._process.stderr.close()

    def _collect(self) -> None:
        assert self.process.stderr is not None
        self._lines.extend(self.process.stderr)


@dataclass(frozen=True)
class Output:
    """What a command did."""

    status: int
    stdout: str
    stderr: str

    @property
    def json(self) -> dict[str, Any]:
        """The one JSON object on stdout."""
        value = json.loads(self.stdout)
        assert isinstance(value, dict)
        return value

    @property
    def error(self) -> str:
        """The one error line, without what all of them begin with; nothing else was said."""
        assert self.stdout == ""
        assert self.stderr.startswith("closedmail: error: "), self.stderr
        assert self.stderr.count("\n") == 1, self.stderr
        assert self.stderr.endswith("\n"), self.stderr
        return self.stderr.removeprefix("closedmail: error: ").rstrip("\n")


def closedmail(
    *arguments: str | bytes | Path,
    config: Path | None = None,
    environment: Mapping[str, str] | None = None,
    stdout: int = subprocess.PIPE,
) -> Output:
    """Run the command line in a process of its own."""
    chosen: list[str | bytes | Path] = [] if config is None else ["--config", config]
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("CLOSEDMAIL_")}
    done = subprocess.run(
        [sys.executable, "-m", "closedmail", *chosen, *arguments],
        env={**inherited, **(environment or {})},
        stdin=subprocess.DEVNULL,
        stdout=stdout,
        stderr=subprocess.PIPE,
        timeout=60,
        check=False,
    )
    out, err = (data.decode("utf-8", "surrogateescape") for data in (done.stdout or b"", done.stderr))
    assert "Traceback" not in err, err
    return Output(done.returncode, out, err)


def closedmail_inside(*arguments: str, config: Path) -> Output:
    """Run the command line in this process, which is faster; whatever it raises is raised."""
    out, err = io.StringIO(), io.StringIO()
    argv = ["closedmail", "--config", str(config), *arguments]
    with mock.patch.object(sys, "argv", argv), redirect_stdout(out), redirect_stderr(err):
        status = _exit_status()
    return Output(status, out.getvalue(), err.getvalue())


def _exit_status() -> int:
    try:
        main()
    except SystemExit as end:
        return int(end.code or 0)
    raise AssertionError("main() always exits")


def closedmail_as(user: int, *arguments: str, config: Path) -> Output:
    """Run the command line as another user, in a fork: that user may not even be able to reach the interpreter."""
    import_module(f"closedmail.cli.{arguments[0]}_command")
    with tempfile.TemporaryFile("w+") as result:
        child = os.fork()
        if child == 0:
            try:
                os.setgroups([])
                os.setgid(user)
                os.setuid(user)
                done = closedmail_inside(*arguments, config=config)
                json.dump([done.status, done.stdout, done.stderr], result)
            except BaseException:
                json.dump([99, "", traceback.format_exc()], result)
            finally:
                result.flush()
                os._exit(0)
        os.waitpid(child, 0)
        result.seek(0)
        output = Output(*json.load(result))
    assert "Traceback" not in output.stderr, output.stderr
    return output


def raise_file_limit(wanted: int) -> bool:
    """Allow this process so many open files; False where the machine does not."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard < wanted:
        return False
    if soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
    return True
