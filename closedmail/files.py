"""Replace files atomically: written aside, synced, renamed, the folder synced."""

import errno
import fcntl
import filecmp
import os
import secrets
import shutil
import time
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

Owner = tuple[int, int]  # user and group, by number

_ASIDE = ".closedmail-new-"  # and 16 random hex digits: a file that is being written

# A killed run's postmap or gpg may be at work in its folder for a moment longer: files come and go while it is emptied.
_ATTEMPTS = 50
_PAUSE = 0.02  # seconds


def write_synced(path: Path, chunks: Iterable[bytes], mode: int = 0o644) -> None:
    """Write a new file and sync it. Raises OSError; what is there in part is then for its maker to remove."""
    with path.open("xb") as file:
        file.writelines(chunks)
        file.flush()
        os.fchmod(file.fileno(), mode)
        os.fsync(file.fileno())


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
        _sweep(path.parent)
        aside, descriptor = _open_aside(path.parent)
        try:
            with open(descriptor, "wb") as file:  # closed last, which releases the lock
                file.writelines(chunks)
                file.flush()
                if unless_same and path.is_file() and filecmp.cmp(path, aside, shallow=False):
                    return False
                if owner is not None:
                    os.fchown(descriptor, *owner)
                os.fchmod(descriptor, mode)
                os.fsync(descriptor)
                aside.replace(path)
        finally:
            with suppress(OSError):
                aside.unlink(missing_ok=True)
        sync_path(path.parent)
    except OSError as error:
        raise OSError(error.errno, error.strerror, str(path)) from error
    return True


def _open_aside(folder: Path) -> tuple[Path, int]:
    """Make a file of our own, locked for as long as it is open. Raises OSError."""
    while True:
        aside = folder / f"{_ASIDE}{secrets.token_hex(8)}"
        descriptor = os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
        try:
            if _lock(descriptor) and os.fstat(descriptor).st_nlink:
                return aside, descriptor
        except OSError:
            os.close(descriptor)
            aside.unlink(missing_ok=True)
            raise
        os.close(descriptor)  # another writer sweeps it, or has: it came before our lock


def _lock(descriptor: int) -> bool:
    """Lock a file, unless another process has. Where a file system has no locks nobody sweeps, and all may write."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        return error.errno != errno.EWOULDBLOCK
    return True


def _sweep(folder: Path) -> None:
    """Remove what killed writers have left: regular files with our names that no living process has locked.

    A lock ends with its process; a number in the name, or an age, would be less reliable.
    """
    with suppress(OSError), os.scandir(folder) as entries:
        for entry in entries:
            if not entry.name.startswith(_ASIDE) or not entry.is_file(follow_symlinks=False):
                continue
            with suppress(OSError):
                descriptor = os.open(entry.path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
                try:
                    fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    Path(entry.path).unlink()
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
        path.chmod(mode)
        sync_path(path.parent)


def fresh_folder(path: Path, mode: int = 0o700) -> Path:
    """Make an empty folder; what an interrupted run left there goes. Raises OSError."""
    remove_tree(path)
    path.mkdir(parents=True)
    path.chmod(mode)
    return path


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
