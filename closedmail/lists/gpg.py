"""Run gpg in a home of its own that ends with it, with a time limit, and keep all its output.

python-gnupg starts gpg and carries its pipes; its own verdicts (`valid`, `ok`, `status`) are never used, they hold for
revoked keys too.
"""

import logging
import os
import re
import subprocess
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

import gnupg

from closedmail.errors import Refused
from closedmail.programs import kill
from closedmail.words import excerpt

# python-gnupg logs every exit status but 0, and tracebacks; what matters of them reaches the administrator as Refused.
logging.getLogger("gnupg").propagate = False

_STATUS = "[GNUPG:] "
_MOST_STATUS = 1 << 20
_LOG_PREFIX = re.compile(r"^\d{4}-\d\d-\d\d \d\d:\d\d:\d\d gpg\[\d+\] ", re.MULTILINE)
# A gpg that is told to keep keys in keyboxd ignores every --keyring, and no option changes that. It says so from 2.4.6
# on; those before only say what they lack.
_KEYBOXD = re.compile(r'^(?:gpg: )?(?:Note: .*"use-keyboxd"|no keyboxd )', re.MULTILINE)
_ROOM = 1 << 17  # bytes that gpg needs beside keys and text: empty keyrings, their backups, log, random seed
# Nothing from the network, nothing from the user's configuration, no agents.
_OPTIONS = [
    "--no-options",
    "--no-autostart",
    "--disable-dirmngr",
    "--no-auto-key-retrieve",
    "--no-auto-key-locate",
    "--no-auto-check-trustdb",
    "--trust-model",
    "always",
    "--display-charset",
    "utf-8",
    "--no-default-keyring",
    # gpg would not even import a key that is newer than its clock, and knows no tolerance: gpg_status judges the times.
    "--ignore-time-conflict",
]


@dataclass(slots=True)
class GpgAnswer:
    """The output of one gpg process: a result class for python-gnupg that keeps everything and concludes nothing."""

    data: bytes = b""
    stderr: str = ""
    status: list[str] = field(default_factory=list)
    overflow: bool = False
    returncode: int = -1
    on_data_failure: Any = None

    def handle_status(self, key: str, value: str) -> None:
        """Do nothing; never called: `Gpg._read_response` fills `status`."""


class Gpg(gnupg.GPG):  # type: ignore[misc]
    """gpg in a home of its own, with a time limit for each process."""

    def __init__(self, home: Path, time_limit: float) -> None:
        self.time_limit = time_limit
        self.timed_out = False
        self._log = home / "log"
        try:
            super().__init__(gnupghome=str(home), options=[*_OPTIONS, "--logger-file", str(self._log)])
        except OSError:
            raise Refused("bad-signature", "gpg can't be run, so no signature can be verified; install gpg") from None
        except ValueError:
            raise self._failure() from None

    def _failure(self) -> Refused:
        if self.timed_out:
            return Refused(
                "bad-signature",
                f"gpg did not come to an end within {self.time_limit:g} seconds and was stopped; try again",
            )
        said = self.last_words()
        return Refused("bad-signature", f"gpg fails{': ' + said if said else ''}; try gpg --version")

    def last_words(self) -> str:
        """Find the last line that gpg wrote for people, fit to be shown.

        It comes without time and process, and is a warning only where there is nothing else.
        """
        lines = [line for line in self._words().split("\n") if line.strip()]
        last = next((line for line in reversed(lines) if not line.startswith("WARNING:")), (lines or [""])[-1])
        return excerpt(last)

    def _words(self) -> str:
        """Return the end of all that it wrote for people, without time and process."""
        try:
            with self._log.open("rb") as log:
                log.seek(max(0, self._log.stat().st_size - 4096))
                return _LOG_PREFIX.sub("", log.read().decode("utf-8", "replace"))
        except OSError:
            return ""

    def _open_subprocess(self, args: list[str], passphrase: bool = False) -> "subprocess.Popen[bytes]":
        # python-gnupg feeds and reads the pipes, so that programs.run can't; the process heads a session, as there.
        return subprocess.Popen(
            self.make_args(args, passphrase),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,
            env={**os.environ, "LC_ALL": "C"},  # its last line goes into our English messages
        )

    def _collect_output(
        self, process: "subprocess.Popen[bytes]", result: Any, writer: Any = None, stdin: Any = None
    ) -> Any:
        def stop() -> None:
            self.timed_out = True
            kill(process)

        timer = threading.Timer(self.time_limit, stop)
        timer.daemon = True
        timer.start()
        try:
            return super()._collect_output(process, result, writer, stdin)
        finally:
            timer.cancel()
            kill(process)

    def _read_response(self, stream: IO[str], result: Any) -> None:
        # python-gnupg splits lines where Unicode does, and reads UTF-8 as Latin-1: the second octet of "Å" would end
        # a line, and a file name or user ID could then bring status lines of its own. gpg ends lines with LF alone.
        kept = ""
        overflow = False
        while block := stream.read(65536):
            if len(kept) < _MOST_STATUS:
                kept += block
            else:
                overflow = True
        result.stderr = kept
        result.overflow = overflow
        result.status = [line.removeprefix(_STATUS) for line in kept.split("\n") if line.startswith(_STATUS)]

    def run(self, *args: str) -> GpgAnswer:
        """Run gpg to its end. Raises Refused if it had to be stopped, or ignores its keyring."""
        answer = GpgAnswer()
        process = self._open_subprocess(list(args))
        self._collect_output(process, answer, stdin=process.stdin)
        if self.timed_out or answer.overflow:
            raise self._failure()
        if "--keyring" in args and (_KEYBOXD.search(answer.stderr) or _KEYBOXD.search(self._words())):
            raise Refused(
                "bad-signature",
                "gpg ignores the keyring with the pinned keys, because it is told to use-keyboxd for all users; take "
                "that line out of /etc/gnupg/common.conf (who wants it can have it in ~/.gnupg/common.conf)",
            )
        return answer


@contextmanager
def gpg_home(workdir: Path) -> Iterator[Path]:
    """Make a folder for gpg. Raises Refused(bad-signature), also where what is done in it finds the disk full."""
    try:
        with tempfile.TemporaryDirectory(dir=workdir, prefix="gpg-") as name:
            yield Path(name)
    except OSError as error:
        why = f"{error.filename or workdir}: {error.strerror or error}"
        raise Refused("bad-signature", f"{why}; gpg needs a writable folder there, with room for the list") from None


def check_room(folder: Path, size: int) -> None:
    """Raise OSError where the disk has no room for that, and for gpg's own.

    On a full disk gpg goes on without the keys, and the list would be refused as a stranger's.
    """
    with tempfile.TemporaryFile(dir=folder) as file:
        os.posix_fallocate(file.fileno(), 0, size + _ROOM)
