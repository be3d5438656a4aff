"""Postfix's policy protocol: whatever way the bytes come, the same requests; whatever else comes, no answer."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support import core_samples as samples

from closedmail.inbound.facts import ClientCertificate
from closedmail.policyd import policy_protocol
from closedmail.policyd.policy_protocol import (
    MAX_REQUEST,
    Layouts,
    ProtocolError,
    Request,
    RequestReader,
    answer,
    envelope_of,
    parse_request,
)

assert samples  # its hypothesis profile

KIND = b"request=smtpd_access_policy\n"


def packet(**attributes: bytes | str) -> bytes:
    """A request as Postfix writes it."""
    pairs = ((name, value.encode() if isinstance(value, str) else value) for name, value in attributes.items())
    return KIND + b"".join(name.encode() + b"=" + value + b"\n" for name, value in pairs) + b"\n"


FIRST = packet(protocol_state="RCPT", sender="u@p.example", client_address="192.0.2.1", instance="1")
SECOND = packet(protocol_state="DATA", sender="", recipient="", tls_sni="", some_new_attribute="a=b", instance="x=y=z")
THIRD = packet(sender=b"u@\xc3\xb6.example\xff", helo_name="a\rb\x00c", ccert_subject="+C3+B6")


def take(reader: RequestReader, data: bytes) -> list[Request]:
    """All requests that these bytes complete."""
    reader.receive_data(data)
    return list(iter(reader.next_request, None))


def feed(*chunks: bytes) -> tuple[list[Request], bool]:
    """The requests of a stream, and whether it ends within one."""
    reader = RequestReader()
    requests = [request for chunk in chunks for request in take(reader, chunk)]
    return requests, reader.kept > 0


def test_request() -> None:
    """Attributes that nobody asks for are read over; only the first `=` separates."""
    (request,), pending = feed(SECOND)
    assert request == Request(instance=b"x=y=z")
    assert not pending


@pytest.mark.parametrize("stream", [FIRST, FIRST + SECOND, FIRST + SECOND + THIRD])
def test_cut_anywhere(stream: bytes) -> None:
    """Cut in two at every byte, and byte by byte, a stream gives what it gives as a whole."""
    whole, _ = feed(stream)
    assert len(whole) == stream.count(b"\n\n")
    for at in range(len(stream) + 1):
        assert feed(stream[:at], stream[at:]) == (whole, False)
    assert feed(*(stream[at : at + 1] for at in range(len(stream)))) == (whole, False)


@given(st.lists(st.sampled_from([FIRST, SECOND, THIRD]), max_size=4), st.lists(st.integers(0, 600), max_size=8))
def test_any_chunks(packets: list[bytes], cuts: list[int]) -> None:
    """Any chunks give the same requests."""
    stream = b"".join(packets)
    edges = [0, *sorted(min(cut, len(stream)) for cut in cuts), len(stream)]
    chunks = [stream[start:end] for start, end in pairwise(edges)]
    assert feed(*chunks) == ([parse_request(one[:-2]) for one in packets], False)


@pytest.mark.parametrize("at", range(1, len(FIRST)))
def test_pending(at: int) -> None:
    """A request that has come in part is no request yet."""
    assert feed(FIRST[:at]) == ([], True)


def test_nothing_is_parsed_before_it_is_asked_for() -> None:
    """Bytes wait as they came, are counted, and more may come meanwhile."""
    reader = RequestReader()
    reader.receive_data(b"garbage\n")
    reader.receive_data(b"\n")
    assert reader.kept == len(b"garbage\n\n")
    with pytest.raises(ProtocolError):
        reader.next_request()
    reader = RequestReader()
    reader.receive_data(FIRST[:9])
    reader.receive_data(FIRST[9:] + SECOND)
    assert reader.next_request() == parse_request(FIRST[:-2])
    assert reader.kept == len(SECOND)
    reader.receive_data(b"")
    assert [reader.next_request(), reader.next_request()] == [parse_request(SECOND[:-2]), None]
    assert reader.kept == 0


def test_first_request_before_a_broken_one() -> None:
    """What was whole before the trouble is answered."""
    reader = RequestReader()
    reader.receive_data(FIRST + b"garbage\n\n")
    assert reader.next_request() == parse_request(FIRST[:-2])
    with pytest.raises(ProtocolError):
        reader.next_request()


@pytest.mark.parametrize(
    "data",
    [
        b"\n\n",
        b"\n" + FIRST,
        FIRST + b"\n\n",
        KIND + b"sender\n\n",
        KIND + b"sender u@p.example\n\n",
        b"sender=u@p.example\n\n",
        b"request=smtpd_access_policy2\n\n",
        b"request=\n\n",
        b"REQUEST=smtpd_access_policy\n\n",
        b"request=junk\nsender=u@p.example\n\n",
        KIND + b"sender=u@p.example\nsender=u@q.example\n\n",
        KIND + b"sender=u@p.example\nsender=u@p.example\n\n",
        KIND + KIND + b"\n",
        b"GET / HTTP/1.1\nHost: x\n\n",
        b"\x00\x01\x02\n\n",
        b"\xff=\xfe\n\n",
    ],
)
def test_malformed(data: bytes) -> None:
    """What is no request is an error, in one piece or in many."""
    for chunks in ([data], [data[at : at + 1] for at in range(len(data))]):
        with pytest.raises(ProtocolError, match=r"."):
            feed(*chunks)


def test_carriage_returns() -> None:
    """CRLF ends no line: such a request never ends, and its attributes are not ours."""
    assert feed(FIRST.replace(b"\n", b"\r\n")) == ([], True)
    with pytest.raises(ProtocolError):
        feed(KIND.replace(b"\n", b"\r\n") + b"sender=\n\n")


@pytest.mark.parametrize("size", [1, 1000, 4096, MAX_REQUEST, 10 * MAX_REQUEST])
@pytest.mark.parametrize("excess", [-1, 0, 1, 2, 1000])
def test_longest(size: int, excess: int) -> None:
    """64 KiB are a request, one byte more is none, in whatever pieces it comes."""
    if size == 1 and excess not in (0, 1):
        return
    data = KIND + b"x=" + b"y" * (MAX_REQUEST + excess - len(KIND) - 2) + b"\n\n"
    assert len(data) == MAX_REQUEST + excess + 2
    chunks = [data[at : at + size] for at in range(0, len(data), size)]
    if excess <= 0:
        assert len(feed(*chunks)[0]) == 1
        assert len(feed(FIRST + data)[0]) == 2
    else:
        with pytest.raises(ProtocolError, match="65536"):
            feed(*chunks)


def test_endless() -> None:
    """A stream without an end is cut off when it is too long, not later."""
    reader = RequestReader()
    for _ in range(MAX_REQUEST // 1024):
        assert take(reader, b"y" * 1024) == []
    assert take(reader, b"\n") == []  # it may still end here
    with pytest.raises(ProtocolError, match="65536"):
        take(reader, b"y")


@given(st.lists(st.one_of(st.binary(max_size=30), st.sampled_from([FIRST, KIND, b"\n", b"a=b\n"])), max_size=8))
def test_any_bytes(chunks: list[bytes]) -> None:
    """Any bytes are requests, or a ProtocolError; every request can be asked for its mail."""
    try:
        requests, _ = feed(*chunks)
    except ProtocolError:
        return
    for request in requests:
        envelope = envelope_of(request)
        assert isinstance(envelope.sender, str)


# --- What a request says

PUBKEY = "AB:CD:" + ":".join(["00"] * 30)


@pytest.mark.parametrize(
    ("attribute", "field", "value"),
    [
        ({}, "sender", ""),
        ({"sender": "u@P.example"}, "sender", "u@P.example"),
        ({"sender": "u@köln.example"}, "sender", "u@köln.example"),
        ({"sender": b"u\xff@p.example"}, "sender", "u\udcff@p.example"),
        ({"sender": "a=b@p.example"}, "sender", "a=b@p.example"),
        ({}, "client_address", ""),
        ({"client_address": "2001:db8::1"}, "client_address", "2001:db8::1"),
        ({"client_address": b"\xff"}, "client_address", "\ufffd"),
        ({}, "sasl_username", ""),
        ({"sasl_username": "joe"}, "sasl_username", "joe"),
        ({"sasl_username": b"\xff"}, "sasl_username", "\ufffd"),
        ({}, "encrypted", False),
        ({"encryption_protocol": ""}, "encrypted", False),
        ({"encryption_protocol": "TLSv1.3"}, "encrypted", True),
        ({}, "certificate", ClientCertificate()),
        ({"ccert_subject": "", "ccert_issuer": ""}, "certificate", ClientCertificate()),
        ({"ccert_subject": "mx.p.example"}, "certificate", ClientCertificate("mx.p.example")),
        ({"ccert_issuer": "Closed+20Net+20CA"}, "certificate", ClientCertificate("", "Closed Net CA")),
        ({"ccert_fingerprint": "AA:0b"}, "certificate", ClientCertificate("", "", "aa0b")),
        ({"ccert_pubkey_fingerprint": PUBKEY}, "certificate", ClientCertificate("", "", "", "abcd" + "00" * 30)),
    ],
)
def test_envelope(attribute: dict[str, bytes | str], field: str, value: object) -> None:
    """Each attribute in its field; what did not come is empty, never unknown: Postfix can tell all of it."""
    ((request,), _) = feed(packet(**attribute))
    assert getattr(envelope_of(request), field) == value


@pytest.mark.parametrize(
    ("encoded", "name"),
    [
        ("mx.p.example", "mx.p.example"),
        ("K+C3+B6ln", "Köln"),
        ("K+c3+b6ln", "Köln"),
        ("a+20b+2Bc+3D", "a b+c="),
        ("+2B20", "+20"),  # decoded once
        ("a+b", "a+b"),
        ("a+", "a+"),
        ("a+2", "a+2"),
        ("a+2G", "a+2G"),
        ("+FF", "\ufffd"),
        ("+00+0A", "\x00\n"),
        ("", ""),
    ],
)
def test_xtext(encoded: str, name: str) -> None:
    """Common names as Postfix encodes them; what is no encoding stays as it is."""
    ((request,), _) = feed(packet(ccert_subject=encoded, ccert_issuer=encoded, ccert_fingerprint="AA"))
    certificate = envelope_of(request).certificate
    assert (certificate.subject, certificate.issuer) == (name, name)


@given(st.text(st.characters(codec="utf-8"), max_size=20))
def test_any_common_name(name: str) -> None:
    """What Postfix encodes comes out as it was."""
    encoded = "".join(chr(byte) if 32 < byte < 127 and byte not in b"+=" else f"+{byte:02X}" for byte in name.encode())
    ((request,), _) = feed(packet(ccert_subject=encoded, ccert_fingerprint="AA"))
    assert envelope_of(request).certificate.subject == name


@pytest.mark.parametrize(
    ("action", "data"),
    [
        ("DUNNO", b"action=DUNNO\n\n"),
        ("REJECT 5.7.1 no", b"action=REJECT 5.7.1 no\n\n"),
        ("WARN für", b"action=WARN f\xc3\xbcr\n\n"),
        ("WARN \udcff", b"action=WARN ?\n\n"),
    ],
)
def test_answer(action: str, data: bytes) -> None:
    """The answer, byte by byte: one empty line, no carriage return."""
    assert answer(action) == data


ORDERS = [
    packet(sender="u@p.example", client_address="192.0.2.1", instance="1"),
    packet(client_address="192.0.2.1", sender="u@p.example", instance="1"),
    packet(instance="1", new="", client_address="192.0.2.1", sender="u@p.example"),
    *(packet(instance="1", client_address="192.0.2.1", sender="u@p.example", **{f"new{n}": "x"}) for n in range(8)),
]


@pytest.fixture
def long_way(monkeypatch: pytest.MonkeyPatch) -> list[bytes]:
    """The requests that are read line by line from now on."""
    read: list[bytes] = []
    real = policy_protocol._attributes

    def note(block: bytes) -> dict[bytes, bytes]:
        read.append(block)
        return real(block)

    monkeypatch.setattr(policy_protocol, "_attributes", note)
    return read


def learned(reader: RequestReader, order: bytes, long_way: list[bytes]) -> int:
    """How many requests in this order are read the long way before one is not."""
    long_way.clear()
    for _ in range(100):
        before = len(long_way)
        take(reader, order)
        if len(long_way) == before:
            return before
    raise AssertionError("never learned")


def odd(number: int) -> bytes:
    """A request with an order of its own."""
    return packet(**{f"odd{number}": ""}, sender="u@p.example")


@pytest.mark.parametrize("order", ORDERS)
def test_an_order_seen_before_is_read_alike(order: bytes, long_way: list[bytes]) -> None:
    """What is learned of one order of attributes neither changes what is read nor lets malformed requests through."""
    wanted = Request(sender=b"u@p.example", client_address=b"192.0.2.1", instance=b"1")
    layouts = Layouts()
    learned(RequestReader(layouts), order, long_way)
    reader = RequestReader(layouts)
    for _ in range(3):
        assert take(reader, order) == [wanted]
    assert len(long_way) == 10 + 1  # to learn it, and the first on the other connection
    lines = order.rstrip(b"\n").split(b"\n")
    for broken in (
        [*lines, lines[-1]],
        [*lines[:-1], lines[-1].replace(b"=", b"")],
        [lines[0].replace(b"_policy", b"_other"), *lines[1:]],
    ):
        reader = RequestReader(layouts)
        take(reader, order)
        with pytest.raises(ProtocolError):
            take(reader, b"\n".join(broken) + b"\n\n")


def test_an_order_is_learned_once_for_all_connections(long_way: list[bytes]) -> None:
    """Of a connection it has to come often; the others know it from its first request on."""
    layouts = Layouts()
    assert learned(RequestReader(layouts), FIRST, long_way) == 10
    assert learned(RequestReader(layouts), FIRST, long_way) == 1
    assert learned(RequestReader(), FIRST, long_way) == 10


def test_odd_orders_cost_no_connection_what_it_has_learned(long_way: list[bytes]) -> None:
    """However many come, elsewhere or here, learned or not: an honest Postfix's order is matched as a whole again."""
    layouts = Layouts()
    honest, other = RequestReader(layouts), RequestReader(layouts)
    learned(honest, FIRST, long_way)
    for number in range(1000):
        take(other, odd(number))  # another one every time: none is learned
    assert len(layouts) == 1
    for number in range(100):
        assert learned(other, odd(number), long_way) == 10
        assert len(layouts) <= Layouts.MOST
    assert learned(honest, FIRST, long_way) == 0
    # Forgotten among all these, it is learned anew, on connections that are new or have sent nothing but odd orders.
    assert learned(RequestReader(layouts), FIRST, long_way) == 10
    assert learned(other, FIRST, long_way) == 1
    assert learned(other, odd(0), long_way) == 10
    assert learned(other, FIRST, long_way) == 1


@pytest.mark.parametrize(
    "large",
    [packet(**{f"x{number}": "" for number in range(64)}), packet(**{"x" * 1024: ""})],
    ids=["many names", "long names"],
)
def test_large_orders_are_not_learned(large: bytes, long_way: list[bytes]) -> None:
    layouts = Layouts()
    reader = RequestReader(layouts)
    for _ in range(50):
        assert take(reader, large) == [Request()]
    assert (len(layouts), len(long_way)) == (0, 50)
