"""The rows of Postfix's maps for a generation."""

import pytest
from support.core_samples import NOW, advance, configuration, in_force, network

from closedmail.core.domain import DomainSet
from closedmail.core.model import Config, Inbound, Outbound, Partner
from closedmail.generation.generation import Generation
from closedmail.maps.postfix_transport import policy_rows, transport_rows
from closedmail.routes.tls_policy import Policy, Row

CLOSED = "error:5.4.4 this domain is reached inside of its closed network only, and no route to it is known"
SHIELD = ":"
INBOUND, OUTBOUND = Inbound("enforce"), Outbound("encrypt")


def rows(generation: Generation, config: Config) -> dict[str, str]:
    """All rows; sorted, and each key once."""
    found = list(transport_rows(generation, DomainSet(config.gateway.own_domains)))
    names = [key for key, _ in found]
    assert names == sorted(set(names))
    return dict(found)


def made(text: str, config: Config | None = None) -> dict[str, str]:
    """The rows of a first list."""
    config = config or configuration()
    return rows(advance(config, text), config)


HELD = "retry:4."


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a.example esmtp:[192.0.2.1]\n", {"a.example": "smtp:[192.0.2.1]"}),
        (".a.example relay:mx.p.example:[IPv6:2001:db8::1]\n", {".a.example": "smtp:mx.p.example, [2001:db8::1]"}),
        ("a.example error:5.7.1:550 no\n", {"a.example": "error:5.7.1 no"}),
        ("a.example error:4.7.1:450 later\n", {"a.example": "retry:4.7.1 later"}),
        (
            "köln.example esmtp:[192.0.2.1]\n.köln.example smtp8:[192.0.2.2]\n",
            {
                ".köln.example": "smtp:[192.0.2.2]",
                ".xn--kln-sna.example": "smtp:[192.0.2.2]",
                "köln.example": "smtp:[192.0.2.1]",
                "xn--kln-sna.example": "smtp:[192.0.2.1]",
            },
        ),
        ("grüße.example error:5.7.1:no\n", None),
    ],
)
def test_rows(text: str, expected: dict[str, str] | None) -> None:
    """One row a domain, and one for each spelling of it."""
    found = made(text)
    if expected is None:
        assert set(found.values()) == {"error:5.7.1 no"}
        assert len(found) == 2
        assert "grüße.example" in found
    else:
        assert found == expected


def test_transport_and_smarthost() -> None:
    """The network's transport carries all mailers, its smarthosts replace every route."""
    outbound = Outbound("encrypt", transport="closed", smarthost=("[r1.example]:25", "[r2.example]"), port=26)
    config = configuration(network(outbound=outbound))
    assert made("a.example dsmtp:[192.0.2.1]\nb.example error:5.7.1:no\n", config) == {
        "a.example": "closed:[r1.example]:25, [r2.example]:26",
        "b.example": "error:5.7.1 no",
    }


@pytest.mark.parametrize(
    ("first", "second", "key"),
    [
        ("a.example smtp:[192.0.2.1]\nköln.example smtp:[192.0.2.1]\n", "a.example smtp:[192.0.2.1]\n", "köln.example"),
        ("a.example smtp:[192.0.2.1]\n.b.example smtp:[192.0.2.1]\n", "a.example smtp:[192.0.2.1]\n", ".b.example"),
        ("", "a.example smtp:[192.0.2.1]\nköln.example smtp:\n", "köln.example"),
        ("", "a.example smtp:[192.0.2.1]\nb.example smtp:[192.0.2.1]:25\n", "b.example"),
    ],
)
def test_held(first: str, second: str, key: str) -> None:
    """A held domain waits, in both spellings."""
    config = configuration()
    generation = advance(config, second, previous=in_force(advance(config, first)), now=NOW + 1)
    found = rows(generation, config)
    spellings = {key, key.replace("köln", "xn--kln-sna")}
    assert {name for name, value in found.items() if value.startswith(HELD)} == spellings
    assert found["a.example"] == "smtp:[192.0.2.1]"


@pytest.mark.parametrize("outbound", [Outbound("dane"), Outbound("secure")])
def test_held_for_tls(outbound: Outbound) -> None:
    """A domain whose TLS demand can't be met waits."""
    found = made("a.example smtp:[192.0.2.1]\n", configuration(network(outbound=outbound)))
    assert list(found) == ["a.example"]
    assert found["a.example"].startswith(HELD)


@pytest.mark.parametrize(
    ("names", "waiting", "routed"),
    [
        (["grüße.example", "grüsse.example"], 1, 2),
        (["ς.example", "\u03c3.example"], 1, 2),
        (["straße.example", "strasse.example"], 1, 1),
        ([".straße.example", ".strasse.example"], 1, 1),
    ],
)
def test_folded(names: list[str], waiting: int, routed: int) -> None:
    """Where two domains are one key for Postfix, that key waits; the A-labels are routed."""
    found = made("".join(f"{name} smtp:[192.0.2.1]\n" for name in names))
    assert sum(value.startswith(HELD) for value in found.values()) == waiting
    assert sum(value == "smtp:[192.0.2.1]" for value in found.values()) == routed
    folded = [key.casefold() for key in found]
    assert len(folded) == len(set(folded))


# --- Partners


@pytest.mark.parametrize(
    ("partner", "expected"),
    [
        (Partner("p.example", INBOUND, OUTBOUND, "", "smtp:[192.0.2.9]"), "smtp:[192.0.2.9]"),
        (Partner("p.example", INBOUND, Outbound("none", port=26), "ndb", "smtp:[192.0.2.9]"), "smtp:[192.0.2.9]:26"),
        (Partner("p.example", INBOUND, None, "", "error:5.7.1:no"), "error:5.7.1 no"),
        (Partner("p.example", INBOUND, None, ""), None),
        (Partner("p.example", INBOUND, OUTBOUND, "ndb"), None),
    ],
)
def test_partner(partner: Partner, expected: str | None) -> None:
    """A partner's own route; inbound only, it has no row."""
    assert made("", configuration(partners=[partner])).get("p.example") == expected


# --- Closed domains

KIM = "kim.example"


@pytest.mark.parametrize(
    ("text", "partners", "expected"),
    [
        ("", [], {KIM: CLOSED, ".kim.example": CLOSED}),
        ("kim.example smtp:[192.0.2.1]\n", [], {KIM: "smtp:[192.0.2.1]", ".kim.example": CLOSED}),
        (".kim.example smtp:[192.0.2.1]\n", [], {KIM: CLOSED, ".kim.example": "smtp:[192.0.2.1]"}),
        (
            "a.kim.example smtp:[192.0.2.1]\n",
            [],
            {KIM: CLOSED, ".kim.example": CLOSED, "a.kim.example": "smtp:[192.0.2.1]"},
        ),
        ("kim.example smtp:\n", [], {KIM: HELD, ".kim.example": CLOSED}),
        ("", [Partner(KIM, INBOUND, None)], {KIM: CLOSED, ".kim.example": CLOSED}),
        ("", [Partner("a.kim.example", INBOUND, None)], {KIM: CLOSED, ".kim.example": CLOSED}),
        ("", [Partner(".example", INBOUND, OUTBOUND, "", "smtp:[192.0.2.1]")], {".example": "smtp:[192.0.2.1]"}),
        ("", [Partner(".example", INBOUND, None)], {KIM: CLOSED, ".kim.example": CLOSED}),
    ],
)
def test_closed(text: str, partners: list[Partner], expected: dict[str, str]) -> None:
    """A closed domain without a route is refused, and all below it: never looked up in public DNS."""
    config = configuration(network(closed=[KIM]), partners=partners, own=["town.test"])
    found = made(text, config)
    assert {key: HELD if value.startswith(HELD) else value for key, value in found.items()} == expected


def test_closed_spellings() -> None:
    """In both spellings."""
    found = made("", configuration(network(closed=["xn--kln-sna.example"])))
    assert sorted(found) == sorted([".köln.example", ".xn--kln-sna.example", "köln.example", "xn--kln-sna.example"])
    assert set(found.values()) == {CLOSED}


def test_closed_and_folded() -> None:
    """A closed domain that a U-label of a partner folds onto has one row, and neither is looked up in public DNS."""
    found = made("straße.example smtp:[192.0.2.1]\n", configuration(network(closed=["strasse.example"])))
    assert found["strasse.example"] == CLOSED or found["strasse.example"].startswith(HELD)
    assert found[".strasse.example"] == CLOSED


# --- Shields


@pytest.mark.parametrize(
    ("own", "text", "shielded"),
    [
        (["city.example"], ".example smtp:[192.0.2.1]\n", ["city.example"]),
        (["a.city.example"], ".city.example smtp:[192.0.2.1]\n", ["a.city.example"]),
        (["b.a.city.example", "x.test"], ".city.example smtp:[192.0.2.1]\n", ["b.a.city.example"]),
        (["a.city.example"], ".city.example error:5.7.1:no\n", ["a.city.example"]),
        (["a.city.example"], ".city.example smtp:\n", ["a.city.example"]),
        (["a.city.example"], "city.example smtp:[192.0.2.1]\n", []),
        (["a.city.example"], ".b.city.example smtp:[192.0.2.1]\n", []),
        (
            ["a.city.example", "b.a.city.example"],
            ".city.example smtp:[192.0.2.1]\n",
            ["a.city.example", "b.a.city.example"],
        ),
    ],
)
def test_shields(own: list[str], text: str, shielded: list[str]) -> None:
    """Where a listed suffix covers an own domain, that and all below it are as if there were no row."""
    config = configuration(own=own, partners=[Partner(".example", INBOUND, None, "ndb")])
    found = made(text, config)
    assert sorted(key for key, value in found.items() if value == SHIELD) == sorted(
        [*shielded, *("." + name for name in shielded)]
    )


def test_a_shield_repeats_the_administrators_row() -> None:
    """A shield ends the look-up, so that it has what Postfix would have found behind it; in both spellings."""
    config = configuration(own=["xn--kln-sna.city.example", "b.city.example"])
    generation = advance(config, ".city.example smtp:[192.0.2.1]\n")
    shields = {"xn--kln-sna.city.example": "smtp:[198.51.100.1]", ".b.city.example": "relay:"}
    found = dict(transport_rows(generation, DomainSet(config.gateway.own_domains), shields))
    assert found["xn--kln-sna.city.example"] == found["köln.city.example"] == "smtp:[198.51.100.1]"
    assert found[".b.city.example"] == "relay:"
    assert found["b.city.example"] == found[".köln.city.example"] == SHIELD


def test_shield_spellings() -> None:
    """An own domain with a U-label is shielded in both spellings."""
    config = configuration(own=["xn--kln-sna.city.example"])
    found = made(".city.example smtp:[192.0.2.1]\n", config)
    assert {key for key, value in found.items() if value == SHIELD} == {
        "xn--kln-sna.city.example",
        ".xn--kln-sna.city.example",
        "köln.city.example",
        ".köln.city.example",
    }


def test_shield_below_a_closed_domain() -> None:
    """An own domain below a closed one is no closed domain."""
    found = made("", configuration(network(closed=["example"])))
    assert found == {"city.example": ":", ".city.example": ":", "example": CLOSED, ".example": CLOSED}


def test_partner_below_an_own_domain() -> None:
    """A partner's own row stands beside the shield of what lies above it."""
    partner = Partner("b.a.city.example", INBOUND, OUTBOUND, "ndb", "smtp:[192.0.2.9]")
    config = configuration(own=["a.city.example"], partners=[partner])
    assert made(".city.example smtp:[192.0.2.1]\n", config) == {
        ".a.city.example": SHIELD,
        ".city.example": "smtp:[192.0.2.1]",
        "a.city.example": SHIELD,
        "b.a.city.example": "smtp:[192.0.2.9]",
    }


def test_own_domain_is_never_held() -> None:
    """An own domain that a partner's U-label folds onto keeps its mail."""
    config = configuration(own=["strasse.example"])
    found = made("straße.example smtp:[192.0.2.1]\n", config)
    assert found.get("strasse.example", SHIELD) == SHIELD
    assert found["xn--strae-oqa.example"] == "smtp:[192.0.2.1]"


# --- TLS policy


def test_policy_rows() -> None:
    """What routes want and what stays, sorted; of one nexthop what stays."""
    staying = {"[192.0.2.2]": Row(Policy("secure"), 5), "[192.0.2.9]": Row(Policy("encrypt"), 6)}
    policies = {"b.example": Policy("may"), "[192.0.2.2]": Policy("encrypt")}
    assert list(policy_rows(policies, staying)) == [
        ("[192.0.2.2]", Row(Policy("secure"), 5)),
        ("[192.0.2.9]", Row(Policy("encrypt"), 6)),
        ("b.example", Row(Policy("may"))),
    ]


def test_every_nexthop_has_a_policy() -> None:
    """Whatever is delivered has a TLS policy for each single nexthop, spelled as in the transport table."""
    config = configuration(
        network("ndb", Outbound("encrypt", port=26)),
        network("hin", Outbound("dane")),
        partners=[Partner("p.example", INBOUND, Outbound("may"), "", "relay:mx.p.example:[192.0.2.7]")],
    )
    texts = (
        "a.example relay:[192.0.2.1]:mx.a.example,[IPv6:2001:db8::1]\nmüller.example smtp:mx.müller.example\n",
        "b.example smtp:mx.b.example\nc.example smtp:[192.0.2.1]\n",
    )
    generation = advance(config, *texts)
    policies = dict(policy_rows(generation.policies, {}))
    delivered = [value for value in rows(generation, config).values() if value.startswith("smtp:")]
    assert len(delivered) == 5
    nexthops = {nexthop for value in delivered for nexthop in value.removeprefix("smtp:").split(", ")}
    assert nexthops == set(policies)
