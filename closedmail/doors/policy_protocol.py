"""Postfix's SMTPD access policy delegation protocol, without sockets.

Bytes go in, requests come out; verdicts go in, bytes come out. A request is `name=value` lines with an empty line at
the end, in any order, with names that we do not know (SMTPD_POLICY_README). Whatever does not look like that raises
`ProtocolError`, and the connection is to be closed without an answer: Postfix then applies
smtpd_policy_service_default_action.
"""

import re
from collections.abc import Iterable, Iterator, Mapping

from closedmail.core.decision import Certificate, Envelope

MAX_REQUEST = 64 * 1024  # bytes, without the empty line
_END = b"\n\n"
_XTEXT = re.compile(r"\+([0-9A-Fa-f]{2})")

Request = dict[bytes, bytes]


class ProtocolError(Exception):
    """What came is no request of Postfix's; the message is for the log."""


class RequestReader:
    """Cuts a stream into requests. It remembers where it has searched: a slow sender costs no more than a fast one."""

    __slots__ = ("_buffer", "_searched")

    def __init__(self) -> None:
        """Nothing has come yet."""
        self._buffer = bytearray()
        self._searched = 0

    def feed(self, data: bytes) -> Iterable[Request]:
        """Take bytes and give each request that they complete, as attributes. Raises ProtocolError."""
        if not self._buffer and data.endswith(_END) and data.find(_END) == len(data) - 2 <= MAX_REQUEST:
            return (parse_request(data[:-2]),)  # one whole request in one packet, as Postfix sends it
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
    def pending(self) -> bool:
        """Whether a request has come in part."""
        return bool(self._buffer)


def parse_request(block: bytes) -> Request:
    """The attributes of one request that we ask for, without the empty line. Raises ProtocolError."""
    for layout, names in _layouts:
        found = layout.fullmatch(block)
        if found:
            return dict(zip(names, found.groups(), strict=True))
    lines = block.split(b"\n")
    try:
        request = dict([line.split(b"=", 1) for line in lines])
    except ValueError:
        raise ProtocolError("a line without '='") from None
    if len(request) != len(lines):
        raise ProtocolError("an attribute that comes twice")
    if request.get(b"request") != _TYPE:
        raise ProtocolError("not a request of type smtpd_access_policy")
    if len(_layouts) < _MOST_LAYOUTS and len(request) < _MOST_ATTRIBUTES:
        _layouts.append(_layout(request))
    return {name: value for name, value in request.items() if name in _ASKED}


# One Postfix sends the same attributes in the same order for ever, so that its requests are matched whole, by an
# expression made of the first one. It says what the long way says: the same names, each once, with '='.
_ASKED = frozenset(
    (
        *(b"request", b"sender", b"client_address", b"sasl_username", b"encryption_protocol", b"instance"),
        *(b"ccert_subject", b"ccert_issuer", b"ccert_fingerprint", b"ccert_pubkey_fingerprint"),
    )
)
_TYPE = b"smtpd_access_policy"
# Few, and short: making one takes a millisecond, and somebody might send another order every time.
_MOST_LAYOUTS, _MOST_ATTRIBUTES = 4, 64
_layouts: list[tuple[re.Pattern[bytes], tuple[bytes, ...]]] = []


def _layout(request: Request) -> tuple[re.Pattern[bytes], tuple[bytes, ...]]:
    lines = []
    for name in request:
        value = b"[^\n]*+" if name != b"request" else _TYPE
        lines.append(re.escape(name) + (b"=(%b)" if name in _ASKED else b"=%b") % value)
    return re.compile(b"\n".join(lines)), tuple(name for name in request if name in _ASKED)


def envelope_of(request: Mapping[bytes, bytes]) -> Envelope:
    """What a request says of a mail. Bytes of the sender that are not UTF-8 become surrogates."""
    get = request.get
    fingerprint = get(b"ccert_fingerprint", b"")
    pubkey = get(b"ccert_pubkey_fingerprint", b"")
    subject, issuer = get(b"ccert_subject", b""), get(b"ccert_issuer", b"")
    certificate = _NO_CERTIFICATE
    if fingerprint or pubkey or subject or issuer:
        certificate = Certificate(_xtext(subject), _xtext(issuer), _hex(fingerprint), _hex(pubkey))
    return Envelope(
        get(b"sender", b"").decode("utf-8", "surrogateescape"),
        get(b"client_address", b"").decode("ascii", "replace"),
        get(b"sasl_username", b"").decode("utf-8", "replace"),
        certificate,
        bool(get(b"encryption_protocol")),
    )


def answer(action: str) -> bytes:
    """The reply to a request. One newline too many would cost the next request a second."""
    return b"action=" + action.encode("utf-8", "replace") + _END


_NO_CERTIFICATE = Certificate()


def _xtext(value: bytes) -> str:
    """A common name as Postfix encodes it (`+20` is a blank; xtext of RFC 3461 section 4)."""
    text = value.decode("ascii", "replace")
    if "+" not in text:
        return text
    decoded = _XTEXT.sub(lambda found: chr(int(found[1], 16)), text)
    return decoded.encode("latin-1", "replace").decode("utf-8", "replace")


def _hex(value: bytes) -> str:
    return value.decode("ascii", "replace").replace(":", "").lower()
