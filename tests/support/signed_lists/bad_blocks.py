"""Lists with unsigned text around or in the signed block, and blocks that are cut or broken: one table a message."""

import bz2
import zlib

from support.keys import armor
from support.signed_lists.bad_reasons import Bad, damaged, extra_text, table
from support.signed_lists.good_lists import (
    BEGIN,
    CANONICAL,
    END,
    EVIL,
    HEAD,
    Make,
    armored,
    clear,
    compressed,
    cut,
    headed,
    message,
    noise,
    signature_part,
    stored,
    swapped,
    with_signature,
)
from support.signed_lists.handmade import TEXTUAL, literal, one_pass, packet, signature
from support.signed_lists.list_keys import NOW, TEXT

TEXT_BEFORE: dict[str, Make] = {
    "text before": lambda k: EVIL + clear(k),
    "text before, CRLF": lambda k: (b"x\n" + clear(k)).replace(b"\n", b"\r\n"),
    "text before, and forged": lambda k: b"x\n" + clear(k).replace(b"192.0.2.2", b"192.0.2.3"),
    "text before, and cut": lambda k: b"x\n" + clear(k)[:-60],
    "text before, a stranger's list": lambda k: b"x\n" + k.twin.clearsign(TEXT),
    "a very long line before": lambda k: b"x" * 2_000_000 + b"\n" + clear(k),
    "a very long line of dashes before": lambda k: b"-" * 100_000 + b"\n" + clear(k),
    "NULs before": lambda k: bytes(9) + b"\n" + clear(k),
    "noise before": lambda k: noise(1) + b"\n" + clear(k),
    "a Unicode line end before": lambda k: "\u2028\n".encode() + clear(k),
    "a head with a NUL before": lambda k: HEAD + b"\0x\n\n" + clear(k),
    "a mail's header before": lambda k: b"From: lists@net.example\n\n" + clear(k),
    "a public key before": lambda k: k.net.public() + clear(k),
}

TEXT_AFTER: dict[str, Make] = {
    "text after": lambda k: clear(k) + EVIL,
    "text after far below": lambda k: clear(k) + b"\n" * 100_000 + EVIL,
    "text on the last line": lambda k: clear(k).rstrip() + EVIL,
    "text far right on the last line": lambda k: clear(k).rstrip() + b" " * 300 + EVIL,
    "NUL after": lambda k: clear(k) + b"\0",
    "NUL on the last line": lambda k: clear(k).rstrip() + b"\0",
    "a very long line after": lambda k: clear(k) + b"x" * 2_000_000,
    "noise after": lambda k: clear(k) + noise(1),
    "a Unicode line end after": lambda k: clear(k) + "\u0085".encode(),
    "a no-break space after": lambda k: clear(k) + "\u00a0".encode(),
    "an end of file of DOS": lambda k: clear(k) + b"\x1a",
    "a public key after": lambda k: clear(k) + k.net.public(),
    "a last line twice": lambda k: clear(k) + END,
}

TEXT_IN_THE_HEAD: dict[str, Make] = {
    "text in the head": swapped(b"\n\n", b"\n" + EVIL + b"\n", 1),
    "an unsigned header": swapped(b"\n\n", b"\nComment: x.example smtp:[y]\n\n", 1),
    "not dash-escaped": lambda k: k.net.clearsign(TEXT, when=NOW, extra=["--not-dash-escaped"]),
    "a NotDashEscaped header": lambda k: headed(k, b"Hash: SHA256", b"NotDashEscaped: You need GnuPG to verify this"),
    "a hash header in lower case": lambda k: headed(k, b"hash: SHA256"),
    "a hash header that is indented": lambda k: headed(k, b" Hash: SHA256"),
    "a hash header with a space before the colon": lambda k: headed(k, b"Hash : SHA256"),
    # A reader with two ways to read each of them would try them all.
    "a hundred hash headers, and one with a dot": lambda k: headed(k, *[b"Hash:\t SHA256"] * 100, b"Hash: x.example"),
    "a hash header with a dot": lambda k: headed(k, b"Hash: SHA256, evil.example"),
    "a hash header with a NUL": lambda k: headed(k, b"Hash: SHA256\0evil"),
    "a hash header with a form feed": lambda k: headed(k, b"Hash: SHA256\f"),
    "a hash header that a CR ends": swapped(b"SHA256\n", b"SHA256\r"),
    "a Charset header": lambda k: headed(k, b"Hash: SHA256", b"Charset: UTF-8"),
    "a form feed for the blank line": swapped(b"\n\n", b"\n\f\n\n", 1),
    "a no-break space for the blank line": swapped(b"\n\n", b"\n\xc2\xa0\n\n", 1),
    "LF CR at the ends of all lines": swapped(b"\n", b"\n\r"),
}

TEXT_AT_THE_SIGNATURE: dict[str, Make] = {
    "text right of the signature's first line": swapped(BEGIN, BEGIN + b" " * 300 + EVIL.rstrip()),
    "NUL right of the signature's first line": swapped(BEGIN, BEGIN + b"\0x"),
}

TEXT_AT_A_MESSAGE: dict[str, dict[str, Make]] = {
    "before the signed message": {"text before an armored message": lambda k: b"x\n" + armored(k)},
    "after the signed message": {
        "text after an armored message": lambda k: armored(k) + b"x\n",
        "text far right on a message's last line": lambda k: armored(k).rstrip() + b" " * 300 + b"x\n",
        "text after a message": lambda k: message(k) + EVIL,
        "umlauts after a message": lambda k: message(k) + "über.example\n".encode(),
        "text after a stored message": lambda k: stored(k) + b"x\n",
        "a literal packet after a message": lambda k: stored(k) + literal(EVIL),
        "a literal packet after the signature": lambda k: with_signature(
            k, armor(signature(k.net, CANONICAL, when=NOW, kind=TEXTUAL) + literal(EVIL), "SIGNATURE")),
        "text in the compressed message": lambda k: compressed(stored(k) + EVIL),
        "noise after a message": lambda k: message(k) + noise(2),
    },
    "beside the signed message": {
        "a literal packet before a message": lambda k: literal(EVIL) + stored(k),
        "two texts": lambda k: (
            one_pass(k.net) + literal(TEXT) + literal(EVIL) + signature(k.net, TEXT + EVIL, when=NOW)),
        "a text in compression in a message": lambda k: (
            one_pass(k.net) + compressed(literal(TEXT)) + signature(k.net, TEXT, when=NOW)),
        "a private packet in a message": lambda k: (
            one_pass(k.net) + packet(60, EVIL) + literal(TEXT) + signature(k.net, TEXT, when=NOW)),
    },
}  # fmt: skip

CUT: dict[str, Make] = {
    "cut in the text": lambda k: cut(clear(k), b"bonn", 4),
    "cut at the signature": lambda k: cut(clear(k), BEGIN),
    "cut in the signature": lambda k: cut(clear(k), BEGIN, 80),
    "cut in the last line": lambda k: cut(clear(k), END, 15),
    "a line of dashes added": swapped(b"bonn", b"-----\nbonn"),
    "a lone CR before the signature": swapped(b"\n" + BEGIN, b"\r" + BEGIN),
    "a lone CR before the last line": swapped(b"\n" + END, b"\r" + END),
    "the end of something else": swapped(END, b"-----END PGP MESSAGE-----"),
}

CUT_IN_THE_HEAD: dict[str, Make] = {
    "cut in the head": lambda k: clear(k)[:40],
    "a very long hash header": lambda k: headed(k, b"Hash: " + b"SHA256, " * 20_000 + b"SHA256"),
}

BROKEN_ARMOR: dict[str, Make] = {
    "broken armor": swapped(b"\n=", b"\n*="),
    "text in the signature's armor": swapped(b"\n=", b"\nevil.example x:y\n="),
    "text below the checksum": swapped(b"\n" + END, b"\nevil\n" + END),
    "two checksums": lambda k: clear(k).replace(b"\n" + END, b"\n=AAAA\n" + END),
    "a NUL in the armor": lambda k: with_signature(k, signature_part(k)[:60] + b"\0" + signature_part(k)[60:]),
    "a form feed in the armor": lambda k: with_signature(k, signature_part(k)[:60] + b"\f" + signature_part(k)[60:]),
    "a form feed for its blank line": lambda k: with_signature(k, signature_part(k).replace(b"\n\n", b"\n\f\n")),
    "no blank line in the armor": lambda k: with_signature(k, signature_part(k).replace(b"\n\n", b"\n")),
    "an armor header without a colon": lambda k: with_signature(k, signature_part(k).replace(b"\n\n", b"\nEvil\n\n")),
    "a long armor header": lambda k: with_signature(
        k, signature_part(k).replace(b"\n\n", b"\nComment: " + b"x" * 9_000 + b"\n\n")),
    "a very long armor header of a message": lambda k: armored(k).replace(
        b"\n\n", b"\nComment: " + b"x" * 2_000_000 + b"\n\n", 1),
    "base64 of another alphabet": lambda k: with_signature(
        k, BEGIN + signature_part(k)[len(BEGIN) : -len(END) - 1].replace(b"A", b"_") + END + b"\n"),
}  # fmt: skip

LONG_SIGNATURE: dict[str, Make] = {
    "a very long line in the armor": lambda k: with_signature(
        k, signature_part(k).replace(b"\n=", b" " * 2_000_000 + b"\n=")),
    "a very long armor header": lambda k: with_signature(
        k, signature_part(k).replace(b"\n\n", b"\nComment: " + b"x" * 100_000 + b"\n\n")),
}  # fmt: skip

BROKEN_MESSAGE: dict[str, Make] = {
    "a message cut short": lambda k: stored(k)[:-20],
    "a message cut short, armored": lambda k: armor(stored(k)[:-20]),
    "no end of compression": lambda k: packet(8, b"\2" + zlib.compress(stored(k))[:-20]),
    "broken compression": lambda _: b"\xa3\x02" + b"x" * 50,
    "broken bzip2": lambda k: b"\xa3\x03" + bz2.compress(stored(k))[:9] + b"x" * 500,
    "armor in armor": lambda k: armor(armored(k)),
}

WITHOUT_ITS_SIGNATURE: dict[str, Make] = {
    "one-pass signature alone": lambda k: stored(k)[:15],
    "a message without its signature": lambda k: one_pass(k.net) + literal(TEXT),
}

INCOMPLETE_MESSAGE: dict[str, Make] = {
    "an armored message cut short": lambda k: armored(k)[:-40],
    "an armored message that ends as a signature": lambda k: armored(k).replace(
        b"END PGP MESSAGE", b"END PGP SIGNATURE"
    ),
}

BAD_BLOCKS: dict[str, Bad] = table(
    ("extra-text", extra_text("before the signed block"), TEXT_BEFORE),
    ("extra-text", extra_text("after the signed block"), TEXT_AFTER),
    ("extra-text", extra_text("between the head of the signed block and the list"), TEXT_IN_THE_HEAD),
    ("extra-text", extra_text("between the list and its signature"), TEXT_AT_THE_SIGNATURE),
    *(("extra-text", extra_text(where), files) for where, files in TEXT_AT_A_MESSAGE.items()),
    ("bad-signature", damaged("the signed block is incomplete"), CUT),
    ("bad-signature", damaged("the signed block ends in its head"), CUT_IN_THE_HEAD),
    ("bad-signature", damaged("the OpenPGP armor is broken"), BROKEN_ARMOR),
    ("bad-signature", damaged("the signature is longer than any signature"), LONG_SIGNATURE),
    ("bad-signature", damaged("the signed message is incomplete or broken"), BROKEN_MESSAGE),
    ("bad-signature", damaged("the signed message ends before its signature"), WITHOUT_ITS_SIGNATURE),
    ("bad-signature", damaged("the signed message is incomplete"), INCOMPLETE_MESSAGE),
)
