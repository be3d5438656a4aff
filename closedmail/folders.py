"""Folders of others: where a name may mean something else in the next moment, and who can see to that.

What root opens, makes or changes by a path is what the owners of all folders on the way have put there: a link in a
folder of closedmail's own user would lead root to /etc/shadow.
"""

import errno
import os
import stat
from collections.abc import Callable
from pathlib import Path

_MOST_LINKS = 40  # on the way to a file, as Linux has it


def changeable_folder(path: Path, trusted: Path | None = None) -> Path | None:
    """Find the first folder on the way to a path in which another unprivileged user may put something else in place of
    what comes next; None where only root may.

    Links are followed. In a folder with the sticky bit (/tmp) what is root's stays. The owner of a `trusted` folder
    counts as root there, except for its links. Raises OSError.
    """
    here, parts, links = Path("/"), _parts(path), 0
    while parts:
        place, folder = here / parts.pop(), here.stat()
        owner = folder.st_uid if here == trusted else 0
        try:
            found = place.lstat()
        except FileNotFoundError:
            return here if _others_write(folder, owner) else None
        if not _is_kept(folder, found, 0 if stat.S_ISLNK(found.st_mode) and found.st_uid else owner):
            return here
        if not stat.S_ISLNK(found.st_mode):
            here = place
            continue
        links += 1
        _check_link(path, place.name, links, kept=True)
        target = Path(os.path.normpath(here / place.readlink()))
        here, parts = Path("/"), [*parts, *reversed(target.parts[1:])]
    return None


def open_folder(path: Path) -> int:
    """Open a folder. Root follows no link that somebody else may have put there. Raises OSError."""
    flags = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
    if os.geteuid() != 0:
        return os.open(path, flags)
    descriptor, parts, links = os.open("/", flags), _parts(path), 0
    try:
        while parts:
            part = parts.pop()
            found = os.stat(part, dir_fd=descriptor, follow_symlinks=False)
            if not stat.S_ISLNK(found.st_mode):
                descriptor = _exchange(descriptor, os.open(part, flags | os.O_NOFOLLOW, dir_fd=descriptor))
                continue
            links += 1
            _check_link(path, part, links, kept=_is_kept(os.fstat(descriptor), found))
            target = Path(os.readlink(part, dir_fd=descriptor))
            if target.is_absolute():
                descriptor = _exchange(descriptor, os.open("/", flags))
            parts += reversed(target.parts[1:] if target.is_absolute() else target.parts)
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


def _exchange(old: int, new: int) -> int:
    os.close(old)
    return new


def set_mode(path: Path, mode: int) -> None:
    """Change the mode of a file or folder that root's links lead to. Another user's link is not followed.

    Raises OSError, also for a file with several names in another user's folder: one of them may be root's.
    """
    _change(path, lambda descriptor: os.fchmod(descriptor, mode))


def set_group(path: Path, gid: int) -> None:
    """Change the group, likewise."""
    _change(path, lambda descriptor: os.fchown(descriptor, -1, gid))


def _change(path: Path, change: Callable[[int], None]) -> None:
    real = Path(os.path.realpath(path))
    folder = open_folder(real.parent)
    try:
        descriptor = os.open(real.name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=folder)
        try:
            found = os.fstat(descriptor)
            if stat.S_ISREG(found.st_mode) and found.st_nlink > 1 and _others_write(os.fstat(folder)):
                raise OSError(errno.EMLINK, "it has another name, which may be root's", str(path))
            change(descriptor)
        finally:
            os.close(descriptor)
    finally:
        os.close(folder)


def _others_write(folder: os.stat_result, owner: int = 0) -> bool:
    """Tell whether anybody but root, and `owner`, may make and remove names in a folder."""
    group = folder.st_mode & stat.S_IWGRP and folder.st_gid != 0
    return bool(folder.st_uid not in (0, owner) or folder.st_mode & stat.S_IWOTH or group)


def _is_kept(folder: os.stat_result, found: os.stat_result, owner: int = 0) -> bool:
    """Tell whether nobody but root, and `owner`, can put something else in place of what was found in a folder."""
    kept = folder.st_uid == 0 and folder.st_mode & stat.S_ISVTX and found.st_uid == 0
    return bool(kept) or not _others_write(folder, owner)


def _parts(path: Path) -> list[str]:
    """Give the names on the way from /, the last one first."""
    return list(reversed(Path(os.path.normpath(path.absolute())).parts[1:]))


def _check_link(path: Path, name: str, number: int, *, kept: bool) -> None:
    """Raise OSError for a link too many, or one that is not root's."""
    if number > _MOST_LINKS:
        raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), str(path))
    if not kept:
        raise OSError(errno.ELOOP, f"{name} is a symbolic link that another user may have made", str(path))
