"""The Debian package of this checkout, and trees of Debian in which it can be installed without a network."""

import os
import pty
import select
import subprocess
import time
from pathlib import Path

from support.machines.docker import run
from support.machines.tree import CHECKOUT, Machine, debian_tree

NEEDS = ("root", "debootstrap", "unshare", "nsenter", "ip", "dpkg-buildpackage", "dh", "dh_python3", "pybuild")
SUITES = ("bookworm", "trixie")
# What the package depends on, a mail server, and the shells that complete its command.
_PACKAGES = (
    *("bash-completion", "openssl", "postfix", "postfix-lmdb", "publicsuffix", "python3", "python3-click"),
    *("python3-gnupg", "python3-idna", "python3-lmdb", "python3-milter", "systemd", "zsh", "procps"),
)


def build(folder: Path, checkout: Path = CHECKOUT, umask: str = "022") -> Path:
    """Make the package, into that folder."""
    script = f'umask {umask}; exec "$1/scripts/build-deb" --output "$2"'
    run(["bash", "-c", script, "bash", checkout, folder], timeout=300)
    (package,) = folder.glob("*.deb")
    return package


def renumbered(package: Path, version: str, folder: Path) -> Path:
    """The same package under another version."""
    parts = folder / "parts"
    run(["dpkg-deb", "--raw-extract", package, parts])
    control = parts / "DEBIAN" / "control"
    fields = control.read_text().splitlines()
    control.write_text("".join(f"{f'Version: {version}' if f.startswith('Version:') else f}\n" for f in fields))
    result = folder / f"closedmail_{version}_all.deb"
    run(["dpkg-deb", "--root-owner-group", "--build", parts, result])
    return result


def deb_machine(suite: str) -> Machine:
    """A machine of that release, on which the package is not installed yet."""
    return Machine(lambda: debian_tree("deb", _PACKAGES, suite))


def install(machine: Machine, package: Path) -> None:
    machine.copy([package], "/srv")
    machine.run("dpkg", "--force-confold", "--install", f"/srv/{package.name}")
    (machine.root / "srv" / package.name).unlink()


class Shell:
    """A shell on a terminal there, as somebody types into it."""

    def __init__(self, machine: Machine, *words: str) -> None:
        self._terminal, end = pty.openpty()
        self._process = subprocess.Popen(
            machine.command("TERM=dumb", *words),
            env=machine.environment,
            stdin=end,
            stdout=end,
            stderr=end,
            start_new_session=True,
        )
        os.close(end)

    def type(self, text: str, until: str) -> str:
        """Type, and wait until that is seen; what was seen."""
        os.write(self._terminal, text.encode())
        seen, deadline = "", time.monotonic() + 30
        while until not in seen:
            ready, _, _ = select.select([self._terminal], [], [], max(0, deadline - time.monotonic()))
            assert ready, f"typed {text!r}, waited for {until!r}, saw {seen!r}"
            seen += os.read(self._terminal, 4096).decode(errors="replace")
        return seen

    def close(self) -> None:
        """End it."""
        self._process.kill()
        self._process.wait()
        os.close(self._terminal)
