"""A sync whose clock is years ahead: what it leaves is reported, begins anew once that is right, and has a way out."""

import pytest
from support.network import DAY, HOUR, MINUTE, Site

from closedmail.status.status import find_status
from closedmail.sync.release import release

pytestmark = pytest.mark.real("gpg", "postmap", "postconf")

YEARS = 3 * 365 * DAY
TWO = "koeln.example\tesmtp:[192.0.2.1]\nbonn.example\tesmtp:[192.0.2.2]\n"
BONN = "bonn.example\tesmtp:[192.0.2.2]\n"
ROW = "[192.0.2.1]"


def held(site: Site) -> list[str]:
    return [key for key, value in site.rows().items() if value.startswith("retry:4.3.2")]


@pytest.fixture
def ahead(site: Site) -> Site:
    """A gateway that lost a partner while its clock was ahead; the clock is right again."""
    site.put(TWO, when=site.now - 3 * MINUTE)
    site.published()
    site.now += YEARS
    site.put(BONN, when=site.now - YEARS - 2 * MINUTE)
    site.published()
    assert (held(site), site.policy(ROW)) == (["koeln.example"], "encrypt")
    site.now -= YEARS
    return site


def test_it_is_reported(ahead: Site) -> None:
    status = ahead.fork("status")
    assert status.status == 1
    assert "generation 2 has times ahead of this machine's clock, up to" in status.stdout
    assert f"closedmail --config {ahead.config_path} sync --force" in status.stdout


def test_holds_and_rows_begin_anew(ahead: Site) -> None:
    """Once two runs have seen it, and from the first of them on; a new hold and a new row as usual."""
    right = ahead.now
    ahead.sync()
    assert ahead.manifest.generation == 2
    ahead.now += HOUR
    report = ahead.sync()
    assert report.generation == 3
    assert any("the hold of koeln.example begins anew" in note for note in report.networks["ndb"].notes)
    assert ahead.records["koeln.example"].until == right + 7 * DAY
    assert "clock" not in {problem.kind for problem in find_status(ahead.config, ahead.now).found}
    ahead.now = right + DAY
    ahead.sync()
    assert ahead.policy(ROW) is None
    for later in (0, HOUR):
        assert held(ahead) == ["koeln.example"]
        ahead.now = right + 7 * DAY + later
        ahead.sync()
    assert held(ahead) == []
    ahead.assert_consistent()


def test_runs_that_are_far_apart(ahead: Site) -> None:
    right = ahead.now
    ahead.put(BONN + "aachen.example esmtp:[192.0.2.3]\n", when=right - MINUTE)
    ahead.published()  # of the present time, but for what began before
    for later, still in ((7 * DAY, ["koeln.example"]), (7 * DAY + HOUR, [])):
        ahead.now = right + later
        ahead.sync()
        assert held(ahead) == still
    assert ahead.policy(ROW) is None


def test_force_vouches_for_the_clock(ahead: Site) -> None:
    report = ahead.sync(force=True)
    assert report.generation == 3
    assert ahead.records["koeln.example"].until == ahead.now + 7 * DAY
    ahead.now += DAY
    ahead.sync()
    assert ahead.policy(ROW) is None


def test_release_ends_what_lingers(ahead: Site) -> None:
    assert ahead.run("release", "[192.0.2.9]").stderr.startswith("closedmail: error: [192.0.2.9] is not held")
    assert ahead.run("release", ROW).status == 0
    assert ahead.policy(ROW) is None
    assert held(ahead) == ["koeln.example"]
    assert ahead.run("release", "koeln.example").status == 0
    assert held(ahead) == []
    ahead.assert_consistent()


def test_release_by_the_partner(plain: Site) -> None:
    """A stricter row that stays in place of a looser one, for a domain that is routed."""
    plain.put(TWO)
    plain.published()
    plain.set(outbound__tls="may")
    plain.sync()
    assert plain.policy(ROW) == "encrypt"
    release(plain.config, ["koeln.example"], now=plain.now)
    assert plain.policy(ROW) == "may"
    assert plain.policy("[192.0.2.2]") == "encrypt"
    assert plain.route("koeln.example") == "smtp:[192.0.2.1]"
    plain.assert_consistent()


def test_a_list_that_was_signed_ahead(site: Site) -> None:
    """All right lists are replayed then; the message and status name the way out, which a right time does not take."""
    site.put(TWO, when=site.now - 3 * MINUTE)
    site.published()
    right = site.now
    site.now += YEARS
    site.put(BONN, when=site.now - MINUTE)
    site.published(force=True)
    site.now = right
    site.put(TWO, when=right - MINUTE)
    advice = f"closedmail --config {site.config_path} sync --network ndb --forget-signing-time"
    assert advice in site.refused("replayed").reason
    assert advice in site.refused("replayed", force=True).reason
    assert advice in site.fork("status").stdout
    # Not behind what was accepted at a time that may have been right.
    site.put(TWO, when=right - 4 * MINUTE)
    site.refused("replayed", forget_signing_time=True)
    site.put(TWO, when=right - MINUTE)
    assert site.published(forget_signing_time=True).domains == 2
    site.put(BONN, when=right - 2 * MINUTE)
    site.refused("replayed")
    refused = site.run("sync", "--network", "ndb", "--forget-signing-time")
    assert refused.status == 1
    assert "was not signed ahead of this machine's clock" in refused.stderr
    assert site.run("sync", "--forget-signing-time").status == 2
