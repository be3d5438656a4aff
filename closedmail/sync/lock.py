"""Allow one sync at a time, by a lock that ends with the process that holds it."""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from closedmail.errors import ClosedmailError, Refused
from closedmail.files import make_folder


def prepare_state_dir(state_dir: Path) -> None:
    """Make the state directory where it is missing. Raises ClosedmailError."""
    try:
        make_folder(state_dir)
    except OSError as error:
        raise ClosedmailError(f"{state_dir}: {error.strerror}; make it, owned by the user that syncs") from None


@contextmanager
def sync_lock(state_dir: Path) -> Iterator[None]:
    """Hold the lock. Raises Refused(busy) when another process has it."""
    try:
        descriptor = os.open(state_dir / "sync.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        advice = "it must be writable by closedmail"
        if isinstance(error, PermissionError):
            advice = f"run as root or as the owner of {state_dir}, who must own this, too"
        raise ClosedmailError(f"{error.filename}: {error.strerror}; {advice}") from None
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise Refused("busy", "another sync is running; wait for it to end") from None
        try:
            yield
        finally:
            fcntl.flock(descriptor, fcntl.LOCK_UN)  # a child between fork and exec still has the descriptor
    finally:
        os.close(descriptor)
