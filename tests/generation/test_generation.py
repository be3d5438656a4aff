"""The next generation: whose a domain is, where its mail goes, and what is held."""

import pytest
from support.core_samples import DAY, NOW, InForce, advance, configuration, held, in_force, network, read, routes

from closedmail.core.hold_reason import Why
from closedmail.core.model import Inbound, OnRemoved, Outbound, Partner
from closedmail.core.record import Entry, State
from closedmail.generation.generation import Generation
from closedmail.mailertable.listing import SMARTHOST, Listing
from closedmail.maps.postfix_transport import transport_value
from closedmail.routes.delivery import route_of

ONE, TWO, THREE = "esmtp:[192.0.2.1]", "esmtp:[192.0.2.2]", "esmtp:[192.0.2.3]"
INBOUND = Inbound("enforce")


def lines(**values: str) -> str:
    """A list of `a=ONE` as a.example and so on."""
    return "".join(f"{name.replace('_', '.')}.example {value}\n" for name, value in values.items())


BOTH = lines(a=ONE, b=TWO)
CONFIG = configuration()


def generation_of(text: str = BOTH) -> InForce:
    """A list in force."""
    return in_force(advance(CONFIG, text))


def entry(generation: Generation, key: str) -> Entry:
    """The record of a key that has one."""
    found = generation.get(key)
    assert found is not None
    assert dict(generation.entries())[key] == found
    return found


def test_first() -> None:
    """The first list is all added."""
    generation = advance(CONFIG, BOTH)
    assert routes(generation) == {"a.example": ONE, "b.example": TWO}
    changes = generation.changes["ndb"]
    assert (changes.domains, changes.added, changes.removed, changes.changed, changes.held) == (
        2,
        ["a.example", "b.example"],
        [],
        [],
        [],
    )
    assert {name: str(policy) for name, policy in generation.policies.items()} == {
        "[192.0.2.1]": "encrypt",
        "[192.0.2.2]": "encrypt",
    }


def test_changes() -> None:
    """Added, removed and changed, as they are to be reported."""
    generation = advance(CONFIG, lines(a=THREE, c=ONE), previous=generation_of())
    changes = generation.changes["ndb"]
    assert (changes.added, changes.removed, changes.changed) == (["c.example"], ["b.example"], ["a.example"])
    assert (changes.held, changes.domains) == (["b.example"], 2)
    again = advance(CONFIG, lines(a=THREE, c=ONE), previous=in_force(generation)).changes["ndb"]
    assert (again.added, again.removed, again.changed, again.held) == ([], [], [], ["b.example"])


@pytest.mark.parametrize("hold_for", [7 * DAY, DAY, None])
def test_hold(hold_for: int | None) -> None:
    """What the list lost is held for its time, from the first generation without it on, and then released."""
    config = configuration(network(hold_for=hold_for))
    previous = generation_of()
    for passed in (0, DAY // 2, 3 * DAY):
        generation = advance(config, lines(a=ONE), previous=previous, now=NOW + passed, ends={"ndb": NOW + passed})
        if hold_for is not None and passed >= hold_for:
            assert held(generation) == []
            assert generation.get("b.example") is None
            assert generation.holds_due == {}
            break
        found = entry(generation, "b.example")
        assert (found.state, found.why, found.since, found.value) == (State.HELD, Why.LOST, NOW, TWO)
        assert found.until == (0 if hold_for is None else NOW + hold_for)
        assert generation.holds_due == ({"ndb": found.until} if found.until else {})
        assert generation.changes["ndb"].held == ["b.example"]
        previous = in_force(generation)


@pytest.mark.parametrize(("passed", "is_held"), [(DAY - 1, True), (DAY, False), (DAY + 1, False)])
def test_hold_ends(passed: int, is_held: bool) -> None:
    """To the second, where holds may end at all."""
    config = configuration(network(hold_for=DAY))
    first = in_force(advance(config, lines(a=ONE), previous=generation_of()))
    later = advance(config, lines(a=ONE), previous=first, now=NOW + 9 * DAY, ends={"ndb": NOW + passed})
    assert bool(held(later)) is is_held
    assert held(advance(config, lines(a=ONE), previous=first, now=NOW + 9 * DAY)) == ["b.example"]


def test_returned() -> None:
    """A domain that comes back is simply routed again, by what the list says now."""
    previous = in_force(advance(CONFIG, lines(a=ONE), previous=generation_of()))
    generation = advance(CONFIG, lines(a=ONE, b=THREE), previous=previous)
    assert entry(generation, "b.example") == Entry(0, THREE, 0)
    changes = generation.changes["ndb"]
    assert (changes.added, changes.removed, changes.held, changes.domains) == (["b.example"], [], [], 2)


@pytest.mark.parametrize(("on_removed", "state"), [("hold", State.HELD), ("keep", State.KEPT), ("release", None)])
def test_on_removed(on_removed: OnRemoved, state: State | None) -> None:
    """Held, routed as before, or gone at once; and so it stays."""
    config = configuration(network(on_removed=on_removed, hold_for=None))
    previous = generation_of()
    for passed in (0, 30 * DAY):
        generation = advance(config, lines(a=ONE), previous=previous, now=NOW + passed)
        found = generation.get("b.example")
        assert (found.state if found else None) == state
        assert routes(generation).get("b.example") == (TWO if state is State.KEPT else None)
        assert (route_of(TWO, Outbound("encrypt")).nexthops[0] in generation.policies) is (state is State.KEPT)
        previous = in_force(generation)


@pytest.mark.parametrize("on_removed", ["hold", "keep", "release"])
@pytest.mark.parametrize("bad", ["esmtp:", "[192.0.2.2]", "esntp:[192.0.2.2]", "esmtp:[192.0.2.2]:25"])
def test_unclear_keeps_its_route(bad: str, on_removed: OnRemoved) -> None:
    """A domain whose line is not understood keeps the route in force, whatever becomes of those that are lost."""
    config = configuration(network(on_removed=on_removed))
    generation = advance(config, lines(a=ONE, b=bad), previous=generation_of())
    assert routes(generation) == {"a.example": ONE, "b.example": TWO}
    changes = generation.changes["ndb"]
    assert (changes.removed, changes.held, changes.domains) == ([], [], 2)
    assert any("b.example" in note for note in changes.notes)
    again = advance(config, lines(a=ONE, b=bad), previous=in_force(generation))
    assert routes(again) == {"a.example": ONE, "b.example": TWO}


def test_unclear_is_held() -> None:
    """Without a route in force it is held, until the line is understood; a sentence holds nobody."""
    config = configuration(network(hold_for=DAY))
    bad = lines(a=ONE, c="esmtp:") + "gmail.example is: down\n"
    generation = advance(config, bad, previous=generation_of(lines(a=ONE)))
    found = entry(generation, "c.example")
    assert (found.state, found.why, found.since, found.until) == (State.HELD, Why.UNCLEAR, NOW, 0)
    assert held(generation) == ["c.example"]
    later = advance(config, bad, previous=in_force(generation), now=NOW + 9 * DAY)
    assert entry(later, "c.example").since == NOW
    mended = advance(config, lines(a=ONE, c=TWO), previous=in_force(later))
    assert routes(mended) == {"a.example": ONE, "c.example": TWO}
    assert mended.changes["ndb"].added == ["c.example"]


@pytest.mark.parametrize("on_removed", ["hold", "keep", "release"])
def test_unclear_then_lost(on_removed: OnRemoved) -> None:
    """A domain that never had a route is never routed because its bad line went."""
    config = configuration(network(on_removed=on_removed))
    first = advance(config, lines(a=ONE, c="esmtp:"))
    generation = advance(config, lines(a=ONE), previous=in_force(first))
    assert "c.example" not in routes(generation)
    assert ("c.example" in held(generation)) is (on_removed != "release")


def test_ruled_out() -> None:
    """A domain that the configuration rules out is gone at once: it is not lost."""
    config = configuration(own=["city.example", "b.example"])
    generation = advance(config, BOTH, previous=generation_of())
    assert routes(generation) == {"a.example": ONE}
    assert held(generation) == []
    assert generation.changes["ndb"].removed == ["b.example"]


# --- Two networks

TWO_NETWORKS = configuration(network("ndb"), network("hin"))


def test_first_in_the_file() -> None:
    """Of two that list a new domain, the first in the file has it, and the other one is reported."""
    generation = advance(TWO_NETWORKS, lines(a=ONE), lines(a=TWO, b=TWO))
    assert entry(generation, "a.example") == Entry(0, ONE, 0)
    assert entry(generation, "b.example") == Entry(1, TWO, 1)
    assert generation.changes["hin"].yielded == {"a.example": "ndb"}
    assert generation.changes["ndb"].yielded == {}
    assert (generation.changes["ndb"].domains, generation.changes["hin"].domains) == (1, 1)


def test_in_force_keeps_it() -> None:
    """The one that has it in force keeps it, wherever it stands in the file and whatever it is renumbered to."""
    previous = in_force(advance(TWO_NETWORKS, "", lines(a=TWO)))
    for networks, number in ((("ndb", "hin"), 1), (("hin", "ndb"), 0)):
        config = configuration(*map(network, networks))
        texts = {"ndb": lines(a=ONE), "hin": lines(a=TWO)}
        generation = advance(config, *(texts[name] for name in networks), previous=previous)
        assert entry(generation, "a.example") == Entry(number, TWO, number)
        assert generation.changes["ndb"].yielded == {"a.example": "hin"}
        assert generation.changes["ndb"].added == []
        previous = in_force(generation)


def test_three_networks() -> None:
    """The last of three keeps what it has."""
    config = configuration(*map(network, ("ndb", "hin", "kim")))
    previous = in_force(advance(config, "", "", lines(a=THREE)))
    generation = advance(config, lines(a=ONE), lines(a=TWO), lines(a=THREE), previous=previous)
    assert entry(generation, "a.example") == Entry(2, THREE, 2)
    assert [generation.changes[name].yielded for name in ("ndb", "hin", "kim")] == [
        {"a.example": "kim"},
        {"a.example": "kim"},
        {},
    ]


def test_agreement() -> None:
    """Two that agree have nothing to report."""
    generation = advance(TWO_NETWORKS, lines(a=ONE), lines(a=ONE))
    assert entry(generation, "a.example") == Entry(0, ONE, 0)
    assert generation.changes["hin"].yielded == {}


def test_moved() -> None:
    """A domain that one list lost and the other one has is held for the first, until its hold ends; then it moves."""
    previous = in_force(advance(TWO_NETWORKS, BOTH, ""))
    texts = lines(a=ONE), lines(b=THREE)
    generation = advance(TWO_NETWORKS, *texts, previous=previous)
    assert held(generation) == ["b.example"]
    assert entry(generation, "b.example").network == 0
    assert generation.changes["ndb"].removed == ["b.example"]
    assert generation.changes["hin"].yielded == {"b.example": "ndb"}
    later = NOW + 8 * DAY
    generation = advance(TWO_NETWORKS, *texts, previous=in_force(generation), now=later, ends={"ndb": later})
    assert entry(generation, "b.example") == Entry(1, THREE, 1)
    assert held(generation) == []
    assert generation.changes["hin"].added == ["b.example"]
    assert generation.changes["hin"].yielded == {}


def test_bad_line_beside_a_good_one() -> None:
    """What a network's line is not understood for is no other network's, unless that stands first in the file."""
    generation = advance(TWO_NETWORKS, lines(a="esmtp:"), lines(a=TWO))
    assert held(generation) == ["a.example"]
    assert entry(generation, "a.example").network == 0
    generation = advance(TWO_NETWORKS, lines(a=TWO), lines(a="esmtp:"))
    assert entry(generation, "a.example") == Entry(0, TWO, 0)
    assert held(generation) == []


def test_partner_decides() -> None:
    """A [partner] table decides between two networks."""
    for name, number in (("ndb", 0), ("hin", 1)):
        partner = Partner("a.example", INBOUND, Outbound("encrypt"), network=name)
        config = configuration(network("ndb"), network("hin"), partners=[partner])
        generation = advance(config, lines(a=ONE), lines(a=TWO))
        assert entry(generation, "a.example") == Entry(2, (ONE, TWO)[number], number)
        assert generation.changes["hin"].yielded == generation.changes["ndb"].yielded == {}


def test_network_that_left() -> None:
    """What a network had that is no longer configured is held, under the rule that it had, until it is released."""
    previous = in_force(advance(TWO_NETWORKS, lines(a=ONE), lines(b=TWO)))
    generation = advance(CONFIG, lines(a=ONE), previous=previous)
    lost = Entry(1, TWO, -1, State.HELD, Why.LOST, NOW)
    assert dict(generation.entries()) == {"a.example": Entry(0, ONE, 0), "b.example": lost}
    rule = generation.rules[1]
    assert (rule.network, rule.title, rule.inbound) == ("", "hin", TWO_NETWORKS.networks[1].inbound)


# --- Partners

OUTBOUND = Outbound("secure", tls_match=("mx.p.example",))


@pytest.mark.parametrize(
    ("partner", "text", "found"),
    [
        # A route of its own
        (Partner("p.example", INBOUND, OUTBOUND, "ndb", ONE), "", Entry(1, ONE)),
        (Partner("p.example", INBOUND, OUTBOUND, "ndb", ONE), lines(p=TWO), Entry(1, ONE)),
        (Partner("p.example", INBOUND, OUTBOUND, "", "ESMTP:[192.0.2.1]"), lines(p=TWO), Entry(1, ONE)),
        (Partner(".p.example", INBOUND, OUTBOUND, "", ONE), lines(p=TWO), Entry(1, ONE)),
        (Partner("p.example", INBOUND, None, "", "error:5.7.1:no"), lines(p=TWO), Entry(1, "error:5.7.1:no")),
        # The list's best match
        (Partner("p.example", INBOUND, OUTBOUND, "ndb"), lines(p=TWO), Entry(1, TWO, 0)),
        (Partner("p.example", INBOUND, None, ""), lines(p=TWO), Entry(1, TWO, 0)),
        (Partner("x.p.example", INBOUND, OUTBOUND, "ndb"), ".p.example esmtp:[192.0.2.2]\n", Entry(1, TWO)),
        (
            Partner("y.x.p.example", INBOUND, OUTBOUND, "ndb"),
            ".p.example esmtp:[192.0.2.1]\n.x.p.example esmtp:[192.0.2.2]\n",
            Entry(1, TWO),
        ),
        (Partner(".x.p.example", INBOUND, OUTBOUND, "ndb"), ".p.example esmtp:[192.0.2.2]\n", Entry(1, TWO)),
        # Neither: inbound only
        (Partner("p.example", INBOUND, OUTBOUND, "ndb"), "", Entry(1, "", state=State.INBOUND_ONLY)),
        (Partner("p.example", INBOUND, None, ""), "", Entry(1, "", state=State.INBOUND_ONLY)),
        (Partner("p.example", INBOUND, None, ""), lines(x_p=TWO), Entry(1, "", state=State.INBOUND_ONLY)),
        (
            Partner("p.example", INBOUND, None, ""),
            ".p.example esmtp:[192.0.2.2]\n",
            Entry(1, "", state=State.INBOUND_ONLY),
        ),
        (
            Partner("p.example", INBOUND, OUTBOUND, "ndb"),
            lines(p="esmtp:"),
            Entry(1, "", 0, State.HELD, Why.UNCLEAR, NOW),
        ),
    ],
)
def test_partner(partner: Partner, text: str, found: Entry) -> None:
    """A partner overrides its key: its own route, else the list's best match, else inbound only."""
    generation = advance(configuration(partners=[partner]), text)
    assert entry(generation, partner.key) == found
    assert generation.rules[1].partner == partner.key
    assert generation.rules[1].inbound == INBOUND


def test_partner_of_a_smarthost() -> None:
    """A partner that a list of domains names is delivered through that list's smarthost, whatever it says of TLS."""
    relay = Outbound("encrypt", smarthost=("[relay.example]",), port=26)
    listing = Listing({"p.example": SMARTHOST}, rows=1)
    for outbound in (None, relay, Outbound("secure", tls_match=("relay.example",))):
        config = configuration(network(outbound=relay), partners=[Partner("p.example", INBOUND, outbound)])
        generation = advance(config, Listing(dict(listing.entries), rows=1))
        found = entry(generation, "p.example")
        rule = generation.rules[found.rule].outbound
        assert rule is not None
        assert transport_value(route_of(found.value, rule)) == "smtp:[relay.example]:26"
        assert set(generation.policies) == {"[relay.example]:26"}
        assert rule.tls == (outbound or relay).tls


def test_partner_that_the_list_lost() -> None:
    """A partner that follows the list is held with it, and still has its own rule."""
    config = configuration(partners=[Partner("b.example", INBOUND, OUTBOUND, "ndb")])
    first = in_force(advance(config, BOTH))
    generation = advance(config, lines(a=ONE), previous=first)
    found = entry(generation, "b.example")
    assert (found.state, found.why, found.rule, found.network) == (State.HELD, Why.LOST, 1, 0)
    # Without the table it stays held, under its network's rule.
    without = entry(advance(CONFIG, lines(a=ONE), previous=in_force(generation), now=NOW + 1), "b.example")
    assert (without.state, without.rule, without.since) == (State.HELD, 0, NOW)


def test_partner_admits() -> None:
    """A table admits a public suffix and an own domain, of the list and of its own."""
    partners = [Partner(key, INBOUND, OUTBOUND, "ndb") for key in ("co.uk", "mail.city.example")]
    text = "co.uk esmtp:[192.0.2.1]\nmail.city.example esmtp:[192.0.2.2]\ncity.example esmtp:[192.0.2.3]\n"
    assert routes(advance(configuration(partners=partners), text)) == {"co.uk": ONE, "mail.city.example": TWO}


def test_domains_count() -> None:
    """List keys in force count, held ones and partners that no list has don't."""
    partners = [Partner("a.example", INBOUND, OUTBOUND, "ndb"), Partner("p.example", INBOUND, OUTBOUND, "ndb", ONE)]
    config = configuration(partners=partners)
    generation = advance(config, lines(a=ONE, c=THREE, d="esmtp:"), previous=generation_of())
    assert held(generation) == ["b.example", "d.example"]
    assert generation.changes["ndb"].domains == 2


# --- TLS


@pytest.mark.parametrize(
    ("outbound", "reason"),
    [
        (Outbound("dane"), "address literal"),
        (Outbound("dane-only"), "address literal"),
        (Outbound("verify"), "tls_match"),
        (Outbound("secure"), "tls_match"),
        (Outbound("secure", tls_match=("mx.example",)), None),
        (Outbound("encrypt"), None),
        (Outbound("none"), None),
    ],
)
def test_impossible(outbound: Outbound, reason: str | None) -> None:
    """What can't be delivered so is held and reported, what has a name is not."""
    config = configuration(network(outbound=outbound))
    generation = advance(config, lines(a=ONE, b="smtp:mx.p.example"))
    assert "b.example" in routes(generation)
    if reason is None:
        assert held(generation) == []
        return
    found = entry(generation, "a.example")
    assert (found.state, found.why, found.since, found.value, found.network) == (State.HELD, Why.TLS, NOW, ONE, 0)
    assert "[192.0.2.1]" not in generation.policies
    changes = generation.changes["ndb"]
    assert (changes.held, changes.domains) == (["a.example"], 1)
    assert any(reason in note for note in changes.notes)
    later = advance(config, lines(a=ONE), previous=in_force(generation), now=NOW + 9 * DAY)
    assert entry(later, "a.example").since == NOW
    mended = advance(CONFIG, lines(a=ONE), previous=in_force(later))
    assert routes(mended) == {"a.example": ONE}


@pytest.mark.parametrize("swap", [False, True])
def test_impossible_for_one_alone(swap: bool) -> None:
    """What one partner wrongly demands of a shared address does not stop the others."""
    partner = Partner("b.example", INBOUND, Outbound("secure"), "ndb")
    config = configuration(network(outbound=Outbound("encrypt")), partners=[partner])
    if swap:
        config = configuration(
            network(outbound=Outbound("secure")), partners=[Partner("b.example", INBOUND, Outbound("encrypt"), "ndb")]
        )
    generation = advance(config, lines(a=ONE, b=ONE))
    assert held(generation) == (["a.example"] if swap else ["b.example"])
    assert str(generation.policies["[192.0.2.1]"]) == "encrypt"


@pytest.mark.parametrize(
    ("one", "other", "policy"),
    [
        (Outbound("may"), Outbound("encrypt"), "encrypt"),
        (Outbound("encrypt"), Outbound("none"), "encrypt"),
        (Outbound("encrypt"), Outbound("encrypt"), "encrypt"),
        (Outbound("encrypt"), OUTBOUND, "secure match=mx.p.example"),
        (OUTBOUND, Outbound("verify", tls_match=("mx.p.example",)), "secure match=mx.p.example"),
        (Outbound("encrypt"), Outbound("fingerprint", tls_match=("AA",)), None),
        (OUTBOUND, Outbound("secure", tls_match=("other.example",)), None),
        (Outbound("encrypt", tls_ciphers="high"), Outbound("encrypt"), "encrypt ciphers=high"),
        (
            Outbound("encrypt", tls_protocols=">=TLSv1.3", tls_ciphers="high"),
            Outbound("secure", tls_match=("a",), tls_protocols=">=TLSv1.2"),
            "secure match=a protocols=>=TLSv1.3 ciphers=high",
        ),
        (Outbound("encrypt", tls_protocols="TLSv1.2"), Outbound("encrypt", tls_protocols="TLSv1.3"), None),
    ],
)
def test_shared_nexthop(one: Outbound, other: Outbound, policy: str | None) -> None:
    """Of two levels for one nexthop the stricter stands, and is reported; incomparable ones hold their domains."""
    partners = [Partner(f"{name}.example", INBOUND, other, "ndb") for name in "bd"]
    generation = advance(configuration(network("ndb", one), partners=partners), lines(a=ONE, b=ONE, c=TWO, d=THREE))
    notes = generation.changes["ndb"].notes
    assert set(routes(generation)) >= {"c.example", "d.example"}
    if policy is None:
        assert held(generation) == ["a.example", "b.example"]
        assert "[192.0.2.1]" not in generation.policies
        assert notes
        assert all("outbound.transport" in note for note in notes)
    else:
        assert held(generation) == []
        assert str(generation.policies["[192.0.2.1]"]) == policy
        assert bool(notes) is (one != other)
        assert all("stricter" in note for note in notes)


def test_a_nexthop_that_two_networks_share() -> None:
    """No network changes another one's TLS policy in the table that they share, neither to looser nor to stricter."""
    for one, other in ((Outbound("may"), Outbound("encrypt")), (OUTBOUND, Outbound("encrypt"))):
        generation = advance(configuration(network("ndb", one), network("hin", other)), lines(a=ONE), lines(b=ONE))
        assert held(generation) == ["b.example"]
        assert generation.policies["[192.0.2.1]"].level == one.tls
        assert generation.changes["ndb"].notes == []
        assert "service of its own" in generation.changes["hin"].notes[0]
        # The one that has it in force is not changed, wherever it stands in the file.
        config = configuration(network("hin", other), network("ndb", one))
        generation = advance(config, lines(b=ONE), lines(a=ONE), previous=in_force(generation))
        assert held(generation) == ["b.example"]
        assert generation.policies["[192.0.2.1]"].level == one.tls


def test_other_ports() -> None:
    """Another port, or one of several nexthops: the policy is of single nexthops, verbatim."""
    config = configuration(network("ndb", Outbound("encrypt")), network("hin", Outbound("fingerprint", port=26)))
    generation = advance(config, lines(a="relay:[192.0.2.1]:[192.0.2.2]"), lines(b=ONE))
    assert held(generation) == []
    assert {name: str(policy) for name, policy in generation.policies.items()} == {
        "[192.0.2.1]": "encrypt",
        "[192.0.2.2]": "encrypt",
        "[192.0.2.1]:26": "fingerprint",
    }


def test_what_is_not_delivered_wants_nothing() -> None:
    """Held domains, refusals and inbound-only partners have no TLS policy."""
    config = configuration(partners=[Partner("p.example", INBOUND, OUTBOUND, "ndb")])
    generation = advance(config, lines(a="error:5.7.1:no", c="esmtp:"), previous=generation_of(lines(b=TWO)))
    assert held(generation) == ["b.example", "c.example"]
    assert generation.policies == {}


# --- Spellings

STRASSE, GRUESSE_SZ, GRUESSE = "straße.example", "grüße.example", "grüsse.example"


def spelled(*names: str) -> str:
    """A list of these domains."""
    return "".join(f"{name} esmtp:[192.0.2.{number}]\n" for number, name in enumerate(names, 1))


def keys(*names: str) -> list[str]:
    """Their keys, sorted."""
    return sorted(read(spelled(*names)).entries)


def test_own_spelling() -> None:
    """A domain with a U-label that is nobody else's."""
    generation = advance(CONFIG, spelled("köln.example", ".köln.example"))
    assert generation.spellings == {"köln.example": "xn--kln-sna.example", ".köln.example": ".xn--kln-sna.example"}
    assert generation.changes["ndb"].notes == []


@pytest.mark.parametrize("names", [(GRUESSE_SZ, GRUESSE), ("ς.example", "\u03c3.example"), (GRUESSE, GRUESSE_SZ)])
def test_two_domains_one_spelling(names: tuple[str, str]) -> None:
    """Two domains that are one key for Postfix: that spelling holds, the A-labels are routed, and it is reported."""
    generation = advance(CONFIG, spelled(*names))
    assert sorted(routes(generation)) == keys(*names)
    assert list(generation.spellings.values()) == [""]
    assert len(generation.changes["ndb"].notes) == 1


def test_two_networks_one_spelling() -> None:
    """The one that has its domain in force stays as it is, at first that which is first in the file."""
    (mine,), (theirs,) = keys(GRUESSE_SZ), keys(GRUESSE)
    generation = advance(TWO_NETWORKS, spelled(GRUESSE_SZ), spelled(GRUESSE))
    assert (list(routes(generation)), held(generation)) == ([mine], [theirs])
    assert list(generation.spellings.values()) == [mine]
    assert "another network" in generation.changes["hin"].notes[0]
    previous = in_force(advance(TWO_NETWORKS, "", spelled(GRUESSE)))
    generation = advance(TWO_NETWORKS, spelled(GRUESSE_SZ), spelled(GRUESSE), previous=previous)
    assert (list(routes(generation)), held(generation)) == ([theirs], [mine])


@pytest.mark.parametrize("turned", [False, True])
def test_an_ascii_name_of_another_network(turned: bool) -> None:
    """A line `straße.example` of one network does not hold another one's `strasse.example`, and the reverse."""
    texts = ["strasse.example esmtp:[192.0.2.1]\n", "straße.example esmtp:[192.0.2.2]\n"]
    mine, theirs = ("straße.example", "strasse.example") if turned else ("strasse.example", "straße.example")
    texts = texts[::-1] if turned else texts
    previous = in_force(advance(TWO_NETWORKS, texts[0], ""))
    generation = advance(TWO_NETWORKS, *texts, previous=previous)
    assert (list(routes(generation)), held(generation)) == (keys(mine), keys(theirs))


def test_spelling_of_a_listed_ascii_name() -> None:
    """straße folds onto strasse: where both are listed, mail to strasse waits, and it is reported."""
    generation = advance(CONFIG, spelled(STRASSE, "strasse.example"))
    assert sorted(routes(generation)) == keys(STRASSE)
    found = entry(generation, "strasse.example")
    assert (found.state, found.why, found.network) == (State.HELD, Why.FOLDED, 0)
    assert generation.changes["ndb"].held == ["strasse.example"]
    assert len(generation.changes["ndb"].notes) == 1
    again = advance(CONFIG, spelled(STRASSE, "strasse.example"), previous=in_force(generation), now=NOW + DAY)
    assert entry(again, "strasse.example").since == NOW
    assert again.changes["ndb"].removed == []


def test_closed_domains() -> None:
    """Each closed domain with its network's number, the first of two."""
    config = configuration(network("ndb", closed=["kim.example"]), network("hin", closed=["kim.example", "x.example"]))
    assert advance(config, "", "").closed == {"kim.example": 0, "x.example": 1}


def test_order() -> None:
    """Records come in the order of their keys, each once, from lists and partners alike."""
    partners = [Partner("p.example", INBOUND, OUTBOUND, "ndb", ONE), Partner("b.example", INBOUND, OUTBOUND, "ndb")]
    config = configuration(network("ndb"), network("hin"), partners=partners)
    generation = advance(
        config, lines(z=ONE, b=ONE, q="esmtp:"), lines(m=TWO, a=TWO) + ".a.example esmtp:[192.0.2.2]\n"
    )
    found = [key for key, _ in generation.entries()]
    assert found == [".a.example", "a.example", "b.example", "m.example", "p.example", "q.example", "z.example"]


def test_a_hold_ends_though_its_spelling_is_shared() -> None:
    """What the list lost is held for that, also where another reason comes on top of it; or it would be lost anew, and
    held, with every list."""
    config = configuration()
    lost = in_force(advance(config, "strasse.example esmtp:[192.0.2.1]\n"))
    for day in range(8):
        generation = advance(
            config,
            "straße.example esmtp:[192.0.2.2]\n",
            previous=lost,
            now=NOW + day * DAY,
            ends={"ndb": NOW + day * DAY},
        )
        assert held(generation) == (["strasse.example"] if day < 7 else [])
        assert generation.changes["ndb"].removed == (["strasse.example"] if day == 0 else [])
        lost = in_force(generation)


def test_a_kept_route_waits_for_its_tls_demand() -> None:
    """A domain that is kept is held while its TLS demand can't be met, and kept again afterwards."""
    keep = configuration(network(on_removed="keep"))
    impossible = configuration(network(outbound=Outbound("dane"), on_removed="keep"))
    now = in_force(advance(keep, "a.example esmtp:[192.0.2.1]\nb.example smtp:mx.example\n"))
    now = in_force(advance(keep, "b.example smtp:mx.example\n", previous=now))
    for config, states in ((impossible, [State.HELD, State.ROUTED]), (keep, [State.KEPT, State.ROUTED])) * 2:
        generation = advance(config, "b.example smtp:mx.example\n", previous=now)
        assert [entry.state for _, entry in generation.entries()] == states
        now = in_force(generation)


def test_a_route_kept_for_a_bad_line_waits_for_its_tls_demand() -> None:
    """A domain whose line is not understood has its route again once its TLS demand can be met."""
    impossible = configuration(network(outbound=Outbound("dane")))
    now = in_force(advance(configuration(), "a.example esmtp:[192.0.2.1]\n"))
    for config, waits in ((impossible, True), (configuration(), False)) * 2:
        generation = advance(config, "a.example esmtp:[192.0.2.1\n", previous=now)
        assert held(generation) == (["a.example"] if waits else [])
        now = in_force(generation)
    assert routes(generation) == {"a.example": "esmtp:[192.0.2.1]"}
