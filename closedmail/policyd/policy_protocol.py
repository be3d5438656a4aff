"""Parse and answer Postfix's SMTPD access policy delegation protocol, without sockets.

Bytes go in, requests come out; verdicts go in, bytes come out. A request is `name=value` lines with an empty line at
the end, in any order, with names that we do not know (SMTPD_POLICY_README). Anything else raises
`ProtocolError`, and the connection is to be closed without an answer: Postfix then applies
smtpd_policy_service_default_action.
"""

import re
from typing import NamedTuple

from closedmail.inbound.facts import ClientCertificate, Envelope
from closedmail.inbound.xtext import decode_xtext

MAX_REQUEST = 64 * 1024  # bytes, without the empty line
_END = b"\n\n"


class ProtocolError(Exception):
    """The peer's fault: what came can't be answered. The message is for the log, `hint` advises its reader."""

    def __init__(self, message: str, hint: str = "only check_policy_service of Postfix may ask here") -> None:
        """Keep message and hint; the default `hint` is for a peer that is not Postfix."""
        super().__init__(message)
        self.hint = hint


class Request(NamedTuple):
    """The attributes of a request that we use, as they came; empty where one did not come."""

    sender: bytes = b""
    client_address: bytes = b""
    instance: bytes = b""
    sasl_username: bytes = b""
    encryption_protocol: bytes = b""
    ccert_subject: bytes = b""
    ccert_issuer: bytes = b""
    ccert_fingerprint: bytes = b""
    ccert_pubkey_fingerprint: bytes = b""


class Layout(NamedTuple):
    """An order of attributes, as an expression for a whole request and the groups in it that a Request is made of."""

    expression: re.Pattern[bytes]
    groups: tuple[int, ...]


class Layouts:
    """The layouts that were learned last, for all connections of a daemon; the oldest goes first."""

    __slots__ = ("_known",)

    MOST = 8  # two Postfix of different age send two

    def __init__(self) -> None:
        """Start with no layout."""
        self._known: dict[tuple[bytes, ...], Layout] = {}

    def __len__(self) -> int:
        """Return how many are known."""
        return len(self._known)

    def get(self, names: tuple[bytes, ...]) -> Layout | None:
        """Return the layout of these names in this order, if it is known."""
        return self._known.get(names)

    def learn(self, names: tuple[bytes, ...]) -> Layout | None:
        """Make a layout and return it; None where it would be a large one."""
        if len(names) > _MOST_ATTRIBUTES or sum(map(len, names)) > _MOST_NAMES:
            return None
        if len(self._known) >= self.MOST:
            del self._known[next(iter(self._known))]
        layout = self._known[names] = _layout(names)
        return layout


class RequestReader:
    """A splitter of a stream into requests: bytes go in by `receive_data`, requests come out by `next_request`.

    It remembers where it has searched: a slow sender costs no more than a fast one.

    One Postfix sends the same attributes in the same order for ever. An order that comes often on a connection is
    learned, and requests in it are then matched as a whole, which has the same result as the long way in a fourth
    of the time. Each connection learns for itself: none forgets an order because of what comes on another.
    """

    __slots__ = ("_buffer", "_layout", "_layouts", "_order", "_packet", "_searched", "_times")

    def __init__(self, layouts: Layouts | None = None) -> None:
        """Start with an empty buffer. `layouts` are those that the reader shares with others."""
        self._packet = b""  # what came while the buffer was empty: it need not be copied
        self._buffer = bytearray()
        self._searched = 0
        self._layouts = Layouts() if layouts is None else layouts
        self._layout: Layout | None = None
        self._order = self._times = 0  # a hash of the newest order, and how often it came in a row

    def receive_data(self, data: bytes) -> None:
        """Take bytes. They are not parsed before `next_request` is called."""
        if self._packet or self._buffer:
            self._buffer += self._packet + data
            self._packet = b""
        else:
            self._packet = data

    def next_request(self) -> Request | None:
        """Return the next request; None where its rest has not come yet. Raises ProtocolError: then close."""
        packet = self._packet
        if packet:
            self._packet = b""
            layout = self._layout
            if layout is not None and len(packet) <= MAX_REQUEST + 2:
                found = layout.expression.fullmatch(packet)
                if found:  # one whole request in one packet, as Postfix sends it
                    return Request._make(found.group(*layout.groups))
            self._buffer += packet
        return self._cut() if self._buffer else None

    def _cut(self) -> Request | None:
        buffer = self._buffer
        end = buffer.find(_END, self._searched)
        if end > MAX_REQUEST or (end < 0 and len(buffer) > MAX_REQUEST + 1):
            raise ProtocolError(f"a request of more than {MAX_REQUEST} bytes")
        if end < 0:
            self._searched = max(0, len(buffer) - 1)
            return None
        block = bytes(buffer[:end])
        del buffer[: end + 2]
        self._searched = 0
        attributes = _attributes(block)
        self._learn(tuple(attributes))
        return _request(attributes)

    def _learn(self, names: tuple[bytes, ...]) -> None:
        """Note an order that came the long way, and choose the layout for what comes next."""
        known = self._layouts.get(names)
        if known is not None:
            self._layout = known
            return
        order = hash(names)  # the names themselves could be many; one hash of two orders learns a little early
        self._times = self._times + 1 if order == self._order else 1
        self._order = order
        if self._times == _OFTEN:
            self._layout = self._layouts.learn(names) or self._layout

    @property
    def kept(self) -> int:
        """The number of bytes that wait for the rest of their request, or for `next_request`."""
        return len(self._packet) + len(self._buffer)


def parse_request(block: bytes) -> Request:
    """Parse a request, without the empty line. Raises ProtocolError."""
    return _request(_attributes(block))


def _attributes(block: bytes) -> dict[bytes, bytes]:
    lines = block.split(b"\n")
    try:
        attributes = dict([line.split(b"=", 1) for line in lines])
    except ValueError:
        raise ProtocolError("a line without '='") from None
    if len(attributes) != len(lines):
        raise ProtocolError("an attribute that comes twice")
    if attributes.get(b"request") != _TYPE:
        raise ProtocolError("not a request of type smtpd_access_policy")
    return attributes


def _request(attributes: dict[bytes, bytes]) -> Request:
    return Request(*[attributes.get(name, b"") for name in _ASKED])


_ASKED = tuple(name.encode() for name in Request._fields)
_TYPE = b"smtpd_access_policy"
# Making a layout takes a millisecond, about as long as a hundred requests that are read the long way. A peer might
# send another order every time: one is learned only after it has come so often in a row.
_OFTEN = 10
_MOST_ATTRIBUTES, _MOST_NAMES = 64, 1024  # and bytes of all names; Postfix 3.7 has 29 and 359


def _layout(names: tuple[bytes, ...]) -> Layout:
    """Build the expression that accepts what the long way accepts: the same names, each once, with '='."""
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
    return Layout(re.compile(b"".join(lines)), tuple(groups.index(name) + 1 for name in _ASKED))


def envelope_of(request: Request) -> Envelope:
    """Make an envelope of a request. Bytes of the sender that are not UTF-8 become surrogates."""
    sender, client, _, sasl, protocol, subject, issuer, fingerprint, pubkey = request
    certificate = _NO_CERTIFICATE
    if fingerprint or pubkey or subject or issuer:
        certificate = ClientCertificate(_xtext(subject), _xtext(issuer), _hex(fingerprint), _hex(pubkey))
    return Envelope(
        sender.decode("utf-8", "surrogateescape"),
        client.decode("ascii", "replace"),
        sasl.decode("utf-8", "replace"),
        certificate,
        bool(protocol),
    )


def answer(action: str) -> bytes:
    """Write the reply to a request. One newline too many would cost the next request a second."""
    return b"action=" + action.encode("utf-8", "replace") + _END


_NO_CERTIFICATE = ClientCertificate()


def _xtext(value: bytes) -> str:
    return decode_xtext(value.decode("ascii", "replace"))


def _hex(value: bytes) -> str:
    return value.decode("ascii", "replace").replace(":", "").lower()
