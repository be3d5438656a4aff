"""A Sendmail in a machine of its own: started from a .mc, asked for its routing, its log read.

It listens on 127.0.0.1:25 there, so that partners' servers may be sinks on port 25 of other loopback addresses. There
is no DNS: hosts are addresses or stand in the machine's /etc/hosts, where 127.0.0.66 is client66.bench.example.
"""

import os
import re
import signal
import smtplib
import socket
import subprocess
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from closedmail.demo.smtp_client import SmtpReply, deliver
from support.machines.tree import Machine

CF = "/usr/share/sendmail/cf"
_PATIENCE = 30.0  # seconds; only a test that fails waits so long

# What the tests' Sendmails have in common. Without `debian` and `debian-mta`, Debian's folders are "unsafe".
HEAD = """\
VERSIONID(`closedmail tests')
OSTYPE(`debian')
DOMAIN(`debian-mta')
define(`confSERVICE_SWITCH_FILE', `/etc/mail/service.switch')
define(`confDELIVERY_MODE', `background')
define(`confLOG_LEVEL', `14')
define(`confTO_IDENT', `0')
define(`confTO_CONNECT', `3s')
define(`confMIN_QUEUE_AGE', `0')
define(`confDOMAIN_NAME', `gateway.city.example')
define(`confDONT_PROBE_INTERFACES', `True')
undefine(`confHOST_STATUS_DIRECTORY')
define(`confDONT_BLAME_SENDMAIL', `GroupReadableKeyFile')
FEATURE(`no_default_msa')
FEATURE(`nocanonify')
FEATURE(`accept_unresolvable_domains')
DAEMON_OPTIONS(`Name=MTA, Family=inet, Addr=127.0.0.1, Port=25')
LOCAL_DOMAIN(`city.example')
"""
MAILERS = "MAILER(`local')\nMAILER(`smtp')\n"


class SyslogFile:
    """The machine's syslog: a socket at its /dev/log, and the lines that came, without their priority."""

    def __init__(self, machine: Machine) -> None:
        self._lines: list[str] = []
        self._arrived = threading.Condition()
        place = machine.root / "dev/log"
        place.unlink(missing_ok=True)
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(str(place))
        place.chmod(0o666)
        threading.Thread(target=self._read, daemon=True).start()

    def close(self) -> None:
        """Stop reading; what came stays."""
        self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()

    def text(self) -> str:
        """All lines so far."""
        with self._arrived:
            return "\n".join(self._lines)

    def wait_for(self, pattern: str, timeout: float = _PATIENCE) -> re.Match[str]:
        """Wait for a line in which the pattern is found."""
        compiled = re.compile(pattern)

        def found() -> re.Match[str] | None:
            return next(filter(None, map(compiled.search, self._lines)), None)

        with self._arrived:
            match = self._arrived.wait_for(found, timeout)
            assert match, f"{pattern!r} is not in the log:\n" + "\n".join(self._lines)
            return match

    def _read(self) -> None:
        while True:
            try:
                line = self._socket.recv(65536)
            except OSError:
                return
            if not line:
                return
            with self._arrived:
                self._lines.append(re.sub(r"^<\d+>", "", line.decode("utf-8", "replace").rstrip("\0\n")))
                self._arrived.notify_all()


class Sendmail:
    """`with Sendmail(machine, mc) as sendmail:` it runs until the end of the block.

    `mc` is a whole .mc but for the include of cf.m4; `HEAD + … + MAILERS` is one. `queue` is how often it tries what is
    queued ("1s"); "" for only when `flush` is called. `name` keeps several on one machine apart: folders and files.
    """

    def __init__(self, machine: Machine, mc: str, *, queue: str = "", name: str = "test") -> None:
        self.machine = machine
        self.cf = f"/etc/mail/{name}.cf"
        self._queue = queue
        machine.write("/etc/mail/service.switch", "hosts files\naliases files\npasswd files\n")
        hosts = ["127.0.0.1 localhost gateway.city.example"]
        hosts += [f"127.0.0.{number} client{number}.bench.example" for number in range(2, 255)]
        machine.write("/etc/hosts", "\n".join(hosts) + "\n")
        machine.write(f"/etc/mail/{name}.mc", mc)
        done = machine.run("m4", f"-D_CF_DIR_={CF}/", f"{CF}/m4/cf.m4", f"/etc/mail/{name}.mc")
        assert not done.stderr, done.stderr
        machine.write(self.cf, done.stdout)

    def __enter__(self) -> Self:
        self.log = SyslogFile(self.machine)
        options = [f"-q{self._queue}"] if self._queue else []
        self._process = self.machine.start("sendmail", "-bD", *options, f"-C{self.cf}")
        deadline = time.monotonic() + _PATIENCE
        while not self.machine.can_connect("127.0.0.1", 25):
            assert self._process.poll() is None, f"Sendmail ended:\n{self.log.text()}"
            assert time.monotonic() < deadline, f"Sendmail does not answer:\n{self.log.text()}"
            time.sleep(0.02)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        if error is not None:
            print(self.log.text())
        children = Path(f"/proc/{self._process.pid}/task/{self._process.pid}/children").read_text().split()
        for child in children or [str(self._process.pid)]:  # nsenter waits for Sendmail, which is its child
            os.kill(int(child), signal.SIGTERM)
        try:
            self._process.wait(15)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait(15)
        self.log.close()

    def deliver(self, sender: str, *recipients: str, source: str = "127.0.0.1", **how: Any) -> SmtpReply:
        """Speak SMTP to it from an address of the machine: closedmail.demo.smtp_client's `deliver`."""
        call = partial(deliver, "127.0.0.1", 25, sender=sender, recipients=recipients, source_address=source, **how)
        return self.machine.call(call)

    @contextmanager
    def session(self) -> Iterator[smtplib.SMTP]:
        """An SMTP session that lasts as long as the block."""
        with self.machine.call(partial(smtplib.SMTP, "127.0.0.1", 25, timeout=30)) as smtp:
            smtp.ehlo()
            yield smtp

    def ask(self, *lines: str) -> str:
        """What `sendmail -bt` says to these lines."""
        text = "".join(f"{line}\n" for line in lines)
        return self.machine.run("sendmail", "-bt", f"-C{self.cf}", stdin=text, check=False).stdout

    def lookup(self, table: str, key: str) -> str | None:
        """`/map TABLE KEY`: the value, None where there is none."""
        found = re.search(r"returns (.*) \(-?\d+\)$", self.ask(f"/map {table} {key}"), re.MULTILINE)
        return found[1] if found else None

    def route(self, address: str) -> str:
        """What rule sets 3 and 0 make of an address, without blanks: `$#esmtp$@[192.0.2.1]$:u<@koeln.example.>`."""
        found = re.findall(r"^parse\s+returns: (.*)$", self.ask(f"3,0 {address}"), re.MULTILINE)
        return str(found[-1]).replace(" ", "")

    def verify(self, *addresses: str) -> str:
        """What `sendmail -bv` says: mailer, host and user of each, or why not."""
        done = self.machine.run("sendmail", "-bv", f"-C{self.cf}", "--", *addresses, check=False)
        return (done.stdout + done.stderr).strip()

    def queued(self) -> str:
        """What mailq shows."""
        return self.machine.run("sendmail", "-bp", f"-C{self.cf}").stdout

    def flush(self) -> str:
        """Try all that is queued, now, and wait until it was tried."""
        done = self.machine.run("sendmail", "-q", "-v", f"-C{self.cf}", timeout=120, check=False)
        return done.stdout + done.stderr


class Observer:
    """`with Observer(sendmail) as observer:` one `sendmail -bt`, which keeps its maps open as any Sendmail process."""

    def __init__(self, sendmail: Sendmail) -> None:
        self._sendmail = sendmail

    def __enter__(self) -> Self:
        machine = self._sendmail.machine
        self._process = subprocess.Popen(
            machine.command("sendmail", "-bt", f"-C{self._sendmail.cf}"),
            env=machine.environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        self._read()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self._process.communicate(timeout=15)

    def lookup(self, table: str, key: str) -> str | None:
        """`/map TABLE KEY`: the value, None where there is none."""
        assert self._process.stdin
        self._process.stdin.write(f"/map {table} {key}\n".encode())
        self._process.stdin.flush()
        found = re.search(r"returns (.*) \(-?\d+\)$", self._read(), re.MULTILINE)
        return found[1] if found else None

    def _read(self) -> str:
        """What it says until its next prompt."""
        assert self._process.stdout
        said = b""
        while not said.endswith(b"> "):
            more = os.read(self._process.stdout.fileno(), 65536)
            assert more, f"sendmail -bt ended: {said!r}"
            said += more
        return said.decode("utf-8", "replace")


def makemap(machine: Machine, path: str, rows: Sequence[str], kind: str = "hash") -> subprocess.CompletedProcess[str]:
    """Write a map's text there and make its index with makemap."""
    machine.write(path, "".join(f"{row}\n" for row in rows))
    return machine.run("makemap", kind, str(Path(path)), stdin="".join(f"{row}\n" for row in rows), check=False)
