"""Opening the LMDB environment, with every way it can fail as one clear StoreError."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import lmdb

from closedmail.errors import StoreError

SCHEMA = 2
SCHEMA_KEY = b"schema"
MANIFEST_KEY = b"manifest"
DETAILS_KEY = b"details:"  # and the name of a network
META, DOMAINS, TLS = b"meta", b"domains", b"tls"
HISTORY, ARCHIVE = b"history", b"archive"  # by the number of the generation

# Address space, not memory or disk: the file grows with what is in it.
_MAP_SIZE = 1 << 36 if sys.maxsize > 1 << 32 else 1 << 30


def number_key(generation: int) -> bytes:
    """The key of a generation in HISTORY and ARCHIVE: they sort by number."""
    return b"%012d" % generation


def store_path(state_dir: str) -> Path:
    """The environment's folder below the state directory."""
    return Path(state_dir) / "store"


@contextmanager
def store_errors(path: Path) -> Iterator[None]:
    """Turn what LMDB and the file system raise into StoreError, with what to do."""
    try:
        yield
    except lmdb.VersionMismatchError as error:
        raise StoreError(f"{path}: the policy store was made by another version of LMDB ({error})") from None
    except (lmdb.InvalidError, lmdb.CorruptedError, lmdb.PageNotFoundError, lmdb.PanicError) as error:
        raise StoreError(f"{path}: the policy store is broken ({_short(error)}); {_REMAKE}") from None
    except (lmdb.NotFoundError, lmdb.ReadonlyError) as error:
        if "Permission denied" in str(error):  # LMDB's EACCES is a ReadonlyError
            raise StoreError(f"{path}: {_NO_PERMISSION}") from None
        raise StoreError(f"{path}: no generation is in force yet; run: closedmail sync") from None
    except lmdb.Error as error:
        if not path.exists():
            raise StoreError(f"{path}: no generation is in force yet; run: closedmail sync") from None
        if "Permission denied" in str(error):
            raise StoreError(f"{path}: {_NO_PERMISSION}") from None
        raise StoreError(f"{path}: {_short(error)}") from None
    except PermissionError:
        raise StoreError(f"{path}: {_NO_PERMISSION}") from None
    except OSError as error:
        raise StoreError(f"{path}: {error.strerror or error}") from None


_NO_PERMISSION = "no permission; run as root or as the owner of the state directory"
_REMAKE = "move it away and run: closedmail sync"


def _short(error: Exception) -> str:
    return str(error).replace("\n", " ")


def open_environment(path: Path, *, writable: bool) -> lmdb.Environment:
    """Open the environment; writable makes it where it is missing. Raises StoreError."""
    with store_errors(path):
        if writable:
            path.mkdir(mode=0o750, parents=True, exist_ok=True)
        environment = lmdb.open(
            str(path),
            map_size=_MAP_SIZE,
            max_dbs=8,
            readonly=not writable,
            create=writable,
            mode=0o640,
            readahead=False,
        )
    try:
        check_size(path, environment)
    except StoreError:
        environment.close()
        raise
    return environment


def check_size(path: Path, environment: lmdb.Environment) -> None:
    """Raise StoreError for a file that is shorter than its pages: touching the missing ones would kill the process."""
    with store_errors(path):
        pages = environment.info()["last_pgno"] + 1
        size = (path / "data.mdb").stat().st_size
        if size < pages * environment.stat()["psize"]:
            raise StoreError(f"{path}: the policy store is cut short; {_REMAKE}")


def check_schema(path: Path, found: bytes | None) -> None:
    """Raise StoreError unless this program can read a store with that schema number."""
    if found is None:
        raise StoreError(f"{path}: no generation is in force yet; run: closedmail sync")
    if found != b"%d" % SCHEMA:
        number = found.decode("ascii", "replace")
        raise StoreError(
            f"{path}: the policy store has schema {number}, this closedmail knows {SCHEMA}: install the version that "
            f"made it, or {_REMAKE}"
        )
