"""What was a partner never just vanishes: whatever took it away, it is lost, counted by the brakes, and held."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.core_samples import DAY, NOW, advance, configuration, held, in_force, network, read, routes

from closedmail.core.domain import DomainSet
from closedmail.core.hold_reason import Why
from closedmail.core.model import Brakes, Config, Inbound, Outbound, Partner
from closedmail.core.record import Entry, State
from closedmail.errors import Refused
from closedmail.generation.brakes import check_brakes
from closedmail.generation.difference import NothingInForce, Previous, compare
from closedmail.generation.earlier import Earlier, Without
from closedmail.generation.generation import Generation
from closedmail.generation.settle import settle
from closedmail.generation.standing import Standing
from closedmail.mailertable.listing import Listing

A, B, C = (f"{name}.example esmtp:[192.0.2.{number}]\n" for number, name in enumerate("abc", 1))
CONFIG = configuration()
BEFORE = in_force(advance(CONFIG, A + B + C))


@pytest.mark.parametrize(
    ("line", "own", "fate"),
    [
        ("b.example local:x", "city.example", "held"),
        ("b.example prog:/bin/x", "city.example", "held"),
        ("b.example *file*:/tmp/x", "city.example", "held"),
        ("b.example discard:", "city.example", "routed"),  # not understood: it keeps its route
        ("", "city.example", "held"),
        ("b.example local:x", "b.example", "gone"),
        ("", "b.example", "gone"),
        ("b.example esmtp:[192.0.2.9]", "b.example", "gone"),
        ("b.example esmtp:[192.0.2.9]", "city.example", "routed"),
    ],
)
def test_lines_that_take_a_partner_away(line: str, own: str, fate: str) -> None:
    """A line that the rules skip loses the domain like no line at all; own domains are let go."""
    generation = advance(configuration(own=[own]), f"{A}{line}\n{C}", previous=BEFORE)
    entry = generation.get("b.example")
    assert fate == ("gone" if entry is None else "routed" if entry.in_force else "held")
    assert held(generation) == (["b.example"] if fate == "held" else [])


def test_an_own_domain_that_was_held_is_let_go() -> None:
    first = in_force(advance(CONFIG, A + C, previous=BEFORE))
    assert first.table["b.example"].state is State.HELD
    assert held(advance(configuration(own=["city.example", "b.example"]), A + C, previous=first)) == []


def test_the_brakes_count_it() -> None:
    """999 of 1,000 lines become local: that is `shrunk`, and with --force all are held."""
    names = [f"d{number}.example" for number in range(1000)]
    before = in_force(advance(CONFIG, "".join(f"{name} esmtp:[192.0.2.1]\n" for name in names)))
    text = "d0.example esmtp:[192.0.2.1]\n" + "".join(f"{name} local:x\n" for name in names[1:])
    listing = read(text)
    (difference,) = compare(before, CONFIG, [listing]).networks
    with pytest.raises(Refused, match=r"of 1000 domains of ndb, 999 would be lost") as caught:
        check_brakes("ndb", listing, difference, Brakes(), before, lambda *_: "x")
    assert caught.value.code == "shrunk"
    assert len(held(advance(CONFIG, text, previous=before))) == 999


def test_a_new_public_suffix() -> None:
    """The Public Suffix List gains a name that is in force."""
    listing = Listing({"a.example": "esmtp:[192.0.2.1]", "c.example": "esmtp:[192.0.2.3]"}, rows=3)
    assert held(advance(CONFIG, listing, previous=BEFORE)) == ["b.example"]


RULE = Inbound("enforce", reject_text="of old")
OLD = configuration(network("old", inbound=RULE, closed=["kim.example"]))


@pytest.mark.parametrize(
    ("config", "text", "strays"),
    [
        (configuration(network("new")), A + B + C, [".kim.example", "kim.example"]),
        (configuration(network("new", closed=["kim.example"])), A + C, ["b.example"]),
        (configuration(network("new"), own=["kim.example", "b.example"]), A + C, []),
        (configuration(network("new", closed=["kim.example"])), None, ["a.example", "b.example", "c.example"]),
        (
            configuration(
                network("new", closed=["kim.example"]), partners=[Partner("b.example", RULE, route="esmtp:[192.0.2.9]")]
            ),
            A + C,
            [],
        ),
        (
            configuration(network("new", closed=["kim.example"]), partners=[Partner("b.example", RULE)]),
            A + C,
            [],
        ),
    ],
)
def test_a_renamed_network(config: Config, text: str | None, strays: list[str]) -> None:
    """What another network or a table has now is theirs; all else is held under its old rule until it is released."""
    before = in_force(advance(OLD, A + B + C))
    for turn in range(3):
        generation = advance(config, text, previous=before, now=NOW + 100 * DAY * turn, ends={"new": NOW * 2})
        assert sorted(generation.changes[""].held) == strays
        for key in strays:
            entry = generation.special[key]
            assert (entry.network, entry.state, entry.why, entry.until) == (-1, State.HELD, Why.LOST, 0)
            rule = generation.rules[entry.rule]
            assert (rule.network, rule.partner, rule.title, rule.inbound) == ("", "", "old", RULE)
        notes = " ".join(generation.changes[""].notes)
        assert ("closedmail" in notes and "release" in notes) is bool(strays)
        before = in_force(generation)
    for key in strays:
        again = advance(config, text, previous=Without(before, {key}))
        assert again.get(key) is None
    back = advance(OLD, A + B + C, previous=before)
    assert set(routes(back)) == {"a.example", "b.example", "c.example"}


def test_a_network_that_has_no_list_any_more() -> None:
    assert held(advance(CONFIG, None, previous=BEFORE)) == ["a.example", "b.example", "c.example"]


def test_a_table_goes_with_what_it_was_for() -> None:
    """The administrator has taken it out; what it only overrode is the list's again."""
    tables = [Partner("b.example", RULE, Outbound("may"), route="esmtp:[192.0.2.9]"), Partner("d.example", RULE)]
    before = in_force(advance(configuration(partners=tables), A + B, previous=BEFORE))
    generation = advance(CONFIG, A + B, previous=before)
    assert (set(routes(generation)), held(generation)) == ({"a.example", "b.example"}, ["c.example"])


# --- going back ----------------------------------------------------------------------------------------------------


def test_going_back_holds_what_came_since() -> None:
    """Partners of lists, tables and closed domains alike, unless the earlier generation has them."""
    first = advance(CONFIG, A)
    table = Partner("t.example", RULE, Outbound("may"), route="esmtp:[192.0.2.9]")
    config = configuration(
        network(closed=["kim.example"]), network("hin"), partners=[table, Partner("inbound.example", RULE)]
    )
    now = in_force(advance(config, A + B, C, previous=in_force(first)))
    then = Earlier(["ndb"], first.beyond, first.rules, now, NOW)
    listing = read(A)
    generation = settle(CONFIG, [listing], compare(then, CONFIG, [listing]), then, NOW)
    assert set(routes(generation)) == {"a.example"}
    assert set(held(generation)) == {"b.example", "c.example", "t.example", "kim.example", ".kim.example"}
    assert generation.special["b.example"].until == NOW + 7 * DAY
    assert generation.special["t.example"].until == 0
    assert generation.rules[generation.special["t.example"].rule].inbound == RULE


# --- rows that no store knows ----------------------------------------------------------------------------------------


def stand(previous: Previous, config: Config, **rows: str) -> Standing:
    return Standing(previous, {f"{key}.example": service for key, service in rows.items()}, config, NOW)


@pytest.mark.parametrize(
    ("doors", "service", "home"),
    [
        (["smtp"], "smtp", "n0"),
        (["smtp"], "", "n0"),
        (["closed"], "smtp", "n0"),  # the only one there is
        (["one", "two"], "two", "n1"),
        (["one", "two"], "three", ""),
        (["one", "two"], "", ""),
        (["smtp", "smtp"], "smtp", ""),
    ],
)
def test_the_network_of_a_row(doors: list[str], service: str, home: str) -> None:
    """The one whose door it names, or the only one; else its mail is held, and nothing is asked of mail from it."""
    config = configuration(
        *(network(f"n{number}", Outbound("encrypt", transport=door)) for number, door in enumerate(doors))
    )
    before = stand(NothingInForce(), config, a=service)
    generation = advance(config, *[""] * len(doors), previous=before)
    entry = generation.special["a.example"]
    assert (entry.state, entry.why) == (State.HELD, Why.LOST)
    rule = generation.rules[entry.rule]
    assert rule.network == home
    assert entry.until == (NOW + 7 * DAY if home else 0)
    assert rule.inbound.mode == ("enforce" if home else "off")
    assert any("map_dir" in note for note in generation.changes[""].notes) is (not home)


def test_rows_are_counted_and_give_no_route() -> None:
    """Of a row only the key is known: what is listed is routed, what is lost counts, and nothing is rerouted."""
    config = configuration(network(on_removed="keep"))
    before = stand(NothingInForce(), config, a="smtp", b="smtp", c="", own="smtp")
    listing = read(A + "b.example esmtp:\n")
    (difference,) = compare(before, config, [listing]).networks
    assert (difference.total, sorted(difference.lost), difference.changed) == (
        4,
        ["b.example", "c.example", "own.example"],
        [],
    )
    generation = advance(config, A + "b.example esmtp:\n", previous=before)
    assert set(routes(generation)) == {"a.example"}
    assert held(generation) == ["b.example", "c.example", "own.example"]
    own = configuration(network(), own=["own.example"])
    assert held(advance(own, A, previous=stand(NothingInForce(), own, own="smtp"))) == []


def test_a_store_knows_better_than_a_row() -> None:
    before = stand(BEFORE, CONFIG, a="smtp", d="smtp")
    assert before.entry("a.example") == BEFORE.entry("a.example")
    assert [key for key, _ in before.records()] == ["a.example", "b.example", "c.example", "d.example"]
    assert set(before.standing) == {"d.example"}


# --- whatever happens ------------------------------------------------------------------------------------------------

NAMES = ["a.example", "b.example", ".c.example", "x.c.example", "xn--strae-oqa.example", "strasse.example"]
VALUES = ["esmtp:[192.0.2.1]", "relay:mx.example", "esmtp:[192.0.2.1", "local:x", "error:5.7.1:no", "prog:x"]
TEXTS = st.lists(st.builds("{}\t{}\n".format, st.sampled_from(NAMES), st.sampled_from(VALUES)), max_size=6).map("".join)
OWNS = st.sampled_from([("city.example",), ("city.example", "a.example"), ("city.example", "c.example")])
NETWORKS = st.sampled_from([("ndb",), ("hin",), ("ndb", "hin"), ("kim", "ndb"), ("kim",)])
TABLES = st.sets(st.sampled_from(["a.example", "b.example", "t.example"]), max_size=2)
CLOSED = st.sampled_from([(), ("kim.example",)])
STEPS = st.lists(
    st.tuples(
        NETWORKS,
        st.tuples(TEXTS, TEXTS),
        OWNS,
        TABLES,
        CLOSED,
        st.sampled_from(["sync", "sync", "rollback", "no store", "old store", "no list"]),
    ),
    min_size=2,
    max_size=7,
)


def partner_keys(generation: Generation, config: Config) -> dict[str, Entry | None]:
    """All keys whose mail may not reach the Internet: partners with a row, and closed domains (None)."""
    keys: dict[str, Entry | None] = {key: None for domain in generation.closed for key in (domain, f".{domain}")}
    return keys | {key: entry for key, entry in generation.entries() if entry.state is not State.INBOUND_ONLY}


def let_go(key: str, old: Entry | None, config: Config, was: Config, what: str) -> bool:
    """Whether the administrator has let it go: an own domain, or a table or closed domain that was taken out."""
    tables, were = ({partner.key: partner for partner in file.partners} for file in (config, was))
    if (DomainSet(config.gateway.own_domains).covers(key) and key not in tables) or key in tables:
        return True
    if what == "rollback":
        return False
    names = {item.name for item in config.networks}
    if old is None:
        guards = [item.name for item in was.networks if key.removeprefix(".") in item.closed_domains]
        return any(name in names for name in guards[:1])
    return old.network < 0 and key in were


@given(steps=STEPS)
def test_nothing_vanishes(
    steps: list[tuple[tuple[str, ...], tuple[str, str], tuple[str, ...], set[str], tuple[str, ...], str]],
) -> None:
    """Random lists, configurations, rollbacks, renamed networks and lost stores: no key that was in force is absent."""
    done: list[tuple[Config, tuple[str, ...], Generation]] = []
    for number, (names, texts, own, tables, closed, what) in enumerate(steps):
        partners = [
            Partner(key, RULE, Outbound("may"), route="" if key == "a.example" else "esmtp:[192.0.2.9]")
            for key in sorted(tables)
        ]
        config = configuration(*(network(name, closed=closed) for name in names), own=own, partners=partners)
        used = texts[: len(names)]
        previous: Previous = in_force(done[-1][2]) if done else NothingInForce()
        now = NOW + number * DAY
        if what == "rollback" and done:
            config, used, then = done[0]
            admitted = [partner.key for partner in config.partners]
            listings = [read(text, admitted=admitted, own=config.gateway.own_domains) for text in used]
            base = Earlier(then.networks, then.beyond, then.rules, previous, now)
            generation = settle(config, listings, compare(base, config, listings), base, now, then.released)
        else:
            if what in ("no store", "old store") and done:
                store: Previous = NothingInForce() if what == "no store" else in_force(done[0][2])
                rows = dict.fromkeys(partner_keys(done[-1][2], done[-1][0]), "")
                previous = Standing(store, rows, config, now)
            lists = [None if what == "no list" and number % 2 else text for text in used]
            generation = advance(config, *lists, previous=previous, now=now)
        if done:
            was, _, before = done[-1]
            there = partner_keys(generation, config)
            for key, old in partner_keys(before, was).items():
                if key not in there and key.removeprefix(".") not in generation.closed:
                    assert let_go(key, old, config, was, what), (key, what)
        done.append((config, used, generation))
