"""Detached signatures that must not be accepted, or that belong to another list: one table a message."""

from collections.abc import Callable

from support.keys import armor
from support.signed_lists.bad_reasons import CHANGED as DOES_NOT_FIT
from support.signed_lists.bad_reasons import (
    Bad,
    damaged,
    expired,
    extra_text,
    future,
    gpg_failed,
    revoked,
    several,
    stranger,
    table,
    unsigned,
    weak,
)
from support.signed_lists.bad_shapes import smime
from support.signed_lists.bad_signatures import digest
from support.signed_lists.good_lists import EVIL, Make, clear, stored
from support.signed_lists.handmade import STANDALONE, literal, packet, signature
from support.signed_lists.list_keys import NOW, TEXT, Keys

# A list, and what stands for its signature.
Pair = Callable[[Keys], tuple[bytes, bytes]]


def _detached(make: Make) -> Pair:
    return lambda k: (TEXT, make(k))


def armored_signature(k: Keys) -> bytes:
    return k.net.detach(TEXT, when=NOW, extra=["--armor"])


def bare_signature(k: Keys) -> bytes:
    return k.net.detach(TEXT, when=NOW)


NONE: dict[str, Pair] = {
    "HTML": _detached(lambda _: b"<html>Log in</html>"),
    "white space": _detached(lambda _: b" \n"),
    "the list itself": _detached(lambda _: TEXT),
    "swapped with the list": lambda k: (bare_signature(k), TEXT),
    "a clearsigned list": _detached(clear),
    "a clearsigned list twice": lambda k: (clear(k), clear(k)),
    "an armored message": _detached(lambda k: k.net.sign(TEXT, extra=["--armor"])),
    "a signature armored as a message": _detached(lambda k: armor(bare_signature(k))),
    "a public key": _detached(lambda k: k.net.public()),
    "NULs": _detached(lambda _: bytes(100)),
}
SMIME: dict[str, Pair] = {
    "of S/MIME, DER": _detached(lambda _: smime("-outform", "DER")),
    "of S/MIME, PEM": _detached(lambda _: smime("-outform", "PEM")),
}
OTHER: dict[str, Pair] = {
    "a signed message": _detached(lambda k: k.net.sign(TEXT)),
    "a signed message, stored": _detached(stored),
    "a compressed signature": _detached(lambda k: packet(8, b"\0" + bare_signature(k))),
}
EMPTY: dict[str, Pair] = {"empty": _detached(lambda _: b"")}
ENDLESS: dict[str, Pair] = {"endless": _detached(lambda _: b"\x88" * 100_000)}
SEVERAL: dict[str, Pair] = {
    "two": _detached(lambda k: bare_signature(k) * 2),
    "two in one armor": _detached(lambda k: armor(bare_signature(k) * 2, "SIGNATURE")),
    "of two signers": _detached(lambda k: bare_signature(k) + k.twin.detach(TEXT)),
}
SEVERAL_ARMORED: dict[str, Pair] = {"two, armored": _detached(lambda k: armored_signature(k) * 2)}
TEXT_AROUND: dict[str, dict[str, Pair]] = {
    "before the detached signature": {"text before": _detached(lambda k: b"x\n" + armored_signature(k))},
    "on the first line of the detached signature": {
        "text far right on the first line": _detached(
            lambda k: armored_signature(k).replace(b"\n", b" " * 300 + b"x\n", 1)),
    },
    "after the detached signature": {
        "text after": _detached(lambda k: armored_signature(k) + b"x\n"),
        "text far right on the last line": _detached(lambda k: armored_signature(k).rstrip() + b" " * 300 + b"x\n"),
    },
    "after the signed message": {
        "a NUL after": _detached(lambda k: bare_signature(k) + b"\0"),
        "a literal packet after": _detached(lambda k: bare_signature(k) + literal(EVIL)),
    },
}  # fmt: skip
STRANGER: dict[str, Pair] = {
    "a stranger's": _detached(lambda k: k.twin.detach(TEXT, when=NOW)),
    "a stranger's, of another list": _detached(lambda k: k.twin.detach(b"x\n", when=NOW)),
}
CHANGED: dict[str, Pair] = {
    "of another list": _detached(lambda k: k.net.detach(b"x\n", when=NOW)),
    "of a list with other line ends": lambda k: (TEXT.replace(b"\n", b"\r\n"), bare_signature(k)),
    "of a list without its BOM": lambda k: (b"\xef\xbb\xbf" + TEXT, bare_signature(k)),
    "of a list that was empty": _detached(lambda k: k.net.detach(b"", when=NOW)),
    "of the text in a signed list": lambda k: (clear(k), bare_signature(k)),
}
BROKEN: dict[str, Pair] = {
    "cut short": _detached(lambda k: bare_signature(k)[:-9]),
    "cut short in an armor": _detached(lambda k: armor(bare_signature(k)[:-9], "SIGNATURE")),
}
CUT: dict[str, Pair] = {"cut short, armored": _detached(lambda k: armored_signature(k)[:-9])}
ARMOR: dict[str, Pair] = {
    "a form feed in the armor": _detached(lambda k: armored_signature(k)[:60] + b"\f" + armored_signature(k)[60:]),
}
WEAK: dict[str, Pair] = {"SHA-1": _detached(lambda k: k.net.detach(TEXT, when=NOW, extra=digest("SHA1")))}
REVOKED: dict[str, Pair] = {"by a revoked key": _detached(lambda k: k.revoked.detach(TEXT, when=NOW))}
EXPIRED: dict[str, Pair] = {"by an expired key": _detached(lambda k: k.expired.detach(TEXT))}
FUTURE: dict[str, Pair] = {"from the future": _detached(lambda k: k.net.detach(TEXT, when=NOW + 661))}
CLASS: dict[str, Pair] = {
    "standalone": _detached(lambda k: signature(k.net, b"", when=NOW, kind=STANDALONE)),
}

BAD_DETACHED: dict[str, Bad] = table(
    ("too-large", "the detached signature is longer than 64 KiB; check that signature names a signature", ENDLESS),
    ("unsigned", unsigned("what was fetched as the detached signature is not one"), NONE),
    ("unsigned", unsigned("what was fetched as the detached signature is one of S/MIME, not of OpenPGP"), SMIME),
    ("unsigned", unsigned("where a signature should be there is another OpenPGP packet"), OTHER),
    ("unsigned", unsigned("the detached signature is empty"), EMPTY),
    ("several-signatures", several("the file holds more than one message"), SEVERAL),
    ("several-signatures", several("the detached signature holds several"), SEVERAL_ARMORED),
    *(("extra-text", extra_text(where), files) for where, files in TEXT_AROUND.items()),
    ("wrong-signer", stranger("{twin}"), STRANGER),
    ("bad-signature", DOES_NOT_FIT, CHANGED),
    ("bad-signature", damaged("the signature is incomplete or broken"), BROKEN),
    ("bad-signature", damaged("the detached signature is incomplete"), CUT),
    ("bad-signature", damaged("the OpenPGP armor is broken"), ARMOR),
    ("bad-signature", gpg_failed("Can't check signature: Invalid signature class"), CLASS),
    ("weak-digest", weak("SHA-1"), WEAK),
    ("revoked", revoked("{revoked}"), REVOKED),
    ("expired", expired("{expired}"), EXPIRED),
    ("from-the-future", future("601"), FUTURE),
)
