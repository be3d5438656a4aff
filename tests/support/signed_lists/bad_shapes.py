"""Files that are no signed list, hold several signatures, or grow beyond max_size: one table a message."""

import gzip
import subprocess
import tempfile
import zlib
from functools import cache

from support.keys import armor, gpg
from support.signed_lists.bad_reasons import Bad, not_openpgp, several, table, unsigned
from support.signed_lists.good_lists import (
    BEGIN,
    BOM,
    CANONICAL,
    HEAD,
    Make,
    armored,
    by_hand,
    clear,
    compressed,
    cut,
    message,
    noise,
    signature_part,
    stored,
    swapped,
    with_signature,
)
from support.signed_lists.handmade import TEXTUAL, literal, one_pass, packet, signature
from support.signed_lists.list_keys import MAX_SIZE, NOW, TEXT, Keys


def _only_noise(seed: int) -> Make:
    return lambda _: noise(seed)


def _bomb(algorithm: int) -> Make:
    return lambda k: compressed(by_hand(k.net, bytes(MAX_SIZE + 70_000)), algorithm)


@cache
def _encrypted(k: Keys, *extra: str) -> bytes:
    protect = ("--pinentry-mode", "loopback", "--passphrase", "x", "--s2k-count", "1024")
    return gpg(k.net.home, *protect, *extra, "--symmetric", stdin=TEXT)


def _two_signers(k: Keys, *, armored: bool) -> bytes:
    """As `gpg -u A -u B` makes it, over one text."""
    if armored:
        both = [signature(signer, CANONICAL, when=NOW, kind=TEXTUAL) for signer in (k.net, k.twin)]
        return with_signature(k, armor(b"".join(both), "SIGNATURE"))
    inner = one_pass(k.twin) + literal(TEXT) + signature(k.twin, TEXT, when=NOW)
    return one_pass(k.net, last=False) + inner + signature(k.net, TEXT, when=NOW)


@cache
def smime(*how: str) -> bytes:
    """The list as openssl signs it, by a key of the moment."""
    with tempfile.TemporaryDirectory() as folder:
        key, cert = f"{folder}/key.pem", f"{folder}/cert.pem"
        make = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"]
        subprocess.run(
            [*make, "-subj", "/CN=net.example", "-keyout", key, "-out", cert], capture_output=True, check=True
        )
        sign = ["openssl", "cms", "-sign", "-signer", cert, "-inkey", key, *how]
        return subprocess.run(sign, input=TEXT, capture_output=True, check=True).stdout


def pgp_mime(k: Keys) -> bytes:
    """The list as the one part of a mail, and the signature as the other (RFC 3156, 5)."""
    return (
        b"Mime-Version: 1.0\nContent-Type: multipart/signed; boundary=x; micalg=pgp-sha256;\n"
        b' protocol="application/pgp-signature"\n\n--x\nContent-Type: text/plain\n\n%b\n--x\n'
        b"Content-Type: application/pgp-signature\n\n%b\n--x--\n"
    ) % (TEXT, k.net.detach(TEXT, when=NOW, extra=["--armor"]))


NOT_SIGNED: dict[str, Make] = {
    "plain": lambda _: TEXT,
    "plain with an umlaut first": lambda _: "über.example esmtp:[192.0.2.1]\n".encode(),
    "plain in Latin-1": lambda _: "über.example esmtp:[192.0.2.1]\n".encode("latin-1"),
    "white space": lambda _: b" \n\n",
    "HTML": lambda _: b"<!DOCTYPE html><html><body>Log in</body></html>",
    "dashes": lambda _: b"-----\n" * 5000,
    "NULs": lambda _: bytes(5000),
    "a very long line": lambda _: b"x" * 2_000_000,
    "a head in a sentence": lambda k: b"x" + cut(clear(k), BEGIN),
    "text left of the head": lambda k: b"x" + clear(k),
    "four dashes": swapped(HEAD, HEAD[1:]),
    "six dashes": swapped(HEAD, b"-" + HEAD),
    "four dashes at the end": swapped(HEAD, HEAD[:-1]),
    "an em dash": swapped(HEAD, "\u2014".encode() + HEAD),
    "text right of the head": swapped(HEAD, HEAD + b" x"),
    "text far right of the head": swapped(HEAD, HEAD + b" " * 300 + b"x"),
    "NUL right of the head": swapped(HEAD, HEAD + b"\0x"),
    "a dash more right of the head": swapped(HEAD, HEAD + b"-"),
    "text far right of a message's head": lambda k: armored(k).replace(b"\n", b" " * 300 + b"x\n", 1),
    "a head in lower case": swapped(HEAD, HEAD.lower()),
    "a head that is escaped": swapped(HEAD, b"- " + HEAD),
    "a head of something else": lambda k: armor(stored(k), "ARMORED FILE"),
    "a message armored as a signature": lambda k: armor(stored(k), "SIGNATURE"),
    "two BOMs": lambda k: BOM * 2 + clear(k),
    "a zero-width space": lambda k: "\u200b".encode() + clear(k),
    "UTF-16": lambda k: clear(k).decode().encode("utf-16"),
    "Unicode line ends at all lines": swapped(b"\n", "\u2028".encode()),
    "quoted in a mail": lambda k: b"> " + clear(k).replace(b"\n", b"\n> "),
    "gzip": lambda k: gzip.compress(clear(k)),
    "a public key": lambda k: k.net.public(),
    "a public key, then a message": lambda k: gpg(k.net.home, "--export", k.net.fingerprint) + stored(k),
    "only a detached signature, armored": lambda k: k.net.detach(TEXT, extra=["--armor"]),
    "an unknown compression": lambda k: packet(8, b"\4" + zlib.compress(stored(k))),
    **{f"noise {seed}": _only_noise(seed) for seed in range(6)},
}

OLD_LINE_ENDS: dict[str, Make] = {
    "lone CRs at the ends of all lines": swapped(b"\n", b"\r"),
    "lone CRs at the ends of all lines of a message": lambda k: armored(k).replace(b"\n", b"\r"),
}

SMIME: dict[str, Make] = {
    "S/MIME, the list and a signature": lambda _: smime("-text"),
    "S/MIME, opaque": lambda _: smime("-nodetach"),
    "S/MIME, with DOS line ends": lambda _: smime("-text").replace(b"\n", b"\r\n"),
    "S/MIME, as a mail program sends it": lambda _: b"From: a@net.example\nSubject: the list\n" + smime("-text"),
    "S/MIME, DER": lambda _: smime("-nodetach", "-outform", "DER"),
    "S/MIME, PEM": lambda _: smime("-nodetach", "-outform", "PEM"),
    "S/MIME, PEM of PKCS #7": lambda _: smime("-nodetach", "-outform", "PEM").replace(b" CMS-", b" PKCS7-"),
}

PGP_MIME: dict[str, Make] = {
    "PGP/MIME": lambda k: pgp_mime(k),
    "PGP/MIME, in capitals, on one line": lambda k: (
        pgp_mime(k).replace(b";\n ", b"; ").replace(b"pgp-signature", b"PGP-Signature")
    ),
    "PGP/MIME, with DOS line ends": lambda k: pgp_mime(k).replace(b"\n", b"\r\n"),
}

EMPTY: dict[str, Make] = {"empty": lambda _: b""}

UNSIGNED_MESSAGE: dict[str, Make] = {
    "stored, not signed": lambda k: gpg(k.net.home, "--store", stdin=TEXT),
    "stored, not signed, armored": lambda k: gpg(k.net.home, "--store", "--armor", stdin=TEXT),
    "a literal packet": lambda _: literal(TEXT),
    "a compressed literal packet": lambda _: compressed(literal(TEXT)),
    "compressed twice": lambda k: compressed(compressed(stored(k))),
}

ENCRYPTED: dict[str, Make] = {
    "encrypted": lambda k: _encrypted(k),
    "encrypted, armored": lambda k: armor(_encrypted(k)),
    "encrypted, armored, text before": lambda k: b"x\n" + armor(_encrypted(k)),
    "encrypted, armored, cut short": lambda k: armor(_encrypted(k))[:150],
    "signed and encrypted": lambda k: _encrypted(k, "--sign"),
}

ONLY_A_SIGNATURE: dict[str, Make] = {"only a detached signature": lambda k: k.net.detach(TEXT)}

NO_SIGNATURE: dict[str, Make] = {
    "a message where the signature should be": lambda k: with_signature(k, armor(stored(k), "SIGNATURE")),
    "a one-pass packet where the signature should be": lambda k: with_signature(
        k, armor(one_pass(k.net, TEXTUAL) + signature(k.net, CANONICAL, when=NOW, kind=TEXTUAL), "SIGNATURE")),
    "a compressed signature": lambda k: with_signature(
        k, armor(compressed(signature(k.net, CANONICAL, when=NOW, kind=TEXTUAL)), "SIGNATURE")),
}  # fmt: skip

SEVERAL_BLOCKS: dict[str, Make] = {
    "two blocks": lambda k: clear(k) * 2,
    "two blocks, the second a stranger's": lambda k: clear(k) + k.twin.clearsign(TEXT),
    "two blocks, the first a stranger's": lambda k: k.twin.clearsign(TEXT) + clear(k),
    "text between two blocks": lambda k: clear(k) + TEXT + clear(k),
    "two blocks, one cut": lambda k: clear(k) + clear(k)[:-60],
    "two heads": lambda k: HEAD + b"\n\n" + clear(k),
    "the signature twice": lambda k: clear(k) + signature_part(k),
    "clearsigned, then armored": lambda k: clear(k) + armored(k),
    "the signature in the armor of a message": lambda k: with_signature(
        k, armor(signature(k.net, CANONICAL, when=NOW, kind=TEXTUAL))),
}  # fmt: skip

SEVERAL_MESSAGES: dict[str, Make] = {
    "message twice": lambda k: message(k) * 2,
    "message twice, stored": lambda k: stored(k) * 2,
    "message twice, armored": lambda k: armored(k) * 2,
    "message twice in one armor": lambda k: armor(stored(k) * 2),
    "a message, then a public key": lambda k: stored(k) + gpg(k.net.home, "--export", k.net.fingerprint),
    "two signature packets": lambda k: with_signature(
        k, armor(signature(k.net, CANONICAL, when=NOW, kind=TEXTUAL) * 2, "SIGNATURE")),
    "two signers of one text": lambda k: _two_signers(k, armored=True),
}  # fmt: skip

SEVERAL_SIGNATURES: dict[str, Make] = {
    "two signers of one message": lambda k: _two_signers(k, armored=False),
    "two signatures before the text": lambda k: signature(k.net, TEXT, when=NOW) * 2 + literal(TEXT),
}

BOMBS: dict[str, Make] = {
    "a compression bomb, zip": _bomb(1),
    "a compression bomb, zlib": _bomb(2),
    "a compression bomb, bzip2": _bomb(3),
    "a compression bomb, armored": lambda k: armor(_bomb(2)(k)),
}

TOO_LONG: dict[str, Make] = {  # within what the packets may add to it, so that gpg sees it
    "a text longer than max_size": lambda k: compressed(by_hand(k.net, bytes(MAX_SIZE + 1))),
}

BAD_SHAPES: dict[str, Bad] = table(
    ("too-large", "the list grows beyond max_size when it is decompressed; raise max_size if that is its right size",
     BOMBS),
    ("too-large", f"the list is longer than max_size ({MAX_SIZE} bytes); raise max_size if it may be", TOO_LONG),
    ("unsigned", unsigned("the list is empty"), EMPTY),
    ("unsigned", unsigned("the list is not signed"), NOT_SIGNED),
    ("unsigned",
     "the lines of the signed file end with CR alone, as on old Macs, where OpenPGP finds no signature; ask the "
     "network to publish it with LF or CR LF", OLD_LINE_ENDS),
    ("unsigned", not_openpgp("the list is signed by S/MIME, which is not OpenPGP and"), SMIME),
    ("unsigned", not_openpgp("the file is a mail that is signed by PGP/MIME, which is"), PGP_MIME),
    ("unsigned", unsigned("the OpenPGP message is not signed"), UNSIGNED_MESSAGE),
    ("unsigned", unsigned("the list is encrypted, not signed"), ENCRYPTED),
    ("unsigned", unsigned("the file is a detached signature without a list"), ONLY_A_SIGNATURE),
    ("unsigned", unsigned("where a signature should be there is another OpenPGP packet"), NO_SIGNATURE),
    ("several-signatures", several("the file holds more than one signed block"), SEVERAL_BLOCKS),
    ("several-signatures", several("the file holds more than one message"), SEVERAL_MESSAGES),
    ("several-signatures", several("the list carries several signatures"), SEVERAL_SIGNATURES),
)  # fmt: skip
