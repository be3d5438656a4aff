"""Signed lists, good ones and the corpus of bad ones; a gpg that fails; and what follows from each word of gpg's."""

import os
import re
import shutil
import stat
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.keys import Signer
from support.signed_lists.bad_lists import BAD_DETACHED, BAD_LISTS, Corpus
from support.signed_lists.good_lists import GOOD_LISTS
from support.signed_lists.list_keys import CLOCK, MAX_SIZE, NOW, TEXT, Keys

from closedmail.errors import Code, Refused
from closedmail.lists import gpg_status, openpgp
from closedmail.lists.envelope import unwrap
from closedmail.lists.faults import worst
from closedmail.lists.gpg_status import KeyState, judge, parse


@dataclass
class Bench:
    """Verifies bytes in a directory of its own, and knows what must not be left in it."""

    keys: Keys
    workdir: Path

    def verify(
        self,
        data: bytes,
        *signers: Signer,
        key_file: str = "net",
        detached: bytes | None = None,
        max_size: int = MAX_SIZE,
        now: int = CLOCK,
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
            signing_keys=[signer.fingerprint for signer in signers or (self.keys.net,)],
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


@pytest.mark.parametrize("case", GOOD_LISTS)
def test_good_list_gives_its_text(bench: Bench, case: str) -> None:
    name = "sub" if "subkey" in case else "net"
    signer = bench.keys.signers[name]
    signed = bench.verify(GOOD_LISTS[case](bench.keys), signer, key_file=name)
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


@pytest.mark.parametrize("case", BAD_LISTS)
def test_bad_list(bench: Bench, corpus: Corpus, case: str) -> None:
    bad = BAD_LISTS[case]
    refused = bench.refused(corpus.files(bad)[0], *bench.keys.pinned, key_file="all")
    assert (refused.code, refused.reason) == (bad.code, bad.said(bench.keys))


@pytest.mark.parametrize("case", BAD_DETACHED)
def test_bad_detached_signature(bench: Bench, corpus: Corpus, case: str) -> None:
    bad = BAD_DETACHED[case]
    data, signature = corpus.files(bad)
    refused = bench.refused(data, *bench.keys.pinned, key_file="all", detached=signature)
    assert (refused.code, refused.reason) == (bad.code, bad.said(bench.keys))


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


# What gpg finds no key in: made of the armored key, and what is said of it.
NO_KEYS: dict[str, tuple[Callable[[bytes], bytes], str]] = {
    "empty": (lambda _: b"\xef\xbb\xbf\r\n", "is empty; "),
    "byte order mark": (lambda key: b"\xef\xbb\xbf" + key, "sed -i '1s/^\\xef\\xbb\\xbf//' {file}"),
    "UTF-16": (lambda key: key.decode().encode("utf-16"), "iconv -f UTF-16 -t ASCII {file} > NEW_FILE"),
    "UTF-16, big-endian": (
        lambda key: b"\xfe\xff" + key.decode().encode("utf-16-be"),
        "iconv -f UTF-16 -t ASCII {file}",
    ),
    "UTF-16 without a mark": (lambda key: key.decode().encode("utf-16-le"), "iconv -f UTF-16LE -t ASCII {file}"),
    "keybox": (lambda _: b"\0\0\0\x20\x01\x01\0\x02KBXf" + bytes(20), "--keyring {file} --armor --export"),
    "web page": (lambda _: b"<!DOCTYPE html>\n<html>Please log in", "is a web page, "),
    "web page with a key": (lambda key: b"<html><pre>" + key.replace(b"\n", b"<br>\n"), "is a web page, "),
    "certificate": (lambda _: b"-----BEGIN CERTIFICATE-----\nMIIB\n", "of X.509 or SSH, not of OpenPGP"),
    "SSH": (lambda _: b"-----BEGIN OPENSSH PRIVATE KEY-----\nb3Bl\n", "of X.509 or SSH, not of OpenPGP"),
    "signed text": (lambda _: b"-----BEGIN PGP SIGNED MESSAGE-----\nHash: SHA256\n\nx\n", "is something signed"),
    "key cut short": (lambda key: key[:200], "has an OpenPGP key that gpg does not take: cut short"),
    "binary key cut short": (lambda _: b"\x98\x33\x04", "has an OpenPGP key that gpg does not take: "),
    "indented key": (lambda key: b"  " + key.replace(b"\n", b"\n  "), "has an OpenPGP key that gpg does not take: "),
    "anything else": (lambda _: b"no key at all\n", "has no OpenPGP key; "),
}


@pytest.mark.parametrize("case", NO_KEYS)
def test_key_file_without_a_key(bench: Bench, keys: Keys, case: str) -> None:
    """What the file is instead is said; where the advice is a command that mends the file, that does."""
    make, words = NO_KEYS[case]
    file = keys.file("no key")
    armored = keys.net.public()
    file.write_bytes(make(armored))
    data = keys.net.clearsign(TEXT)
    refused = bench.refused(data, key_file="no key")
    assert refused.code == "wrong-signer"
    assert f"not in key_file: {file} " in refused.reason
    assert words.format(file=f"'{file}'") in refused.reason
    (state,) = openpgp.key_states(file, [keys.net.fingerprint], bench.workdir, NOW)
    assert not state.present
    assert state.why_missing in refused.reason
    command = re.search(r"(?:sed|iconv) .*", state.why_missing)
    if command:
        subprocess.run(command[0].replace("NEW_FILE", "converted"), shell=True, cwd=bench.workdir, check=True)  # noqa: S602
        if "iconv" in command[0]:
            (bench.workdir / "converted").replace(file)
        assert file.read_bytes() == armored
        assert bench.verify(data, key_file="no key").signer == keys.net.fingerprint


@pytest.mark.parametrize("name", ["net", "newborn", "unborn"])
def test_signature_older_than_its_key(bench: Bench, keys: Keys, name: str) -> None:
    signer = getattr(keys, name)
    data = signer.clearsign(TEXT, when=1_700_000_000, extra=["--ignore-time-conflict"])
    assert bench.refused(data, signer, key_file=name).code == "bad-signature"


def test_clock_of_the_network_may_be_ahead_when_it_makes_a_key(bench: Bench, keys: Keys) -> None:
    assert (
        bench.verify(keys.newborn.clearsign(TEXT, when=NOW + 310), keys.newborn, key_file="newborn").signed_at
        == NOW + 310
    )


def test_key_that_is_not_revoked_yet(bench: Bench, keys: Keys) -> None:
    data = keys.revoked.clearsign(TEXT, when=NOW)
    assert bench.verify(data, keys.revoked, key_file="not-revoked").signer == keys.revoked.fingerprint


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
    pinned = [keys.net, keys.sub, keys.expired, keys.revoked, keys.elapsed, keys.lapsed, keys.withdrawn, keys.unborn]
    fingerprints = [signer.fingerprint for signer in pinned]
    states = openpgp.key_states(keys.file("all"), [*fingerprints, "0" * 40], tmp_path, NOW)
    assert [state.fingerprint for state in states] == [*fingerprints, "0" * 40]
    assert [(s.present, s.expired, s.revoked) for s in states] == [
        (True, False, False),
        (True, False, False),
        (True, True, False),
        (True, False, True),
        (True, True, False),
        (True, True, False),
        (True, False, True),
        (True, False, False),
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


@pytest.mark.parametrize(("expired", "revoked", "code"), [(True, False, "expired"), (False, True, "revoked")])
def test_state_of_the_key_counts_where_gpg_says_nothing_of_it(expired: bool, revoked: bool, code: str) -> None:
    state = KeyState(PINNED, None, expired=expired, revoked=revoked, present=True)
    with pytest.raises(Refused) as caught:
        judge(parse([TEXTLINE, NEW, GOODLINE, _valid()]), 0, keys=[state], now=1000)
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
