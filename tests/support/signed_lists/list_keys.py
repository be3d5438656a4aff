"""The keys of the corpus of signed lists: good ones, and ones that may not sign for each of the reasons there are."""

import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from support.keys import Signer, gpg

TEXT = b"koeln.example esmtp:[192.0.2.1]\nbonn.example esmtp:[192.0.2.2]\n"
DAY = 86400
NOW = int(time.time())  # when lists are signed
CLOCK = NOW + 60  # when they are verified
MAX_SIZE = 4 << 20


_UNPINNED = ("twin", "newborn")


@dataclass(frozen=True)
class Keys:
    """The key pairs of a session; `folder` holds their public keys as NAME.asc, and the pinned ones and the stranger's
    as all.asc.

    They have the same user ID, so that they differ in nothing but the fingerprint.
    """

    folder: Path
    net: Signer
    sub: Signer  # signs with a subkey
    twin: Signer  # never pinned
    expired: Signer
    revoked: Signer
    elapsed: Signer  # a subkey under a primary key that has expired
    lapsed: Signer  # an expired subkey under a primary key that has not
    withdrawn: Signer  # a revoked subkey under a primary key that is not
    unborn: Signer  # made tomorrow
    newborn: Signer  # made five minutes from now; never pinned, but in tests of its own

    def file(self, name: str) -> Path:
        return self.folder / f"{name}.asc"

    @property
    def signers(self) -> dict[str, Signer]:
        return {name: value for name, value in vars(self).items() if isinstance(value, Signer)}

    @property
    def pinned(self) -> list[Signer]:
        return [signer for name, signer in self.signers.items() if name not in _UNPINNED]


def _stamp(seconds: int) -> str:
    return time.strftime("%Y%m%dT%H%M%S", time.gmtime(seconds))


def _renew(signer: Signer, *what: str) -> None:
    """Let the primary key, or with "*" its subkeys, not expire after all."""
    clock = ("--faked-system-time", "20240102T000000!")
    protect = ("--pinentry-mode", "loopback", "--passphrase", "")
    gpg(signer.home, *clock, *protect, "--quick-set-expire", signer.fingerprint, "0", *what)


@pytest.fixture(scope="session")
def keys(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Keys]:
    folder = tmp_path_factory.mktemp("k")
    user = "Closed Net <lists@net.example>"

    def made(name: str, *, subkey: bool = False) -> Signer:
        return Signer(folder / name, user, created="20250101T000000", subkey=subkey)

    def past(name: str, *, subkey: bool = False) -> Signer:
        return Signer(folder / name, user, created="20240101T000000", expires="2024-02-01", subkey=subkey)

    signers = {
        "net": made("net"),
        "sub": made("sub", subkey=True),
        "twin": made("twin"),
        "expired": past("expired"),
        "revoked": made("revoked"),
        "elapsed": past("elapsed", subkey=True),
        "lapsed": past("lapsed", subkey=True),
        "withdrawn": made("withdrawn", subkey=True),
        "newborn": Signer(folder / "newborn", user, created=_stamp(NOW + 300)),
        "unborn": Signer(folder / "unborn", user, created=_stamp(NOW + DAY)),
    }
    _renew(signers["elapsed"], "*")
    _renew(signers["lapsed"])
    public = {name: signer.public() for name, signer in signers.items()}
    (folder / "not-revoked.asc").write_bytes(public["revoked"])
    public["revoked"] = signers["revoked"].revoked()
    public["withdrawn"] = signers["withdrawn"].revoked(subkey=True)
    for name, data in public.items():
        (folder / f"{name}.asc").write_bytes(data)
    (folder / "all.asc").write_bytes(b"".join(data for name, data in public.items() if name != "newborn"))
    yield Keys(folder, **signers)
    for signer in signers.values():
        signer.stop()
