"""A Docker daemon and a Debian image for tests, on a machine without a registry.

A daemon that already answers is used as it is. Otherwise one is started in network, mount and process namespaces of its
own: its bridges and firewall rules never meet the machine's, and when its first process goes, the kernel takes
containers, mounts and namespaces with it.
"""

import hashlib
import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from support.real import SBIN, find

PACKAGES = (
    "gnupg",
    "postfix",
    "postfix-lmdb",
    "python3",
    "python3-click",
    "python3-gnupg",
    "python3-idna",
    "python3-lmdb",
)


def _environment() -> dict[str, str]:
    # Debian's own programs first: dockerd looks for iptables and containerd, debootstrap for its tools.
    return {**os.environ, "PATH": f"{SBIN}:/usr/bin:/bin:{os.environ.get('PATH', '')}"}


def run(command: Sequence[str | Path], *, timeout: float = 60, check: bool = True) -> subprocess.CompletedProcess[str]:
    """Run a command with Debian's PATH; its stdout and stderr are in the error when it fails."""
    done = subprocess.run(
        command, env=_environment(), capture_output=True, text=True, errors="replace", timeout=timeout, check=False
    )
    if check:
        assert done.returncode == 0, f"{' '.join(map(str, command))}: {done.stdout}{done.stderr}"
    return done


def compose_command() -> str | None:
    """The V2 plugin where there is one, else the older program; None without either."""
    if find("docker") and run(["docker", "compose", "version"], check=False).returncode == 0:
        return "docker compose"
    return "docker-compose" if find("docker-compose") else None


def daemon_answers(host: str | None = None) -> bool:
    where = ["-H", host] if host else []
    return find("docker") is not None and run(["docker", *where, "version"], check=False).returncode == 0


@contextmanager
def daemon() -> Iterator[str]:
    """Start a daemon of our own; gives its address for DOCKER_HOST. It and all it started is gone afterwards."""
    directory = Path(tempfile.mkdtemp(prefix="closedmail-docker-"))
    host = f"unix://{directory}/docker.sock"
    dockerd = f"exec dockerd --data-root {directory}/data --exec-root {directory}/exec -p {directory}/pid -H {host}"
    command = [
        *("setpriv", "--pdeathsig", "KILL"),  # also when this process is killed
        *("unshare", "--net", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc"),
        *("sh", "-c", f"ip link set lo up && {dockerd}"),
    ]
    log = directory / "log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            command, env=_environment(), stdin=subprocess.DEVNULL, stdout=output, stderr=output, start_new_session=True
        )
    try:
        deadline = time.monotonic() + 60
        while not daemon_answers(host):
            tail = log.read_text(errors="replace")[-2000:]
            assert process.poll() is None, f"dockerd ended: {tail}"
            assert time.monotonic() < deadline, f"dockerd does not answer: {tail}"
            time.sleep(0.1)
        yield host
    finally:
        _end(process)
        shutil.rmtree(directory)


def _end(process: subprocess.Popen[bytes]) -> None:
    """Let dockerd end by itself; what is left after that, the kernel kills with the first process of the namespace."""
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children")
    try:
        for child in children.read_text().split():
            os.kill(int(child), 15)
        process.wait(15)
    except (OSError, subprocess.TimeoutExpired):
        process.kill()
        process.wait(15)


def base_image(cache: Path) -> Path:
    """A root file system with `PACKAGES` as a tar file, made by debootstrap once and kept in `cache`."""
    release = dict(line.split("=", 1) for line in Path("/etc/os-release").read_text().splitlines() if "=" in line)
    suite = release.get("VERSION_CODENAME", "bookworm").strip('"')
    digest = hashlib.sha256(" ".join(PACKAGES).encode()).hexdigest()[:12]
    archive = cache / f"docker-{suite}-{digest}.tar"
    if archive.exists():
        return archive
    cache.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=cache, prefix="building-") as scratch:
        tree = Path(scratch) / "tree"
        # In a mount namespace: debootstrap mounts /proc in the tree, and leaves it there when it fails.
        options = ["--variant=minbase", f"--include={','.join(PACKAGES)}"]
        run(["unshare", "--mount", "debootstrap", *options, suite, tree, *mirror(suite)], timeout=900)
        leave_out = ("./var/cache/apt/archives", "./var/lib/apt/lists", "./usr/share/doc", "./usr/share/locale")
        unfinished = Path(scratch) / "image.tar"
        run(["tar", "-C", tree, *(f"--exclude={path}" for path in leave_out), "-cf", unfinished, "."], timeout=300)
        unfinished.rename(archive)
    return archive


def mirror(suite: str) -> list[str]:
    """Where this machine's own apt gets the suite from; empty for debootstrap's default."""
    wanted = ["apt-get", "indextargets", "--format", "$(CODENAME) $(COMPONENT) $(REPO_URI)", "Created-By: Packages"]
    for line in run(wanted, check=False).stdout.splitlines():
        codename, component, uri = line.split(" ", 2)
        if (codename, component) == (suite, "main"):
            return [uri]
    return []
