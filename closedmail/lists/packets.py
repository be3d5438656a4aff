"""Parse OpenPGP packets, as far as needed to know that a file is one signed text and nothing else.

Nothing is verified here. A message is copied without its compression, so that gpg gets what was looked at and nothing
that was not.

Sources: RFC 4880 and RFC 9580, section 4 (packet headers), 5.6 (compression), 11.3 or 10.3 (grammar of messages; one
level of compression around the whole, as every program makes it, is all we take).
"""

import bz2
import tempfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from closedmail.errors import Refused
from closedmail.lists.faults import damaged, extra_text, several, unsigned

CHUNK = 1 << 20
BOM = b"\xef\xbb\xbf"
WHITE = b" \t\r\n\v\f"
# A compressed message may be this much longer than the text in it: packet headers and the signature.
OVERHEAD = 1 << 16

# Packet tags (RFC 4880, 4.3; 20 is GnuPG's OCB, RFC 9580 has no such tag)
_ENCRYPTED = {1, 3, 9, 18, 20}
_SIGNATURE, _ONE_PASS, _COMPRESSED, _MARKER_PACKET, _LITERAL = 2, 4, 8, 10, 11
# What the first octet of a packet's body may be. A text that begins with an umlaut looks like a packet header; its
# next letters don't look like this.
_FIRST_OCTETS: dict[int, bytes] = {
    1: b"\x02\x03\x06",
    _SIGNATURE: b"\x02\x03\x04\x05\x06",
    3: b"\x04\x05\x06",
    _ONE_PASS: b"\x03\x06",
    _COMPRESSED: b"\x00\x01\x02\x03",
    _MARKER_PACKET: b"P",
    _LITERAL: b"btul1m",
    18: b"\x01\x02",
    20: b"\x01",
}


class _CutShortError(Exception):
    """The bytes ended inside a packet."""


class _NoPacketError(Exception):
    """The bytes are no packet header."""


class _Packets:
    """A reader of packets from `source`; every octet read is also written to `tee`."""

    def __init__(self, source: BinaryIO, tee: BinaryIO | None = None) -> None:
        self._source = source
        self._tee = tee

    def _take(self, size: int) -> bytes:
        data = self._source.read(size)
        if len(data) < size:
            raise _CutShortError
        if self._tee:
            self._tee.write(data)
        return data

    def header(self) -> tuple[int, Iterator[bytes]] | None:
        """Return the next packet's tag, and its body in chunks, which must be read to its end; None at the end."""
        first = self._source.read(1)
        if not first:
            return None
        octet = first[0]
        if not octet & 0x80:
            raise _NoPacketError
        if self._tee:
            self._tee.write(first)
        if octet & 0x40:
            return octet & 0x3F, self._new_body()
        kind = octet & 3
        length = None if kind == 3 else int.from_bytes(self._take(1 << kind), "big")
        return (octet >> 2) & 15, self._old_body(length)

    def _old_body(self, length: int | None) -> Iterator[bytes]:
        if length is not None:
            yield from self._exactly(length)
            return
        while data := self._source.read(CHUNK):
            if self._tee:
                self._tee.write(data)
            yield data

    def _new_body(self) -> Iterator[bytes]:
        while True:
            first = self._take(1)[0]
            if first < 192:
                length = first
            elif first < 224:
                length = ((first - 192) << 8) + self._take(1)[0] + 192
            elif first == 255:
                length = int.from_bytes(self._take(4), "big")
            else:
                yield from self._exactly(1 << (first & 0x1F))
                continue
            yield from self._exactly(length)
            return

    def _exactly(self, length: int) -> Iterator[bytes]:
        while length:
            data = self._take(min(length, CHUNK))
            length -= len(data)
            yield data


def _skip(body: Iterator[bytes]) -> None:
    for _ in body:
        pass


def looks_like_packets(start: bytes) -> bool:
    """Check whether a file that begins so is OpenPGP without armor: a packet header, and a body that fits its tag."""
    if len(start) < 2 or not start[0] & 0x80:
        return False
    if start[0] & 0x40:
        tag = start[0] & 0x3F
        size = 2 if start[1] < 192 or 224 <= start[1] < 255 else 3 if start[1] < 224 else 6
    else:
        tag = (start[0] >> 2) & 15
        size = (2, 3, 5, 1)[start[0] & 3]
    return start[size : size + 1] in [bytes([octet]) for octet in _FIRST_OCTETS.get(tag, b"")]


def _tags(source: BinaryIO) -> list[int] | None:
    """List the tags of all that is left in `source`; None if that isn't packets to the end."""
    packets = _Packets(source)
    tags = []
    try:
        while found := packets.header():
            tags.append(found[0])
            _skip(found[1])
    except (_CutShortError, _NoPacketError):
        return None
    return tags


def _check_leftover(rest: BinaryIO) -> None:
    """Raise Refused where anything but white space follows a complete message."""
    start = rest.tell()
    blank = True
    while blank and (data := rest.read(CHUNK)):
        blank = not data.replace(BOM, b"").strip(WHITE)
    if blank:
        return
    rest.seek(start)
    tags = _tags(rest)
    if tags and not {_SIGNATURE, _ONE_PASS, _COMPRESSED}.isdisjoint(tags):
        raise several("the file holds more than one message")
    raise extra_text("after the signed message")


def _decompress(algorithm: int, body: Iterator[bytes], into: BinaryIO, limit: int) -> bytes:
    """Decompress at most `limit` octets, and return what follows the end of the stream."""
    total = 0

    def keep(data: bytes) -> None:
        nonlocal total
        total += len(data)
        if total > limit:
            raise Refused(
                "too-large",
                "the list grows beyond max_size when it is decompressed; raise max_size if that is its right size",
            )
        into.write(data)

    if algorithm == 0:
        for data in body:
            keep(data)
        return b""
    if algorithm == 3:
        expand = bz2.BZ2Decompressor()
        for data in body:
            keep(expand.decompress(data, CHUNK))
            while not expand.needs_input and not expand.eof:
                keep(expand.decompress(b"", CHUNK))
            if expand.eof:
                return expand.unused_data
        raise _CutShortError
    inflate = zlib.decompressobj(-15 if algorithm == 1 else 15)
    for data in body:
        pending = data
        while pending and not inflate.eof:
            keep(inflate.decompress(pending, CHUNK))
            pending = inflate.unconsumed_tail
        if inflate.eof:
            return inflate.unused_data
    raise _CutShortError


def _plain_message(source: BinaryIO, into: BinaryIO) -> None:
    """Copy one signed message (one-pass signature, text, signature; or signature, text) and refuse all else."""
    packets = _Packets(source, into)
    tags: list[int] = []
    while tags not in ([_ONE_PASS, _LITERAL, _SIGNATURE], [_SIGNATURE, _LITERAL]):
        try:
            found = packets.header()
        except _NoPacketError:
            found = None
            if not tags:
                raise unsigned("the file is no OpenPGP message") from None
        if found is None:
            break
        tag, body = found
        if tag in _ENCRYPTED:
            raise unsigned("the list is encrypted, not signed")
        _skip(body)
        if tag != _MARKER_PACKET:
            tags.append(tag)
    else:
        _check_leftover(source)
        return
    if tags.count(_SIGNATURE) > 1 or tags.count(_ONE_PASS) > 1:
        raise several("the list carries several signatures")
    if tags == [_SIGNATURE]:
        raise unsigned("the file is a detached signature without a list")
    if not {_SIGNATURE, _ONE_PASS}.isdisjoint(tags):
        if tags in ([_ONE_PASS], [_ONE_PASS, _LITERAL]):
            raise damaged("the signed message ends before its signature")
        raise extra_text("beside the signed message")
    raise unsigned("the OpenPGP message is not signed")


def copy_message(source: BinaryIO, into: BinaryIO, workdir: Path, limit: int) -> None:
    """Copy the one signed message in `source` into `into`, decompressed; `Refused` for anything else."""
    try:
        start = source.tell()
        found = _Packets(source).header()
        if found is None or found[0] != _COMPRESSED:
            source.seek(start)
            _plain_message(source, into)
            return
        with tempfile.TemporaryFile(dir=workdir) as inner, tempfile.TemporaryFile(dir=workdir) as rest:
            body = found[1]
            first = next(body, b"")
            if not first or first[0] > 3:
                raise damaged("the compressed message is damaged")

            def chunks() -> Iterator[bytes]:
                yield first[1:]
                yield from body

            rest.write(_decompress(first[0], chunks(), inner, limit + OVERHEAD))
            for data in body:
                rest.write(data)
            while data := source.read(CHUNK):
                rest.write(data)
            rest.seek(0)
            inner.seek(0)
            _plain_message(inner, into)
            _check_leftover(rest)
    except (_NoPacketError, _CutShortError, zlib.error, OSError) as error:
        if isinstance(error, OSError) and error.errno is not None:  # bz2 says "Invalid data stream" without a number
            raise
        raise damaged("the signed message is incomplete or broken") from None


def one_signature(source: BinaryIO) -> None:
    """Raise Refused for anything but one signature packet in `source`."""
    packets = _Packets(source)
    try:
        found = packets.header()
        if found is None:
            raise damaged("the signature is empty")
        if found[0] != _SIGNATURE:
            raise unsigned("where a signature should be there is another OpenPGP packet")
        _skip(found[1])
    except (_CutShortError, _NoPacketError):
        raise damaged("the signature is incomplete or broken") from None
    _check_leftover(source)


def starts_encrypted(packets: BinaryIO) -> bool:
    """Check whether packets, perhaps cut short, begin an encrypted message."""
    try:
        found = _Packets(packets).header()
    except (_NoPacketError, _CutShortError):
        return False
    return found is not None and found[0] in _ENCRYPTED
