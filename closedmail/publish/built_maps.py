"""Build maps aside, in the map folder itself, and recognise those in force.

They are built there because a rename only works within one file system, and because a folder that can't be written
shows before anything has changed. Each run has a build folder of its own: a killed run's postmap may outlive it, and
what it still writes must never get into the files of the next run.
"""

import os
import stat
import time
from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from tempfile import mkdtemp

from closedmail.errors import Refused
from closedmail.files import make_folder, open_text, remove_tree
from closedmail.mta.map_types import TRANSPORT

DISPLACED = "old"  # below the build folder: links to the files that a switch replaces
LARGEST = 1 << 28  # bytes of a table's text
_BUILD = ".closedmail-build-"  # and a random end


@dataclass(frozen=True, slots=True)
class BuiltMaps:
    """Files that are ready to be renamed into the folder above theirs: TLS demands first, routes after the store.

    `touched` says that the MTA learns of the switch by the times of the files that it replaces (`touch_displaced`).
    """

    folder: Path
    demands: list[Path]
    routes: list[Path]
    touched: bool = False

    def identities(self) -> dict[str, list[int]]:
        """Identify the files by inode, size and time, which a rename does not change, for `maps_in_force`."""
        return {path.name: _identity(path) for path in (*self.demands, *self.routes)}


def header(generation: int, published: str) -> str:
    """Write the comment at the head of every map."""
    return (
        f"# closedmail generation {generation}\n"
        f"# Published {published} by closedmail sync, which replaces this file: do not edit it.\n"
    )


@contextmanager
def build_folder(map_dir: Path) -> Iterator[Path]:
    """Make a folder to build in; remove it when the block fails. Raises Refused(publish-failed) for disk faults."""
    folder: Path | None = None
    try:
        make_folder(map_dir)
        remove_leftovers(map_dir)
        folder = Path(mkdtemp(prefix=_BUILD, dir=map_dir))
        yield folder
    except Refused:
        if folder:
            remove_tree(folder)
        raise
    except OSError as error:
        if folder:
            with suppress(OSError):
                remove_tree(folder)
        raise Refused("publish-failed", f"{error.filename or map_dir}: {error.strerror}: see map_dir") from None


def remove_leftovers(map_dir: Path) -> None:
    """Remove what killed runs were building; call it under the lock.

    Files that can't be removed now are left for the next run.
    """
    for path in map_dir.glob(f"{_BUILD.rstrip('-')}*"):
        with suppress(OSError):
            touch_displaced(path / DISPLACED)  # the run may have been killed before it did
            remove_tree(path)


def touch_displaced(displaced: Path) -> None:
    """Update the time of replaced files, so that processes that have one open take the new file.

    Sendmail opens a map once in a process, and again when its time is later than then. It checks the time before each
    look-up (map.c, db_map_lookup: in whole seconds, of the open file). A rename alone would go unnoticed until the
    process ends; an SMTP session may last for an hour.
    """
    for path in displaced.iterdir() if displaced.is_dir() else ():
        known = path.stat().st_mtime
        later = max(time.time(), int(known) + 1)
        os.utime(path, (later, later))


def files_in(map_dir: str) -> frozenset[str]:
    """Return the names of the files in a map folder; none where it can't be read, which the run reports later."""
    try:
        return frozenset(path.name for path in Path(map_dir).iterdir())
    except OSError:
        return frozenset()


def read_rows(map_dir: str, keys: Collection[str]) -> dict[str, str]:
    """Read some rows of the transport table in force, from its text; none where there is no text."""
    try:
        with open_text(Path(map_dir, TRANSPORT), LARGEST) as lines:
            pairs = (line.rstrip("\n").partition("\t") for line in lines)
            return {key: value for key, _, value in pairs if key in keys}
    except (OSError, UnicodeDecodeError):
        return {}


def maps_in_force(map_dir: Path, identities: Mapping[str, list[int]]) -> bool:
    """Check whether the maps are where the MTA reads them, text and index, as they were put there."""
    return not map_faults(map_dir, identities)


def map_faults(map_dir: Path, identities: Mapping[str, list[int]]) -> list[str]:
    """List the files that are not, where the MTA reads them, as they were put there, each with what is wrong."""
    faults = []
    for name, known in identities.items():
        path = map_dir / name
        try:
            if _identity(path) != known:
                faults.append(f"{path} is not the file that was put there")
        except FileNotFoundError:
            faults.append(f"{path} is missing")
        except OSError as error:
            faults.append(f"{path} can't be read ({error.strerror})")
    return faults


def _identity(path: Path) -> list[int]:
    found = path.stat()
    return [found.st_ino, found.st_size, found.st_mtime_ns]


def repair_modes(map_dir: Path, names: Iterable[str], state_dir: Path, withdrawn: int) -> bool:
    """Repair the modes of maps and of the folders on the way to them; tell whether the MTA can read all files.

    Folders are map_dir and those between the state directory and it. `withdrawn` are the rights to write that nobody
    but the owner keeps: Sendmail defers all mail while a group may write there. A group that was chosen for the MTA is
    left with what it has. Root does not do this in the owner's place: who owns a folder could have put links there.
    """
    for folder in (map_dir, *map_dir.parents):
        if folder == map_dir or state_dir in folder.parents:
            with suppress(OSError):
                _repair(folder, 0o055, withdrawn, os.O_DIRECTORY)
    try:
        for name in names:
            _repair(map_dir / name, 0o044, withdrawn)
    except FileNotFoundError:
        pass  # that is another fault
    except OSError:
        return False
    return True


def _repair(path: Path, granted: int, withdrawn: int, kind: int = 0) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC | kind)
    try:
        found = os.fstat(descriptor)
        mode = stat.S_IMODE(found.st_mode)
        needed = granted & (0o011 if kind else 0o044)
        chosen = found.st_gid != os.getegid() and mode & needed & 0o070
        if not (mode & needed & 0o007 or chosen):
            mode |= granted
        mode &= ~withdrawn
        if mode != stat.S_IMODE(found.st_mode):
            os.fchmod(descriptor, mode)
    finally:
        os.close(descriptor)
