"""Keys and signed lists, made by the real gpg."""

import base64
import re
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path


def gpg(home: Path, *args: str, stdin: bytes = b"") -> bytes:
    """Run gpg in `home` and give its stdout; fails the test if gpg does."""
    done = subprocess.run(
        ["gpg", "--homedir", str(home), "--batch", "--quiet", "--no-options", *args],  # noqa: S607  the one in PATH
        input=stdin,
        capture_output=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr.decode("utf-8", "replace")
    return done.stdout


def armor(data: bytes, kind: str = "MESSAGE") -> bytes:
    """Put an ASCII armor without checksum (RFC 9580, 6.1) around packets."""
    lines = base64.encodebytes(data)
    return b"-----BEGIN PGP %b-----\n\n%b-----END PGP %b-----\n" % (kind.encode(), lines, kind.encode())


def stop_agent(home: Path) -> None:
    """End the gpg-agent that gpg started for `home`."""
    subprocess.run(["gpgconf", "--homedir", str(home), "--kill", "gpg-agent"], check=False)  # noqa: S607


class Signer:
    """A key pair in a home of its own; `home` is made, and must have a short path (gpg-agent's socket is in it).

    `expires` is what `gpg --quick-generate-key` takes ("0" never, "2y", "2024-02-01"), `created` a time such as
    "20240101T000000". With `subkey` the primary key only certifies and a subkey signs.
    """

    def __init__(
        self, home: Path, name: str, *, expires: str = "0", created: str | None = None, subkey: bool = False
    ) -> None:
        self.home = home
        self.name = name
        self._clock = [] if created is None else ["--faked-system-time", f"{created}!"]
        home.mkdir(mode=0o700, parents=True)
        usage = "cert" if subkey else "sign"
        protect = ("--pinentry-mode", "loopback", "--passphrase", "")
        gpg(home, *self._clock, *protect, "--quick-generate-key", name, "ed25519", usage, expires)
        self.fingerprint = self._fingerprints()[0]
        self.signing_fingerprint = self.fingerprint
        if subkey:
            gpg(home, *self._clock, *protect, "--quick-add-key", self.fingerprint, "ed25519", "sign", expires)
            self.signing_fingerprint = self._fingerprints()[1]

    def _fingerprints(self) -> list[str]:
        listing = gpg(self.home, "--with-colons", "--list-keys").decode()
        return re.findall(r"^fpr:+([0-9A-F]{40}):", listing, re.MULTILINE)

    def public(self) -> bytes:
        """The public key, armored."""
        return gpg(self.home, "--armor", "--export", self.fingerprint)

    def _make(self, text: bytes, task: Sequence[str], when: int | None, extra: Sequence[str]) -> bytes:
        clock = self._clock if when is None else ["--faked-system-time", f"{when}!"]
        return gpg(self.home, *clock, "--local-user", self.fingerprint, *extra, *task, stdin=text)

    def clearsign(self, text: bytes, *, when: int | None = None, extra: Sequence[str] = ()) -> bytes:
        """A clearsigned file; `when` is the signing time (unix seconds), `extra` goes to gpg."""
        return self._make(text, ["--clearsign"], when, extra)

    def sign(self, text: bytes, *, when: int | None = None, extra: Sequence[str] = ()) -> bytes:
        """A signed message, binary and compressed; `extra=["--armor"]` or `["-z", "0"]` for others."""
        return self._make(text, ["--sign"], when, extra)

    def detach(self, text: bytes, *, when: int | None = None, extra: Sequence[str] = ()) -> bytes:
        """A detached signature, binary unless `extra=["--armor"]`."""
        return self._make(text, ["--detach-sign"], when, extra)

    def revoked(self, *, subkey: bool = False) -> bytes:
        """The public key as it is once it, or its subkey, is revoked. That happens elsewhere: this home still signs."""
        home = self.home.with_name(f"{self.home.name}r")
        shutil.copytree(self.home, home, ignore=shutil.ignore_patterns("S.*"))
        try:
            if subkey:
                protect = ("--pinentry-mode", "loopback", "--passphrase", "")
                answers = b"key 1\nrevkey\ny\n0\n\ny\nsave\n"
                gpg(home, *protect, "--command-fd", "0", "--edit-key", self.fingerprint, stdin=answers)
            else:
                certificate = (home / "openpgp-revocs.d" / f"{self.fingerprint}.rev").read_text()
                gpg(home, "--import", stdin=certificate.replace(":-----BEGIN", "-----BEGIN").encode())
            return gpg(home, "--armor", "--export", self.fingerprint)
        finally:
            stop_agent(home)

    def stop(self) -> None:
        """End the gpg-agent that gpg started for this home."""
        stop_agent(self.home)
