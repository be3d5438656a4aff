"""No list takes or changes what another network has: tables, and hostile networks that list all the other one has."""

from collections.abc import Mapping
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.core_samples import NOW, InForce, advance, configuration, held, in_force, network, routes

from closedmail.core.domain import fold, parents, to_unicode
from closedmail.core.model import Inbound, Outbound, Partner
from closedmail.core.record import Entry
from closedmail.generation.generation import Generation
from closedmail.routes.delivery import CLOSED, delivery_of

A, B = "esmtp:[192.0.2.1]", "esmtp:[192.0.2.2]"
NDB, HIN = network("ndb", closed=("kim.example", "closed.land.example")), network("hin")
BOTH = configuration(NDB, HIN)


def lines(entries: Mapping[str, str]) -> str:
    return "".join(f"{key}\t{value}\n" for key, value in entries.items())


def owner(generation: Generation, name: str) -> str | None:
    """The network that has a name, by its own key or the longest suffix; None for nobody."""
    for key in (name, *(f".{parent}" for parent in parents(name))):
        if entry := generation.get(key):
            return generation.rules[entry.rule].network
    return None


# Both lists in force, then the new ones, and what becomes of a key of hin's new list: routed by hin or not.
@pytest.mark.parametrize(
    ("before", "ndb", "hin", "key", "taken"),
    [
        ((".land.example", ""), ".land.example", "amt.land.example", "amt.land.example", False),
        ((".land.example", ""), ".land.example", ".amt.land.example", ".amt.land.example", False),
        ((".land.example", ""), "", "amt.land.example", "amt.land.example", False),  # its suffix is held
        ((".land.example", ""), ".land.example", "land.example", "land.example", True),
        ((".land.example", ""), ".land.example", ".example.org", ".example.org", True),
        (("", "amt.land.example"), ".land.example", "amt.land.example", "amt.land.example", True),
        (("", "amt.land.example"), ".land.example amt.land.example", "amt.land.example", "amt.land.example", True),
        (
            ("", ".land.example"),
            "amt.land.example .land.example",
            ".land.example x.land.example",
            "x.land.example",
            True,
        ),
        (("", ""), ".land.example", "amt.land.example", "amt.land.example", False),  # the file's order
        (("", ""), "a.example", "a.example", "a.example", False),
        (("a.example", ""), "", "a.example", "a.example", False),
        (("", "a.example"), "a.example", "a.example", "a.example", True),
        (("", ""), "", "praxis.kim.example", "praxis.kim.example", False),
        (("", ""), "", "kim.example .kim.example", ".kim.example", False),
        (("", "praxis.kim.example"), "", "praxis.kim.example", "praxis.kim.example", False),
        # What hin may not have gives it nothing further down either.
        (
            (".land.example", ""),
            ".land.example",
            ".amt.land.example x.amt.land.example",
            "x.amt.land.example",
            False,
        ),
    ],
)
def test_what_the_second_network_may_take(before: tuple[str, str], ndb: str, hin: str, key: str, taken: bool) -> None:
    def text(names: str, value: str) -> str:
        return lines(dict.fromkeys(names.split(), value))

    previous = in_force(advance(BOTH, text(before[0], A), text(before[1], B)))
    generation = advance(BOTH, text(ndb, A), text(hin, B), previous=previous)
    entry = generation.get(key)
    assert (entry is not None and entry.in_force and generation.rules[entry.rule].network == "hin") is taken
    changes = generation.changes["hin"]
    assert (key in {**changes.yielded, **changes.barred}) is not taken


def test_what_is_said_of_a_line_that_is_not_taken() -> None:
    config = configuration(NDB, HIN)
    previous = in_force(advance(config, lines({".land.example": A, "a.example": A}), ""))
    theirs = lines(dict.fromkeys(("amt.land.example", ".b.land.example", "praxis.kim.example", "a.example"), B))
    changes = advance(config, lines({".land.example": A, "a.example": A}), theirs, previous=previous).changes["hin"]
    assert changes.yielded == {"a.example": "ndb"}
    assert changes.barred == {
        "amt.land.example": 'amt.land.example lies below .land.example of network ndb, unless over names "ndb"',
        ".b.land.example": ".b.land.example lies below .land.example of network ndb",
        "praxis.kim.example": "praxis.kim.example is covered by closed_domains of network ndb",
    }


def test_a_broken_line_keeps_its_route() -> None:
    previous = in_force(advance(BOTH, lines({"a.example": A}), ""))
    generation = advance(BOTH, "a.example esmtp:[192.0.2\n", lines({"a.example": B}), previous=previous)
    assert generation.get("a.example") == Entry(0, A, 0)


def test_a_closed_domain_below_a_suffix_of_another_network() -> None:
    """It has a record of its own then, which goes when it is not closed any more."""
    theirs = lines({".land.example": B})
    generation = advance(BOTH, "", theirs)
    assert [owner(generation, name) for name in ("closed.land.example", "q.closed.land.example", "b.land.example")] == [
        *("ndb", "ndb", "hin")
    ]
    found = generation.get("closed.land.example")
    assert found is not None
    assert delivery_of(found, generation.rules[found.rule].outbound) == CLOSED
    again = advance(BOTH, "", theirs, previous=in_force(generation))
    assert dict(again.entries()) == dict(generation.entries())
    after = advance(configuration(network("ndb"), HIN), "", theirs, previous=in_force(generation))
    assert (owner(after, "q.closed.land.example"), held(after)) == ("hin", [])


def test_over() -> None:
    """Exact entries of a network may lie below the suffixes of those that it names in `over`; nothing else changes."""
    config = configuration(NDB, replace(HIN, over=("ndb",)))
    previous = in_force(advance(config, lines({".land.example": A, "b.land.example": A}), ""))
    theirs = lines(dict.fromkeys(("amt.land.example", ".amt.land.example", "b.land.example", "x.kim.example"), B))
    generation = advance(config, lines({".land.example": A, "b.land.example": A}), theirs, previous=previous)
    assert routes(generation) == {".land.example": A, "b.land.example": A, "amt.land.example": B}


def test_agreement_is_not_reported() -> None:
    previous = in_force(advance(BOTH, lines({".land.example": A, "a.example": A}), ""))
    theirs = lines({"amt.land.example": A, "a.example": A})
    generation = advance(BOTH, lines({".land.example": A, "a.example": A}), theirs, previous=previous)
    assert generation.changes["hin"].yielded == generation.changes["hin"].barred == {}
    assert owner(generation, "amt.land.example") == "ndb"


@pytest.mark.parametrize(
    ("key", "ndb", "hin", "value"),
    [
        ("amt.land.example", {".land.example": A}, {"amt.land.example": B}, A),
        ("amt.land.example", {".land.example": A}, {".land.example": B, "amt.land.example": B}, A),
        ("amt.land.example", {"amt.land.example": A}, {"amt.land.example": B}, A),
        ("amt.land.example", {}, {"amt.land.example": B}, ""),
        ("amt.land.example", {}, {".land.example": B}, ""),
    ],
)
def test_a_partner_table_finds_its_route_in_its_networks_list_alone(
    key: str, ndb: Mapping[str, str], hin: Mapping[str, str], value: str
) -> None:
    partner = Partner(key, Inbound("enforce"), Outbound("encrypt"), network="ndb")
    generation = advance(configuration(NDB, HIN, partners=[partner]), lines(ndb), lines(hin))
    entry = generation.get(key)
    assert entry is not None
    assert entry.value == value
    assert generation.rules[entry.rule].partner == key


# --- two hostile networks -------------------------------------------------------------------------------------------

NAMES = ["a.example", "land.example", "amt.land.example", "strasse.example", "straße.example", "grüße.example"]
NAMES += ["grüsse.example", "ς.example", "\u03c3.example", "b.kim.example"]
FORMS = ["{}", ".{}", "x.{}", ".x.{}", "{} ", "y.x.{}"]
VALUES = [A, B, "relay:mx.example", "esmtp:[192.0.2", "error:5.1.2:gone", "error:", "local:x", "[192.0.2.2]", ""]
KEYS = st.builds(lambda form, name: form.format(name).strip(), st.sampled_from(FORMS), st.sampled_from(NAMES))
SPELLED = st.builds(lambda key, upper: key.upper() if upper and "ß" not in key else key, KEYS, st.booleans())
LISTS = st.dictionaries(KEYS, st.sampled_from([A, "relay:mx.example"]), max_size=6)
HOSTILE = st.lists(st.tuples(SPELLED, st.sampled_from(VALUES)), max_size=12)
LEVELS = st.sampled_from([Outbound("may"), Outbound("encrypt"), Outbound("fingerprint", tls_match=("AA",))])


def seen(generation: Generation, network_name: str) -> dict[str, tuple[str, str, str]]:
    """What a network has in force, by key: its value, the row for its U-labels, and its TLS policy."""
    found: dict[str, tuple[str, str, str]] = {}
    for key, entry in generation.entries():
        rule = generation.rules[entry.rule]
        if rule.network == network_name and entry.in_force:
            spelled = to_unicode(key)
            row = generation.spellings.get(fold(spelled), "") if spelled else ""
            rows = delivery_of(entry, rule.outbound).rows
            found[key] = entry.value, row, " ".join(str(generation.policies.get(name, "")) for name in rows)
    return found


@given(LISTS, LISTS, HOSTILE, st.booleans(), LEVELS, LEVELS, st.booleans())
def test_a_hostile_list_changes_no_key_of_another_network(
    mine: dict[str, str],
    theirs: dict[str, str],
    hostile: list[tuple[str, str]],
    first: bool,
    one: Outbound,
    other: Outbound,
    shared: bool,
) -> None:
    """Whatever the hostile list says, in whichever place of the file, of every form of what the other one has."""
    if not shared:  # the default: each network has a service, and so a table, of its own
        one = replace(one, transport="closedmail-ndb", own_service=True)
        other = replace(other, transport="closedmail-hin", own_service=True)
    ndb, hin = replace(NDB, outbound=one), replace(HIN, outbound=other)
    config = configuration(ndb, hin) if first else configuration(hin, ndb)

    def made(theirs: str, previous: InForce | None = None) -> Generation:
        texts = (lines(mine), theirs) if first else (theirs, lines(mine))
        return advance(config, *texts, previous=previous, now=NOW)

    before = made(lines(theirs))
    everything = lines(theirs) + "".join(f"{key}\t{value}\n" for key, value in hostile)
    after = made(everything, in_force(before))
    assert seen(before, "ndb").items() <= seen(after, "ndb").items()
    for name in ("x.land.example", "y.x.land.example", "amt.land.example", "q.b.kim.example", "x.a.example"):
        if owner(before, name) == "ndb":
            assert owner(after, name) == "ndb", name
    for name in ("kim.example", "q.b.kim.example", "closed.land.example", "q.closed.land.example"):
        assert owner(after, name) != "hin"
    assert not set(held(after)) & set(seen(before, "ndb"))


@given(LISTS, LISTS, HOSTILE)
def test_what_a_list_loses_goes_to_nobody_else(
    mine: dict[str, str], theirs: dict[str, str], hostile: list[tuple[str, str]]
) -> None:
    """A line that breaks or disappears while the other network lists its key: kept or held, never routed by that."""
    before = in_force(advance(BOTH, lines(mine), lines(theirs)))
    broken = "".join(f"{key}\tesmtp:[192\n" for at, key in enumerate(mine) if at % 2)
    everything = lines(dict.fromkeys(mine, B)) + "".join(f"{key}\t{value}\n" for key, value in hostile)
    after = advance(BOTH, broken, everything, previous=before)
    for key, entry in before.records():
        if before.rules[entry.rule].network == "ndb":
            now = after.get(key)
            assert now is not None
            assert after.rules[now.rule].network == "ndb", key
