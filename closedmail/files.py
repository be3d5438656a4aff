"""Replace files atomically: written aside, synced, renamed, the folder synced."""

import errno
import fcntl
import json
import os
import secrets
import shutil
import stat
import time
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any, BinaryIO, TextIO

from closedmail.folders import open_folder

Owner = tuple[int, int]  # user and group, by number

_ASIDE = ".closedmail-new-"  # and 16 random hex digits: a file that is being written

# A killed run's postmap or gpg may be at work in its folder for a moment longer: files come and go while it is emptied.
_ATTEMPTS = 50
_PAUSE = 0.02  # seconds
_PIECE = 1 << 20  # bytes compared at a time


def write_synced(path: Path, chunks: Iterable[bytes], mode: int = 0o644) -> None:
    """Write a new file and sync it. Raises OSError; what is there in part is then for its maker to remove."""
    with path.open("xb") as file:
        file.writelines(chunks)
        file.flush()
        os.fchmod(file.fileno(), mode)
        os.fsync(file.fileno())


def open_regular(path: Path | str, *, follow: bool = False) -> int:
    """Open a regular file for reading, and never wait for one that is none: a pipe would hang who opens it.

    A symbolic link in its place is no such file, unless `follow`. Raises OSError.
    """
    flags = os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC | (0 if follow else os.O_NOFOLLOW)
    descriptor = os.open(path, flags)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise OSError(errno.EINVAL, "not a regular file", str(path))
    return descriptor


def read_file(path: Path | str, limit: int, *, follow: bool = False) -> bytes:
    """Read a regular file (see `open_regular`) of at most `limit` bytes. Raises OSError, for a longer one as well."""
    with open(open_regular(path, follow=follow), "rb") as file:
        data = file.read(limit + 1)
    if len(data) > limit:
        raise OSError(errno.EFBIG, f"more than {limit:,} bytes", str(path))
    return data


def open_text(path: Path, limit: int, errors: str = "strict") -> TextIO:
    """Open a regular text file of at most `limit` bytes, UTF-8. Raises OSError, for a longer one as well."""
    file = open(open_regular(path, follow=True), encoding="utf-8", errors=errors)  # noqa: SIM115, the caller closes it
    if os.fstat(file.fileno()).st_size > limit:
        file.close()
        raise OSError(errno.EFBIG, f"more than {limit:,} bytes", str(path))
    return file


def read_json(path: Path, limit: int) -> Any:
    """Read a JSON file of the state directory. Raises OSError; ValueError for what is not ours: no JSON, more than
    `limit` bytes, or nested too deep."""
    try:
        return json.loads(read_file(path, limit))
    except OSError as error:
        if error.errno != errno.EFBIG:
            raise
        raise ValueError(error.strerror) from None
    except RecursionError:
        raise ValueError("nested too deep") from None


def sync_path(path: Path) -> None:
    """Sync a file, or a folder's names."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def replace_file(
    path: Path, chunks: Iterable[bytes], mode: int = 0o644, owner: Owner | None = None, *, unless_same: bool = False
) -> bool:
    """Put new contents in place of a file in one step, and sync file and folder; return whether it was replaced.

    Of several writers at a time each succeeds, and the last one's file stays, whole. The file has its mode and its
    owner (None: the writer) before it gets its name. `unless_same` leaves a file alone that has these contents.
    Raises OSError with `path` as its file name, and then the old contents stay; only where the folder alone can't be
    synced, the new ones do.
    """
    try:
        folder = open_folder(path.parent)
        try:
            _sweep(folder)
            if not _replace_in(folder, path.name, chunks, mode, owner, unless_same=unless_same):
                return False
            os.fsync(folder)
        finally:
            os.close(folder)
    except OSError as error:
        raise OSError(error.errno, error.strerror, str(path)) from error
    return True


def _replace_in(
    folder: int, name: str, chunks: Iterable[bytes], mode: int, owner: Owner | None, *, unless_same: bool
) -> bool:
    aside, descriptor = _open_aside(folder)
    try:
        with open(descriptor, "w+b") as file:  # closed last, which lets the lock go
            file.writelines(chunks)
            file.flush()
            if unless_same and _is_same(file, folder, name):
                return False
            if owner is not None:
                os.fchown(descriptor, *owner)
            os.fchmod(descriptor, mode)
            os.fsync(descriptor)
            os.replace(aside, name, src_dir_fd=folder, dst_dir_fd=folder)
    finally:
        with suppress(OSError):
            os.unlink(aside, dir_fd=folder)
    return True


def _is_same(file: BinaryIO, folder: int, name: str) -> bool:
    """Compare what was written with a file that is there."""
    try:
        flags = os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC | os.O_NOFOLLOW
        descriptor = os.open(name, flags, dir_fd=folder)
    except OSError:
        return False
    with open(descriptor, "rb") as other:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            return False
        file.seek(0)
        while (piece := file.read(_PIECE)) == other.read(_PIECE):
            if not piece:
                return True
    return False


def _open_aside(folder: int) -> tuple[str, int]:
    """Make a file of our own, locked for as long as it is open. Raises OSError."""
    while True:
        aside = f"{_ASIDE}{secrets.token_hex(8)}"
        descriptor = os.open(aside, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600, dir_fd=folder)
        try:
            if _lock(descriptor) and os.fstat(descriptor).st_nlink:
                return aside, descriptor
        except OSError:
            os.close(descriptor)
            os.unlink(aside, dir_fd=folder)
            raise
        os.close(descriptor)  # another writer sweeps it, or has: it came before our lock


def _lock(descriptor: int) -> bool:
    """Lock a file, unless another process has. Where a file system has no locks nobody sweeps, and all may write."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        return error.errno != errno.EWOULDBLOCK
    return True


def _sweep(folder: int) -> None:
    """Remove what killed writers have left: regular files with our names that no living process has locked.

    A lock ends with its process; a number in the name, or an age, would be less reliable.
    """
    with suppress(OSError), os.scandir(folder) as entries:
        for entry in entries:
            if not entry.name.startswith(_ASIDE) or not entry.is_file(follow_symlinks=False):
                continue
            with suppress(OSError):
                descriptor = os.open(entry.name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK, dir_fd=folder)
                try:
                    fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    os.unlink(entry.name, dir_fd=folder)
                finally:
                    os.close(descriptor)


def folder_owner(path: Path) -> Owner | None:
    """Return the owner for a file of the state directory that root writes: the folder's owner, who writes it next time.

    None for everybody but root. Raises OSError.
    """
    if os.geteuid() != 0:
        return None
    folder = path.parent.stat()
    return folder.st_uid, folder.st_gid


def make_folder(path: Path, mode: int = 0o755) -> None:
    """Make a folder if it is missing, with exactly this mode, and sync its name. Raises OSError."""
    if not path.is_dir():
        make_folder(path.parent)
        path.mkdir(mode, exist_ok=True)
        _set_mode(path, mode)
        sync_path(path.parent)


def fresh_folder(path: Path, mode: int = 0o700) -> Path:
    """Make an empty folder; what an interrupted run left there goes. Raises OSError."""
    remove_tree(path)
    path.mkdir(parents=True)
    _set_mode(path, mode)
    return path


def _set_mode(folder: Path, mode: int) -> None:
    """Set the mode of a folder that was just made, and not of what somebody has put in its place. Raises OSError."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        os.fchmod(descriptor, mode)
    finally:
        os.close(descriptor)


def remove_tree(path: Path) -> None:
    """Remove a folder and all in it, if it exists, even while a process still works in it."""
    for attempt in range(1, _ATTEMPTS + 1):
        try:
            if path.is_symlink() or path.is_file():
                path.unlink()
            elif path.exists():
                shutil.rmtree(path)
        except OSError as error:
            if error.errno not in (errno.ENOENT, errno.ENOTEMPTY) or attempt == _ATTEMPTS:
                raise
            time.sleep(_PAUSE)
        else:
            return
