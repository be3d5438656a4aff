"""Sign an export with the administrator's own key, by the gpg and the keyring of the user who runs the command."""

import logging
from collections.abc import Iterable, Iterator
from pathlib import Path

import gnupg

from closedmail.errors import ClosedmailError
from closedmail.files import read_file

logging.getLogger("gnupg").propagate = False  # its warnings about exit statuses reach the administrator as our error

_LARGEST = 1 << 30  # bytes
_SIGNATURE = b"\n-----BEGIN PGP SIGNATURE-----"


def clearsigned(data: Iterable[bytes], fingerprint: str) -> bytes:
    """Clearsign data by that key of the user's keyring (GNUPGHOME). Raises ClosedmailError."""
    try:
        gpg = gnupg.GPG(options=["--digest-algo", "SHA512"])
    except (OSError, ValueError) as error:
        raise ClosedmailError(f"gpg can't be run, so nothing can be signed: {error}; install gpg") from None
    # Not `keyid`, which is gpg's --default-key: where that is missing, gpg silently takes another one.
    signed = gpg.sign(b"".join(data), clearsign=True, extra_args=["--local-user", fingerprint])
    if not signed.data or signed.fingerprint is None:
        said = [line for line in str(signed.stderr).splitlines() if line.startswith("gpg: ")]
        words = said[-1].removeprefix("gpg: ") if said else "no reason given"
        raise ClosedmailError(f"gpg can't sign with {fingerprint}: {words}; see gpg --list-secret-keys")
    return bytes(signed.data)


def says_the_same(path: Path, signed: bytes) -> bool:
    """Check whether a file is the same text with a signature of another second."""
    try:
        old = read_file(path, _LARGEST)
    except OSError:
        return False
    head = old.partition(_SIGNATURE)[0]
    return _SIGNATURE in old and head == signed.partition(_SIGNATURE)[0]


def with_signer(lines: Iterable[str], fingerprint: str) -> Iterator[str]:
    """Name the signer in the first comment of the lines: so a change of key is a change of the text."""
    for number, line in enumerate(lines):
        yield line
        if number == 0:
            yield f"# Signed by its exporter, with the key {fingerprint}"
