"""What was a partner never just vanishes, on a whole gateway: it is lost, counted by the brakes, and held."""

import shutil

import pytest
from support.network import DAY, HOUR, Site, routes

from closedmail.core.suffixes import PublicSuffixes
from closedmail.sync import inputs

pytestmark = pytest.mark.real("gpg", "postmap", "postconf")

HELD = "retry:4.3.2 mail for this domain is held"
TWO = "koeln.example\tesmtp:[192.0.2.1]\nbonn.example\tesmtp:[192.0.2.2]\n"
BONN = "bonn.example\tesmtp:[192.0.2.2]\n"


def held_rows(site: Site) -> set[str]:
    return {key for key, value in site.rows().items() if value.startswith(HELD)}


def refuses(site: Site, sender: str) -> bool:
    """Whether a mail from elsewhere is refused."""
    return site.run("explain", "--sender", sender, "--client-address", "198.51.100.77").status == 1


def test_lines_that_become_local(plain: Site) -> None:
    plain.put(routes(1000))
    plain.published()
    before = plain.in_force()
    text = routes(1) + "".join(f"d{number:05}.example\tlocal:x\n" for number in range(1, 1000))
    plain.put(text)
    assert "of 1000 domains of ndb, 999 would be lost" in plain.refused("shrunk").reason
    assert plain.in_force() == before
    assert len(plain.published(force=True).held) == 999
    assert len(held_rows(plain)) == 999
    assert refuses(plain, "a@d00500.example")
    plain.assert_consistent()


def test_a_domain_that_becomes_a_public_suffix(plain: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    plain.put(TWO)
    plain.published()
    suffixes = PublicSuffixes("// ===BEGIN ICANN DOMAINS===\nkoeln.example\n// ===END ICANN DOMAINS===\n")
    monkeypatch.setattr(inputs, "load_suffixes", lambda: (suffixes, "new"))
    assert plain.sync().networks["ndb"].held == ["koeln.example"]
    assert held_rows(plain) == {"koeln.example"}
    assert refuses(plain, "a@koeln.example")
    assert plain.run("release", "koeln.example").status == 0
    assert plain.rows().keys() == {"bonn.example"}
    plain.sync()
    assert plain.rows().keys() == {"bonn.example"}


@pytest.mark.parametrize("again", [TWO, BONN])
def test_a_network_that_is_renamed(plain: Site, again: str) -> None:
    plain.put(TWO)
    plain.set(inbound__reject_text="refused by {network}")
    plain.published()
    plain.drop("network.ndb")
    plain.add_network("net")
    plain.put(again, network="net")
    report = plain.sync()
    gone = set() if again == TWO else {"koeln.example"}
    assert (set(report.partners_held), held_rows(plain)) == (gone, gone)
    assert refuses(plain, "a@koeln.example")
    if not gone:
        return
    assert "the network ndb had it" in report.partners_notes[0]
    assert f"closedmail --config {plain.config_path} release DOMAIN" in report.partners_notes[0]
    assert "koeln.example" in plain.run("status").stdout
    assert "the list lost it" in plain.run("explain", "--recipient", "a@koeln.example").stdout
    for target in ("json", "csv", "mailertable"):
        exported = plain.run("export", target)
        assert (exported.status, "koeln.example" in exported.stdout) == (0, True), target
    for later in (30 * DAY, HOUR, HOUR):  # no list is theirs any more that could end it
        plain.now += later
        plain.sync()
        assert held_rows(plain) == gone
    # A rollback to the old name, and the new one again, lose nobody either.
    plain.run("rollback", "1")
    assert plain.route("koeln.example") == "smtp:[192.0.2.1]"
    plain.run("sync", "--force")
    assert held_rows(plain) == gone
    assert plain.run("release", "koeln.example").status == 0
    plain.sync()
    assert plain.rows().keys() == {"bonn.example"}


def test_a_network_that_gives_its_list_up(plain: Site) -> None:
    plain.put(TWO)
    plain.published()
    plain.set(source="", closed_domains=["kim.example"])
    plain.drop("network.ndb.signature")
    plain.sync()
    assert held_rows(plain) == {"koeln.example", "bonn.example"}


@pytest.mark.parametrize("loss", ["moved away", "another state_dir", "an older store", "broken"])
@pytest.mark.parametrize("listed", [TWO, BONN])
def test_a_store_that_is_lost(plain: Site, loss: str, listed: str) -> None:
    """The rows in map_dir know; the program's own advice for a broken store loses nobody."""
    plain.put(BONN)
    plain.published()
    store = plain.state_dir / "store"
    shutil.copytree(plain.state_dir, plain.folder / "backup")
    plain.now += HOUR
    plain.put(TWO + "aachen.example esmtp:[192.0.2.3]\n")
    plain.published()
    plain.put(TWO)
    plain.published()
    assert held_rows(plain) == {"aachen.example"}
    if loss == "another state_dir":
        plain.state_dir = plain.folder / "elsewhere"
        plain.settings["gateway.state_dir"] = str(plain.state_dir)
    elif loss == "an older store":
        shutil.rmtree(plain.state_dir)
        shutil.copytree(plain.folder / "backup", plain.state_dir)
    else:
        if loss == "broken":
            (store / "data.mdb").write_bytes(b"x" * 8192)
            failed = plain.run("sync")
            assert "move it away and run: closedmail" in failed.stderr
        shutil.rmtree(store)
    plain.put(listed)
    report = plain.sync()
    assert report.generation == 4  # the maps have said 3
    assert held_rows(plain) == {"koeln.example", "bonn.example", "aachen.example"} - {
        key.split("\t")[0] for key in listed.splitlines()
    }
    assert refuses(plain, "a@aachen.example")
    assert refuses(plain, "a@koeln.example")
    plain.assert_consistent()
    # From now on the store knows them, and what is released stays so.
    assert plain.run("release", "aachen.example").status == 0
    plain.put(TWO + "essen.example esmtp:[192.0.2.4]\n")
    plain.published()
    assert plain.rows().keys() == {"koeln.example", "bonn.example", "essen.example"}


def test_a_lost_store_and_a_list_that_shrinks(plain: Site) -> None:
    """The rows are counted by the brakes, too."""
    plain.put(routes(20))
    plain.published()
    before = plain.rows()
    shutil.rmtree(plain.state_dir)
    plain.put(routes(10))
    assert "of 20 domains of ndb, 10 would be lost" in plain.refused("shrunk").reason
    assert plain.rows() == before
    plain.published(force=True)
    assert len(held_rows(plain)) == 10


@pytest.mark.parametrize("what", ["map_dir from a backup", "a foreign file"])
def test_rows_that_say_nothing_new(plain: Site, what: str) -> None:
    """Maps older than the store, and files that are not ours, hold nobody."""
    plain.put(TWO)
    plain.published()
    shutil.copytree(plain.map_dir, plain.folder / "old")
    plain.now += HOUR
    plain.set(on_removed="release")
    plain.put(BONN)
    plain.published()
    shutil.rmtree(plain.map_dir)
    shutil.copytree(plain.folder / "old", plain.map_dir)
    if what == "a foreign file":
        (plain.map_dir / "transport").write_text("koeln.example\tsmtp:[192.0.2.1]\n")
        shutil.rmtree(plain.state_dir / "store")
    plain.sync()
    assert plain.rows().keys() == {"bonn.example"}


def test_going_back_to_before_a_table(plain: Site) -> None:
    plain.put(BONN)
    plain.published()
    plain.partner("klinik.example", outbound__tls="may", inbound__mode="enforce", route="esmtp:[192.0.2.9]")
    plain.settings['partner."klinik.example".inbound.allow_from'] = ["192.0.2.9"]
    plain.settings['partner."klinik.example".outbound.transport'] = "smtp"
    plain.set(closed_domains=["kim.example"])
    plain.sync()
    outcome = plain.run("rollback", "1")
    assert outcome.status == 0
    assert "Held, since generation 1 has no route for them: .kim.example, kim.example, klinik.example" in outcome.stdout
    assert held_rows(plain) == {"klinik.example", "kim.example", ".kim.example"}
    assert refuses(plain, "a@klinik.example")
    plain.run("sync", "--force")
    assert plain.route("klinik.example") == "smtp:[192.0.2.9]"
    assert (plain.route("kim.example") or "").startswith("error:5.4.4")


def test_maps_that_were_put_right_and_damaged_again(plain: Site) -> None:
    """They are of the same generation, which the store knows: what it has released since is not held."""
    plain.put(TWO)
    plain.published()
    for _ in range(2):
        plain.now += HOUR
        with (plain.map_dir / "transport").open("a") as table:
            table.write("gone.example\tsmtp:[192.0.2.9]\n")
        assert plain.sync().generation == 1
    assert plain.rows().keys() == {"koeln.example", "bonn.example"}
