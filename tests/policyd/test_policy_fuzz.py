"""Hostile bytes in the policy protocol: mutants of recorded requests, read by the daemon and by a second reading."""

import random
from collections.abc import Mapping
from ipaddress import ip_address, ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support import core_samples as samples
from support.core_samples import Book
from support.mutants import Mutator
from support.policy_reading import VALID_ANSWER, read_stream
from support.recorded import altered, recorded

from closedmail.core.model import CertificatePin, Inbound
from closedmail.core.rule import Rule
from closedmail.inbound.decision import decide
from closedmail.inbound.partner import Match
from closedmail.inbound.sender import SenderError
from closedmail.policyd.policy_protocol import MAX_REQUEST, Layouts, ProtocolError, Request, RequestReader, envelope_of
from closedmail.policyd.policy_reply import action_of, reply_to

assert samples  # its hypothesis profile

TYPE = {b"request": b"smtpd_access_policy"}
ASKED = [name.encode() for name in Request._fields]
INSIDE = ip_network("192.0.2.0/28")
WRONG = b"198.51.100.7"
NAMED = CertificatePin(issuer="Closed Net CA", subject="mx 1.köln.example")
RULES = {
    "koeln.example": Inbound("enforce", allow_from=(INSIDE,)),
    "bonn.example": Inbound("defer", allow_from=(INSIDE,)),
    "tls.example": Inbound("report", allow_from=(INSIDE,), require_tls=True),
    "cert.example": Inbound("enforce", require="cert", certificates=(NAMED,)),
    "xn--kln-sna.example": Inbound("enforce", allow_from=(INSIDE,)),
}
BOOK = Book({key: Match(key, Rule("ndb", "Netz", inbound, None, "")) for key, inbound in RULES.items()})

# A partner's mails from elsewhere: whatever else is changed about them, they do not pass.
FORGED = [altered(request, sender="u@koeln.example", client_address=WRONG) for request in recorded().values()]

streams = st.builds(lambda seed: Mutator(seed, list(recorded().values())).stream(), st.integers(0, 1 << 32))
forgeries = st.builds(lambda seed: Mutator(seed, FORGED).stream(), st.integers(0, 1 << 32))


def read(pieces: list[bytes], layouts: Layouts | None = None) -> tuple[list[Request], bool]:
    """The requests of a stream, and whether it ended in a ProtocolError; what is kept is bounded at every moment."""
    reader = RequestReader(layouts)
    requests: list[Request] = []
    try:
        for piece in pieces:
            reader.receive_data(piece)
            while request := reader.next_request():
                requests.append(request)
            assert reader.kept <= MAX_REQUEST + 1
    except ProtocolError:
        return requests, True
    return requests, False


def fields(attributes: Mapping[bytes, bytes]) -> Request:
    return Request(*[attributes.get(name, b"") for name in ASKED])


def cut(stream: bytes, sizes: list[int]) -> list[bytes]:
    pieces = []
    for size in sizes:
        pieces.append(stream[:size])
        stream = stream[size:]
    return [*pieces, stream]


@pytest.mark.parametrize("name", recorded())
def test_recorded(name: str) -> None:
    """All that Postfix sends is understood, and is about mail of documentation's."""
    request = recorded()[name]
    attributes = read_stream(request).requests[0]
    assert read([request]) == ([fields(attributes)], False)
    for address in (b"sender", b"recipient"):
        assert not attributes[address] or attributes[address].endswith(b".example")
    client = ip_address(attributes[b"client_address"].decode())
    assert any(
        client.version == inside.version and client in inside
        for inside in map(ip_network, ("192.0.2.0/24", "198.51.100.0/24", "2001:db8::/32", "127.0.0.0/8"))
    )


@pytest.mark.parametrize("learned", [False, True])
@given(stream=streams, sizes=st.lists(st.integers(0, 1000), max_size=6))
def test_mutants_are_read_alike(learned: bool, stream: bytes, sizes: list[int]) -> None:
    """In any pieces, with and without layouts that were learned: as a reading says that knows the rules alone."""
    layouts = Layouts()
    if learned:
        read(list(recorded().values()), layouts)
        assert len(layouts) == 1
    start = [next(iter(recorded().values()))] * learned  # from then on a connection matches as a whole
    reading = read_stream(b"".join(start) + stream)
    wanted = list(map(fields, reading.requests))
    assert read([*start, *cut(stream, sizes)], layouts) == (wanted, reading.malformed)
    assert read([*start, *cut(stream, sizes)], layouts) == (wanted, reading.malformed)


@given(stream=st.one_of(streams, forgeries))
def test_answers_to_mutants(stream: bytes) -> None:
    """Each is one that may be given; nothing but the protocol's own error and the sender's is raised."""
    for request in read([stream])[0]:
        try:
            verdict = decide(envelope_of(request), BOOK)
        except SenderError:
            continue
        data = reply_to(verdict)
        assert data.endswith(b"\n\n")
        assert VALID_ANSWER.fullmatch(data[:-2])


@given(stream=forgeries)
def test_forgeries_do_not_pass(stream: bytes) -> None:
    """As long as the sender is the partner's and the mutant has neither an address of its nor a login by chance."""
    for request in map(fields, read_stream(stream).requests):
        if request.sender != b"u@koeln.example" or request.sasl_username:
            continue
        if request.client_address not in (WRONG, b""):
            continue
        assert action_of(decide(envelope_of(request), BOOK)).startswith("REJECT 5.7.1 Mail from koeln.example ")


names = st.binary(min_size=0, max_size=20).filter(lambda name: b"=" not in name and b"\n" not in name)
values = st.binary(max_size=60).filter(lambda value: b"\n" not in value)
known = st.dictionaries(st.sampled_from(ASKED), values)
unknown = st.dictionaries(names.filter(lambda name: name not in (*ASKED, *TYPE)), values, max_size=5)


@given(known, unknown, st.randoms())
def test_round_trip(asked: dict[bytes, bytes], others: dict[bytes, bytes], chance: random.Random) -> None:
    """Whatever attributes in whatever order come out as they went in, those alone that are asked for."""
    pairs = list({**asked, **others, **TYPE}.items())
    chance.shuffle(pairs)
    stream = b"".join(name + b"=" + value + b"\n" for name, value in pairs) + b"\n"
    assert read([stream] * 2) == ([fields(asked)] * 2, False)
