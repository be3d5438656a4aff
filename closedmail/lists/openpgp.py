"""Verify a signed list: get the text that OpenPGP returns, or the reason of the refusal.

`envelope` checks the shape of the file first, gpg verifies what is left, with a keyring made for the occasion that
holds the pinned keys alone, and `gpg_status` judges all that gpg reported.
"""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from closedmail.errors import Refused
from closedmail.lists import envelope, gpg_status, packets
from closedmail.lists.gpg import Gpg, check_room, gpg_home
from closedmail.lists.gpg_status import KeyState
from closedmail.lists.key_file import why_no_key

__all__ = ["KeyState", "Signed", "key_states", "verify"]

_HEAD = 4096  # bytes of a key file that tell what it is


@dataclass(frozen=True, slots=True)
class Signed:
    """A verified list.

    `text` is the file with the text that OpenPGP gave back (with a detached signature the list itself), `signer` the
    fingerprint of the primary key, `signed_at` unix seconds.
    """

    text: Path
    signer: str
    signed_at: int


def _keyring_of(gpg: Gpg, home: Path, key_file: Path, signing_keys: Sequence[str], now: int) -> tuple[KeyState, ...]:
    """Make `home`/pinned.kbx, a keyring that holds the pinned keys of `key_file` and nothing else."""
    try:
        with key_file.open("rb") as file:
            head = file.read(_HEAD)
            size = os.fstat(file.fileno()).st_size
    except OSError as error:
        raise Refused(
            "bad-signature", f"{key_file}: {error.strerror}; key_file must be readable for closedmail"
        ) from None
    check_room(home, 5 * size)  # the file once more, in two keyrings and their backups
    everything, pinned, exported = home / "all.kbx", home / "pinned.kbx", home / "pinned.gpg"
    imported = gpg.run("--keyring", str(everything), "--import", "--", str(key_file))
    exported.touch()
    gpg.run("--keyring", str(everything), "--yes", "--output", str(exported), "--export", "--", *signing_keys)
    gpg.run("--keyring", str(pinned), "--import", "--", str(exported))
    listing = gpg.run("--keyring", str(pinned), "--list-keys").data.decode("utf-8", "replace")
    why_missing = "" if gpg_status.imported_any(imported.status) else why_no_key(str(key_file), head)
    return gpg_status.key_states(listing, signing_keys, now, why_missing)


def key_states(
    key_file: Path, signing_keys: Sequence[str], workdir: Path, now: int, time_limit: float = 60.0
) -> tuple[KeyState, ...]:
    """Find out for each pinned fingerprint whether `key_file` has it, and whether and until when it can sign.

    Works in a temporary directory below `workdir`. Raises Refused (`bad-signature`) if gpg or the file fails.
    """
    pinned = [key.upper() for key in signing_keys]
    with gpg_home(workdir) as home:
        return _keyring_of(Gpg(home, time_limit), home, key_file, pinned, now)


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
    with gpg_home(workdir) as home:
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
        gpg = Gpg(home, time_limit)
        keys = _keyring_of(gpg, home, key_file, pinned, now)
        check_room(home, room)
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
    """Get the text of a signed file without checking the signature, for `lint` alone.

    Returns None for a file that is not signed. Raises Refused for a file that is signed and damaged.
    """
    with raw.open("rb") as file:
        start = file.read(64).lstrip(b"\xef\xbb\xbf \t\r\n")
    if not start.startswith(b"-----BEGIN PGP") and not packets.looks_like_packets(start):
        return None
    with gpg_home(workdir) as home:
        message = envelope.unwrap(raw, home, max_size)
        text, result = home / "text", workdir / f"{raw.name}.text"
        gpg = Gpg(home, time_limit)
        gpg.run(
            "--max-output", str(max_size + packets.OVERHEAD), "--output", str(text), "--decrypt", "--", str(message)
        )
        if not text.exists():
            raise Refused("bad-signature", f"gpg gave no text back: {gpg.last_words()}")
        text.replace(result)
        return result
