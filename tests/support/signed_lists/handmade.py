"""OpenPGP packets made by hand, signatures of every shape included, for files that gpg itself would never make.

Sources: RFC 4880, 4.2 (packet headers), 5.2 (signatures), 5.4, 5.6, 5.9.
"""

import hashlib
import re
import subprocess
from collections.abc import Sequence
from urllib.parse import unquote_to_bytes

from support.keys import Signer

SIGNATURE, ONE_PASS, COMPRESSED, MARKER, LITERAL = 2, 4, 8, 10, 11
BINARY, TEXTUAL, STANDALONE = 0, 1, 2
ED25519, SHA256 = 22, 8


def packet(tag: int, body: bytes) -> bytes:
    """A packet with a header of the new format and a length of five octets."""
    return bytes([0xC0 | tag, 0xFF]) + len(body).to_bytes(4, "big") + body


def partial(tag: int, body: bytes, size: int = 512) -> bytes:
    """The same in parts of `size` octets, a power of two of at least 512."""
    parts = [body[at : at + size] for at in range(0, len(body), size)]
    last = parts.pop() if parts and len(parts[-1]) < size else b""
    head = bytes([0xE0 | size.bit_length() - 1])
    return bytes([0xC0 | tag]) + b"".join(head + part for part in parts) + b"\xff" + len(last).to_bytes(4, "big") + last


def literal(text: bytes, *, kind: bytes = b"b", name: bytes = b"") -> bytes:
    """A literal packet: unsigned text, or the text of a message."""
    return packet(LITERAL, kind + bytes([len(name)]) + name + bytes(4) + text)


def one_pass(signer: Signer, kind: int = BINARY, *, last: bool = True) -> bytes:
    """The packet in front of a signed text that says which signature will follow."""
    key = bytes.fromhex(signer.signing_fingerprint[-16:])
    return packet(ONE_PASS, bytes([3, kind, SHA256, ED25519]) + key + bytes([last]))


def subpacket(kind: int, data: bytes) -> bytes:
    return bytes([len(data) + 1, kind]) + data


def _sign(signer: Signer, digest: bytes) -> bytes:
    """What gpg-agent makes of a digest, as two MPIs."""
    listing = subprocess.run(
        ["gpg", "--homedir", str(signer.home), "--batch", "--with-colons", "--with-keygrip",  # noqa: S607
         "--list-keys", signer.fingerprint], capture_output=True, text=True, check=True)  # fmt: skip
    records = re.findall(r"^fpr:+([0-9A-F]{40}):\ngrp:+([0-9A-F]{40}):", listing.stdout, re.MULTILINE)
    commands = [f"SIGKEY {dict(records)[signer.signing_fingerprint]}", f"SETHASH {SHA256} {digest.hex()}", "PKSIGN"]
    answer = subprocess.run(
        ["gpg-connect-agent", "--homedir", str(signer.home), *commands, "/bye"],  # noqa: S607
        capture_output=True, check=True)  # fmt: skip
    (data,) = re.findall(rb"^D (.*)$", answer.stdout, re.MULTILINE)
    found = re.search(rb"\(1:r32:(.{32})\)\(1:s32:(.{32})\)", unquote_to_bytes(data), re.DOTALL)
    assert found
    return b"".join(_number(part) for part in found.groups())


def _number(data: bytes) -> bytes:
    """A multiprecision integer (RFC 4880, 3.2)."""
    value = int.from_bytes(data, "big")
    size = value.bit_length()
    return size.to_bytes(2, "big") + value.to_bytes((size + 7) // 8, "big")


def signature(
    signer: Signer,
    text: bytes,
    *,
    when: int,
    kind: int = BINARY,
    version: int = 4,
    hashed: Sequence[bytes] | None = None,
    unhashed: Sequence[bytes] = (),
) -> bytes:
    """A signature packet over `text`, which is hashed as it stands: for class 01 it must have CRLF already.

    `hashed` are the subpackets that the signature covers, by default its time and whose it is.
    """
    fingerprint = bytes.fromhex(signer.signing_fingerprint)
    clock = when.to_bytes(4, "big")
    if version == 3:
        digest = hashlib.sha256(text + bytes([kind]) + clock).digest()
        head = bytes([3, 5, kind]) + clock + fingerprint[-8:] + bytes([ED25519, SHA256])
        return packet(SIGNATURE, head + digest[:2] + _sign(signer, digest))
    if hashed is None:
        hashed = [subpacket(2, clock), subpacket(33, b"\4" + fingerprint)]
    covered = b"".join(hashed)
    head = bytes([4, kind, ED25519, SHA256]) + len(covered).to_bytes(2, "big") + covered
    digest = hashlib.sha256(text + head + b"\4\xff" + len(head).to_bytes(4, "big")).digest()
    loose = b"".join([*unhashed, subpacket(16, fingerprint[-8:])])
    body = head + len(loose).to_bytes(2, "big") + loose + digest[:2] + _sign(signer, digest)
    return packet(SIGNATURE, body)
