"""What a new list changes, and the brakes that stop it: list against list, never configuration."""

from typing import Literal

import pytest
from support.core_samples import InForce, configuration, network, read

from closedmail.core.hold_reason import Why
from closedmail.core.model import Brakes, Inbound
from closedmail.core.record import Entry, State
from closedmail.core.rule import Rule
from closedmail.errors import Refused
from closedmail.generation.brakes import check_brakes
from closedmail.generation.difference import Difference, NothingInForce, Previous, compare
from closedmail.mailertable.listing import SMARTHOST, Listing

A, B = "esmtp:[192.0.2.1]", "esmtp:[192.0.2.2]"


CONFIG = configuration(network("ndb"))
# A rule for records that no list gives: their table's.
TABLE = Rule("", "alone", Inbound("enforce"), None, "alone.example")


def listed(*keys: str) -> Listing:
    """A list of these keys, all with one route."""
    return Listing(dict.fromkeys(keys, A), rows=len(keys))


def in_list(number: int, *, state: State = State.ROUTED, why: Why = Why.NOTHING) -> Entry:
    """A record of a network's list."""
    return Entry(number, A, number, state, why)


def test_difference() -> None:
    """Each record is counted once, in what becomes of it."""
    previous = InForce(
        ["old", "ndb", "hin"],
        {
            "same.example": in_list(1),
            "lost.example": in_list(1),
            "rerouted.example": in_list(1),
            "own.example": in_list(1),
            "unclear.example": in_list(1),
            "back.example": in_list(1, state=State.HELD, why=Why.LOST),
            "held.example": in_list(1, state=State.HELD, why=Why.UNCLEAR),
            "kept.example": in_list(1, state=State.KEPT, why=Why.LOST),
            "tls.example": in_list(1, state=State.HELD, why=Why.TLS),
            "folded.example": in_list(1, state=State.HELD, why=Why.FOLDED),
            "partner.example": Entry(9, A),
            "gone.example": in_list(0),
            "other.example": in_list(2),
        },
        rules=[TABLE] * 10,
    )
    listing = read(
        "same.example esmtp:[192.0.2.1]\nrerouted.example esmtp:[192.0.2.2]\nback.example esmtp:[192.0.2.1]\n"
        "tls.example esmtp:[192.0.2.1]\nnew.example esmtp:[192.0.2.1]\nown.example esmtp:[192.0.2.1]\n"
        "unclear.example esmtp:\n",
        own=["own.example"],
    )
    config = configuration(network("hin"), network("ndb"), own=["own.example"])
    found = compare(previous, config, [None, listing])
    hin, ndb = found.networks
    assert hin == Difference()
    assert ndb.total == 7
    assert ndb.matched == 4
    assert sorted(ndb.lost) == ["folded.example", "lost.example", "unclear.example"]
    assert sorted(ndb.absent) == ["held.example", "kept.example"]
    assert ndb.changed == ["rerouted.example"]
    assert ndb.returned == ["back.example"]
    assert ndb.let_go == ["own.example"]
    assert found.strays == {"gone.example": in_list(0), "other.example": in_list(2)}


def test_nothing_in_force() -> None:
    """The first list changes nothing."""
    assert compare(NothingInForce(), CONFIG, [listed("a.example")]).networks == [Difference(offered=1)]


Code = Literal["empty", "bad-lines", "shrunk", "grown"]


def brake(
    listing: Listing, difference: Difference | None, brakes: Brakes, previous: Previous | None = None
) -> str | None:
    """The code of the brake, if any; its message is one line that names the way on."""
    try:
        command = lambda *words: " ".join(("closedmail --config x", *words))  # noqa: E731
        check_brakes("ndb", listing, difference, brakes, previous or NothingInForce(), command)
    except Refused as refusal:
        caught = refusal
    else:
        return None
    assert "closedmail --config x sync --network ndb --force" in str(caught)
    assert "\n" not in str(caught)
    return caught.code


def changed(total: int, lost: int, rerouted: int) -> Difference:
    """A list of so many of which so many go."""
    return Difference(
        total=total,
        lost={f"lost{number}.example": in_list(0) for number in range(lost)},
        changed=[f"changed{number}.example" for number in range(rerouted)],
    )


@pytest.mark.parametrize(
    ("total", "lost", "rerouted", "limit", "floor", "code"),
    [
        (100, 0, 0, 0.1, 5, None),
        (100, 10, 0, 0.1, 5, None),  # 10 % is not more than 10 %
        (100, 11, 0, 0.1, 5, "shrunk"),
        (100, 0, 10, 0.1, 5, None),
        (100, 0, 11, 0.1, 5, "shrunk"),
        (100, 6, 4, 0.1, 5, None),
        (100, 6, 5, 0.1, 5, "shrunk"),
        (10, 4, 0, 0.1, 5, None),  # below the floor
        (10, 5, 0, 0.1, 5, "shrunk"),  # at the floor
        (4, 4, 0, 0.1, 5, None),
        (4, 4, 0, 0.1, 4, "shrunk"),
        (50, 5, 0, 0.1, 5, None),
        (49, 5, 0, 0.1, 5, "shrunk"),
        (10_000, 1, 0, 0.0, 0, "shrunk"),
        (10_000, 1, 0, 0.0, 1, "shrunk"),
        (10_000, 1, 0, 0.0, 2, None),
        (10_000, 0, 0, 0.0, 0, None),
        (100, 100, 0, 1.0, 5, None),
        (30, 9, 0, 0.3, 5, None),
        (70, 7, 0, 0.1, 5, None),
        (10, 7, 0, 0.7, 5, None),
        (1000, 290, 0, 0.29, 5, None),
        (1000, 291, 0, 0.29, 5, "shrunk"),
    ],
)
def test_shrunk(total: int, lost: int, rerouted: int, limit: float, floor: int, code: Code | None) -> None:
    """More than the limit, and at least the floor, lost or rerouted."""
    brakes = Brakes(shrink_limit=limit, shrink_floor=floor)
    assert brake(listed("a.example"), changed(total, lost, rerouted), brakes) == code


def with_bad(rows: int, bad: int) -> Listing:
    """A list of so many rows of which so many are bad."""
    return read("".join(f"a{row}.example esmtp:[192.0.2.1]\n" for row in range(rows - bad)) + "bad line\n" * bad)


@pytest.mark.parametrize(
    ("rows", "bad", "limit", "floor", "code"),
    [
        (100, 0, 0.01, 5, None),
        (100, 4, 0.01, 5, None),
        (100, 5, 0.01, 5, "bad-lines"),
        (500, 5, 0.01, 5, None),
        (499, 5, 0.01, 5, "bad-lines"),
        (600, 6, 0.01, 5, None),
        (100, 1, 0.0, 0, "bad-lines"),
        (100, 0, 0.0, 0, None),
        (100, 1, 0.0, 2, None),
        (100, 29, 0.29, 5, None),
        (100, 30, 0.29, 5, "bad-lines"),
    ],
)
def test_bad_lines(rows: int, bad: int, limit: float, floor: int, code: Code | None) -> None:
    """More than the limit, and at least the floor, of the rows that are not understood."""
    brakes = Brakes(bad_line_limit=limit, bad_line_floor=floor)
    assert brake(with_bad(rows, bad), changed(100, 0, 0), brakes) == code


def test_not_counted() -> None:
    """Comments, blank lines and lines that are skipped by rule are not bad, and comments are no rows."""
    text = (
        "good.example esmtp:[192.0.2.1]\n"
        + "# x\n\ncity.example esmtp:x\nco.uk smtp:x\n. smtp:x\nb.example local:x\n" * 20
    )
    brakes = Brakes(bad_line_limit=0.0, bad_line_floor=0)
    assert brake(read(text), changed(100, 0, 0), brakes) is None
    assert brake(read(text + "bad line\n"), changed(100, 0, 0), brakes) == "bad-lines"


STRICT = Brakes(shrink_limit=0.0, shrink_floor=0, bad_line_limit=0.0, bad_line_floor=0)


@pytest.mark.parametrize("difference", [None, Difference()])
def test_first_list(difference: Difference | None) -> None:
    """With no list in force only `empty` applies."""
    assert brake(with_bad(10, 9), difference, STRICT) is None
    assert brake(with_bad(10, 10), difference, STRICT) == "empty"
    assert brake(Listing(), difference, STRICT) == "empty"
    assert brake(read("city.example esmtp:[192.0.2.1]\n"), difference, STRICT) == "empty"


def test_first_brake() -> None:
    """Of several, the first in the order of the codes counts."""
    assert brake(with_bad(10, 10), changed(10, 10, 0), STRICT) == "empty"
    assert brake(with_bad(10, 5), changed(10, 10, 0), STRICT) == "bad-lines"
    assert brake(with_bad(10, 0), changed(10, 10, 0), STRICT) == "shrunk"


def test_unclear_is_not_lost() -> None:
    """A domain whose line is not understood keeps its route, and is a bad line already."""
    listing = read("a.example esmtp:[192.0.2.1]\nlost0.example esmtp:\n")
    brakes = Brakes(shrink_limit=0.0, shrink_floor=1, bad_line_limit=1.0)
    assert brake(listing, changed(10, 1, 0), brakes) is None
    assert brake(listing, changed(10, 2, 0), brakes) == "shrunk"


@pytest.mark.parametrize(
    ("old", "new", "rerouted"),
    [
        ("smtp:[192.0.2.1]", "esmtp:[192.0.2.1]", False),
        ("esmtp:mx.p.example", "relay:mx.p.example", False),
        ("smtp8:[192.0.2.1]:[192.0.2.2]", "dsmtp:[192.0.2.1]:[192.0.2.2]", False),
        ("esmtp:[192.0.2.1],[192.0.2.2]", "smtp:[192.0.2.1]:[192.0.2.2]", False),  # both in this order, to Postfix
        ("esmtp:[192.0.2.1]:[192.0.2.2]", "esmtp:[192.0.2.2]:[192.0.2.1]", True),
        ("smtp:[192.0.2.1]", "esmtp:[192.0.2.2]", True),
        ("smtp:[mx.p.example]", "esmtp:mx.p.example", True),  # its address, or its MX records
        ("esmtp:5.7.1", "error:5.7.1", True),
        ("error:5.7.1:gone", "error:4.7.1:gone", True),
        (SMARTHOST, "esmtp:[192.0.2.1]", True),
    ],
)
def test_renamed_mailer(old: str, new: str, rerouted: bool) -> None:
    """Compared is what Postfix would do, and to it all mailers are one; the new value is taken all the same."""
    for before, after in ((old, new), (new, old)):
        previous = InForce(["ndb"], {"a.example": Entry(0, before, 0)})
        (difference,) = compare(previous, CONFIG, [Listing({"a.example": after}, rows=1)]).networks
        assert difference.changed == (["a.example"] if rerouted else [])
        assert (difference.total, difference.matched) == (1, 1)


@pytest.mark.parametrize(
    ("total", "new", "limit", "floor", "code"),
    [
        (100, 25, 0.25, 25, None),  # 25 % is not more than 25 %
        (100, 26, 0.25, 25, "grown"),
        (10, 24, 0.25, 25, None),  # below the floor
        (10, 25, 0.25, 25, "grown"),  # at the floor
        (1, 1, 0.0, 0, "grown"),
        (1, 1, 1.0, 0, None),
        (1, 2, 1.0, 0, "grown"),
        (0, 100, 0.0, 0, None),  # nothing in force
        (100, 0, 0.0, 0, None),
    ],
)
def test_grown(total: int, new: int, limit: float, floor: int, code: Code | None) -> None:
    """More than the limit, and at least the floor, of new domains."""
    old = [f"old{number}.example" for number in range(total)]
    previous = InForce(["ndb"], {key: in_list(0) for key in old})
    listing = listed(*old, *(f"new{number}.example" for number in range(new)))
    (difference,) = compare(previous, CONFIG, [listing]).networks
    assert difference.new == new
    assert brake(listing, difference, Brakes(grow_limit=limit, grow_floor=floor), previous) == code


def test_what_is_not_new() -> None:
    """A domain that was held and comes back, one that another network has, and one of a partner that stands alone."""
    previous = InForce(
        ["ndb", "hin", "old"],
        {
            "a.example": in_list(0),
            "held.example": in_list(0, state=State.HELD, why=Why.LOST),
            "hin.example": in_list(1),
            "gone.example": in_list(2),
            "alone.example": Entry(9, A),
        },
        rules=[TABLE] * 10,
    )
    ndb = listed("a.example", "held.example", "hin.example", "gone.example", "alone.example", "gmail.example")
    hin = listed("hin.example", "a.example")
    differences = compare(previous, configuration(network("ndb"), network("hin")), [ndb, hin]).networks
    assert [difference.new for difference in differences] == [1, 0]
    with pytest.raises(Refused, match=r"to 1 domains of ndb, 1 would be added \(gmail\.example\), more than") as caught:
        check_brakes("ndb", ndb, differences[0], Brakes(grow_limit=0.0, grow_floor=0), previous, lambda *_: "x")
    assert caught.value.code == "grown"


def test_grown_is_the_last_brake() -> None:
    """A list that loses domains and adds others is `shrunk`."""
    previous = InForce(["ndb"], {f"lost{number}.example": in_list(0) for number in range(10)})
    listing = listed("new.example")
    (difference,) = compare(previous, CONFIG, [listing]).networks
    brakes = Brakes(shrink_limit=0.0, shrink_floor=0, grow_limit=0.0, grow_floor=0)
    assert brake(listing, difference, brakes, previous) == "shrunk"
    brakes = Brakes(shrink_limit=1.0, grow_limit=0.0, grow_floor=0)
    assert brake(listing, difference, brakes, previous) == "grown"
