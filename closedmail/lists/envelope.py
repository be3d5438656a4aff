"""Check the outer shape of a signed list, the armor and the lines around it, before gpg gets it.

gpg is lax about text around a signed block: it skips text before and after a clearsigned block, takes the first of two
messages and exits 0, and never looks at what follows the end of a compressed stream. So the shape is checked here, and
gpg then gets nothing but one clearsigned block with a re-armored signature, or one message without armor and
compression, or one bare signature packet. This also avoids a fault of gpg's: it reads the last line of an armor without
a checksum, as newer programs make it, as base64.

Sources: RFC 4880, 6.2 (armor) and 7 (cleartext); RFC 9580, 6.2 and 7.
"""

import base64
import binascii
import io
import mmap
import re
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from closedmail.errors import Refused
from closedmail.lists.faults import collect, damaged, extra_text, several, unsigned, worst
from closedmail.lists.other_signatures import is_smime, not_openpgp
from closedmail.lists.packets import (
    BOM,
    CHUNK,
    WHITE,
    copy_message,
    looks_like_packets,
    one_signature,
    starts_encrypted,
)

_SIGNATURE_SIZE = 1 << 16
# A file with more lines of dashes than this is refused anyhow; it need not be read to the end.
_MOST_DASH_LINES = 1000
_LONGEST_MARKER = 64

_MARKER = re.compile(rb"-----(BEGIN|END) PGP (SIGNED MESSAGE|MESSAGE|SIGNATURE)-----")
# Possessive: a line may be read in one way only, or a head of fifty lines would never be done with.
_HASH_HEADERS = re.compile(rb"(?:Hash:[A-Za-z0-9, \t-]*+\r*+\n)*+[ \t\r]*+\n")
_BLANK_LINE = re.compile(rb"\n[ \t\r]*\n")
_ARMOR_HEADERS = re.compile(rb"(?:[A-Za-z][A-Za-z0-9-]*:[^\n]*\n)*[ \t\r]*\n")
# White space within armor. Form feeds are none: gpg doesn't take them for it either.
_BLANKS = b" \t\r\n"
_CHECKSUM = re.compile(rb"\n=[A-Za-z0-9+/]{4}\Z")


@dataclass(frozen=True, slots=True)
class _DashLine:
    """A line that begins with five dashes.

    `kind` is what it is ("BEGIN SIGNATURE", "" if none that matters), `start` and `end` are offsets. An END line ends
    with its dashes: text that follows on the line is after the block. `text` is true if a signature's BEGIN line goes
    on with something that is not white space. Any other BEGIN line that does is ignored.
    """

    kind: str
    start: int
    end: int
    text: bool = False


def _dash_lines(data: mmap.mmap, start: int) -> list[_DashLine]:
    def following(at: int) -> int:
        found = data.find(b"\n-----", at)
        return found + 1 if found >= 0 else -1

    lines: list[_DashLine] = []
    at = start if data[start : start + 5] == b"-----" else following(start)
    while at >= 0 and len(lines) < _MOST_DASH_LINES:
        newline = data.find(b"\n", at)
        end = len(data) if newline < 0 else newline + 1
        match = _MARKER.match(data[at : min(end, at + _LONGEST_MARKER)])
        if match is None:
            lines.append(_DashLine("", at, end))
        elif match[1] == b"END":
            lines.append(_DashLine(f"END {match[2].decode()}", at, at + match.end()))
        else:
            text = bool(data[at + match.end() : end].strip(WHITE))
            known = match[2] == b"SIGNATURE" or not text  # as gpg sees it, but for a NUL, where it ends its lines
            lines.append(_DashLine(f"BEGIN {match[2].decode()}" if known else "", at, end, text))
        at = following(end - 1)
    return lines


def _dearmor(data: mmap.mmap, start: int, end: int, into: BinaryIO) -> None:
    """Decode the armor between a BEGIN and an END line. The checksum is not checked: the signature covers more."""
    headers = _ARMOR_HEADERS.match(data[start : min(end, start + 4096)])
    if headers is None:
        raise damaged("the OpenPGP armor is broken")
    start += headers.end()
    tail = data[max(start, end - 80) : end].rstrip(_BLANKS)
    if checksum := _CHECKSUM.search(b"\n" + tail):
        tail = tail[: max(checksum.start() - 1, 0)]
    end = max(start, end - 80) + len(tail)
    pending = b""
    for at in range(start, end, CHUNK):
        pending += data[at : min(at + CHUNK, end)].translate(None, _BLANKS)
        whole = len(pending) - len(pending) % 4
        try:
            into.write(binascii.a2b_base64(pending[:whole], strict_mode=True))
        except binascii.Error:
            raise damaged("the OpenPGP armor is broken") from None
        pending = pending[whole:]
    if pending:
        raise damaged("the OpenPGP armor is incomplete")


def _armor(packet: bytes) -> bytes:
    """Put the armor of a signature around a packet, with the checksum that gpg wants (RFC 4880, 6.1)."""
    checksum = 0xB704CE
    for octet in packet:
        checksum ^= octet << 16
        for _ in range(8):
            checksum <<= 1
            if checksum & 0x1000000:
                checksum ^= 0x1864CFB
    lines = base64.encodebytes(packet) + b"=" + base64.b64encode(checksum.to_bytes(3, "big"))
    return b"-----BEGIN PGP SIGNATURE-----\n\n%b\n-----END PGP SIGNATURE-----\n" % lines


def _clearsigned(data: mmap.mmap, start: int, lines: list[_DashLine], first: int) -> tuple[int, bytes]:
    """Check a clearsigned file; return the offset where its text ends, and the signature packet."""
    begin, block = lines[first], lines[first : first + 3]
    faults: list[Refused] = []
    kinds = [line.kind for line in lines]
    if kinds.count("BEGIN SIGNED MESSAGE") + kinds.count("BEGIN MESSAGE") > 1 or kinds.count("BEGIN SIGNATURE") > 1:
        faults.append(several("the file holds more than one signed block"))
    if begin.start > start:
        faults.append(extra_text("before the signed block"))
    if not _HASH_HEADERS.match(data[begin.end : begin.end + 4096]):
        if _BLANK_LINE.search(data[begin.end - 1 : begin.end + 4096]):
            faults.append(extra_text("between the head of the signed block and the list"))
        else:
            faults.append(damaged("the signed block ends in its head"))
    if [line.kind for line in block] != ["BEGIN SIGNED MESSAGE", "BEGIN SIGNATURE", "END SIGNATURE"]:
        faults.append(damaged("the signed block is incomplete"))
        raise worst(faults)
    if block[1].text:
        faults.append(extra_text("between the list and its signature"))
    if data[block[2].end :].replace(BOM, b"").strip(WHITE):
        faults.append(extra_text("after the signed block"))

    packet = io.BytesIO()

    def signature() -> None:
        if block[2].start - block[1].end > _SIGNATURE_SIZE:
            raise damaged("the signature is longer than any signature")
        _dearmor(data, block[1].end, block[2].start, packet)
        packet.seek(0)
        one_signature(packet)

    collect(faults, signature)
    if faults:
        raise worst(faults)
    return block[1].start, packet.getvalue()


def _armored(
    data: mmap.mmap, start: int, lines: list[_DashLine], first: int, into: Path, workdir: Path, size: int
) -> None:
    begin, end = lines[first], lines[first + 1] if first + 1 < len(lines) else None
    faults: list[Refused] = []
    if sum(line.kind in ("BEGIN SIGNED MESSAGE", "BEGIN MESSAGE") for line in lines) > 1:
        faults.append(several("the file holds more than one message"))
    if begin.start > start:
        faults.append(extra_text("before the signed message"))
    if end is not None and end.kind == "END MESSAGE" and data[end.end :].replace(BOM, b"").strip(WHITE):
        faults.append(extra_text("after the signed message"))
    if end is None or end.kind != "END MESSAGE":
        faults.append(damaged("the signed message is incomplete"))
    with tempfile.TemporaryFile(dir=workdir) as packets, into.open("wb") as plain:
        collect(faults, lambda: _dearmor(data, begin.end, end.start if end else len(data), packets))
        packets.seek(0)
        if not any(fault.code == "bad-signature" for fault in faults):
            collect(faults, lambda: copy_message(packets, plain, workdir, size))
        elif starts_encrypted(packets):
            faults.append(unsigned("the list is encrypted, not signed"))
    if faults:
        raise worst(faults)


def unwrap(raw: Path, workdir: Path, max_size: int) -> Path:
    """Check the shape of the signed list `raw` and return the file that gpg shall verify.

    That is a new file in `workdir` with a clearsigned block, or a signed message without armor and compression.

    Raises Refused: `too-large` (decompressed), `unsigned`, `several-signatures`, `extra-text`, `bad-signature`.
    """
    with raw.open("rb") as file:
        if not raw.stat().st_size:
            raise unsigned("the list is empty")
        with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
            head = data[:CHUNK]
            start = len(head) - len(head.lstrip(WHITE).removeprefix(BOM).lstrip(WHITE))
            if looks_like_packets(data[start : start + 64] or b"\0"):
                plain = workdir / "message"
                file.seek(start)
                with plain.open("wb") as into:
                    copy_message(file, into, workdir, max_size)
                return plain
            lines = _dash_lines(data, start)
            kinds = [line.kind for line in lines]
            first = next((i for i, kind in enumerate(kinds) if kind in ("BEGIN SIGNED MESSAGE", "BEGIN MESSAGE")), None)
            if first is None:
                raise not_openpgp(data[start : start + CHUNK])
            if kinds[first] == "BEGIN MESSAGE":
                plain = workdir / "message"
                _armored(data, start, lines, first, plain, workdir, max_size)
                return plain
            end, packet = _clearsigned(data, start, lines, first)
            plain = workdir / "clearsigned"
            with plain.open("wb") as into:
                for at in range(start, end, CHUNK):
                    into.write(data[at : min(at + CHUNK, end)])
                into.write(_armor(packet))
            return plain


def unwrap_detached(signature: Path, workdir: Path) -> Path:
    """Check the shape of a detached signature, armored or not, and return a file with the bare packet in `workdir`.

    Raises Refused: `too-large`, `unsigned`, `several-signatures`, `extra-text`, `bad-signature`.
    """
    size = signature.stat().st_size
    if size > _SIGNATURE_SIZE:
        raise Refused(
            "too-large", "the detached signature is longer than 64 KiB; check that signature names a signature"
        )
    if not size:
        raise unsigned("the detached signature is empty")
    packet = io.BytesIO()
    with signature.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        everything = data[:]
        start = size - len(everything.lstrip(WHITE).removeprefix(BOM).lstrip(WHITE))
        if looks_like_packets(everything[start : start + 64] or b"\0"):
            packet.write(everything[start:])
        else:
            _dearmor_signature(data, start, packet)
    packet.seek(0)
    one_signature(packet)
    bare = workdir / "signature"
    bare.write_bytes(packet.getvalue())
    return bare


def _dearmor_signature(data: mmap.mmap, start: int, packet: BinaryIO) -> None:
    lines = _dash_lines(data, start)
    kinds = [line.kind for line in lines]
    if "BEGIN SIGNATURE" not in kinds or "BEGIN SIGNED MESSAGE" in kinds or "BEGIN MESSAGE" in kinds:
        if is_smime(data[start:]):
            raise unsigned("what was fetched as the detached signature is one of S/MIME, not of OpenPGP")
        raise unsigned("what was fetched as the detached signature is not one")
    if kinds.count("BEGIN SIGNATURE") > 1:
        raise several("the detached signature holds several")
    begin = lines[kinds.index("BEGIN SIGNATURE")]
    if begin.start > start:
        raise extra_text("before the detached signature")
    if begin.text:
        raise extra_text("on the first line of the detached signature")
    if kinds != ["BEGIN SIGNATURE", "END SIGNATURE"]:
        raise damaged("the detached signature is incomplete")
    if data[lines[1].end :].replace(BOM, b"").strip(WHITE):
        raise extra_text("after the detached signature")
    _dearmor(data, begin.end, lines[1].start, packet)
