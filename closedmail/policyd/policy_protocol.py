"""Postfix's SMTPD access policy delegation protocol, without sockets.

Bytes go in, requests come out; verdicts go in, bytes come out. A request is `name=value` lines with an empty line at
the end, in any order, with names that we do not know (SMTPD_POLICY_README). Whatever does not look like that raises
`ProtocolError`, and the connection is to be closed without an answer: Postfix then applies
smtpd_policy_service_default_action.
"""

import re
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from closedmail.inbound.decision import Certificate, Envelope
from closedmail.inbound.xtext import decode_xtext

MAX_REQUEST = 64 * 1024  # bytes, without the empty line
_END = b"\n\n"


class ProtocolError(Exception):
    """What came is no request of Postfix's; the message is for the log."""


class Request(NamedTuple):
    """The attributes of a request that we ask for, as they came; empty where one did not come."""

    sender: bytes = b""
    client_address: bytes = b""
    instance: bytes = b""
    sasl_username: bytes = b""
    encryption_protocol: bytes = b""
    ccert_subject: bytes = b""
    ccert_issuer: bytes = b""
    ccert_fingerprint: bytes = b""
    ccert_pubkey_fingerprint: bytes = b""


class RequestReader:
    """Cuts a stream into requests. It remembers where it has searched: a slow sender costs no more than a fast one."""

    __slots__ = ("_buffer", "_searched")

    def __init__(self) -> None:
        """Nothing has come yet."""
        self._buffer = bytearray()
        self._searched = 0

    def feed(self, data: bytes) -> Iterable[Request]:
        """Take bytes and give each request that they complete. Raises ProtocolError."""
        if not self._buffer and len(data) <= MAX_REQUEST + 2:
            for layout, order in _layouts:
                found = layout.fullmatch(data)
                if found:  # one whole request in one packet, as Postfix sends it
                    return (Request._make(found.group(*order)),)
        return self._cut(data)

    def _cut(self, data: bytes) -> Iterator[Request]:
        buffer = self._buffer
        buffer += data
        while True:
            end = buffer.find(_END, self._searched)
            if end > MAX_REQUEST or (end < 0 and len(buffer) > MAX_REQUEST + 1):
                raise ProtocolError(f"a request of more than {MAX_REQUEST} bytes")
            if end < 0:
                self._searched = max(0, len(buffer) - 1)
                return
            block = bytes(buffer[:end])
            del buffer[: end + 2]
            self._searched = 0
            yield parse_request(block)

    @property
    def kept(self) -> int:
        """How many bytes wait for the rest of their request, or to be asked for."""
        return len(self._buffer)


def parse_request(block: bytes) -> Request:
    """One request, without the empty line. Raises ProtocolError."""
    lines = block.split(b"\n")
    try:
        attributes = dict([line.split(b"=", 1) for line in lines])
    except ValueError:
        raise ProtocolError("a line without '='") from None
    if len(attributes) != len(lines):
        raise ProtocolError("an attribute that comes twice")
    if attributes.get(b"request") != _TYPE:
        raise ProtocolError("not a request of type smtpd_access_policy")
    names = tuple(attributes)
    if names not in _known and len(_known) < _MOST_LAYOUTS and len(names) < _MOST_ATTRIBUTES:
        _known.add(names)
        _layouts.append(_layout(names))
    return Request(*[attributes.get(name, b"") for name in _ASKED])


# One Postfix sends the same attributes in the same order for ever, so that its requests are matched whole, by an
# expression made of the first one. It says what the long way says: the same names, each once, with '='.
_ASKED = tuple(name.encode() for name in Request._fields)
_TYPE = b"smtpd_access_policy"
# Few, and short: making one takes a millisecond, and somebody might send another order every time.
_MOST_LAYOUTS, _MOST_ATTRIBUTES = 4, 64
_known: set[tuple[bytes, ...]] = set()
_layouts: list[tuple[re.Pattern[bytes], tuple[int, ...]]] = []  # with the groups that are the fields of a Request


def _layout(names: tuple[bytes, ...]) -> tuple[re.Pattern[bytes], tuple[int, ...]]:
    lines, groups = [], []
    for name in names:
        value = b".*+" if name != b"request" else _TYPE  # the dot is all but a newline
        if name in _ASKED:
            value = b"(%b)" % value
            groups.append(name)
        lines.append(b"%b=%b\n" % (re.escape(name), value))
    lines.append(b"\n")
    for name in _ASKED:
        if name not in groups:
            lines.append(b"()")
            groups.append(name)
    return re.compile(b"".join(lines)), tuple(groups.index(name) + 1 for name in _ASKED)


def envelope_of(request: Request) -> Envelope:
    """What a request says of a mail. Bytes of the sender that are not UTF-8 become surrogates."""
    sender, client, _, sasl, protocol, subject, issuer, fingerprint, pubkey = request
    certificate = _NO_CERTIFICATE
    if fingerprint or pubkey or subject or issuer:
        certificate = Certificate(_xtext(subject), _xtext(issuer), _hex(fingerprint), _hex(pubkey))
    return Envelope(
        sender.decode("utf-8", "surrogateescape"),
        client.decode("ascii", "replace"),
        sasl.decode("utf-8", "replace"),
        certificate,
        bool(protocol),
    )


def answer(action: str) -> bytes:
    """The reply to a request. One newline too many would cost the next request a second."""
    return b"action=" + action.encode("utf-8", "replace") + _END


_NO_CERTIFICATE = Certificate()


def _xtext(value: bytes) -> str:
    return decode_xtext(value.decode("ascii", "replace"))


def _hex(value: bytes) -> str:
    return value.decode("ascii", "replace").replace(":", "").lower()
