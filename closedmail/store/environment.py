"""Open the LMDB environment, with every way it can fail as one clear StoreError."""

import errno
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path

import lmdb

from closedmail.errors import StoreError
from closedmail.files import make_folder, sync_path

SCHEMA = 2
SCHEMA_KEY = b"schema"
MANIFEST_KEY = b"manifest"
DETAILS_KEY = b"details:"  # and the name of a network
META, DOMAINS, TLS = b"meta", b"domains", b"tls"
HISTORY, ARCHIVE = b"history", b"archive"  # by the number of the generation
RECIPIENT = b"TLS_Rcpt:"  # in TLS, before the name of a domain: a row of Sendmail's; no nexthop begins so

NOTHING_YET = "no generation is in force yet"

# Address space, not memory or disk: the file grows with what is in it.
_MODE = 0o640
_LOCK_SIZE = 8192  # LMDB's for 126 readers, its default
_DATABASES = 8
_MAP_SIZE = 1 << 36 if sys.maxsize > 1 << 32 else 1 << 30


def number_key(generation: int) -> bytes:
    """Make the key of a generation in HISTORY and ARCHIVE; keys sort by number."""
    return b"%012d" % generation


def store_path(state_dir: str) -> Path:
    """Give the environment's folder below the state directory."""
    return Path(state_dir) / "store"


@contextmanager
def store_errors(path: Path) -> Iterator[None]:
    """Turn what LMDB and the file system raise into StoreError, with what to do."""
    try:
        yield
    except lmdb.VersionMismatchError as error:
        raise StoreError(f"{path}: the policy store was made by another version of LMDB ({error})") from None
    except (lmdb.InvalidError, lmdb.CorruptedError, lmdb.PageNotFoundError, lmdb.PanicError) as error:
        raise StoreError(f"{path}: the policy store is broken ({_short(error)})", _REMAKE) from None
    except lmdb.Error as error:
        words = _short(error).removeprefix(f"{path}: ")
        # LMDB's EACCES is a ReadonlyError, too.
        none = isinstance(error, lmdb.NotFoundError | lmdb.ReadonlyError) and os.strerror(errno.EACCES) not in words
        if none or not path.exists():
            raise StoreError(f"{path}: {NOTHING_YET}", RUN_SYNC) from None
        raise StoreError(f"{path}: {_advised(words)}") from None
    except OSError as error:
        raise StoreError(f"{path}: {_advised(error.strerror or str(error))}") from None
    except (ValueError, TypeError, KeyError, IndexError, AttributeError, RecursionError) as error:  # of what is in it
        raise StoreError(f"{path}: the policy store is broken ({_short(error)})", _REMAKE) from None


RUN_SYNC = "run: {closedmail} sync"
_REMAKE = f"move it away and {RUN_SYNC}"
# What the system says, also in LMDB's words, and what to do.
_ADVICE = {
    os.strerror(errno.EACCES): "no permission; run as root or as the owner of the state directory, who must own this",
    os.strerror(errno.ENOSPC): "no space is left on its disk; free some",
    os.strerror(
        errno.ENOMEM
    ): "the store takes 64 GiB of address space (not of memory), more than this process may have; "
    "raise the limit: ulimit -v unlimited, or LimitAS=infinity in a unit of systemd",
    os.strerror(errno.EDQUOT): "the disk quota is used up; free some space",
    # LMDB's word for a write that ended early as well.
    os.strerror(errno.EIO): "no space is left on its disk, or the disk fails; free some, and see the kernel's log",
}


def _advised(words: str) -> str:
    return next((f"{advice} ({words})" for sign, advice in _ADVICE.items() if sign in words), words)


def _short(error: Exception) -> str:
    return str(error).replace("\n", " ")


def open_environment(path: Path, *, remake: bool = False) -> lmdb.Environment:
    """Open the environment for a writer, and make it where it is missing. Raises StoreError.

    `remake` says that no generation can have been in force: what a loss of power left of a new environment, which LMDB
    takes for a broken one, is then made again.
    """
    with store_errors(path):
        make_folder(path, 0o750)
        data = path / "data.mdb"
        if not data.exists() or (data.is_file() and (remake or not data.stat().st_size)):
            _make(data)
        for place in (data, path / "lock.mdb"):
            if place.is_symlink() or (place.exists() and not place.is_file()):  # LMDB would wait for a pipe
                raise OSError(errno.EINVAL, f"{place.name} is not a regular file; move it away")
        _make_room_for_lock(path / "lock.mdb")
        environment = lmdb.open(str(path), map_size=_MAP_SIZE, max_dbs=_DATABASES, readahead=False, mode=_MODE)
    try:
        with store_errors(path):
            check_size(path, environment, data.stat().st_size)
    except StoreError:
        environment.close()
        raise
    return environment


def _make(data: Path) -> None:
    """Make an environment that is whole on the disk before it has its name: LMDB does not sync its first two pages, nor
    any folder.

    A file that is there is replaced where of these two pages, which know the newest transaction, something is missing
    or zero and the rest is as in a new one. Raises lmdb.Error and OSError.
    """
    aside = data.with_name(".data.mdb.new")
    try:
        aside.unlink(missing_ok=True)
        lmdb.open(str(aside), subdir=False, lock=False, map_size=_MAP_SIZE, mode=_MODE).close()
        sync_path(aside)
        if _is_part(data, aside.read_bytes()):
            aside.replace(data)
    finally:
        aside.unlink(missing_ok=True)
    sync_path(data.parent)
    sync_path(data.parent.parent)  # a run that made the folder may have been killed before it did


def _is_part(data: Path, new: bytes) -> bool:
    if not data.exists():
        return True
    with data.open("rb") as file:
        there = file.read(len(new))
    return there != new and all(byte in (0, right) for byte, right in zip(there, new, strict=False))


def open_copy(path: Path, descriptor: int) -> lmdb.Environment:
    """Open a copy of the store that is an open file; `path` is the store's own, for messages. Raises StoreError."""
    file = _name_of(descriptor)
    try:
        return lmdb.open(file, subdir=False, readonly=True, lock=False, max_dbs=_DATABASES, readahead=False)
    except lmdb.Error as error:
        with store_errors(path):
            raise type(error)(str(error).removeprefix(f"{file.decode()}: ")) from None


@cache
def _name_of(descriptor: int) -> bytes:
    """Give a path to an open file, as bytes.

    py-lmdb (1.4 to 1.6) never frees the bytes that it makes of a path, in a daemon one more object with each
    generation. Of bytes it makes nothing, and there are as many of these as open files.
    """
    return f"/proc/self/fd/{descriptor}".encode()


def _make_room_for_lock(path: Path) -> None:
    """Give the lock file the blocks that it needs, before LMDB maps it: LMDB makes it with a hole in it, and a process
    that touches the hole on a full disk is killed.

    What can't be opened is LMDB's to judge. Raises OSError.
    """
    with suppress(FileNotFoundError):
        if path.stat().st_blocks * 512 >= _LOCK_SIZE:
            return
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, _MODE)
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise
        return
    try:
        os.posix_fallocate(descriptor, 0, _LOCK_SIZE)
    finally:
        os.close(descriptor)


def check_size(path: Path, environment: lmdb.Environment, size: int) -> int:
    """Count the bytes that its pages take.

    Raises StoreError for a file of fewer: touching the missing ones would kill the process.
    """
    needed: int = (environment.info()["last_pgno"] + 1) * environment.stat()["psize"]
    if size < needed:
        raise StoreError(f"{path}: the policy store is cut short", _REMAKE)
    return needed


def check_schema(path: Path, found: bytes | None) -> None:
    """Raise StoreError unless this program can read a store with that schema number."""
    if found is None:
        raise StoreError(f"{path}: {NOTHING_YET}", RUN_SYNC)
    if found != b"%d" % SCHEMA:
        number = found.decode("ascii", "replace")
        raise StoreError(
            f"{path}: the policy store has schema {number}, this closedmail knows {SCHEMA}",
            f"install the version that made it, or {_REMAKE}",
        )
