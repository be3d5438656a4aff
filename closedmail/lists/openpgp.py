"""Verifying a signed list: the text that OpenPGP gives back, or the reason why not.

`envelope` looks at the shape of the file first, gpg verifies what is left, with a keyring made for the occasion that
holds the pinned keys alone, and `gpg_status` judges all that gpg said. python-gnupg starts gpg and carries its pipes;
its own verdicts (`valid`, `ok`, `status`) are never asked, they hold for revoked keys too.
"""

import logging
import os
import re
import subprocess
import tempfile
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

import gnupg

from closedmail.errors import Refused
from closedmail.lists import envelope, gpg_status, packets
from closedmail.lists.gpg_status import KeyState
from closedmail.programs import kill
from closedmail.words import excerpt

__all__ = ["KeyState", "Signed", "key_states", "verify"]

# python-gnupg logs every exit status but 0, and tracebacks; what matters of them reaches the administrator as Refused.
logging.getLogger("gnupg").propagate = False

_STATUS = "[GNUPG:] "
_MOST_STATUS = 1 << 20
_LOG_PREFIX = re.compile(r"^\d{4}-\d\d-\d\d \d\d:\d\d:\d\d gpg\[\d+\] ", re.MULTILINE)
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


@dataclass(frozen=True, slots=True)
class Signed:
    """A verified list.

    `text` is the file with the text that OpenPGP gave back (with a detached signature the list itself), `signer` the
    fingerprint of the primary key, `signed_at` unix seconds.
    """

    text: Path
    signer: str
    signed_at: int


@dataclass(slots=True)
class _Answer:
    """What one gpg process said: a result class for python-gnupg that keeps everything and concludes nothing."""

    data: bytes = b""
    stderr: str = ""
    status: list[str] = field(default_factory=list)
    overflow: bool = False
    returncode: int = -1
    on_data_failure: Any = None

    def handle_status(self, key: str, value: str) -> None:
        """Never called: `_Gpg._read_response` fills `status`."""


class _Gpg(gnupg.GPG):  # type: ignore[misc]
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
        """The last line that gpg wrote for people, fit to be shown: without time and process, warnings only if there
        is nothing else.
        """
        try:
            with self._log.open("rb") as log:
                log.seek(max(0, self._log.stat().st_size - 4096))
                text = log.read().decode("utf-8", "replace")
        except OSError:
            return ""
        lines = [line for line in _LOG_PREFIX.sub("", text).split("\n") if line.strip()]
        last = next((line for line in reversed(lines) if not line.startswith("WARNING:")), (lines or [""])[-1])
        return excerpt(last)

    def _open_subprocess(self, args: list[str], passphrase: bool = False) -> "subprocess.Popen[bytes]":
        # python-gnupg feeds and reads the pipes, so that programs.run can't; the process heads a session, as there.
        return subprocess.Popen(
            self.make_args(args, passphrase),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,
            env={**os.environ, "LC_ALL": "C"},  # its last words go into our English messages
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

    def run(self, *args: str) -> _Answer:
        """Run gpg to its end. Raises Refused if it had to be stopped."""
        answer = _Answer()
        process = self._open_subprocess(list(args))
        self._collect_output(process, answer, stdin=process.stdin)
        if self.timed_out or answer.overflow:
            raise self._failure()
        return answer


@contextmanager
def _home(workdir: Path) -> Iterator[Path]:
    """A folder for gpg. Raises Refused(bad-signature), also where what is done in it finds the disk full."""
    try:
        with tempfile.TemporaryDirectory(dir=workdir, prefix="gpg-") as name:
            yield Path(name)
    except OSError as error:
        why = f"{error.filename or workdir}: {error.strerror or error}"
        raise Refused("bad-signature", f"{why}; gpg needs a writable folder there, with room for the list") from None


def _check_room(folder: Path, size: int) -> None:
    """Raise OSError where the disk has no room for that, and for gpg's own.

    On a full disk gpg goes on without the keys, and the list would be refused as a stranger's.
    """
    with tempfile.TemporaryFile(dir=folder) as file:
        os.posix_fallocate(file.fileno(), 0, size + _ROOM)


def _keyring_of(gpg: _Gpg, home: Path, key_file: Path, signing_keys: Sequence[str], now: int) -> tuple[KeyState, ...]:
    """Make `home`/pinned.kbx, a keyring that holds the pinned keys of `key_file` and nothing else."""
    try:
        with key_file.open("rb") as file:
            file.read(1)
            size = os.fstat(file.fileno()).st_size
    except OSError as error:
        raise Refused(
            "bad-signature", f"{key_file}: {error.strerror}; key_file must be readable for closedmail"
        ) from None
    _check_room(home, 5 * size)  # the file once more, in two keyrings and their backups
    everything, pinned, exported = home / "all.kbx", home / "pinned.kbx", home / "pinned.gpg"
    gpg.run("--keyring", str(everything), "--import", "--", str(key_file))
    exported.touch()
    gpg.run("--keyring", str(everything), "--yes", "--output", str(exported), "--export", "--", *signing_keys)
    gpg.run("--keyring", str(pinned), "--import", "--", str(exported))
    listing = gpg.run("--keyring", str(pinned), "--list-keys").data.decode("utf-8", "replace")
    return gpg_status.key_states(listing, signing_keys, now)


def key_states(
    key_file: Path, signing_keys: Sequence[str], workdir: Path, now: int, time_limit: float = 60.0
) -> tuple[KeyState, ...]:
    """Say of each pinned fingerprint whether `key_file` has it, and whether and until when it can sign.

    Works in a temporary directory below `workdir`. Raises Refused (`bad-signature`) if gpg or the file fails.
    """
    pinned = [key.upper() for key in signing_keys]
    with _home(workdir) as home:
        return _keyring_of(_Gpg(home, time_limit), home, key_file, pinned, now)


def verify(
    raw: Path,
    workdir: Path,
    *,
    key_file: Path,
    signing_keys: Sequence[str],
    max_size: int,
    now: int,
    detached: Path | None = None,
    time_limit: float = 60.0,
) -> Signed:
    """Verify the list in the file `raw`, by the signature in it or by the one in the file `detached`.

    `signing_keys` are the fingerprints of the primary keys that may sign, `max_size` bounds the file and the text in
    it, `now` is unix seconds, `time_limit` seconds for each run of gpg. The text is written to `workdir`, which nobody
    else may write to, as `raw`'s name with `.text` added; on refusal nothing stays there.

    Raises Refused with the first code that applies: `too-large`, `unsigned`, `several-signatures`, `extra-text`,
    `wrong-signer`, `bad-signature`, `weak-digest`, `revoked`, `expired`, `from-the-future`. That a signature is not
    older than the one before is the caller's to check.
    """
    result = workdir / f"{raw.name}.text"
    result.unlink(missing_ok=True)
    too_large = Refused(
        "too-large", f"the list is longer than max_size ({max_size} bytes); raise max_size if it may be"
    )
    if raw.stat().st_size > max_size:
        raise too_large
    pinned = [key.upper() for key in signing_keys]
    with _home(workdir) as home:
        text = home / "text"
        room = 0
        if detached is None:
            message = envelope.unwrap(raw, home, max_size)
            room = message.stat().st_size
            # The shape check has bounded it already; this is the fence behind it.
            fence = str(max_size + packets.OVERHEAD)
            task = ["--max-output", fence, "--output", str(text), "--decrypt", "--", str(message)]
        else:
            task = ["--verify", "--", str(envelope.unwrap_detached(detached, home)), str(raw)]
        gpg = _Gpg(home, time_limit)
        keys = _keyring_of(gpg, home, key_file, pinned, now)
        _check_room(home, room)
        answer = gpg.run("--keyring", str(home / "pinned.kbx"), *task)
        if detached is None and text.exists() and text.stat().st_size > max_size:
            raise too_large
        found = gpg_status.judge(
            gpg_status.parse(answer.status),
            answer.returncode,
            keys=keys,
            now=now,
            detached=detached is not None,
            log=gpg.last_words(),
        )
        if detached is not None:
            return Signed(raw, found.primary, found.signed_at)
        if not text.exists():
            raise Refused("bad-signature", "gpg gave no text back; try again")
        text.replace(result)
        return Signed(result, found.primary, found.signed_at)


def unverified_text(raw: Path, workdir: Path, max_size: int, time_limit: float = 60.0) -> Path | None:
    """The text of a signed file whose signature nobody has checked, for `lint` alone; None for a file that is not
    signed. Raises Refused for a file that is signed and damaged.
    """
    with raw.open("rb") as file:
        start = file.read(64).lstrip(b"\xef\xbb\xbf \t\r\n")
    if not start.startswith(b"-----BEGIN PGP") and not packets.looks_like_packets(start):
        return None
    with _home(workdir) as home:
        message = envelope.unwrap(raw, home, max_size)
        text, result = home / "text", workdir / f"{raw.name}.text"
        gpg = _Gpg(home, time_limit)
        gpg.run(
            "--max-output", str(max_size + packets.OVERHEAD), "--output", str(text), "--decrypt", "--", str(message)
        )
        if not text.exists():
            raise Refused("bad-signature", f"gpg gave no text back: {gpg.last_words()}")
        text.replace(result)
        return result
