"""Copy the store's file into memory, as it was at one moment between two generations.

LMDB reads through a mapped file: truncating that file while it is read (`cp` over it does so) kills the reading
process, since its pages are gone. A copy can neither be truncated nor written by anybody else.
"""

import errno
import os
from pathlib import Path

import lmdb

from closedmail.errors import StoreError
from closedmail.files import open_regular
from closedmail.store.environment import NOTHING_YET, RUN_SYNC, check_size, open_copy, store_errors

_HEAD = 256  # bytes: LMDB's page header and meta record with the transaction's number, which changes with each commit
_TRIES = 100  # of copying between two commits


class PrivateCopy:
    """An open copy, in `environment`. `close()` it."""

    def __init__(self, path: Path) -> None:
        """Copy the store in the folder `path`. Raises StoreError."""
        self._name = str(path / "data.mdb")
        self._memory = -1
        with store_errors(path):
            try:
                self._file = open_regular(self._name)
            except FileNotFoundError:
                raise StoreError(f"{path}: {NOTHING_YET}", RUN_SYNC) from None
        try:
            self._take(path)
        except BaseException:
            self._close_files()
            raise

    def _take(self, path: Path) -> None:
        for _ in range(_TRIES):
            if self._try(path):
                return
            self.environment.close()
            os.close(self._memory)
            self._memory = -1
        raise StoreError(f"{path}: the policy store changes all the time; run one sync after the other")

    def _try(self, path: Path) -> bool:
        """Copy, and return whether nothing was committed meanwhile."""
        with store_errors(path):
            status = os.fstat(self._file)
            self._identity = status.st_dev, status.st_ino
            if status.st_size > _largest():
                raise OSError(errno.EFBIG, f"larger than half of this machine's memory ({status.st_size:,} bytes)")
            self._memory = os.memfd_create("closedmail-store", os.MFD_CLOEXEC)
            size = _copy(self._file, self._memory)
        if not size:
            raise StoreError(f"{path}: {NOTHING_YET}", RUN_SYNC)
        self.environment = open_copy(path, self._memory)
        try:
            self._size = check_size(path, self.environment, size)
            self._heads_end = self.environment.stat()["psize"] + _HEAD
            self._heads = self._heads_of(self._memory)
            # LMDB writes no page of the newest generation or of the one before. The heads were copied first, so that
            # with the same ones behind the last page, all pages between are of one generation.
            return self._heads_of(self._file) == self._heads
        except (lmdb.Error, OSError, StoreError) as error:
            self.environment.close()
            with store_errors(path):
                raise error from None

    def is_current(self) -> bool:
        """Check whether the store's file is still that one, of the same length, and without a newer generation."""
        try:
            # Not Path.stat(): on the path of every decision, and it takes three times as long.
            status = os.stat(self._name)  # noqa: PTH116
            return (
                (status.st_dev, status.st_ino) == self._identity
                and status.st_size >= self._size
                and self._heads_of(self._file) == self._heads
            )
        except OSError:
            return False

    def close(self) -> None:
        """Close the copy."""
        self.environment.close()
        self._close_files()

    def _heads_of(self, file: int) -> bytes:
        """Read both of LMDB's first two pages, as far as they are written: one call for each decision, and not two."""
        return os.pread(file, self._heads_end, 0)

    def _close_files(self) -> None:
        os.close(self._file)
        if self._memory >= 0:
            os.close(self._memory)


def _copy(source: int, target: int) -> int:
    """Copy a file from its beginning to its end, and return how many bytes that is."""
    size = 0
    while True:
        copied = os.sendfile(target, source, size, 1 << 26)
        if not copied:
            return size
        size += copied


def _largest() -> int:
    """Give how much memory a copy may take: a file that is one large hole costs its maker nothing."""
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2
