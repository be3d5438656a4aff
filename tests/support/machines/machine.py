"""A Debian machine with a running systemd: booted from a tree in half a second, with a private network, thrown away.

`with BootedMachine() as machine:`; `machine.install(deb.build(folder))` puts our package on it, as an administrator
would. Whatever is written there is in memory. When the test's process goes, so does the first process of the process
namespace around the machine, and the kernel takes all that runs in there.
"""

import os
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Self, TypeVar

from closedmail.demo.smtp_client import SmtpReply, deliver
from support.machines.tree import Machine, debian_tree
from support.real import SBIN

T = TypeVar("T")

NEEDS = ("root", "debootstrap", "unshare", "nsenter", "setpriv", "systemd-nspawn", "dpkg-buildpackage", "dh")
PACKAGES = (
    *("systemd", "systemd-sysv", "procps", "postfix", "postfix-lmdb", "openssl", "gnupg", "ca-certificates"),
    *("python3", "python3-click", "python3-gnupg", "python3-idna", "python3-lmdb", "python3-milter"),
)
_PATIENCE = 60.0  # seconds; only a test that fails waits so long

# $1 the tree.
_BOOT = """
set -e
mount --make-rprivate /
mount -t tmpfs -o mode=755 closedmail /run/systemd
mkdir /run/systemd/nspawn
exec systemd-nspawn --quiet --directory="$1" --register=no --keep-unit --boot --private-network --volatile=overlay \\
    --console=pipe --hostname=gateway
"""


def systemd_tree(suite: str = "bookworm") -> Path:
    """A Debian with systemd and Postfix, and with what our package depends on."""
    return debian_tree("systemd", PACKAGES, suite)


class BootedMachine(Machine):
    """Beside what `Machine` can: units, their journal, our package, mail. It may be entered once."""

    namespaces = ("--net", "--mount", "--pid", "--uts", "--ipc", "--cgroup")

    def __init__(self, tree: Callable[[], Path] = systemd_tree) -> None:
        super().__init__(tree)
        self._folder.rmdir()  # nspawn makes its file system itself

    def __enter__(self) -> Self:
        tree = self._tree()
        # systemd-nspawn alone does not take its machine with it when it is killed.
        around = ("unshare", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc")
        command = ["setpriv", "--pdeathsig", "KILL", *around, "sh", "-c", _BOOT, "sh", str(tree)]
        self._process = subprocess.Popen(
            command,
            env={**os.environ, "PATH": f"{SBIN}:/usr/bin:/bin"},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        try:
            self._pid = until(self._find_first_process, "no first process")
            self.root = Path(f"/proc/{self._pid}/root")
            until(lambda: (self.root / "run/systemd/private").is_socket(), "systemd does not answer")
            state = self.run("systemctl", "is-system-running", "--wait", check=False).stdout.strip()
            assert state == "running", self.run("systemctl", "--failed", check=False).stdout
        except BaseException:
            self._end()
            raise
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        if error is not None:
            print(self.journal())
        self._end()

    def systemctl(self, *words: str, check: bool = True, timeout: float = 60) -> str:
        """What systemctl says on stdout."""
        return self.run("systemctl", "--no-pager", *words, check=check, timeout=timeout).stdout

    def show(self, unit: str, name: str) -> str:
        """A property of a unit."""
        return self.systemctl("show", "--value", "--property", name, unit).strip()

    def journal(self, unit: str = "") -> str:
        """All that a unit has said, or everybody."""
        unit_only = ["--unit", unit] if unit else []
        return self.run("journalctl", "--no-pager", "--quiet", "--output", "cat", *unit_only, timeout=30).stdout

    def drop_in(self, unit: str, text: str) -> None:
        """Add lines to a unit, as `systemctl edit` does; they count when it starts the next time."""
        self.write(f"/etc/systemd/system/{unit}.d/test.conf", text)
        self.systemctl("daemon-reload")

    def inside(self, unit: str, program: str, *words: str) -> str:
        """Run a Python program where a service runs, with its mounts and as its user; what it says on stdout."""
        pid, user = self.show(unit, "MainPID"), self.show(unit, "User")
        drop = ("setpriv", f"--reuid={user}", f"--regid={user}", "--init-groups", "--bounding-set=-all")
        enter = ("nsenter", f"--target={pid}", "--mount", "--root", "--wd=/")
        return self.run(*enter, "--", *drop, "python3", "-c", program, *words).stdout

    def install(self, package: Path) -> str:
        """Install a Debian package whose dependencies are there, or upgrade it; what dpkg says."""
        self.copy([package], "/srv")
        done = self.run("env", "DEBIAN_FRONTEND=noninteractive", "dpkg", "--install", f"/srv/{package.name}")
        return done.stdout + done.stderr

    def postconf(self, settings: Mapping[str, str]) -> None:
        """Set these in main.cf, and have Postfix read them."""
        self.run("postconf", "-e", *(f"{name} = {value}" for name, value in settings.items()))
        self.systemctl("reload-or-restart", "postfix")

    def send(
        self, sender: str, source: str, recipients: Sequence[str] = ("office@city.example",), **more: str
    ) -> SmtpReply:
        """Send a mail to its Postfix from an address of its own (127.0.0.x)."""
        data = "".join(f"{name.replace('_', '-')}: {value}\r\n" for name, value in more.items()) + "\r\nA test.\r\n"
        return self.call(
            partial(
                deliver,
                "127.0.0.1",
                25,
                sender=sender,
                recipients=recipients,
                source_address=source,
                data=data.encode(),
            )
        )

    def _find_first_process(self) -> int:
        assert self._process.poll() is None, self._process.stdout and self._process.stdout.read()
        for outer in _children(self._process.pid):
            for child in _children(outer):
                # The one that has become systemd; before, there is a helper of nspawn's.
                if Path(f"/proc/{child}/comm").read_text() == "systemd\n":
                    return child
        return 0

    def _end(self) -> None:
        self._process.kill()
        self._process.wait(15)
        assert self._process.stdout
        self._process.stdout.close()


def _children(pid: int) -> list[int]:
    return list(map(int, Path(f"/proc/{pid}/task/{pid}/children").read_text().split()))


def until(find: Callable[[], T], complaint: str) -> T:
    """What `find` finds, as soon as it is something."""
    deadline = time.monotonic() + _PATIENCE
    while not (found := find()):
        assert time.monotonic() < deadline, complaint
        time.sleep(0.02)
    return found
