"""Signed lists as networks make them, whole or in parts, and odd ones that must be accepted all the same."""

import bz2
import random
import re
import zlib
from collections.abc import Callable
from functools import cache

from support.keys import Signer, armor
from support.signed_lists.handmade import (
    COMPRESSED,
    LITERAL,
    MARKER,
    SHA256,
    TEXTUAL,
    literal,
    one_pass,
    packet,
    partial,
    signature,
)
from support.signed_lists.list_keys import NOW, TEXT, Keys

Make = Callable[[Keys], bytes]

BOM = b"\xef\xbb\xbf"
HEAD = b"-----BEGIN PGP SIGNED MESSAGE-----"
BEGIN = b"-----BEGIN PGP SIGNATURE-----"
END = b"-----END PGP SIGNATURE-----"
EVIL = b"evil.example esmtp:[192.0.2.66]\n"


@cache
def clear(k: Keys) -> bytes:
    return k.net.clearsign(TEXT, when=NOW)


@cache
def message(k: Keys) -> bytes:
    """As it comes from `gpg --sign`: binary and compressed."""
    return k.net.sign(TEXT, when=NOW)


@cache
def armored(k: Keys) -> bytes:
    return k.net.sign(TEXT, when=NOW, extra=["--armor"])


@cache
def stored(k: Keys) -> bytes:
    """A message without compression."""
    return k.net.sign(TEXT, when=NOW, extra=["-z", "0"])


def headed(k: Keys, *lines: bytes) -> bytes:
    """The clearsigned list with these lines in place of `Hash: SHA256`."""
    assert SHA256 == 8
    return clear(k).replace(b"Hash: SHA256\n", b"".join(line + b"\n" for line in lines))


def signature_part(k: Keys) -> bytes:
    """The signature's armor, from the first line to the last."""
    return clear(k)[clear(k).index(BEGIN) :]


def with_signature(k: Keys, armor: bytes) -> bytes:
    """The clearsigned list with another signature."""
    return clear(k)[: clear(k).index(BEGIN)] + armor


def compressed(data: bytes, algorithm: int = 2) -> bytes:
    made = {0: data, 1: zlib.compress(data)[2:-4], 2: zlib.compress(data), 3: bz2.compress(data)}[algorithm]
    return packet(COMPRESSED, bytes([algorithm]) + made)


def by_hand(signer: Signer, text: bytes = TEXT, *, when: int = NOW, kind: int = 0, version: int = 4) -> bytes:
    return one_pass(signer, kind) + literal(text) + signature(signer, text, when=when, kind=kind, version=version)


def noise(seed: int) -> bytes:
    return random.Random(seed).randbytes(5000)  # noqa: S311  the same each time


def cut(data: bytes, before: bytes, plus: int = 0) -> bytes:
    return data[: data.index(before) + plus]


def swapped(old: bytes, new: bytes, times: int = -1) -> Make:
    return lambda k: clear(k).replace(old, new, times)


CANONICAL = TEXT.rstrip(b"\n").replace(b"\n", b"\r\n")  # what the signature of a clearsigned list covers


def without_checksum(k: Keys) -> bytes:
    # Where the base64 is not padded, gpg reads on into the last line.
    signed = (
        k.net.clearsign(TEXT, when=NOW, extra=["--sig-notation", f"x@net.example={'x' * size}"]) for size in range(9)
    )
    return next(data for data in (re.sub(rb"\n=[^\n]{4}\n", b"\n", data) for data in signed) if b"=\n--" not in data)


# Lists that give back TEXT, signed at NOW by `net`, or by `sub` where the name says subkey.
GOOD_LISTS: dict[str, Make] = {
    "clearsigned": clear,
    "clearsigned by a subkey": lambda k: k.sub.clearsign(TEXT, when=NOW),
    "clearsigned with SHA-512": lambda k: k.net.clearsign(TEXT, when=NOW, extra=["--digest-algo", "SHA512"]),
    "clearsigned, CRLF": lambda k: clear(k).replace(b"\n", b"\r\n"),
    "clearsigned, CR CR LF": lambda k: clear(k).replace(b"\n", b"\r\r\n"),
    "clearsigned, CRLF in the head alone": lambda k: clear(k).replace(b"\n", b"\r\n", 3),
    "clearsigned, CRLF at the dashes alone": lambda k: clear(k).replace(b"-----\n", b"-----\r\n"),
    "BOM before": lambda k: BOM + clear(k),
    "BOM after": lambda k: clear(k) + BOM,
    "white space around": lambda k: b"\r\n \t\n" + clear(k) + b"\n\n \r\n",
    "form feeds around": lambda k: b"\f\n\v\n" + clear(k) + b"\f\v\n",
    "a lone CR before": lambda k: b"\r" + clear(k),
    "BOM, CRLF, blank lines": lambda k: BOM + b"\r\n" + clear(k).replace(b"\n", b"\r\n") + b"\r\n",
    "no newline at the end": lambda k: clear(k).rstrip(),
    "white space right of the dashes": lambda k: clear(k).replace(b"-----\n", b"-----" + b" \t\r" * 1000 + b"\n"),
    "white space right of the text": lambda k: clear(k).replace(b"]\n", b"] \t \n"),
    "white space in the blank line": lambda k: clear(k).replace(b"\n\n", b"\n \t\n"),
    "dash-escaped where it need not be": lambda k: clear(k).replace(b"bonn", b"- bonn"),
    "comment in the armor": lambda k: k.net.clearsign(TEXT, when=NOW, extra=["--comment", "evil.example x:y"]),
    "headers in the armor": lambda k: clear(k).replace(BEGIN, BEGIN + b"\nComment: a\0b\rc\nCharset: x"),
    "signature armored without checksum": without_checksum,
    "signature armored with a wrong checksum": lambda k: re.sub(rb"\n=.{4}\n", b"\n=AAAA\n", clear(k)),
    "signature armored with long blanks": lambda k: with_signature(
        k, signature_part(k).replace(b"\n=", b" " * 50_000 + b"\n=")),
    "signature armored with CRs": lambda k: with_signature(k, signature_part(k).replace(b"\n=", b"\r\r\n=")),
    "two hash headers": lambda k: headed(k, b"Hash: SHA512", b"Hash: SHA256"),
    "two hashes in a header": lambda k: headed(k, b"Hash: SHA512, SHA256"),
    "of version 3": lambda k: with_signature(
        k, armor(signature(k.net, CANONICAL, when=NOW, kind=TEXTUAL, version=3), "SIGNATURE")),
    "message": message,
    "message, not compressed": stored,
    "message, zlib": lambda k: k.net.sign(TEXT, when=NOW, extra=["--compress-algo", "zlib"]),
    "message, bzip2": lambda k: k.net.sign(TEXT, when=NOW, extra=["--compress-algo", "bzip2"]),
    "message, compressed with nothing": lambda k: compressed(stored(k), 0),
    "message, armored": armored,
    "message, armored, CRLF and BOM": lambda k: BOM + armored(k).replace(b"\n", b"\r\n"),
    "message, armored, CR CR LF": lambda k: armored(k).replace(b"\n", b"\r\r\n"),
    "message, armored without checksum": lambda k: armor(message(k)),
    "message of text class": lambda k: k.net.sign(TEXT, when=NOW, extra=["--textmode"]),
    "message by a subkey": lambda k: k.sub.sign(TEXT, when=NOW),
    "message, white space around": lambda k: b"\n" + message(k) + b"\r\n\n",
    "message in parts": lambda k: (
        one_pass(k.net) + partial(LITERAL, literal(TEXT)[6:]) + signature(k.net, TEXT, when=NOW)),
    "message of version 3": lambda k: by_hand(k.net, version=3),
    "message with the signature first": lambda k: signature(k.net, TEXT, when=NOW) + literal(TEXT),
    "message with a marker": lambda k: packet(MARKER, b"PGP") + stored(k),
}  # fmt: skip

_FINE = b"koeln.example\tesmtp:[192.0.2.1]\n"
# Texts that a good signature may cover, and the numbers of the lines that are skipped in them.
ODD_TEXTS: dict[str, tuple[bytes, list[int]]] = {
    "NULs": (_FINE + b"bonn.example\0\tesmtp:[192.0.2.2]\n#\0\n", [2]),
    "form feeds": (_FINE + b"bonn.example\f\tesmtp:[192.0.2.2]\f\n# x\fevil.example\tesmtp:[192.0.2.66]\n", [2]),
    "lone CRs": (_FINE + b"# x\revil.example\tesmtp:[192.0.2.66]\nbonn.example\tesmtp:[192.0.2.2]\rx y\n", [3]),
    "mixed line ends": (_FINE + b"bonn.example\tesmtp:[192.0.2.2]\r\n\r\n#\r\n", []),
    "Unicode line ends": (_FINE + "# x\u2028evil.example\tesmtp:[192.0.2.66]\u0085\n".encode(), []),
    "a long comment": (_FINE + b"#" + b"x" * 19_000 + b"\n", []),
    "long lines": (_FINE + b"x" * 100_000 + b"\n" + b"#" + b"x" * 2_000_000 + b"\n", [2]),
    "a signed list": (_FINE + b"-----BEGIN PGP SIGNED MESSAGE-----\nHash: SHA256\n\n- x\n", [2, 3, 5]),
    "dashes": (_FINE + b"-----\n- -----\n", [2, 3]),
}
