"""Files that are whole or not there: written aside, synced, renamed, the folder synced."""

import errno
import os
import shutil
import time
from collections.abc import Iterable
from pathlib import Path

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


def replace_file(path: Path, chunks: Iterable[bytes], mode: int = 0o644) -> None:
    """Put new contents in place of a file, in one step; of two callers at a time one fails.

    Raises OSError, and then the old contents stand.
    """
    aside = path.with_name(f".{path.name}.new")  # one name, so that what a killed run leaves is not there for ever
    try:
        aside.unlink(missing_ok=True)
        write_synced(aside, chunks, mode)
        aside.replace(path)
    finally:
        aside.unlink(missing_ok=True)
    sync_path(path.parent)


def give_to_owner(path: Path) -> None:
    """What root has written into the state directory belongs to that one's owner, who writes it the next time.

    Raises OSError.
    """
    if os.geteuid() == 0:
        owner = path.parent.stat()
        os.chown(path, owner.st_uid, owner.st_gid, follow_symlinks=False)


def make_folder(path: Path, mode: int = 0o755) -> None:
    """Make a folder where it is missing, with just this mode, whatever the umask is. Raises OSError."""
    if not path.is_dir():
        make_folder(path.parent)
        path.mkdir(mode, exist_ok=True)
        path.chmod(mode)


def fresh_folder(path: Path, mode: int = 0o700) -> Path:
    """An empty folder; what an interrupted run left there goes."""
    remove_tree(path)
    path.mkdir(parents=True)
    path.chmod(mode)
    return path


def remove_tree(path: Path) -> None:
    """Remove a folder and all in it, if it is there, also under the hands of a process that still works in it."""
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
