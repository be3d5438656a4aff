"""Signed lists, made by the real gpg and bent in every way we know of; each must get its exact code."""

import bz2
import os
import re
import shutil
import stat
import time
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.keys import Signer, armor, gpg, stop_agent

from closedmail.errors import Code, Refused
from closedmail.lists import gpg_status, openpgp
from closedmail.lists.envelope import unwrap
from closedmail.lists.faults import worst
from closedmail.lists.gpg_status import KeyState, judge, parse

TEXT = b"koeln.example esmtp:[192.0.2.1]\nbonn.example esmtp:[192.0.2.2]\n"
NOW = int(time.time())
DAY = 86400
MAX_SIZE = 1 << 20


@dataclass(frozen=True)
class Keys:
    """The key pairs of a session; `folder` holds their public keys as NAME.asc, and all.asc."""

    folder: Path
    net: Signer  # pinned
    sub: Signer  # pinned, signs with a subkey
    twin: Signer  # the same user ID as net, never pinned
    expired: Signer
    revoked: Signer
    elapsed: Signer  # a subkey under a primary key that has expired
    newborn: Signer  # made five minutes from now
    unborn: Signer  # made tomorrow

    def file(self, name: str) -> Path:
        return self.folder / f"{name}.asc"


@pytest.fixture(scope="session")
def keys(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Keys]:
    folder = tmp_path_factory.mktemp("k")
    user = "Closed Net <lists@net.example>"
    signers = {
        "net": Signer(folder / "net", user, created="20250101T000000"),
        "sub": Signer(folder / "sub", user, created="20250101T000000", subkey=True),
        "twin": Signer(folder / "twin", user, created="20250101T000000"),
        "expired": Signer(folder / "expired", user, created="20240101T000000", expires="2024-02-01"),
        "revoked": Signer(folder / "revoked", user, created="20250101T000000"),
        "elapsed": Signer(folder / "elapsed", user, created="20240101T000000", expires="2024-02-01", subkey=True),
    }
    signers |= {
        name: Signer(folder / name, user, created=time.strftime("%Y%m%dT%H%M%S", time.gmtime(NOW + later)))
        for name, later in (("newborn", 300), ("unborn", DAY))
    }
    gpg(signers["elapsed"].home, "--faked-system-time", "20240102T000000!", "--pinentry-mode", "loopback",
        "--passphrase", "", "--quick-set-expire", signers["elapsed"].fingerprint, "0", "*")  # fmt: skip
    shutil.copytree(folder / "revoked", folder / "unrevoked", ignore=shutil.ignore_patterns("S.*"))
    (folder / "not-revoked.asc").write_bytes(signers["revoked"].public())
    signers["revoked"].revoke()
    for name, signer in signers.items():
        (folder / f"{name}.asc").write_bytes(signer.public())
    (folder / "all.asc").write_bytes(b"".join(signer.public() for signer in signers.values()))
    yield Keys(folder, **signers)
    for signer in signers.values():
        signer.stop()
    stop_agent(folder / "unrevoked")


# Tables hold the bytes themselves, or what makes them of the keys.
Make = Callable[[Keys], bytes]


def _made(make: bytes | Make, keys: Keys) -> bytes:
    return make if isinstance(make, bytes) else make(keys)


@dataclass
class Bench:
    """Verifies bytes in a directory of its own, and knows what must not be left in it."""

    keys: Keys
    workdir: Path

    def verify(
        self,
        data: bytes,
        *signers: Signer,
        key_file: str = "all",
        detached: bytes | None = None,
        max_size: int = MAX_SIZE,
        now: int = NOW + 60,
        time_limit: float = 60.0,
    ) -> openpgp.Signed:
        raw = self.workdir / "list"
        raw.write_bytes(data)
        signature = None
        if detached is not None:
            signature = self.workdir / "list.sig"
            signature.write_bytes(detached)
        return openpgp.verify(
            raw,
            self.workdir,
            key_file=self.keys.file(key_file),
            signing_keys=[signer.fingerprint for signer in signers or (self.keys.net, self.keys.sub)],
            max_size=max_size,
            now=now,
            detached=signature,
            time_limit=time_limit,
        )

    def refused(self, data: bytes, *signers: Signer, **how: object) -> Refused:
        with pytest.raises(Refused) as caught:
            self.verify(data, *signers, **how)  # type: ignore[arg-type]
        assert {path.name for path in self.workdir.iterdir()} <= {"list", "list.sig"}
        assert "\n" not in caught.value.reason
        return caught.value


@pytest.fixture
def bench(keys: Keys, tmp_path: Path) -> Bench:
    return Bench(keys, tmp_path)


# --- accepted ------------------------------------------------------------------------------------------------------


GOOD: dict[str, Make] = {
    "clearsigned": lambda k: k.net.clearsign(TEXT, when=NOW),
    "clearsigned by a subkey": lambda k: k.sub.clearsign(TEXT, when=NOW),
    "clearsigned with SHA-512": lambda k: k.net.clearsign(TEXT, when=NOW, extra=["--digest-algo", "SHA512"]),
    "clearsigned, CRLF": lambda k: k.net.clearsign(TEXT, when=NOW).replace(b"\n", b"\r\n"),
    "BOM before": lambda k: b"\xef\xbb\xbf" + k.net.clearsign(TEXT, when=NOW),
    "white space around": lambda k: b"\r\n \t\n" + k.net.clearsign(TEXT, when=NOW) + b"\n\n \r\n",
    "BOM, CRLF, blank lines": lambda k: (
        b"\xef\xbb\xbf\r\n" + k.net.clearsign(TEXT, when=NOW).replace(b"\n", b"\r\n") + b"\r\n"
    ),
    "no newline at the end": lambda k: k.net.clearsign(TEXT, when=NOW).rstrip(),
    "comment in the armor": lambda k: k.net.clearsign(TEXT, when=NOW, extra=["--comment", "evil.example x:y"]),
    "clearsigned, signature armored without checksum": lambda k: _without_checksum(k),
    "clearsigned, CR CR LF": lambda k: k.net.clearsign(TEXT, when=NOW).replace(b"\n", b"\r\r\n"),
    "message, armored, CR CR LF": lambda k: k.net.sign(TEXT, when=NOW, extra=["--armor"]).replace(b"\n", b"\r\r\n"),
    "message, binary": lambda k: k.net.sign(TEXT, when=NOW),
    "message, not compressed": lambda k: k.net.sign(TEXT, when=NOW, extra=["-z", "0"]),
    "message, zlib": lambda k: k.net.sign(TEXT, when=NOW, extra=["--compress-algo", "zlib"]),
    "message, bzip2": lambda k: k.net.sign(TEXT, when=NOW, extra=["--compress-algo", "bzip2"]),
    "message, armored": lambda k: k.net.sign(TEXT, when=NOW, extra=["--armor"]),
    "message, armored, CRLF and BOM": lambda k: (
        b"\xef\xbb\xbf" + k.net.sign(TEXT, when=NOW, extra=["--armor"]).replace(b"\n", b"\r\n")
    ),
    "message, armored without checksum": lambda k: armor(k.net.sign(TEXT, when=NOW)),
    "message of text class": lambda k: k.net.sign(TEXT, when=NOW, extra=["--textmode"]),
    "message, white space around": lambda k: b"\n" + k.net.sign(TEXT, when=NOW) + b"\r\n\n",
}


@pytest.mark.parametrize("case", GOOD)
def test_good_list_gives_its_text(bench: Bench, case: str) -> None:
    data = GOOD[case](bench.keys)
    signed = bench.verify(data)
    signer = bench.keys.sub if "subkey" in case else bench.keys.net
    assert signed.signer == signer.fingerprint
    assert signed.signed_at == NOW
    assert signed.text.parent == bench.workdir
    assert signed.text.read_bytes().replace(b"\r\n", b"\n") == TEXT


def test_dash_lines_come_back_unescaped(bench: Bench) -> None:
    text = b"# -----\n-----BEGIN PGP SIGNED MESSAGE-----\n- x\n" + TEXT
    assert bench.verify(bench.keys.net.clearsign(text, when=NOW)).text.read_bytes() == text


def test_armor_within_a_message_is_text(bench: Bench) -> None:
    text = b"\n" + bench.keys.twin.clearsign(b"x\n")
    signed = bench.verify(bench.keys.net.sign(text, when=NOW, extra=["-z", "0"]))
    assert signed.text.read_bytes() == text


@pytest.mark.parametrize("extra", [(), ("--armor",), ("--textmode",)])
def test_good_detached_signature(bench: Bench, extra: tuple[str, ...]) -> None:
    text = b"\xef\xbb\xbf" + TEXT
    signed = bench.verify(text, detached=bench.keys.net.detach(text, when=NOW, extra=extra))
    assert signed.text == bench.workdir / "list"
    assert signed.signer == bench.keys.net.fingerprint


def test_lower_case_fingerprints_are_pinned_too(bench: Bench, keys: Keys) -> None:
    (bench.workdir / "list").write_bytes(keys.net.clearsign(TEXT, when=NOW))
    signed = openpgp.verify(
        bench.workdir / "list",
        bench.workdir,
        key_file=keys.file("net"),
        signing_keys=[keys.net.fingerprint.lower()],
        max_size=MAX_SIZE,
        now=NOW,
    )
    assert signed.signer == keys.net.fingerprint


def test_ten_minutes_ahead_are_fine(bench: Bench) -> None:
    assert bench.verify(bench.keys.net.clearsign(TEXT, when=NOW), now=NOW - 600).signed_at == NOW


def test_max_size_is_the_largest_size_that_passes(bench: Bench) -> None:
    data = bench.keys.net.clearsign(TEXT, when=NOW)
    assert bench.verify(data, max_size=len(data)).signed_at == NOW
    assert bench.refused(data, max_size=len(data) - 1).code == "too-large"


# --- refused -------------------------------------------------------------------------------------------------------


def _clear(k: Keys) -> bytes:
    return k.net.clearsign(TEXT, when=NOW)


def _without_checksum(k: Keys) -> bytes:
    # Where the base64 is not padded, gpg reads on into the last line.
    signed = (
        k.net.clearsign(TEXT, when=NOW, extra=["--sig-notation", f"x@net.example={'x' * size}"]) for size in range(9)
    )
    return next(data for data in (re.sub(rb"\n=[^\n]{4}\n", b"\n", data) for data in signed) if b"=\n--" not in data)


def _between_head_and_text(k: Keys) -> bytes:
    head, rest = _clear(k).split(b"\n\n", 1)
    return head + b"\nevil.example esmtp:[192.0.2.66]\n\n" + rest


def _in_the_text(k: Keys, line: bytes) -> bytes:
    return _clear(k).replace(b"bonn", line + b"\nbonn")


def _literal(text: bytes) -> bytes:
    body = b"b\x00\x00\x00\x00\x00" + text
    return b"\xcb\xff" + len(body).to_bytes(4, "big") + body


def _stored(k: Keys) -> bytes:
    return k.net.sign(TEXT, when=NOW, extra=["-z", "0"])


def _encrypted(k: Keys, *extra: str) -> bytes:
    return gpg(k.net.home, *extra, "--pinentry-mode", "loopback", "--passphrase", "x", "--symmetric", stdin=TEXT)


REFUSED: dict[str, tuple[str, bytes | Make]] = {
    "empty": ("unsigned", b""),
    "plain": ("unsigned", TEXT),
    "plain with an umlaut first": ("unsigned", "über.example esmtp:[192.0.2.1]\n".encode()),
    "plain in Latin-1": ("unsigned", "über.example esmtp:[192.0.2.1]\n".encode("latin-1")),
    "white space": ("unsigned", b" \n\n"),
    "HTML": ("unsigned", b"<!DOCTYPE html><html><body>Log in</body></html>"),
    "dashes": ("unsigned", b"-----\n" * 5000),
    "head not at a line's start": ("unsigned", lambda k: b"x" + _clear(k).split(b"-----BEGIN PGP SIGNATURE")[0]),
    "encrypted": ("unsigned", lambda k: _encrypted(k)),
    "encrypted, armored": ("unsigned", lambda k: _encrypted(k, "--armor")),
    "encrypted, armored, text before": ("unsigned", lambda k: b"x\n" + _encrypted(k, "--armor")),
    "signed and encrypted": ("unsigned", lambda k: _encrypted(k, "--sign")),
    "stored, not signed": ("unsigned", lambda k: gpg(k.net.home, "--store", stdin=TEXT)),
    "stored, armored": ("unsigned", lambda k: gpg(k.net.home, "--store", "--armor", stdin=TEXT)),
    "a public key": ("unsigned", lambda k: k.net.public()),
    "only a detached signature": ("unsigned", lambda k: k.net.detach(TEXT)),
    "only a detached signature, armored": ("unsigned", lambda k: k.net.detach(TEXT, extra=["--armor"])),
    "two blocks": ("several-signatures", lambda k: _clear(k) * 2),
    "two blocks, the second a stranger's": ("several-signatures", lambda k: _clear(k) + k.twin.clearsign(TEXT)),
    "two blocks, the first a stranger's": ("several-signatures", lambda k: k.twin.clearsign(TEXT) + _clear(k)),
    "text between two blocks": ("several-signatures", lambda k: _clear(k) + TEXT + _clear(k)),
    "two blocks, one cut": ("several-signatures", lambda k: _clear(k) + _clear(k)[:-60]),
    "two signatures of one block": ("several-signatures", lambda k: _two_in_one(k)),
    "message twice": ("several-signatures", lambda k: k.net.sign(TEXT) * 2),
    "message twice, stored": ("several-signatures", lambda k: _stored(k) * 2),
    "message twice, armored": ("several-signatures", lambda k: k.net.sign(TEXT, extra=["--armor"]) * 2),
    "message twice in one armor": ("several-signatures", lambda k: armor(_stored(k) * 2)),
    "clearsigned, then armored": ("several-signatures", lambda k: _clear(k) + k.net.sign(TEXT, extra=["--armor"])),
    "text before": ("extra-text", lambda k: b"evil.example esmtp:[192.0.2.66]\n" + _clear(k)),
    "text after": ("extra-text", lambda k: _clear(k) + b"evil.example esmtp:[192.0.2.66]\n"),
    "text on the last line": ("extra-text", lambda k: _clear(k).rstrip() + b"evil.example esmtp:[192.0.2.66]\n"),
    "text far right on the last line": (
        "extra-text", lambda k: _clear(k).rstrip() + b" " * 300 + b"evil.example esmtp:[192.0.2.66]\n"),
    "text far right on the first line": ("unsigned", lambda k: _clear(k).replace(b"\n", b" " * 300 + b"x\n", 1)),
    "text far right on the signature's first line": (
        "extra-text", lambda k: _clear(k).replace(b"SIGNATURE-----\n", b"SIGNATURE-----" + b" " * 300 + b"x\n", 1)),
    "text far right on a message's last line": (
        "extra-text", lambda k: k.net.sign(TEXT, extra=["--armor"]).rstrip() + b" " * 300 + b"x\n"),
    "lone CRs": ("unsigned", lambda k: _clear(k).replace(b"\n", b"\r")),
    "text far right on a message's first line": (
        "unsigned", lambda k: k.net.sign(TEXT, extra=["--armor"]).replace(b"\n", b" " * 300 + b"x\n", 1)),
    "NUL after": ("extra-text", lambda k: _clear(k) + b"\0"),
    "text before, CRLF": ("extra-text", lambda k: (b"x\n" + _clear(k)).replace(b"\n", b"\r\n")),
    "text in the head": ("extra-text", _between_head_and_text),
    "an unsigned header": ("extra-text", lambda k: _clear(k).replace(b"\n\n", b"\nComment: x.example smtp:[y]\n\n", 1)),
    "not dash-escaped": ("extra-text", lambda k: k.net.clearsign(TEXT, extra=["--not-dash-escaped"])),
    "text before, and forged": ("extra-text", lambda k: b"x\n" + _clear(k).replace(b"192.0.2.2", b"192.0.2.3")),
    "text before, and cut": ("extra-text", lambda k: b"x\n" + _clear(k)[:-60]),
    "text before an armored message": ("extra-text", lambda k: b"x\n" + k.net.sign(TEXT, extra=["--armor"])),
    "text after an armored message": ("extra-text", lambda k: k.net.sign(TEXT, extra=["--armor"]) + b"x\n"),
    "text after a message": ("extra-text", lambda k: k.net.sign(TEXT) + b"evil.example esmtp:[192.0.2.66]\n"),
    "umlauts after a message": ("extra-text", lambda k: k.net.sign(TEXT) + "über.example\n".encode()),
    "text after a stored message": ("extra-text", lambda k: _stored(k) + b"x\n"),
    "text before the signed text": ("extra-text", lambda k: _literal(b"evil\n") + _stored(k)),
    "text after the signed text": ("extra-text", lambda k: _stored(k) + _literal(b"evil\n")),
    "text in the compressed message": (
        "extra-text", lambda k: b"\xa3\x02" + zlib.compress(_stored(k) + b"evil.example\n")),
    "a stranger with the same user ID": ("wrong-signer", lambda k: k.twin.clearsign(TEXT, when=NOW)),
    "a stranger's message": ("wrong-signer", lambda k: k.twin.sign(TEXT, when=NOW)),
    "a stranger, and forged": ("wrong-signer", lambda k: k.twin.clearsign(TEXT).replace(b"192.0.2.2", b"192.0.2.3")),
    "forged": ("bad-signature", lambda k: _clear(k).replace(b"192.0.2.2", b"192.0.2.3")),
    "a line added": ("bad-signature", lambda k: _in_the_text(k, b"evil.example esmtp:[192.0.2.66]")),
    "a line of dashes added": ("bad-signature", lambda k: _in_the_text(k, b"-----")),
    "a dash line added": ("bad-signature", lambda k: _in_the_text(k, b"-x")),
    "forged message": ("bad-signature", lambda k: _stored(k).replace(b"192.0.2.2", b"192.0.2.3")),
    "broken armor": ("bad-signature", lambda k: _clear(k).replace(b"\n=", b"\n*=")),
    "text in the signature's armor": ("bad-signature", lambda k: _clear(k).replace(b"\n=", b"\nevil.example x:y\n=")),
    "signature of another list": (
        "bad-signature", lambda k: _clear(k).partition(b"-----BEGIN PGP SIGNATURE")[0]
        + b"".join(k.net.clearsign(b"x\n").partition(b"-----BEGIN PGP SIGNATURE")[1:])),
    "signature over a key": ("bad-signature", lambda k: _key_signature(k)),
    "one-pass signature alone": ("bad-signature", lambda k: _stored(k)[:15]),
    "no end of compression": ("bad-signature", lambda k: b"\xa3\x02" + zlib.compress(_stored(k))[:-20]),
    "broken compression": ("bad-signature", b"\xa3\x02" + b"x" * 50),
    "broken bzip2": ("bad-signature", lambda k: b"\xa3\x03" + bz2.compress(_stored(k))[:9] + b"x" * 500),
    "compressed twice": (
        "unsigned", lambda k: b"\xa3\x02" + zlib.compress(b"\xa3\x02" + zlib.compress(_stored(k)))),
    "SHA-1": ("weak-digest", lambda k: k.net.clearsign(TEXT, when=NOW, extra=["--digest-algo", "SHA1"])),
    "RIPEMD-160": ("weak-digest", lambda k: k.net.clearsign(TEXT, when=NOW, extra=["--digest-algo", "RIPEMD160"])),
    "MD5": ("weak-digest", lambda k: k.net.clearsign(
        TEXT, when=NOW, extra=["--allow-weak-digest-algos", "--digest-algo", "MD5"])),
    "SHA-1, from the future": (
        "weak-digest", lambda k: k.net.clearsign(TEXT, when=NOW + 9000, extra=["--digest-algo", "SHA1"])),
    "expired signature": (
        "expired", lambda k: k.net.clearsign(TEXT, when=NOW - 9000, extra=["--default-sig-expire", "seconds=60"])),
    "from the future": ("from-the-future", lambda k: k.net.clearsign(TEXT, when=NOW + 60 + 601)),
}  # fmt: skip


def _two_in_one(k: Keys) -> bytes:
    # Two signature packets in one armor, as `gpg -u A -u B --clearsign` makes them.
    head, _, _ = _clear(k).partition(b"-----BEGIN PGP SIGNATURE")
    signature = k.net.detach(TEXT[:-1], when=NOW, extra=["--textmode"])
    return head + armor(signature * 2, "SIGNATURE")


def _key_signature(k: Keys) -> bytes:
    # The self-signature of the key's user ID, of class 0x13, in place of the one over the list.
    exported = gpg(k.net.home, "--export", "--export-options", "export-minimal", k.net.fingerprint)
    signature = exported[exported.rindex(b"<lists@net.example>") + len(b"<lists@net.example>") :]
    head, _, _ = _clear(k).partition(b"-----BEGIN PGP SIGNATURE")
    return head + armor(signature, "SIGNATURE")


@pytest.mark.parametrize("case", REFUSED)
def test_refused_with_its_code(bench: Bench, case: str) -> None:
    code, make = REFUSED[case]
    assert bench.refused(_made(make, bench.keys)).code == code


@pytest.mark.parametrize("end", ["in the text", "at the signature", "in the signature", "in the last line"])
def test_cut_short(bench: Bench, end: str) -> None:
    data = _clear(bench.keys)
    size = {
        "in the text": 80,
        "at the signature": data.index(b"-----BEGIN PGP SIGNATURE"),
        "in the signature": data.index(b"-----BEGIN PGP SIGNATURE") + 80,
        "in the last line": len(data) - 10,
    }[end]
    assert bench.refused(data[:size]).code == "bad-signature"


@pytest.mark.parametrize("extra", [("-z", "0"), ("-z", "6"), ("--armor",)])
def test_message_cut_short_anywhere(keys: Keys, tmp_path: Path, extra: tuple[str, ...]) -> None:
    data = keys.net.sign(TEXT, extra=extra)
    raw = tmp_path / "list"
    for size in range(40, len(data.rstrip()) - 1, 7):
        raw.write_bytes(data[:size])
        with pytest.raises(Refused) as caught:
            unwrap(raw, tmp_path, MAX_SIZE)
        assert caught.value.code == "bad-signature"


@given(
    junk=st.binary(max_size=300), lead=st.sampled_from([b"", b"\xef\xbb\xbf", b"\x90\x0d", b"\xa3\x02", b"\xa3\x03"])
)
def test_shape_of_anything_is_refused_not_crashed(
    tmp_path_factory: pytest.TempPathFactory, junk: bytes, lead: bytes
) -> None:
    folder = tmp_path_factory.getbasetemp()
    raw = folder / "junk"
    raw.write_bytes(lead + junk)
    with pytest.raises(Refused):
        unwrap(raw, folder, MAX_SIZE)


def test_wrong_signer_is_told_by_fingerprint(bench: Bench, keys: Keys) -> None:
    refused = bench.refused(keys.twin.clearsign(TEXT))
    assert keys.twin.fingerprint in refused.reason
    assert "signing_keys" in refused.reason


def test_subkey_fingerprint_pins_nothing(bench: Bench, keys: Keys) -> None:
    (bench.workdir / "list").write_bytes(keys.sub.clearsign(TEXT, when=NOW))
    with pytest.raises(Refused, match=keys.sub.fingerprint) as caught:
        openpgp.verify(
            bench.workdir / "list",
            bench.workdir,
            key_file=keys.file("sub"),
            signing_keys=[keys.sub.signing_fingerprint],
            max_size=MAX_SIZE,
            now=NOW,
        )
    assert caught.value.code == "wrong-signer"


def test_pinned_key_that_key_file_lacks(bench: Bench, keys: Keys) -> None:
    refused = bench.refused(keys.net.clearsign(TEXT), keys.net, key_file="twin")
    assert refused.code == "wrong-signer"
    assert "not in key_file" in refused.reason


@pytest.mark.parametrize("content", [None, b"", b"no key at all\n"])
def test_key_file_missing_or_broken(bench: Bench, keys: Keys, content: bytes | None) -> None:
    if content is not None:
        keys.file("broken").write_bytes(content)
    else:
        keys.file("broken").unlink(missing_ok=True)
    refused = bench.refused(keys.net.clearsign(TEXT), key_file="broken")
    assert refused.code == ("bad-signature" if content is None else "wrong-signer")
    assert "key_file" in refused.reason


def test_expired_key(bench: Bench, keys: Keys) -> None:
    data = keys.expired.clearsign(TEXT)
    assert bench.refused(data, keys.expired).code == "expired"
    assert bench.refused(data.replace(b"192.0.2.2", b"192.0.2.3"), keys.expired).code == "bad-signature"


def test_subkey_outlives_its_primary_key_in_vain(bench: Bench, keys: Keys) -> None:
    assert bench.refused(keys.elapsed.clearsign(TEXT), keys.elapsed).code == "expired"


def test_key_of_tomorrow(bench: Bench, keys: Keys) -> None:
    data = keys.unborn.clearsign(TEXT, when=NOW + DAY + 1)
    assert bench.refused(data, keys.unborn).code == "from-the-future"
    assert bench.refused(data.replace(b"192.0.2.2", b"192.0.2.3"), keys.unborn).code == "bad-signature"


@pytest.mark.parametrize("name", ["net", "newborn", "unborn"])
def test_signature_older_than_its_key(bench: Bench, keys: Keys, name: str) -> None:
    signer = getattr(keys, name)
    data = signer.clearsign(TEXT, when=1_700_000_000, extra=["--ignore-time-conflict"])
    assert bench.refused(data, signer).code == "bad-signature"


def test_clock_of_the_network_may_be_ahead_when_it_makes_a_key(bench: Bench, keys: Keys) -> None:
    assert bench.verify(keys.newborn.clearsign(TEXT, when=NOW + 310), keys.newborn).signed_at == NOW + 310


def test_revoked_key(bench: Bench, keys: Keys) -> None:
    home = keys.folder / "unrevoked"
    before = ["--local-user", keys.revoked.fingerprint, "--clearsign"]
    data = gpg(home, *before, stdin=TEXT)
    assert bench.verify(data, keys.revoked, key_file="not-revoked").signer == keys.revoked.fingerprint
    assert bench.refused(data, keys.revoked).code == "revoked"
    lapsed = ["--faked-system-time", f"{NOW - 9000}!", "--default-sig-expire", "seconds=60"]
    data = gpg(home, *lapsed, *before, stdin=TEXT)
    assert bench.refused(data, keys.revoked).code == "revoked"


BAD_DETACHED: dict[str, tuple[str, bytes | Make]] = {
    "of another list": ("bad-signature", lambda k: k.net.detach(b"x\n")),
    "a stranger's": ("wrong-signer", lambda k: k.twin.detach(TEXT)),
    "empty": ("unsigned", b""),
    "HTML": ("unsigned", b"<html>Log in</html>"),
    "a signed message": ("unsigned", lambda k: k.net.sign(TEXT)),
    "a signed message, stored": ("unsigned", lambda k: k.net.sign(TEXT, extra=["-z", "0"])),
    "a clearsigned list": ("unsigned", lambda k: k.net.clearsign(TEXT)),
    "two": ("several-signatures", lambda k: k.net.detach(TEXT) * 2),
    "two, armored": ("several-signatures", lambda k: k.net.detach(TEXT, extra=["--armor"]) * 2),
    "two in one armor": ("several-signatures", lambda k: armor(k.net.detach(TEXT) * 2, "SIGNATURE")),
    "text before": ("extra-text", lambda k: b"x\n" + k.net.detach(TEXT, extra=["--armor"])),
    "text after": ("extra-text", lambda k: k.net.detach(TEXT, extra=["--armor"]) + b"x\n"),
    "text on the last line": (
        "extra-text", lambda k: k.net.detach(TEXT, extra=["--armor"]).rstrip() + b" " * 300 + b"x\n"),
    "text on the first line": (
        "extra-text", lambda k: k.net.detach(TEXT, extra=["--armor"]).replace(b"\n", b" " * 300 + b"x\n", 1)),
    "cut short": ("bad-signature", lambda k: k.net.detach(TEXT)[:-9]),
    "cut short, armored": ("bad-signature", lambda k: k.net.detach(TEXT, extra=["--armor"])[:-9]),
    "SHA-1": ("weak-digest", lambda k: k.net.detach(TEXT, extra=["--digest-algo", "SHA1"])),
    "endless": ("too-large", b"\x88" * 100_000),
}  # fmt: skip


@pytest.mark.parametrize("case", BAD_DETACHED)
def test_bad_detached_signature(bench: Bench, case: str) -> None:
    code, make = BAD_DETACHED[case]
    assert bench.refused(TEXT, detached=_made(make, bench.keys)).code == code


@pytest.mark.parametrize("algorithm", ["zip", "zlib", "bzip2"])
def test_compression_bomb(bench: Bench, algorithm: str) -> None:
    bomb = bench.keys.net.sign(b"\n" * 5_000_000, extra=["--compress-algo", algorithm])
    assert len(bomb) < MAX_SIZE / 10
    assert bench.refused(bomb).code == "too-large"


def test_text_longer_than_max_size(bench: Bench) -> None:
    # Within what the packets may add to it, so that gpg sees it.
    message = bench.keys.net.sign(b"\n" * 10_001, extra=["--compress-algo", "zlib"])
    assert bench.refused(message, max_size=10_000).code == "too-large"


# --- gpg itself fails ----------------------------------------------------------------------------------------------


def _fake_gpg(folder: Path, monkeypatch: pytest.MonkeyPatch, script: str) -> None:
    folder.mkdir()
    fake = folder / "gpg"
    fake.write_text(f"#!/bin/sh\n{script}\n")
    fake.chmod(fake.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")


@pytest.mark.parametrize("when", ["always", "at --decrypt"])
def test_gpg_that_hangs_is_stopped(bench: Bench, keys: Keys, monkeypatch: pytest.MonkeyPatch, when: str) -> None:
    data = keys.net.clearsign(TEXT)
    real = shutil.which("gpg")
    # `sleep` is a child that holds the pipes: it must go too.
    hang = "sleep 600; exit 0"
    script = hang if when == "always" else f'case "$*" in *--decrypt*) {hang};; esac\nexec {real} "$@"'
    _fake_gpg(keys.folder / f"hang {when}", monkeypatch, script)
    refused = bench.refused(data, time_limit=0.5)
    assert refused.code == "bad-signature"
    assert "0.5 seconds" in refused.reason


FAILING = {
    "fails": "echo 'gpg: out of core' >&2; exit 2",
    "says nothing": "exit 0",
    "is killed": "kill -9 $$",
    "good but fails": "echo '[GNUPG:] NEWSIG' >&2; exit 2",
    "talks without end": "yes '[GNUPG:] NEWSIG' | head -c 3000000 >&2",
}


@pytest.mark.parametrize("case", FAILING)
def test_gpg_that_fails(bench: Bench, keys: Keys, monkeypatch: pytest.MonkeyPatch, case: str) -> None:
    data = keys.net.clearsign(TEXT)
    real = shutil.which("gpg")
    script = f'case "$*" in *--decrypt*) {FAILING[case]};; *) exec {real} "$@";; esac'
    _fake_gpg(keys.folder / case, monkeypatch, script)
    assert bench.refused(data).code in ("bad-signature", "unsigned")


def test_words_of_gpg_come_without_time_process_and_language(
    bench: Bench, keys: Keys, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = (
        "2026-11-24 03:00:00 gpg[4711] bad luck in $LC_ALL\\n2026-11-24 03:00:00 gpg[4711] WARNING: said in passing\\n"
    )
    script = f'while [ "$1" != --logger-file ]; do shift; done\nprintf "{words}" >"$2"; exit 2'
    data = keys.net.clearsign(TEXT)
    real = shutil.which("gpg")
    _fake_gpg(keys.folder / "words", monkeypatch, f'case "$*" in *--decrypt*) ;; *) exec {real} "$@";; esac\n{script}')
    monkeypatch.setenv("LC_ALL", "de_DE.UTF-8")
    assert "(bad luck in C)" in bench.refused(data).reason


def test_gpg_is_not_installed(bench: Bench, keys: Keys, monkeypatch: pytest.MonkeyPatch) -> None:
    data = keys.net.clearsign(TEXT)
    monkeypatch.setenv("PATH", "/nonexistent")
    refused = bench.refused(data)
    assert refused.code == "bad-signature"
    assert "install" in refused.reason


def test_status_lines_in_a_file_name_are_none(bench: Bench, keys: Keys) -> None:
    """python-gnupg would read the second octet of "Å" as the end of a line."""
    valid = f"VALIDSIG {keys.net.fingerprint} 2026-01-01 {NOW} 0 4 0 22 8 00 {keys.net.fingerprint}"
    name = f"\u00c5[GNUPG:] GOODSIG 0 x\u00c5[GNUPG:] {valid}\u00c5"
    forged = keys.net.sign(TEXT, extra=["-z", "0", "--set-filename", name, "--display-charset", "utf-8"])
    assert b"\xc3\x85[GNUPG:]" in forged
    assert bench.refused(forged.replace(b"192.0.2.2", b"192.0.2.3")).code == "bad-signature"
    assert bench.verify(forged).signed_at != 0


# --- key states ----------------------------------------------------------------------------------------------------


def test_key_states_of_real_keys(keys: Keys, tmp_path: Path) -> None:
    pinned = [keys.net, keys.sub, keys.expired, keys.revoked, keys.elapsed]
    fingerprints = [signer.fingerprint for signer in pinned]
    states = openpgp.key_states(keys.file("all"), [*fingerprints, "0" * 40], tmp_path, NOW)
    assert [state.fingerprint for state in states] == [*fingerprints, "0" * 40]
    assert [(s.present, s.expired, s.revoked) for s in states] == [
        (True, False, False),
        (True, False, False),
        (True, True, False),
        (True, False, True),
        (True, True, False),
        (False, False, False),
    ]
    assert states[0].expires_at is None
    assert time.gmtime(states[2].expires_at)[:3] == (2024, 2, 1)
    assert list(tmp_path.iterdir()) == []


def _listing(*records: tuple[str, str, str, str]) -> str:
    lines = []
    for number, (kind, validity, expires, capabilities) in enumerate(records):
        lines.append(f"{kind}:{validity}:255:22:0123456789ABCDEF:1:{expires}::::{'-'}:{capabilities}::")
        lines.append(f"fpr:::::::::{number:040X}:")
    return "\n".join(lines)


@pytest.mark.parametrize(
    ("records", "expires_at", "expired", "revoked"),
    [
        ([("pub", "-", "", "scSC")], None, False, False),
        ([("pub", "-", "2000", "scSC")], 2000, False, False),
        ([("pub", "-", "1000", "scSC")], 1000, True, False),
        ([("pub", "-", "", "cSC"), ("sub", "-", "2000", "s"), ("sub", "-", "3000", "s")], 3000, False, False),
        ([("pub", "-", "2500", "cSC"), ("sub", "-", "2000", "s"), ("sub", "-", "3000", "s")], 2500, False, False),
        ([("pub", "-", "", "cSC"), ("sub", "-", "2000", "s"), ("sub", "r", "3000", "s")], 2000, False, False),
        ([("pub", "-", "", "cSC"), ("sub", "-", "900", "s"), ("sub", "-", "", "e")], 900, True, False),
        ([("pub", "-", "", "scSC"), ("sub", "-", "900", "s")], None, False, False),
        ([("pub", "-", "", "cC"), ("sub", "r", "", "s")], None, False, True),
        ([("pub", "r", "", "scSC")], None, False, True),
    ],
)
def test_when_a_key_can_sign_no_more(
    records: list[tuple[str, str, str, str]], expires_at: int | None, expired: bool, revoked: bool
) -> None:
    (state,) = gpg_status.key_states(_listing(*records), ["0" * 40], now=1000)
    created = {f"{number:040X}": 1 for number in range(len(records))}
    assert state == KeyState("0" * 40, expires_at, expired, revoked, present=True, created=created)


def test_subkeys_are_no_pinned_keys() -> None:
    listing = _listing(("pub", "-", "", "cSC"), ("sub", "-", "", "s"))
    assert not gpg_status.key_states(listing, [f"{1:040X}"], now=0)[0].present


# --- the verdict on status lines -----------------------------------------------------------------------------------

PINNED = "A" * 40
STATE = KeyState(PINNED, None, expired=False, revoked=False, present=True, created={PINNED: 1, "B" * 40: 900})
NEW, TEXTLINE, GOODLINE = "NEWSIG", "PLAINTEXT 74 0 ", "GOODSIG AAAAAAAAAAAAAAAA Net"


def _valid(primary: str = PINNED, at: int = 1000, digest: str = "8", kind: str = "01") -> str:
    return f"VALIDSIG {'B' * 40} 2026-01-01 {at} 0 4 0 22 {digest} {kind} {primary}"


@pytest.mark.parametrize(
    ("lines", "exit_status", "code"),
    [
        ([TEXTLINE, NEW, GOODLINE, _valid()], 0, None),
        ([TEXTLINE, NEW, GOODLINE, _valid(), "TRUST_UNDEFINED 0 pgp", "SOMETHING_NEW 1 2"], 0, None),
        ([TEXTLINE, NEW, GOODLINE, _valid(at=1600)], 0, None),
        ([TEXTLINE, NEW, GOODLINE, _valid(at=1601)], 0, "from-the-future"),
        ([TEXTLINE, NEW, GOODLINE, _valid(at=899)], 0, "bad-signature"),
        ([TEXTLINE, NEW, GOODLINE, _valid()], 2, "bad-signature"),
        ([TEXTLINE, NEW, GOODLINE, _valid(kind="00")], 0, None),
        ([TEXTLINE, NEW, GOODLINE, _valid(kind="02")], 0, "bad-signature"),
        ([TEXTLINE, NEW, GOODLINE, _valid(kind="10")], 0, "bad-signature"),
        ([TEXTLINE, NEW, GOODLINE], 0, "bad-signature"),
        ([TEXTLINE, NEW, _valid()], 0, "bad-signature"),
        ([TEXTLINE, NEW, GOODLINE, "VALIDSIG x"], 0, "wrong-signer"),
        ([TEXTLINE], 0, "unsigned"),
        ([], 0, "unsigned"),
        ([], 2, "bad-signature"),
        (["NODATA 1"], 2, "bad-signature"),
        (["ENC_TO 0 1 0", "NO_SECKEY 0"], 2, "unsigned"),
        ([TEXTLINE, NEW, GOODLINE, _valid(), NEW, GOODLINE, _valid()], 0, "several-signatures"),
        ([TEXTLINE, NEW, GOODLINE, _valid(), NEW], 0, "several-signatures"),
        ([TEXTLINE, TEXTLINE, NEW, GOODLINE, _valid()], 0, "bad-signature"),
        ([NEW, GOODLINE, _valid()], 0, "bad-signature"),
        ([TEXTLINE, NEW, GOODLINE, _valid(), "UNEXPECTED 0"], 0, "bad-signature"),
        ([TEXTLINE, NEW, GOODLINE, _valid("C" * 40)], 0, "wrong-signer"),
        ([TEXTLINE, NEW, f"ERRSIG AAAAAAAAAAAAAAAA 22 8 01 1000 9 {'C' * 40}"], 2, "wrong-signer"),
        ([TEXTLINE, NEW, "ERRSIG AAAAAAAAAAAAAAAA 22 1 01 1000 9 -"], 2, "wrong-signer"),
        ([TEXTLINE, NEW, f"ERRSIG AAAAAAAAAAAAAAAA 22 1 01 1000 1 {PINNED}"], 2, "weak-digest"),
        ([TEXTLINE, NEW, f"ERRSIG AAAAAAAAAAAAAAAA 99 8 01 1000 4 {PINNED}"], 2, "bad-signature"),
        ([TEXTLINE, NEW, "ERRSIG"], 2, "bad-signature"),
        ([TEXTLINE, NEW, "BADSIG AAAAAAAAAAAAAAAA Net"], 1, "bad-signature"),
        ([TEXTLINE, NEW, "REVKEYSIG AAAAAAAAAAAAAAAA Net", _valid()], 0, "revoked"),
        ([TEXTLINE, NEW, "EXPKEYSIG AAAAAAAAAAAAAAAA Net", _valid()], 0, "expired"),
        ([TEXTLINE, NEW, "EXPSIG AAAAAAAAAAAAAAAA Net", _valid()], 1, "expired"),
        ([TEXTLINE, NEW, "REVKEYSIG AAAAAAAAAAAAAAAA Net", _valid(digest="2", at=9999)], 0, "weak-digest"),
        ([TEXTLINE, NEW, "EXPKEYSIG AAAAAAAAAAAAAAAA Net", _valid(at=9999)], 0, "expired"),
        ([TEXTLINE, NEW, GOODLINE, _valid(digest="x")], 0, None),
    ],
)
def test_verdict(lines: list[str], exit_status: int, code: str | None) -> None:
    if code is None:
        assert judge(parse(lines), exit_status, keys=[STATE], now=1000).primary == PINNED
        return
    with pytest.raises(Refused) as caught:
        judge(parse(lines), exit_status, keys=[STATE], now=1000)
    assert caught.value.code == code


@given(st.lists(st.text(max_size=60) | st.sampled_from([NEW, TEXTLINE, GOODLINE, "VALIDSIG", "ERRSIG 1 2"])))
def test_no_status_line_breaks_the_parser(lines: list[str]) -> None:
    with pytest.raises(Refused):
        judge(parse(lines), 0, keys=[STATE], now=0)


def test_the_first_code_counts() -> None:
    order: list[Code] = [
        *("too-large", "unsigned", "several-signatures", "extra-text", "wrong-signer", "bad-signature"),
        *("weak-digest", "revoked", "expired", "from-the-future"),
    ]
    faults = [Refused(code, "x") for code in order]
    for number, code in enumerate(order):
        assert worst([*faults[:number:-1], faults[number]]).code == code
