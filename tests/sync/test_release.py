"""`closedmail release`: what is held is released at once, and stays so."""

import pytest
from support.network import DAY, Site

from closedmail.core.hold_reason import Why

pytestmark = pytest.mark.real("gpg", "postmap", "postconf")

ALL = "koeln.example\tesmtp:[192.0.2.1]\nbonn.example\tesmtp:[192.0.2.2]\n.essen.example\tesmtp:[192.0.2.3]\n"
UNCLEAR = "aachen.example esmtp:[192.0.2.4\n"
HELD = "retry:4.3.2 mail for this domain is held: "


@pytest.fixture
def holding(plain: Site) -> Site:
    """A gateway that holds a domain and a suffix that the list lost, and a domain whose line is not understood."""
    plain.put(ALL)
    plain.published()
    plain.put("bonn.example\tesmtp:[192.0.2.2]\n" + UNCLEAR)
    assert plain.published().held == [".essen.example", "aachen.example", "koeln.example"]
    return plain


def mode(site: Site) -> str:
    """The mode that is in force."""
    return site.manifest.rules[0].inbound.mode


def released(site: Site, *domains: str) -> str:
    outcome = site.run("release", *domains)
    assert (outcome.status, outcome.stderr) == (0, "")
    site.assert_consistent()
    return outcome.stdout


def refused(site: Site, *domains: str, status: int = 1) -> str:
    """Nothing may have changed."""
    before = site.in_force()
    outcome = site.run("release", *domains)
    assert (outcome.status, outcome.stdout) == (status, "")
    (line,) = outcome.stderr.splitlines()
    assert site.in_force() == before
    return line.removeprefix("closedmail: error: ")


def test_one_is_let_go_and_the_others_stay(holding: Site) -> None:
    assert (
        holding.route(
            "koeln.example",
        )
        == HELD + "it has disappeared from the list of its closed network"
    )
    lines = released(holding, "koeln.example").splitlines()
    assert lines[-2:] == ["Generation 3 is in force.", "Released: koeln.example."]
    assert holding.route("koeln.example") is None
    assert holding.run("explain", "--sender", "x@koeln.example", "--client-address", "203.0.113.9").status == 0
    assert holding.run("explain", "--recipient", "x@koeln.example").stdout.startswith("koeln.example is no partner")
    assert set(holding.rows()) == {".essen.example", "aachen.example", "bonn.example"}
    history = holding.run("history", "--json").json["generations"][0]
    assert (history["reason"], history["in_force"]) == ("release", True)
    assert holding.sync().generation == 3
    assert holding.manifest.lists[0].domains == 1


@pytest.mark.parametrize("spelling", [".essen.example", ".Essen.EXAMPLE"])
def test_a_suffix(holding: Site, spelling: str) -> None:
    released(holding, spelling)
    assert set(holding.rows()) == {"aachen.example", "bonn.example", "koeln.example"}


def test_several_at_once(holding: Site) -> None:
    stdout = released(holding, "koeln.example", "KOELN.example", ".essen.example", "aachen.example")
    assert "Released: koeln.example, .essen.example, aachen.example." in stdout
    assert set(holding.rows()) == {"bonn.example"}
    assert holding.run("status", "--json").json["networks"]["ndb"]["held"] == []


def test_a_u_label(plain: Site) -> None:
    plain.put("xn--kln-sna.example\tesmtp:[192.0.2.1]\nbonn.example\tesmtp:[192.0.2.2]\n")
    plain.published()
    plain.put("bonn.example\tesmtp:[192.0.2.2]\n")
    plain.published()
    assert set(plain.rows()) == {"bonn.example", "köln.example", "xn--kln-sna.example"}
    released(plain, "Köln.example")
    assert set(plain.rows()) == {"bonn.example"}


def test_a_bad_line_stays_released_until_it_changes(holding: Site) -> None:
    released(holding, "aachen.example")
    assert "aachen.example" not in holding.rows()
    for extra in ("", "dortmund.example\tesmtp:[192.0.2.5]\n"):
        holding.put(extra + "bonn.example\tesmtp:[192.0.2.2]\n" + UNCLEAR)
        holding.sync()
        assert "aachen.example" not in holding.records
    # Another slip is another line.
    holding.put("bonn.example\tesmtp:[192.0.2.2]\n" + UNCLEAR.replace("192.0.2.4", "192.0.2.5"))
    holding.published(force=True)
    assert holding.records["aachen.example"].why is Why.UNCLEAR
    # And the released one counts no more, once it has gone.
    holding.put("bonn.example\tesmtp:[192.0.2.2]\n" + UNCLEAR)
    holding.published(force=True)
    assert holding.records["aachen.example"].why is Why.UNCLEAR
    assert holding.manifest.released == {}
    holding.put("bonn.example\tesmtp:[192.0.2.2]\naachen.example esmtp:[192.0.2.4]\n")
    holding.published()
    assert holding.route("aachen.example") == "smtp:[192.0.2.4]"


def test_a_rollback_holds_again(holding: Site) -> None:
    released(holding, "koeln.example", "aachen.example")
    holding.run("rollback", "2")
    assert {"aachen.example", "koeln.example"} < set(holding.rows())
    holding.run("rollback", "3")
    # A bad line is released for good; what is held for being lost stays so, as going back lets nobody go.
    assert set(holding.rows()) == {".essen.example", "bonn.example", "koeln.example"}
    assert (holding.route("koeln.example") or "").startswith("retry:4.3.2")


def test_what_comes_back_is_routed(holding: Site) -> None:
    released(holding, "koeln.example")
    holding.put(ALL)
    assert holding.published().added == [".essen.example", "koeln.example"]
    assert holding.route("koeln.example") == "smtp:[192.0.2.1]"


def test_a_kept_domain(plain: Site) -> None:
    plain.set(on_removed="keep")
    plain.put(ALL)
    plain.published()
    plain.put("bonn.example\tesmtp:[192.0.2.2]\n")
    plain.published()
    plain.now += 100 * DAY
    plain.sync()
    assert plain.route("koeln.example") == "smtp:[192.0.2.1]"
    released(plain, "koeln.example")
    assert plain.route("koeln.example") is None
    assert plain.policy("[192.0.2.1]") == "encrypt"  # for tls_linger


def test_a_partner_that_follows_the_list(plain: Site) -> None:
    plain.partner("koeln.example", network="ndb", inbound__allow_from=["198.51.100.7"])
    plain.put(ALL)
    plain.published()
    plain.put("bonn.example\tesmtp:[192.0.2.2]\n")
    assert plain.published().held == [".essen.example", "koeln.example"]
    released(plain, "koeln.example")
    # Its table still speaks of it: it is a partner, without a route.
    assert plain.route("koeln.example") is None
    assert plain.run("explain", "--sender", "x@koeln.example", "--client-address", "203.0.113.9").status == 1


def test_the_rules_are_those_in_force(holding: Site) -> None:
    """A file that has changed since is the next sync's."""
    holding.set(inbound__mode="off")
    released(holding, "koeln.example")
    assert mode(holding) == "enforce"
    assert holding.sync().generation == 4
    assert mode(holding) == "off"


def test_a_rollback_stays_in_force(holding: Site) -> None:
    holding.set(inbound__mode="off")
    holding.sync()
    holding.run("rollback", "2")
    released(holding, "koeln.example")
    assert holding.manifest.rules_of == 2
    assert holding.sync().generation == 5
    assert mode(holding) == "enforce"


@pytest.mark.parametrize("domain", ["bonn.example", "essen.example", "elsewhere.example", ".koeln.example"])
def test_what_is_not_held(holding: Site, domain: str) -> None:
    message = f"{domain} is not held; closedmail --config {holding.config_path} status names what is"
    assert refused(holding, domain) == message
    # All or none.
    assert refused(holding, "koeln.example", domain) == message


@pytest.mark.parametrize(
    "domain", ["", "x y.example", "a..example", "[192.0.2.1", "192.0.2.1", "*.example", "ü" * 70 + ".example"]
)
def test_no_domain(holding: Site, domain: str) -> None:
    assert "is no domain" in refused(holding, domain, status=2)


def test_no_argument(holding: Site) -> None:
    assert "Missing argument 'DOMAIN...'" in refused(holding, status=2)


def test_what_is_held_for_another_reason(plain: Site) -> None:
    plain.put(
        "koeln.example\tesmtp:[192.0.2.1]\nstraße.example\tesmtp:[192.0.2.1]\nstrasse.example esmtp:[192.0.2.2]\n"
    )
    plain.set(outbound__tls="secure")
    plain.published()
    assert refused(plain, "koeln.example").startswith("koeln.example can't be released: its TLS demand can't be met")
    plain.set(outbound__tls="encrypt")
    plain.sync()
    assert refused(plain, "strasse.example").startswith(
        "strasse.example can't be released: its spelling is also another"
    )
