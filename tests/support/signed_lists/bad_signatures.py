"""Lists of the right shape whose signature must not be accepted: one table a message."""

import copy

from support.keys import Signer, armor, gpg
from support.signed_lists.bad_reasons import CHANGED as DOES_NOT_FIT
from support.signed_lists.bad_reasons import (
    Bad,
    expired,
    future,
    gpg_failed,
    named,
    older,
    revoked,
    stranger,
    table,
    weak,
)
from support.signed_lists.good_lists import (
    BEGIN,
    EVIL,
    Make,
    by_hand,
    clear,
    headed,
    signature_part,
    stored,
    with_signature,
)
from support.signed_lists.handmade import STANDALONE, literal, one_pass, signature, subpacket
from support.signed_lists.list_keys import DAY, NOW, TEXT, Keys

LAPSE = ["--default-sig-expire", "seconds=60"]


def digest(name: str) -> list[str]:
    return ["--allow-weak-digest-algos", "--digest-algo", name]


def forged(data: bytes) -> bytes:
    return data.replace(b"192.0.2.2", b"192.0.2.3")


def _clear_by_hand(k: Keys, kind: int, covered: bytes) -> bytes:
    return with_signature(k, armor(signature(k.net, covered, when=NOW, kind=kind), "SIGNATURE"))


def _with_subpackets(k: Keys, *more: bytes, when: int | None = NOW) -> bytes:
    """A message whose signature covers these subpackets, and no time where `when` is None."""
    clock = [] if when is None else [subpacket(2, when.to_bytes(4, "big"))]
    loose = [subpacket(2, NOW.to_bytes(4, "big"))]
    signed = signature(k.net, TEXT, when=NOW, hashed=[*clock, *more], unhashed=loose)
    return one_pass(k.net) + literal(TEXT) + signed


def _as(signer: Signer, fingerprint: str) -> Signer:
    """The same keys, of which another one signs."""
    other = copy.copy(signer)
    other.signing_fingerprint = fingerprint
    return other


def _key_signature(k: Keys) -> bytes:
    """The self-signature of the key's user ID, of class 0x13."""
    exported = gpg(k.net.home, "--export", "--export-options", "export-minimal", k.net.fingerprint)
    return exported[exported.rindex(b"<lists@net.example>") + len(b"<lists@net.example>") :]


STRANGER: dict[str, Make] = {
    "a stranger with the same user ID": lambda k: k.twin.clearsign(TEXT, when=NOW),
    "a stranger's message": lambda k: k.twin.sign(TEXT, when=NOW),
    "a stranger, and forged": lambda k: forged(k.twin.clearsign(TEXT, when=NOW)),
    "a stranger, from the future": lambda k: k.twin.clearsign(TEXT, when=NOW + DAY),
    "a stranger, SHA-1": lambda k: k.twin.clearsign(TEXT, when=NOW, extra=digest("SHA1")),
    "a stranger, announced as the network": lambda k: (
        one_pass(k.net) + literal(TEXT) + signature(k.twin, TEXT, when=NOW)),
}  # fmt: skip

CHANGED: dict[str, Make] = {
    "forged": lambda k: forged(clear(k)),
    "forged message": lambda k: forged(stored(k)),
    "forged, of an expired key": lambda k: forged(k.expired.clearsign(TEXT)),
    "forged, of a revoked key": lambda k: forged(k.revoked.clearsign(TEXT, when=NOW)),
    "forged, of a key of tomorrow": lambda k: forged(k.unborn.clearsign(TEXT, when=NOW + DAY)),
    "forged, SHA-1": lambda k: forged(k.net.clearsign(TEXT, when=NOW, extra=digest("SHA1"))),
    "a line added": lambda k: clear(k).replace(b"bonn", EVIL + b"bonn"),
    "a line taken": lambda k: clear(k).replace(TEXT[32:], b""),
    "a NUL added": lambda k: clear(k).replace(b"bonn", b"\0bonn"),
    "a form feed added": lambda k: clear(k).replace(b"]\n", b"]\f\n"),
    "a lone CR added": lambda k: clear(k).replace(b"bonn", b"\rbonn"),
    "a very long line added": lambda k: clear(k).replace(b"bonn", b"#" + b"x" * 2_000_000 + b"\nbonn"),
    "a line left of the text": lambda k: clear(k).replace(b"\n\n", b"\n \n" + EVIL + b"\n", 1),
    "a line with a dash added": lambda k: clear(k).replace(b"bonn", b"- x\nbonn"),
    "signature of another list": lambda k: with_signature(
        k, signature_part(k).replace(signature_part(k), _part(k.net.clearsign(b"x\n", when=NOW)))),
    "class 00 over another end of line": lambda k: _clear_by_hand(k, 0, TEXT),
    "a critical subpacket that nobody knows": lambda k: _with_subpackets(k, subpacket(0x80 | 99, b"x")),
    "a critical notation that nobody knows": lambda k: _with_subpackets(
        k, subpacket(0x80 | 20, b"\x80\0\0\0\0\3\0\1x@yz")),
}  # fmt: skip


def _part(data: bytes) -> bytes:
    return data[data.index(BEGIN) :]


# What gpg says goes into the message.
GPG_FAILS: dict[str, dict[str, Make]] = {
    "Can't check signature: General error": {
        "no hash header": lambda k: headed(k),
        "a hash header of another algorithm": lambda k: headed(k, b"Hash: SHA512"),
        "a hash header of an unknown algorithm": lambda k: headed(k, b"Hash: SHA999"),
        "a hash header with an algorithm in lower case": lambda k: headed(k, b"Hash: sha256"),
        "a hash header without a space": lambda k: headed(k, b"Hash:SHA256"),
        "a hash header with trailing text": lambda k: headed(k, b"Hash: SHA256 evil"),
        "a hash header with an algorithm too many": lambda k: headed(k, b"Hash: SHA256, evil"),
        "an empty hash header": lambda k: headed(k, b"Hash:"),
        "a long hash header": lambda k: headed(k, b"Hash: " + b"SHA256, " * 20 + b"SHA256"),
        "the wrong hash header twice": lambda k: headed(k, b"Hash: SHA512", b"Hash: SHA512"),
    },
    "Can't check signature: Invalid signature class": {
        "a signature over nothing": lambda k: _clear_by_hand(k, STANDALONE, b""),
        "a standalone signature over the text": lambda k: by_hand(k.net, kind=STANDALONE),
        "a confirmation": lambda k: by_hand(k.net, kind=0x50),
        "a timestamp": lambda k: by_hand(k.net, kind=0x40),
        "a certification over the text": lambda k: by_hand(k.net, kind=0x10),
        "a signature over a key": lambda k: with_signature(k, armor(_key_signature(k), "SIGNATURE")),
    },
    "Can't check signature: Wrong key usage": {
        "a primary key that only certifies": lambda k: by_hand(_as(k.sub, k.sub.fingerprint)),
    },
}

# The messages name the key.
OLDER_THAN_ITS_KEY: dict[str, tuple[str, Make]] = {
    "older than its key": ("{net}", lambda k: by_hand(k.net, when=1_700_000_000)),
    "without a time that is signed": ("{net}", lambda k: _with_subpackets(k, when=None)),
    "by a key of tomorrow, today": ("{unborn}", lambda k: by_hand(k.unborn)),
}

WEAK: dict[str, tuple[str, Make]] = {
    "SHA-1": ("SHA-1", lambda k: k.net.clearsign(TEXT, when=NOW, extra=digest("SHA1"))),
    "SHA-1, a message": ("SHA-1", lambda k: k.net.sign(TEXT, when=NOW, extra=digest("SHA1"))),
    "SHA-1, from the future": ("SHA-1", lambda k: k.net.clearsign(TEXT, when=NOW + 9000, extra=digest("SHA1"))),
    "SHA-1, by an expired key": ("SHA-1", lambda k: k.expired.clearsign(TEXT, extra=digest("SHA1"))),
    "MD5": ("MD5", lambda k: k.net.clearsign(TEXT, when=NOW, extra=digest("MD5"))),
    "MD5, a message": ("MD5", lambda k: k.net.sign(TEXT, when=NOW, extra=digest("MD5"))),
    "RIPEMD-160": ("RIPEMD-160", lambda k: k.net.clearsign(TEXT, when=NOW, extra=digest("RIPEMD160"))),
}

_REVOKED, _WITHDRAWN = "{revoked}", "{withdrawn} (or its subkey {withdrawn_sub})"
REVOKED: dict[str, tuple[str, Make]] = {
    "a revoked key": (_REVOKED, lambda k: k.revoked.clearsign(TEXT, when=NOW)),
    "a revoked key, a message": (_REVOKED, lambda k: k.revoked.sign(TEXT, when=NOW)),
    "a revoked key, and an expired signature": (
        _REVOKED, lambda k: k.revoked.clearsign(TEXT, when=NOW - 9000, extra=LAPSE)),
    "a revoked key, from the future": (_REVOKED, lambda k: k.revoked.clearsign(TEXT, when=NOW + DAY)),
    "a revoked subkey": (_WITHDRAWN, lambda k: k.withdrawn.clearsign(TEXT, when=NOW)),
    "a revoked subkey, and an expired signature": (
        _WITHDRAWN, lambda k: k.withdrawn.clearsign(TEXT, when=NOW - 9000, extra=LAPSE)),
}  # fmt: skip

EXPIRED_KEYS: dict[str, tuple[str, Make]] = {
    "an expired key": ("{expired}", lambda k: k.expired.clearsign(TEXT)),
    "an expired key, signed now": ("{expired}", lambda k: by_hand(k.expired)),
    "an expired key, from the future": ("{expired}", lambda k: by_hand(k.expired, when=NOW + DAY)),
    "a subkey of an expired key": ("{elapsed} (or its subkey {elapsed_sub})", lambda k: k.elapsed.clearsign(TEXT)),
    "an expired subkey": ("{lapsed} (or its subkey {lapsed_sub})", lambda k: k.lapsed.clearsign(TEXT)),
    "an expired subkey, signed now": ("{lapsed} (or its subkey {lapsed_sub})", lambda k: by_hand(k.lapsed)),
}

EXPIRED_SIGNATURES: dict[str, Make] = {
    "an expired signature": lambda k: k.net.clearsign(TEXT, when=NOW - 9000, extra=LAPSE),
    "an expired signature, a message": lambda k: k.net.sign(TEXT, when=NOW - 9000, extra=LAPSE),
}

# The messages name the seconds after CLOCK, which is a minute after NOW.
FUTURE: dict[str, tuple[str, Make]] = {
    "from the future": ("601", lambda k: k.net.clearsign(TEXT, when=NOW + 661)),
    "from the far future": (str(0xFFFFFFFF - NOW - 60), lambda k: by_hand(k.net, when=0xFFFFFFFF)),
    "by a key of tomorrow, tomorrow": (str(DAY), lambda k: k.unborn.clearsign(TEXT, when=NOW + 60 + DAY)),
}

BAD_SIGNATURES: dict[str, Bad] = (
    table(
        ("wrong-signer", stranger("{twin}"), STRANGER),
        ("bad-signature", DOES_NOT_FIT, CHANGED),
        *(("bad-signature", gpg_failed(said), files) for said, files in GPG_FAILS.items()),
        ("expired", "the signature on the list has expired; the network's operator must sign it again",
         EXPIRED_SIGNATURES),
    )
    | named("bad-signature", older, OLDER_THAN_ITS_KEY)
    | named("weak-digest", weak, WEAK)
    | named("revoked", revoked, REVOKED)
    | named("expired", expired, EXPIRED_KEYS)
    | named("from-the-future", future, FUTURE)
)  # fmt: skip
