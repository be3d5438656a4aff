"""A Debian tree with Sendmail in it, which no machine with Postfix can install, and machines that run on it.

The tree is made once by debootstrap, kept in the tests' cache folder, and never written to again: each machine lays a
file system of its own over it, in mount, network and process namespaces of its own. closedmail runs there from this
checkout, with the versions of Python's packages that Debian has. When a machine's first process goes, the kernel takes
its processes, mounts and namespaces with it; and that process goes when its standard input ends.
"""

import ctypes
import hashlib
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import threading
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Self, TypeVar

from support.machines.docker import mirror, run
from support.real import SBIN

T = TypeVar("T")

NEEDS = ("root", "debootstrap", "unshare", "nsenter", "ip")  # for `pytest.mark.real`
PACKAGES = (
    *("sendmail-base", "sendmail-bin", "sendmail-cf", "m4", "openssl", "gnupg"),
    *("python3", "python3-click", "python3-gnupg", "python3-idna", "python3-lmdb", "python3-milter"),
)
CHECKOUT = Path(__file__).parents[3]
IN_TREE = "/opt/closedmail"  # where a machine sees the checkout
_PATH = f"{SBIN}:/usr/bin:/bin"
_CLONE_NEWNET = 0x40000000  # sched.h

# $1 the tree, $2 an empty folder, $3 the checkout.
_START = f"""
set -e
ip link set lo up
# Partners' servers: on this machine, but not its own addresses, which no list may route to.
ip route add local 198.18.0.0/24 dev lo
mount --make-rprivate /
mount -t tmpfs -o mode=755 closedmail "$2"
mkdir "$2/upper" "$2/work" "$2/whole"
mount -t overlay overlay -o "lowerdir=$1,upperdir=$2/upper,workdir=$2/work" "$2/whole"
mkdir -p "$2/whole{IN_TREE}"
mount --bind "$3" "$2/whole{IN_TREE}"
mount -o remount,bind,ro "$2/whole{IN_TREE}"
mount -t proc proc "$2/whole/proc"
exec chroot "$2/whole" sh -c 'echo ready; exec cat'
"""


def debian_tree(name: str = "sendmail", packages: Sequence[str] = PACKAGES, suite: str = "bookworm") -> Path:
    """The tree with these packages, from the cache where it is there.

    Only for root; needs a Debian mirror the first time.
    """
    cache = Path(os.environ.get("CLOSEDMAIL_TEST_CACHE", "/var/cache/closedmail-tests"))
    digest = hashlib.sha256(" ".join(packages).encode()).hexdigest()[:12]
    tree = cache / f"{name}-{suite}-{digest}"
    if tree.exists():
        return tree
    downloads = cache / "packages"
    downloads.mkdir(parents=True, exist_ok=True)
    scratch = Path(tempfile.mkdtemp(dir=cache, prefix="building-"))
    try:
        options = ["--variant=minbase", f"--cache-dir={downloads}", f"--include={','.join(packages)}"]
        # In a mount namespace: debootstrap mounts /proc in the tree, and leaves it there when it fails.
        run(
            ["unshare", "--mount", "debootstrap", *options, suite, scratch / "tree", *mirror(suite)],
            timeout=900,
        )
        shutil.rmtree(scratch / "tree" / "var" / "cache" / "apt" / "archives")
        try:
            (scratch / "tree").rename(tree)
        except OSError:
            assert tree.exists()  # another run of the tests was faster
    finally:
        shutil.rmtree(scratch)
    return tree


class Machine:
    """`with Machine() as machine:` a machine of its own, with nothing but the loopback network.

    `root` is its file system, as it is seen from here: `machine.root / "etc/mail"`. Each 127.0.0.x is an address that
    it has, and every port is free.
    """

    namespaces: tuple[str, ...] = ("--net", "--mount", "--pid")  # that `run` enters, beside the root folder

    def __init__(self, tree: Callable[[], Path] = debian_tree) -> None:
        self._tree = tree
        self._folder = Path(tempfile.mkdtemp(prefix="closedmail-machine-"))
        self.environment = {"PATH": _PATH, "LC_ALL": "C.UTF-8", "HOME": "/root", "PYTHONDONTWRITEBYTECODE": "1"}

    def __enter__(self) -> Self:
        command: list[str | Path] = [*("unshare", "--net", "--mount", "--pid", "--fork", "sh", "-c", _START, "sh")]
        command += [self._tree(), self._folder, CHECKOUT]
        self._process = subprocess.Popen(
            command,
            env={**os.environ, "PATH": _PATH},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            start_new_session=True,
        )
        assert self._process.stdout
        assert self._process.stdout.readline() == b"ready\n"
        children = Path(f"/proc/{self._process.pid}/task/{self._process.pid}/children").read_text()
        self._pid = int(children)
        self.root = Path(f"/proc/{self._pid}/root")
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        assert self._process.stdin
        self._process.stdin.close()
        try:
            self._process.wait(15)
        except subprocess.TimeoutExpired:
            os.kill(self._pid, signal.SIGKILL)
            self._process.wait(15)
        self._folder.rmdir()

    def command(self, *words: str | Path) -> list[str]:
        """What to start here so that it runs there."""
        # nsenter opens the working directory before it changes the root.
        enter = (
            "nsenter",
            "--target",
            str(self._pid),
            *self.namespaces,
            "--root",
            f"--wd={self.root}",
            "--",
        )
        return [*enter, "env", *map(str, words)]

    def run(
        self, *words: str | Path, stdin: str = "", timeout: float = 60, check: bool = True
    ) -> subprocess.CompletedProcess[str]:
        """Run a command there; its stdout and stderr are in the error when it fails."""
        done = subprocess.run(
            self.command(*words),
            env=self.environment,
            input=stdin,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=timeout,
            check=False,
        )
        if check:
            assert done.returncode == 0, f"{' '.join(map(str, words))}: {done.stdout}{done.stderr}"
        return done

    def start(self, *words: str | Path, more: Mapping[str, str] | None = None) -> subprocess.Popen[bytes]:
        """Start a program there that goes on; whoever starts it ends it, or the machine does."""
        return subprocess.Popen(
            self.command(*words), env={**self.environment, **(more or {})}, stdin=subprocess.DEVNULL
        )

    def python(self, *words: str | Path) -> list[str]:
        """The words of a command of the tree's own Python that knows closedmail."""
        return [f"PYTHONPATH={IN_TREE}", "python3", *map(str, words)]

    def closedmail(self, config: str, *words: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        """Run closedmail there, with the configuration file of that path there."""
        return self.run(*self.python("-m", "closedmail", "--config", config, *words), check=check)

    def call(self, function: Callable[[], T]) -> T:
        """Call a function with the machine's network: what it opens stays there, and may be used from anywhere.

        So `machine.call(lambda: Sink("127.0.0.20", 25))` listens there, and `machine.call(partial(deliver, …))` comes
        from there.
        """
        results: list[T] = []
        errors: list[BaseException] = []

        def there() -> None:
            try:
                self._enter_network()
                results.append(function())
            except BaseException as error:
                errors.append(error)

        thread = threading.Thread(target=there, daemon=True)  # setns(2) moves the calling thread alone
        thread.start()
        thread.join()
        if errors:
            raise errors[0]
        return results[0]

    def can_connect(self, address: str, port: int) -> bool:
        """Whether somebody listens there."""
        try:
            self.call(partial(socket.create_connection, (address, port), 5)).close()
        except OSError:
            return False
        return True

    def write(self, path: str, text: str | bytes, mode: int = 0o644) -> None:
        """Put a file there, and the folders above it."""
        place = self.root / path.lstrip("/")
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(text.encode() if isinstance(text, str) else text)
        place.chmod(mode)

    def copy(self, files: Sequence[Path], folder: str) -> None:
        """Copy files there, under their names."""
        for file in files:
            self.write(f"{folder}/{file.name}", file.read_bytes(), file.stat().st_mode & 0o777)

    def _enter_network(self) -> None:
        libc = ctypes.CDLL(None, use_errno=True)
        descriptor = os.open(f"/proc/{self._pid}/ns/net", os.O_RDONLY)
        try:
            if libc.setns(descriptor, _CLONE_NEWNET) != 0:
                raise OSError(ctypes.get_errno(), "setns")
        finally:
            os.close(descriptor)
