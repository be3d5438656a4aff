"""Going back and letting go, in the core: an earlier generation is made again of what is kept of it."""

from collections.abc import Mapping
from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.core_samples import DAY, LONG_ROUTE, NOW, advance, configuration, held, in_force, network, read, routes

from closedmail.core.hold_reason import Why
from closedmail.core.model import Config, Inbound, OnRemoved, Partner
from closedmail.core.record import Entry, State
from closedmail.generation.difference import NothingInForce, Previous, compare, report_changes
from closedmail.generation.earlier import Earlier, Without, hold_anew
from closedmail.generation.generation import Generation
from closedmail.generation.settle import released_line, settle

LOST = Entry(0, "esmtp:[192.0.2.1]", 0, State.HELD, Why.LOST, NOW, NOW + DAY)


def again(
    config: Config,
    generation: Generation,
    texts: tuple[str, ...],
    now: int = NOW,
    now_in_force: Previous | None = None,
) -> Generation:
    """A generation, made once more of its lists and of what is kept of it, over what is in force."""
    names = [item.name for item in config.networks]
    beyond = hold_anew(generation.beyond, names, config, now)
    then = Earlier(names, beyond, generation.rules, now_in_force or NothingInForce(), now)
    listings = [read(text, admitted=[partner.key for partner in config.partners]) for text in texts]
    return settle(config, listings, compare(then, config, listings), then, now, generation.released)


def records(generation: Generation) -> dict[str, Entry]:
    """All records; since when a TLS demand, a spelling or a long route holds is not kept, and does not matter."""
    return {
        key: entry._replace(since=0) if entry.has_route and not entry.in_force else entry
        for key, entry in generation.entries()
    }


KEYS = ["a.example", "b.example", ".c.example", "x.c.example", "xn--strae-oqa.example", "strasse.example"]
LINES = st.builds(
    lambda key, value: f"{key}\t{value}\n",
    st.sampled_from(KEYS),
    st.sampled_from(
        [
            *("esmtp:[192.0.2.1]", "esmtp:[192.0.2.2]", "relay:mx.example", LONG_ROUTE),
            *("esmtp:[192.0.2.1", "error:nohost:gone"),
        ]
    ),
)
TEXTS = st.lists(LINES, max_size=6).map("".join)
STEPS = st.lists(st.tuples(TEXTS, TEXTS, st.sampled_from([0, DAY, 8 * DAY])), min_size=1, max_size=5)
PARTNERS = [Partner("a.example", Inbound("report"), network="ndb"), Partner("y.c.example", Inbound("defer"))]


@pytest.mark.parametrize("on_removed", get_args(OnRemoved))
@pytest.mark.parametrize("partners", [[], PARTNERS], ids=["lists", "partners"])
@given(steps=STEPS, sendmail=st.booleans())
def test_a_generation_made_again_is_the_same(
    on_removed: OnRemoved, partners: list[Partner], steps: list[tuple[str, str, int]], sendmail: bool
) -> None:
    """Whatever came before it, lists and what is kept give every record again."""
    networks = network("ndb", on_removed=on_removed), network("hin", on_removed=on_removed)
    config = configuration(*networks, partners=partners, sendmail=sendmail)
    previous, now = None, NOW
    for first, second, later in steps:
        now += later
        generation = advance(config, first, second, previous=previous, now=now, ends={"ndb": now, "hin": now})
        before = records(generation)
        assert records(again(config, generation, (first, second), now)) == before
        previous = in_force(generation)


HOLDS: Mapping[str, tuple[Entry, int | None, int]] = {
    "still held": (LOST, 7 * DAY, NOW + DAY),
    "ended": (LOST._replace(until=NOW), 7 * DAY, NOW + 7 * DAY),
    "ended, and held until released today": (LOST._replace(until=NOW - 1), None, 0),
    "held until released": (LOST._replace(until=0), 7 * DAY, 0),
    "kept": (LOST._replace(state=State.KEPT, until=0), 7 * DAY, 0),
    "not understood": (LOST._replace(why=Why.UNCLEAR, until=0), 7 * DAY, 0),
}


@pytest.mark.parametrize("case", HOLDS)
def test_holds_begin_anew_where_they_have_ended(case: str) -> None:
    entry, hold_for, until = HOLDS[case]
    found = hold_anew({"a.example": entry}, ["ndb"], configuration(network(hold_for=hold_for)), NOW)
    assert found == {"a.example": entry._replace(until=until)}


def test_earlier_is_read_like_a_generation() -> None:
    then = Earlier(("ndb",), {"b.example": LOST, "a.example": LOST}, (), NothingInForce(), NOW)
    assert list(then.records()) == [("a.example", LOST), ("b.example", LOST)]
    assert (then.entry("a.example"), then.entry("c.example")) == (LOST, None)


def test_without_some_records() -> None:
    """A released domain is as if it had never been there; one that the list gives is new."""
    config = configuration()
    now = in_force(
        advance(config, "a.example esmtp:[192.0.2.1]\nb.example esmtp:[192.0.2.1]\nc.example esmtp:[192.0.2.1]\n")
    )
    without = Without(now, {"a.example", "c.example"})
    assert without.networks == now.networks
    assert [key for key, _ in without.records()] == ["b.example"]
    assert without.entry("a.example") is None
    assert without.entry("b.example") == now.entry("b.example")
    generation = advance(config, "b.example esmtp:[192.0.2.1]\nc.example esmtp:[192.0.2.1]\n", previous=without)
    assert set(routes(generation)) == {"b.example", "c.example"}
    assert generation.changes["ndb"].added == ["c.example"]
    assert held(generation) == []


BAD_LINE = "a.example esmtp:[192.0.2.1\n"


@pytest.mark.parametrize(
    ("text", "holds"),
    [
        (BAD_LINE, False),
        ("  # a comment\n" + BAD_LINE.replace("\n", " \r\n"), False),
        (BAD_LINE.replace("1", "2"), True),
        (BAD_LINE + BAD_LINE, True),
        (BAD_LINE + "b.example esmtp:[192.0.2.1\n", False),
    ],
)
def test_a_released_bad_line_is_that_line_alone(text: str, holds: bool) -> None:
    config = configuration(network("ndb"), network("hin"))
    mark = read(BAD_LINE).unclear["a.example"]
    generation = advance(config, text, "", released={released_line("ndb", "a.example"): mark})
    assert ("a.example" in held(generation)) == holds
    assert generation.released == ({} if holds else {"ndb a.example": mark})
    # What was released of one network's list says nothing of another's.
    other = advance(config, "", text, released={released_line("ndb", "a.example"): mark})
    assert "a.example" in held(other)
    assert other.released == {}


def test_what_a_generation_changes_against_another_one() -> None:
    """Going back, the report compares with what was in force, not with what is made again."""
    config = configuration()
    old, new = (
        "a.example esmtp:[192.0.2.1]\nb.example esmtp:[192.0.2.1]\n",
        "b.example esmtp:[192.0.2.2]\nc.example x:y\n",
    )
    first = advance(config, old)
    second = in_force(advance(config, new, previous=in_force(first)))
    listing = read(old)
    differences = compare(second, config, [listing]).networks
    then = Earlier(["ndb"], first.beyond, first.rules, second, NOW)
    made = settle(config, [listing], compare(then, config, [listing]), then, NOW)
    report_changes(made, differences, second)
    changes = made.changes["ndb"]
    assert (changes.added, changes.removed, changes.changed) == (["a.example"], [], ["b.example"])
