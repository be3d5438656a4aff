"""Records: what goes into the policy store comes out of it."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support import core_samples as samples

from closedmail.core.hold_reason import Why
from closedmail.core.record import Entry, State, decode, encode, rule_number

assert samples  # its hypothesis profile

NUMBERS = {"rule": st.integers(0, 2**32 - 1), "network": st.integers(-1, 0xFFFE), "value": st.text(max_size=40)}
TIMES = {"why": st.sampled_from(Why), "since": st.integers(0, 2**40), "until": st.integers(0, 2**40)}
NO_TIMES = {"why": st.just(Why.NOTHING), "since": st.just(0), "until": st.just(0)}
ENTRIES = st.one_of(
    st.builds(Entry, state=st.sampled_from([State.ROUTED, State.INBOUND_ONLY]), **NUMBERS, **NO_TIMES),
    st.builds(Entry, state=st.sampled_from([State.HELD, State.KEPT]), **NUMBERS, **TIMES),
)


@given(ENTRIES)
def test_round_trip(entry: Entry) -> None:
    """An entry is what its bytes say, wherever these lie."""
    data = encode(entry)
    assert decode(data) == entry
    assert decode(memoryview(data)) == entry
    assert rule_number(data) == rule_number(memoryview(data)) == entry.rule


@given(st.binary(max_size=40))
def test_any_bytes(data: bytes) -> None:
    """Any bytes are a record or a ValueError."""
    try:
        entry = decode(data)
    except ValueError:
        return
    assert decode(encode(entry)) == entry


@pytest.mark.parametrize(
    "data", [b"", b"\x00" * 6, b"\x01" + b"\x00" * 22, b"\x09" + b"\x00" * 30, b"\x00" * 7 + b"\xff"]
)
def test_no_record(data: bytes) -> None:
    """Bytes that are cut short or broken are no record."""
    with pytest.raises(ValueError, match=r"not a record|is not a valid"):
        decode(data)


@pytest.mark.parametrize(
    ("state", "why", "network", "in_force", "listed", "has_route"),
    [
        (State.ROUTED, Why.NOTHING, 0, True, True, True),
        (State.ROUTED, Why.NOTHING, -1, True, False, True),
        (State.KEPT, Why.LOST, 0, True, False, True),
        (State.HELD, Why.LOST, 0, False, False, False),
        (State.HELD, Why.UNCLEAR, 0, False, False, False),
        (State.HELD, Why.TLS, 0, False, True, True),
        (State.HELD, Why.FOLDED, 0, False, True, True),
        (State.HELD, Why.FAMILY, 0, False, True, True),
        (State.HELD, Why.TLS, -1, False, False, True),
        (State.INBOUND_ONLY, Why.NOTHING, -1, False, False, False),
    ],
)
def test_meaning(state: State, why: Why, network: int, in_force: bool, listed: bool, has_route: bool) -> None:
    """What is routed, what a list gives, and what has a route that it could go."""
    entry = Entry(0, "", network, state, why)
    assert (entry.in_force, entry.listed, entry.has_route) == (in_force, listed, has_route)
