"""Encode and decode a domain's record in the policy store: compact bytes, read by parsing no more than a header.

Layout: one byte state, four bytes rule number, two bytes network number (0xFFFF: no list has it), little-endian;
for held and kept domains two more numbers of eight bytes (since, until in Unix seconds; until 0: until released) and
one byte for the reason; then the mailertable value in UTF-8.
"""

import struct
from enum import IntEnum
from functools import lru_cache
from typing import NamedTuple

from closedmail.core.hold_reason import Why

_HEAD = struct.Struct("<BIH")
_TIMES = struct.Struct("<QQB")
_NO_NETWORK = 0xFFFF


class State(IntEnum):
    """The outbound meaning of a domain's record; inbound, every record is a partner's."""

    ROUTED = 0
    HELD = 1
    INBOUND_ONLY = 2
    KEPT = 3  # the list lost it, and it is routed as before until released


# Needed for every record, so they are made once.
_DELIVERED = (State.ROUTED, State.KEPT)
_TIMED = (State.HELD, State.KEPT)
_WITH_ROUTE = (Why.TLS, Why.FOLDED, Why.ROUTE, Why.FAMILY)  # they are known, and can't be taken
_GIVEN = (Why.NOTHING, *_WITH_ROUTE)


class Entry(NamedTuple):
    """A record, decoded. `network` is the number of the network whose list has the domain, -1 for none."""

    rule: int
    value: str
    network: int = -1
    state: State = State.ROUTED
    why: Why = Why.NOTHING
    since: int = 0
    until: int = 0

    @property
    def in_force(self) -> bool:
        """Whether mail to the domain is routed."""
        return self.state in _DELIVERED

    @property
    def has_route(self) -> bool:
        """Whether it has a route, even one held for a TLS demand, a spelling, its length or its IP version."""
        return self.in_force or self.why in _WITH_ROUTE

    @property
    def listed(self) -> bool:
        """Whether its value comes from a list. A domain held for a reason outside of the list counts as listed."""
        return self.network >= 0 and self.why in _GIVEN


def encode(entry: Entry) -> bytes:
    """Encode an entry as bytes."""
    head = _head(entry.state, entry.rule, entry.network)
    if entry.state in _TIMED:
        head += _TIMES.pack(entry.since, entry.until, entry.why)
    return head + entry.value.encode()


@lru_cache(maxsize=256)
def _head(state: State, rule: int, network: int) -> bytes:
    return _HEAD.pack(state, rule, _NO_NETWORK if network < 0 else network)


def decode(data: bytes | memoryview) -> Entry:
    """Decode what `encode` made. Raises ValueError for bytes that are no record."""
    try:
        state, rule, network = _HEAD.unpack_from(data)
        network = -1 if network == _NO_NETWORK else network
        if not state:  # ROUTED, as nearly all are
            return Entry(rule, str(data[_HEAD.size :], "utf-8"), network)
        at, since, until, why = _HEAD.size, 0, 0, 0
        if state in _TIMED:
            since, until, why = _TIMES.unpack_from(data, at)
            at += _TIMES.size
        return Entry(rule, str(data[at:], "utf-8"), network, State(state), Why(why), since, until)
    except (struct.error, UnicodeDecodeError) as error:
        raise ValueError(f"not a record: {error}") from None


def rule_number(data: bytes | memoryview) -> int:
    """Decode the rule number alone, all that most decisions need. Raises ValueError for data too short for a record."""
    try:
        number: int = _HEAD.unpack_from(data)[1]
    except struct.error as error:
        raise ValueError(f"not a record: {error}") from None
    return number
