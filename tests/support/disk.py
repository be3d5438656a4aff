"""A small disk of a test's own: a tmpfs that can be filled, run out of inodes, and be made read-only."""

import os
import subprocess
from pathlib import Path
from types import TracebackType
from typing import Self

_BLOCK = 4096


class SmallDisk:
    """`with SmallDisk(place) as disk:` mounts a tmpfs at a new folder and unmounts it, whatever happens in it.

    `size` and `inodes` are what tmpfs takes for them ("8m", 0: no limit).
    """

    def __init__(self, place: Path, *, size: str = "8m", inodes: int = 0) -> None:
        self.place = place
        self._options = f"size={size},nr_inodes={inodes},mode=755"
        self._ballast = place / "ballast"

    def __enter__(self) -> Self:
        self.place.mkdir()
        _run("mount", "-t", "tmpfs", "-o", self._options, "tmpfs", str(self.place))
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        # Lazily: what still has a file open there shall not keep the mount for ever.
        _run("umount", "--lazy", str(self.place))
        self.place.rmdir()

    def leave(self, free: int) -> None:
        """Fill it, so that just that many bytes are free."""
        self.empty()
        with self._ballast.open("wb") as file:
            status = os.fstatvfs(file.fileno())
            size = status.f_bavail * status.f_frsize - free
            if size >= _BLOCK:
                os.posix_fallocate(file.fileno(), 0, size // _BLOCK * _BLOCK)

    def leave_inodes(self, free: int) -> None:
        """Fill it with empty files, so that just that many more can be made."""
        self.empty()
        self._ballast.mkdir()
        for number in range(os.statvfs(self.place).f_ffree - free):
            (self._ballast / str(number)).touch()

    def empty(self) -> None:
        """Take away what filled it."""
        if self._ballast.is_dir():
            for path in self._ballast.iterdir():
                path.unlink()
            self._ballast.rmdir()
        self._ballast.unlink(missing_ok=True)

    def write_protect(self, on: bool) -> None:
        """Make it read-only, or writable again."""
        _run("mount", "-o", f"remount,{'ro' if on else 'rw'}", str(self.place))


def can_mount() -> bool:
    """Whether this user and this machine can mount a tmpfs: root in a container often can't."""
    if os.geteuid() != 0:
        return False
    # In a mount namespace of its own, so that nothing stays.
    probe = ["unshare", "--mount", "mount", "-t", "tmpfs", "tmpfs", "/mnt"]
    return subprocess.run(probe, capture_output=True, check=False).returncode == 0


def _run(*command: str) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
