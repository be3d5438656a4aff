"""Fetch a list from an https:// URL or from a path, always into a file of our own.

Whatever the server does, the outcome is a whole file, "unchanged", or `Refused` with one line for the administrator:
no endless answers (max_size for the list, `answer_meter.py` for all beside it), no endless waiting (one time limit over
all, which also ends a server that sends an octet a second), no half files (the size announced must arrive), no way off
https.
"""

import os
import stat
import time
from dataclasses import dataclass
from pathlib import Path

from closedmail.errors import Refused
from closedmail.lists.https_source import UrlSource, tls_context
from closedmail.lists.transfer import (
    Copier,
    Deadline,
    ListSource,
    Progress,
    RetryError,
    Validators,
    fetch_failed,
)
from closedmail.words import public_location

__all__ = ["Fetched", "Progress", "Validators", "fetch"]


@dataclass(frozen=True, slots=True)
class Fetched:
    """The result of a fetch.

    `path` is the file with the list, None if it is unchanged. `validators` are for the next.
    """

    path: Path | None
    validators: Validators


def fetch(
    location: str,
    destination: Path,
    *,
    max_size: int,
    previous: Validators | None = None,
    ca_file: str = "",
    client_cert: str = "",
    client_key: str = "",
    total_timeout: float = 120.0,
    attempts: int = 3,
    retry_pause: float = 2.0,
    progress: Progress | None = None,
) -> Fetched:
    """Fetch what `location` (an https:// URL or a path) names into the file `destination`.

    With `previous`, what the last fetch gave, an unchanged list is not fetched again. `ca_file` replaces the system's
    CAs; the URL may have user and password. These and the client certificate go to its own host and port alone, not
    where it redirects to. `total_timeout` seconds cover all attempts; `progress` is called with
    the bytes so far and the total where it is known. On failure nothing stays beside `destination`.

    Raises Refused: `fetch-failed` or `too-large`.
    """
    previous = previous or Validators()
    part = destination.with_name(destination.name + ".part")
    if "://" not in location:
        source: ListSource = _PathSource(location)
    elif location.lower().startswith("https://"):
        own = tls_context(ca_file, client_cert, client_key)
        source = UrlSource(location, own, tls_context(ca_file) if client_cert else own, ca_file)
    else:
        raise fetch_failed(
            f"{public_location(location)}: a list is fetched from an https:// URL or a path only; fix source"
        )
    try:
        with Deadline(total_timeout) as deadline:
            for left in range(attempts - 1, -1, -1):
                try:
                    validators = source.read(part, previous, Copier(max_size, progress), deadline)
                    break
                except Refused as error:
                    # TLS that ends because the time is up looks like broken TLS.
                    if deadline.expired and error.code == "fetch-failed":
                        raise fetch_failed(deadline.reason(source.shown)) from None
                    raise
                except RetryError as error:
                    if deadline.expired or not left or deadline.remaining() <= retry_pause:
                        raise fetch_failed(deadline.reason(source.shown) if deadline.expired else str(error)) from None
                    time.sleep(retry_pause)
        if validators is None:
            return Fetched(None, previous)
        part.replace(destination)
    finally:
        part.unlink(missing_ok=True)
    return Fetched(destination, validators)


def _identity(found: os.stat_result) -> tuple[int, ...]:
    return (found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns)


class _PathSource(ListSource):
    def __init__(self, path: str) -> None:
        self._path = path
        self.shown = public_location(path)

    def read(self, part: Path, previous: Validators, copier: Copier, deadline: Deadline) -> Validators | None:
        try:
            # NONBLOCK: opening a FIFO would wait for a writer; on a regular file it means nothing.
            descriptor = os.open(self._path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY)
        except (OSError, ValueError) as error:
            why = error.strerror if isinstance(error, OSError) else error
            raise fetch_failed(f"{self.shown}: {why}; check source, and that closedmail may read it") from None
        try:
            before = os.fstat(descriptor)
            if not stat.S_ISREG(before.st_mode):
                raise fetch_failed(f"{self.shown}: not a regular file; source must name one")
            if _identity(before) == previous.stat:
                return None
            left = before.st_size + 1  # a file that grows as fast as it is read has an end all the same

            def read(size: int) -> bytes:
                nonlocal left
                if deadline.expired:
                    raise fetch_failed(deadline.reason(self.shown))
                try:
                    data = os.read(descriptor, min(size, left))
                except OSError as error:
                    raise fetch_failed(f"{self.shown}: {error.strerror}; check the disk") from None
                left -= len(data)
                return data

            done = copier.copy(read, part, before.st_size, self.shown)
            if done != before.st_size or _identity(os.fstat(descriptor)) != _identity(before):
                raise RetryError(f"{self.shown}: changed while it was read; put a new list in place by renaming")
        finally:
            os.close(descriptor)
        return Validators(stat=_identity(before))
