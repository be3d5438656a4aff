"""Tests on real parts: skipped, with the reason, where a part is missing, and failed where `CI=true` says all must run.

Two pytest hooks (taken over by conftest.py): `@pytest.mark.real("root", "postfix", "postfix-lmdb")`, or a call of
`require(…)` in a fixture. A part is a command, or one of the names in `PARTS`.
"""

import functools
import importlib.util
import os
import resource
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path

import lmdb
import pytest

from support.disk import can_mount

# Debian keeps Postfix's and Docker's programs there, and not every user's PATH has it.
SBIN = "/usr/sbin:/sbin"


@functools.cache
def _has_lmdb_tables() -> bool:
    postconf = find("postconf")
    if postconf is None:
        return False
    # A machine whose Postfix was never configured has no main.cf, and postconf fails without one.
    with tempfile.TemporaryDirectory() as directory:
        (Path(directory) / "main.cf").touch()
        types = subprocess.run([postconf, "-c", directory, "-m"], capture_output=True, text=True, check=False).stdout
    return "lmdb" in types.split()


@functools.cache
def _has_compose() -> bool:
    docker = find("docker")
    plugin = docker and subprocess.run([docker, "compose", "version"], capture_output=True, check=False).returncode == 0
    return bool(plugin or find("docker-compose"))


@functools.cache
def _can_trace() -> bool:
    """Whether strace can attach to a process that is no child of its own (ptrace(2), "ptrace_scope")."""
    strace, scope = find("strace"), Path("/proc/sys/kernel/yama/ptrace_scope")
    if not strace or (os.geteuid() != 0 and scope.exists() and scope.read_text().strip() != "0"):
        return False
    return subprocess.run([strace, "-o", os.devnull, "true"], capture_output=True, check=False).returncode == 0


def _may_open(files: int) -> bool:
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    return limit == resource.RLIM_INFINITY or limit >= files


def _has_ipv6_loopback(addresses: Path = Path("/proc/net/if_inet6")) -> bool:
    """Whether ::1 is among the addresses of all interfaces, one a line in no order (absent: a kernel without IPv6)."""
    return addresses.exists() and any(line.split()[0] == f"{1:032x}" for line in addresses.read_text().splitlines())


@functools.cache
def _others_read_python() -> bool:
    """Whether other users can read Python and this checkout, by the modes of the folders on the way."""
    folders = {Path(sys.prefix), Path(sys.base_prefix), Path(lmdb.__file__).parent, Path(__file__).parent}
    wanted = {*folders, *(parent for folder in folders for parent in folder.parents)}
    return all(each.stat().st_mode & 0o001 for each in wanted)


PARTS: Mapping[str, Callable[[], bool]] = {
    "docker-compose": _has_compose,
    "root": lambda: os.geteuid() == 0,
    "postfix-lmdb": _has_lmdb_tables,
    "strace": _can_trace,
    "::1": _has_ipv6_loopback,
    "1,200 open files": lambda: _may_open(1_200),
    "2,500 open files": lambda: _may_open(2_500),
    "Python for all users": _others_read_python,
    "tmpfs": functools.cache(can_mount),
    # Modules of extras, as Debian's packages are called.
    "python3-dnspython": lambda: importlib.util.find_spec("dns") is not None,
    "python3-milter": lambda: importlib.util.find_spec("Milter") is not None,
}


def find(command: str) -> str | None:
    """Where a command is, also one that only root has in the PATH."""
    return shutil.which(command, path=f"{os.environ.get('PATH', os.defpath)}:{SBIN}")


def missing(*parts: str) -> list[str]:
    """Which of these parts this machine doesn't have."""
    return [part for part in parts if not (PARTS[part]() if part in PARTS else find(part))]


def require(*parts: str) -> None:
    """Skip the test when a part is missing; fail it when the environment says that nothing may be skipped."""
    if lacking := missing(*parts):
        reason = f"needs {', '.join(lacking)}"
        if os.environ.get("CI") == "true":
            pytest.fail(f"{reason} (CI=true: nothing may be skipped)", pytrace=False)
        pytest.skip(reason)


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line(
        "markers", "real(*parts): runs on real parts (commands, root); skipped where one is missing"
    )


def pytest_runtest_setup(item: pytest.Item) -> None:
    for mark in item.iter_markers("real"):
        require(*mark.args)
