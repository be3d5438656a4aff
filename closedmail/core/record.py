"""Encode and decode a domain's record in the policy store: compact bytes, read by parsing no more than a header.

Layout: one byte state, four bytes rule number, two bytes network number (0xFFFF: no list has it), little-endian;
for held and kept domains two more numbers of eight bytes (since, until in Unix seconds; until 0: until released) and
one byte for the reason; then the mailertable value in UTF-8.
"""

import struct
from enum import IntEnum
from functools import lru_cache
from typing import NamedTuple, assert_never

_HEAD = struct.Struct("<BIH")
_TIMES = struct.Struct("<QQB")
_NO_NETWORK = 0xFFFF


class State(IntEnum):
    """The outbound meaning of a domain's record; inbound, every record is a partner's."""

    ROUTED = 0
    HELD = 1
    INBOUND_ONLY = 2
    KEPT = 3  # the list lost it, and it is routed as before until released


class HoldReason(NamedTuple):
    """The texts for a reason to hold mail.

    `dsn` is the enhanced status code (RFC 3463), `reply` what the sender reads while the mail waits. `exported` is the
    reply in the files that `closedmail export` writes. `brief` is for a table of the report, `explained` advises an
    administrator what to do about it, with `{closedmail}` for the program and its --config.
    """

    dsn: str
    reply: str
    exported: str
    brief: str
    explained: str


class Why(IntEnum):
    """The reason for which a domain is held or kept."""

    NOTHING = 0
    LOST = 1
    UNCLEAR = 2
    TLS = 3
    FOLDED = 4
    ROUTE = 5  # its route can't be expressed for one of the MTAs

    @property
    def reason(self) -> HoldReason:
        """The texts for each reason, kept in this one place.

        RFC 3463: 4.3.2 is "system not accepting network messages", 4.3.5 "system incorrectly configured", 4.7.5
        "cryptographic failure".
        """
        match self:
            case Why.NOTHING:
                return _reason("4.3.2", "", "held", "held")
            case Why.LOST:
                return _reason(
                    "4.3.2",
                    "it has disappeared from the list of its closed network",
                    "the list lost it",
                    "the list lost it; {closedmail} release ends the hold",
                    exported="the list of its closed network has lost it",
                )
            case Why.UNCLEAR:
                return _reason(
                    "4.3.2",
                    "its line in the closed network's list is not understood",
                    "its line is not understood",
                    "its line in the list is not understood",
                )
            case Why.TLS:
                return _reason(
                    "4.7.5",
                    "its TLS policy can not be met",
                    "its TLS demand can't be met",
                    "its TLS policy can't be met; {closedmail} sync shows what to do",
                )
            case Why.FOLDED:
                return _reason(
                    "4.3.2",
                    "its spelling is also that of another domain",
                    "its spelling is another domain's, too",
                    "for Postfix its spelling is another domain's too",
                )
            case Why.ROUTE:
                return _reason(
                    "4.3.5", "its route is too long", "its route is too long", "its route is too long for Sendmail"
                )
            case _:
                assert_never(self)


def _reason(dsn: str, cause: str, brief: str, explained: str, *, exported: str = "") -> HoldReason:
    held = "mail for this domain is held"
    reply = f"{held}: {cause}" if cause else held
    return HoldReason(dsn, reply, f"{held}: {exported}" if exported else reply, brief, explained)


# Needed for every record, so they are made once.
_DELIVERED = (State.ROUTED, State.KEPT)
_TIMED = (State.HELD, State.KEPT)
_GIVEN = (Why.NOTHING, Why.TLS, Why.FOLDED, Why.ROUTE)


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
