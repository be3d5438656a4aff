"""`closedmail history` and `rollback`: lists and rules of an earlier generation, until something newer comes."""

import fcntl
import os
import pwd

import pytest
from support.network import DAY, HOUR, MINUTE, Site

from closedmail.core.hold_reason import Why
from closedmail.core.record import State
from closedmail.errors import ClosedmailError, ConfigError
from closedmail.sync.rollback import rollback
from closedmail.sync.sync_report import SyncReport
from closedmail.words import iso

pytestmark = pytest.mark.real("gpg", "postmap", "postconf")

OLD = "koeln.example\tesmtp:[192.0.2.1]\nbonn.example\tesmtp:[192.0.2.2]\n"
BAD = "koeln.example\tesmtp:[203.0.113.66]\ngmail.example\tesmtp:[203.0.113.66]\n"


def back(site: Site, number: int) -> SyncReport:
    """`closedmail rollback` in this process, at `now`."""
    report = rollback(site.config, number, now=site.now)
    site.assert_consistent()
    return report


def generations(site: Site) -> list[dict[str, object]]:
    """`closedmail history --json`."""
    outcome = site.run("history", "--json")
    assert (outcome.status, outcome.stderr) == (0, "")
    found = outcome.json["generations"]
    assert isinstance(found, list)
    return found


def in_force(site: Site) -> dict[str, str]:
    return {key: entry.value for key, entry in site.records.items() if entry.in_force}


def accepts(site: Site, client: str, sender: str = "x@koeln.example") -> bool:
    """Tell whether the generation in force lets a mail in."""
    return site.run("explain", "--sender", sender, "--client-address", client).status == 0


@pytest.fixture
def two(site: Site) -> Site:
    """A gateway with a good list in generation 1 and one that should not have been taken in generation 2."""
    site.put(OLD, when=site.now - 2 * MINUTE)
    site.published()
    site.put(BAD, when=site.now - MINUTE)
    site.published(force=True)
    return site


# --- history -------------------------------------------------------------------------------------------------------


def test_history_has_the_shape_of_the_interface(two: Site) -> None:
    newest, first = generations(two)
    assert first == {
        "generation": 1,
        "published_at": iso(two.now),
        "in_force": False,
        "reason": "sync",
        "rolled_back_to": None,
        "networks": {
            "ndb": {"domains": 2, "signed_at": iso(two.now - 2 * MINUTE), "added": 2, "removed": 0, "changed": 0}
        },
    }
    assert (newest["generation"], newest["in_force"], newest["reason"]) == (2, True, "sync")
    assert newest["networks"] == {
        "ndb": {"domains": 2, "signed_at": iso(two.now - MINUTE), "added": 1, "removed": 1, "changed": 1}
    }


def test_history_for_people(two: Site) -> None:
    two.set(outbound__tls="secure", outbound__tls_match=["a.example"])
    two.sync()
    back(two, 2)
    signed = iso(two.now - MINUTE)
    assert two.run("history").stdout.splitlines() == [
        f"4: {iso(two.now)}, rollback to 2, in force",
        f"  ndb: 2 domains (+0 -0 ~0), signed {signed}",
        f"3: {iso(two.now)}, configuration",
        f"  ndb: 2 domains (+0 -0 ~0), signed {signed}",
        f"2: {iso(two.now)}, sync",
        f"  ndb: 2 domains (+1 -1 ~1), signed {signed}",
        f"1: {iso(two.now)}, sync",
        f"  ndb: 2 domains (+2 -0 ~0), signed {iso(two.now - 2 * MINUTE)}",
    ]


def test_as_many_generations_as_configured_are_kept(site: Site) -> None:
    site.settings["gateway.keep_generations"] = 3
    for number in range(6):
        site.put(f"d{number}.example esmtp:[192.0.2.1]\n", when=site.now + number)
        site.published(force=True)
    assert [line["generation"] for line in generations(site)] == [6, 5, 4]
    assert len(list((site.state_dir / "lists").iterdir())) == 3
    with pytest.raises(ClosedmailError, match=r"generation 3 is not kept \(kept: 6, 5, 4\)"):
        back(site, 3)
    assert back(site, 4).generation == 7
    assert [line["generation"] for line in generations(site)] == [7, 6, 5]
    site.settings["gateway.keep_generations"] = 1
    site.put("d9.example esmtp:[192.0.2.1]\n", when=site.now + 9)
    site.published(force=True)
    assert [line["generation"] for line in generations(site)] == [8]
    assert len(list((site.state_dir / "lists").iterdir())) == 1


def test_nothing_to_tell(site: Site) -> None:
    site.write_config()
    for command in (["history"], ["history", "--json"], ["rollback", "1"], ["release", "koeln.example"]):
        outcome = site.run(*command)
        assert (outcome.status, outcome.stdout) == (1, "")
        assert outcome.stderr.startswith("closedmail: error: ")
        assert f"no generation is in force yet; run: closedmail --config {site.config_path} sync" in outcome.stderr


# --- back ----------------------------------------------------------------------------------------------------------


def test_both_directions_go_back_together(two: Site) -> None:
    two.set(inbound__allow_from=["198.51.100.0/24"])
    two.published()
    assert (accepts(two, "192.0.2.7"), accepts(two, "198.51.100.7")) == (False, True)
    outcome = two.run("rollback", "1")
    assert (outcome.status, outcome.stderr) == (0, "")
    assert outcome.stdout.splitlines() == [
        f"ndb: published, 2 domains, signed {iso(two.now - 2 * MINUTE)} by {two.signers.net.fingerprint}",
        "  added: 1: bonn.example",
        "  removed: 1: gmail.example",
        "  changed: 1: koeln.example",
        "  held: 1: gmail.example",
        "Held, since generation 1 has no route for them: gmail.example; let them go with: closedmail --config "
        f"{two.config_path} release DOMAIN…",
        "Generation 4 is in force.",
        "It is generation 1 again. The lists rolled back from are refused until newer ones come.",
    ]
    two.assert_consistent()
    rows = two.rows()
    assert rows.pop("gmail.example").startswith("retry:4.3.2")
    assert rows == {"koeln.example": "smtp:[192.0.2.1]", "bonn.example": "smtp:[192.0.2.2]"}
    assert (accepts(two, "192.0.2.7"), accepts(two, "198.51.100.7")) == (True, False)
    assert accepts(two, "203.0.113.9", "x@gmail.example") is False
    assert two.run("release", "gmail.example").status == 0
    assert two.run("explain", "--recipient", "x@gmail.example").stdout.startswith("gmail.example is no partner")


def test_tls_rows_linger_when_going_back(two: Site) -> None:
    two.set(outbound__tls="secure", outbound__tls_match=["a.example"])
    two.published()
    back(two, 1)
    # The old routes' rows stay, and no row is loosened, before tls_linger is over.
    assert set(two.rows("tls_policy")) == {"[192.0.2.1]", "[192.0.2.2]", "[203.0.113.66]"}
    assert two.policy("[203.0.113.66]") == "secure match=a.example"
    two.now += DAY + 1
    two.sync()
    assert two.rows("tls_policy") == {"[192.0.2.1]": "encrypt", "[192.0.2.2]": "encrypt"}


def test_the_next_run_does_not_undo_it(two: Site) -> None:
    back(two, 1)
    before = two.in_force()
    for _ in range(2):
        outcome = two.run("sync", "--json")
        network = outcome.json["networks"]["ndb"]
        assert (outcome.status, network["result"], network["code"]) == (1, "refused", "rolled-back")
        assert network["reason"] == (
            f"the list of ndb was signed no later than the one of {iso(two.now - MINUTE)} that was rolled back from; "
            "the list that was put back stays in force until a newer one comes; to accept this one now: closedmail "
            f"--config {two.config_path} sync --network ndb --force"
        )
        assert outcome.json["generation"] == 3
        assert two.in_force() == before
    status = two.run("status", "--json")
    assert status.status == 1
    assert "1 domain is held: gmail.example" in status.json["networks"]["ndb"]["problems"][0]
    assert "rolled-back" in status.json["networks"]["ndb"]["problems"][1]


@pytest.mark.parametrize(
    ("ago", "text", "code"),
    [
        (60, BAD, "rolled-back"),
        (60, OLD + "aachen.example esmtp:[192.0.2.3]\n", "rolled-back"),
        (61, OLD + "aachen.example esmtp:[192.0.2.3]\n", "replayed"),
        (120, OLD, None),
        (119, OLD, "replayed"),
        (59, OLD, None),
        (59, OLD + "aachen.example esmtp:[192.0.2.3]\n", None),
        (59, BAD, None),
    ],
)
def test_which_lists_are_taken_after_a_rollback(two: Site, ago: int, text: str, code: str | None) -> None:
    """Two minutes old is the list that was put back in force, one minute the one that was rolled back from."""
    back(two, 1)
    two.put(text, when=two.now - ago)
    assert two.sync().networks["ndb"].code == code
    assert two.manifest.lists[0].newest_signed_at == two.now - min(ago if code is None else 60, 60)


def test_two_lists_of_one_second(site: Site) -> None:
    """Equal is not later: the list that was rolled back from stays out, and so do others of that second."""
    when = site.now - MINUTE
    for text in (OLD, BAD):
        site.put(text, when=when)
        site.published(force=True)
    back(site, 1)
    for text in (BAD, OLD + "aachen.example esmtp:[192.0.2.3]\n"):
        site.put(text, when=when)
        site.refused("rolled-back")
    assert in_force(site)["koeln.example"] == "esmtp:[192.0.2.1]"
    assert back(site, 2).generation == 4
    site.put(OLD, when=when)
    site.refused("rolled-back")
    site.put(OLD, when=when + 1)
    assert site.published(force=True).removed == ["gmail.example"]


def test_force_takes_the_list_again(two: Site) -> None:
    back(two, 1)
    two.refused("rolled-back")
    assert two.published(force=True).changed == ["koeln.example"]
    assert two.manifest.generation == 4
    assert two.sync().networks["ndb"].result == "unchanged"
    two.put(OLD, when=two.now - 2 * MINUTE)
    two.refused("replayed", force=True)


def test_back_twice_and_forward_again(site: Site) -> None:
    for number in range(3):
        site.put(f"d{number}.example esmtp:[192.0.2.{number}]\n", when=site.now - 100 + number)
        site.published(force=True)
    back(site, 2)
    back(site, 1)
    for number in (1, 2):
        site.put(f"d{number}.example esmtp:[192.0.2.{number}]\n", when=site.now - 100 + number)
        site.refused("replayed" if number == 1 else "rolled-back")
    assert back(site, 3).generation == 6
    assert in_force(site) == {"d2.example": "esmtp:[192.0.2.2]"}
    assert site.sync().networks["ndb"].result == "unchanged"
    assert [(line["generation"], line["rolled_back_to"]) for line in generations(site)] == [
        (6, 3), (5, 1), (4, 2), (3, None), (2, None), (1, None)]  # fmt: skip
    # A rolled-back generation is one like the others.
    assert back(site, 5).generation == 7
    assert in_force(site) == {"d0.example": "esmtp:[192.0.2.0]"}
    site.refused("rolled-back")


def test_the_generation_in_force(two: Site) -> None:
    before = two.in_force()
    outcome = two.run("rollback", "2")
    assert (outcome.status, outcome.stderr) == (0, "")
    assert outcome.stdout.splitlines()[-1] == "Nothing changed, generation 2 stays in force."
    assert two.in_force() == before


def test_an_unsigned_list_is_known_by_its_text(plain: Site) -> None:
    for text in (OLD, BAD):
        plain.put(text)
        plain.published(force=True)
    back(plain, 1)
    plain.refused("rolled-back")
    plain.put(OLD)
    assert plain.sync().networks["ndb"].result == "unchanged"
    plain.put(BAD)
    plain.refused("rolled-back")
    plain.put(BAD + "aachen.example esmtp:[192.0.2.3]\n")
    assert plain.published().added == ["aachen.example", "gmail.example"]
    plain.put(BAD)
    assert plain.published().removed == ["aachen.example"]


# --- rules ---------------------------------------------------------------------------------------------------------


def test_rules_stay_until_the_file_changes(plain: Site) -> None:
    plain.put(OLD)
    plain.published()
    plain.set(inbound__allow_from=["198.51.100.0/24"])
    plain.partner("bonn.example", network="ndb", inbound__mode="off")
    plain.sync()
    back(plain, 1)
    assert accepts(plain, "192.0.2.7")
    for _ in range(2):
        report = plain.sync()
        assert (report.generation, report.networks["ndb"].result) == (3, "unchanged")
        assert "those of generation 1 (rollback)" in report.set_aside
    assert "those of generation 1 (rollback)" in plain.run("sync").stdout
    assert "those of generation 1 (rollback)" in plain.run("explain", "--recipient", "x@koeln.example").stdout
    status = plain.run("status", "--json")
    assert [problem for problem in status.json["problems"] if "generation 1 (rollback)" in problem]
    # A new list comes in under the old rules.
    plain.put(OLD + "aachen.example esmtp:[192.0.2.3]\n")
    plain.published()
    assert (accepts(plain, "192.0.2.7"), accepts(plain, "198.51.100.7")) == (True, False)
    assert "partner" not in str(plain.manifest.rules[1:])
    # Daemons and paths are not rules.
    plain.settings["policyd.on_failure"] = "dunno"
    plain.settings["gateway.keep_generations"] = 20
    assert plain.sync().generation == 4
    plain.set(inbound__allow_from=["198.51.100.0/25"])
    assert plain.sync().generation == 5
    assert (accepts(plain, "192.0.2.7"), accepts(plain, "198.51.100.7")) == (False, True)
    assert plain.run("status").stdout.count("rollback") == 0
    assert generations(plain)[0]["reason"] == "configuration"


def test_force_puts_the_rules_of_the_file_in_force(plain: Site) -> None:
    plain.put(OLD)
    plain.published()
    plain.set(inbound__allow_from=["198.51.100.0/24"])
    plain.sync()
    back(plain, 1)
    plain.sync(force=True)
    assert (accepts(plain, "192.0.2.7"), accepts(plain, "198.51.100.7")) == (False, True)
    assert (plain.manifest.rules_of, plain.manifest.set_aside) == (0, "")


def test_a_file_that_says_the_same_is_not_set_aside(plain: Site) -> None:
    plain.put(OLD)
    plain.published()
    plain.set(inbound__allow_from=["198.51.100.0/24"])
    plain.sync()
    plain.set(inbound__allow_from=["192.0.2.0/24"])
    back(plain, 1)
    assert plain.manifest.set_aside == ""
    assert plain.sync().generation == 3
    plain.set(inbound__allow_from=["198.51.100.0/24"])
    assert plain.sync().generation == 4


def test_rules_go_back_though_postfix_changes(plain: Site) -> None:
    """Another Postfix, or another closedmail, is no reason to put the file's rules in force."""
    plain.put(OLD)
    plain.published()
    plain.set(outbound__transport="closed")
    plain.sync()
    back(plain, 1)
    plain.write_main_cf("append_dot_mydomain = yes\n")
    assert plain.sync().generation == 4
    assert plain.route("koeln.example") == "smtp:[192.0.2.1]"
    assert plain.manifest.rewriting.append_dot_mydomain


def test_networks_come_and_go(site: Site) -> None:
    site.put(OLD, when=site.now - 100)
    site.published()
    site.add_network("hin", signed=True)
    site.put("arzt.example esmtp:[192.0.2.9]\n", network="hin", when=site.now - 90)
    site.sync()
    back(site, 1)
    assert "arzt.example" not in in_force(site)
    report = site.sync()
    assert list(report.networks) == ["ndb"]
    with pytest.raises(ConfigError, match="unknown network 'hin' \\(in force since the rollback: ndb\\)"):
        site.sync("hin")
    # What was accepted of it is not forgotten meanwhile.
    site.put("arzt.example esmtp:[192.0.2.66]\n", network="hin", when=site.now - 95)
    site.sync(force=True)
    assert site.log["hin"].code == "replayed"
    back(site, 2)
    assert in_force(site)["arzt.example"] == "esmtp:[192.0.2.9]"
    site.drop("network.hin")
    site.sync()
    assert "arzt.example" not in in_force(site)
    # A network that the file does not have any more comes back with all that it was.
    back(site, 2)
    assert in_force(site)["arzt.example"] == "esmtp:[192.0.2.9]"
    assert site.sync().networks["hin"].code == "replayed"


def test_who_may_sign_is_never_rolled_back(site: Site) -> None:
    site.set(signing_keys=[site.signers.stranger.fingerprint])
    site.key_file.write_bytes(site.signers.net.public() + site.signers.stranger.public())
    site.put_raw(site.signers.stranger.clearsign(OLD.encode(), when=site.now - 100))
    site.published()
    site.set(signing_keys=[site.signers.net.fingerprint], inbound__mode="report")
    site.put(OLD + "aachen.example esmtp:[192.0.2.3]\n", when=site.now - 90)
    site.published()
    back(site, 1)
    site.put_raw(site.signers.stranger.clearsign(BAD.encode(), when=site.now - 80))
    site.refused("wrong-signer")
    site.put(OLD + "bochum.example esmtp:[192.0.2.4]\n", when=site.now - 70)
    assert site.published().added == ["bochum.example"]
    assert site.manifest.rules[0].inbound.mode == "enforce"


# --- held ----------------------------------------------------------------------------------------------------------


def test_what_was_held_is_held_again(plain: Site) -> None:
    plain.put(OLD)
    plain.published()
    plain.put("bonn.example\tesmtp:[192.0.2.2]\nessen.example nowhere:[192.0.2.8]\n")
    plain.published()
    assert plain.records["koeln.example"].why is Why.LOST
    until = plain.records["koeln.example"].until
    assert plain.records["essen.example"].why is Why.UNCLEAR
    plain.put(OLD)
    plain.published()
    plain.now += DAY
    back(plain, 2)
    held = plain.records["koeln.example"]
    assert (held.state, held.why, held.until, held.value) == (State.HELD, Why.LOST, until, "esmtp:[192.0.2.1]")
    assert plain.records["essen.example"].why is Why.UNCLEAR
    # Of a hold that has ended in the meantime, the time begins anew.
    plain.now += 7 * DAY
    plain.put("bonn.example\tesmtp:[192.0.2.2]\naachen.example esmtp:[192.0.2.3]\n")
    plain.published()
    plain.now += 2 * HOUR
    plain.sync()
    assert "koeln.example" not in plain.records
    back(plain, 2)
    assert plain.records["koeln.example"].until == plain.now + 7 * DAY
    assert plain.route(
        "koeln.example",
    ) == ("retry:4.3.2 mail for this domain is held: it has disappeared from the list of its closed network")


def test_a_route_that_was_kept_for_a_bad_line(plain: Site) -> None:
    plain.put(OLD)
    plain.published()
    plain.put(OLD.replace("esmtp:[192.0.2.1]", "esmtp:[192.0.2.1"))
    plain.published()
    plain.put("bonn.example\tesmtp:[192.0.2.2]\n")
    plain.published()
    back(plain, 2)
    assert plain.route("koeln.example") == "smtp:[192.0.2.1]"


def test_whose_a_shared_domain_was(plain: Site) -> None:
    plain.put(OLD)
    plain.set(outbound__tls="encrypt")
    plain.drop("network.ndb")
    plain.add_network("hin")
    plain.put("koeln.example\tesmtp:[192.0.2.9]\n", network="hin")
    plain.sync()
    hin = {key: plain.settings.pop(key) for key in list(plain.settings) if key.startswith("network.hin")}
    plain.add_network("ndb")
    plain.settings |= hin  # and it comes second in the file
    plain.sync()
    assert plain.records["koeln.example"].value == "esmtp:[192.0.2.9]"
    plain.put(OLD + "aachen.example esmtp:[192.0.2.3]\n")
    plain.put("basel.example\tesmtp:[192.0.2.9]\n", network="hin")
    plain.sync(force=True)
    assert plain.records["koeln.example"].value == "esmtp:[192.0.2.9]"  # held
    assert plain.run("release", "koeln.example").status == 0
    assert plain.records["koeln.example"].value == "esmtp:[192.0.2.1]"
    back(plain, 2)
    assert plain.records["koeln.example"].value == "esmtp:[192.0.2.9]"


def test_a_domain_that_has_moved_since(plain: Site) -> None:
    """The lists of then give it to the network of then, whoever has it now."""
    plain.add_network("hin")
    plain.put("koeln.example\tesmtp:[192.0.2.1]\n")
    plain.put("basel.example\tesmtp:[192.0.2.9]\n", network="hin")
    plain.sync()
    plain.put("bonn.example\tesmtp:[192.0.2.2]\n")
    plain.put("basel.example\tesmtp:[192.0.2.9]\nkoeln.example\tesmtp:[192.0.2.8]\n", network="hin")
    plain.sync(force=True)
    assert plain.run("release", "koeln.example").status == 0
    assert plain.route("koeln.example") == "smtp:[192.0.2.8]"
    back(plain, 1)
    assert plain.route("koeln.example") == "smtp:[192.0.2.1]"
    assert (plain.route("bonn.example") or "").startswith("retry:4.")


# --- what can't be ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("change", ["gone", "edited"])
def test_a_list_that_is_no_longer_there(two: Site, change: str) -> None:
    (text,) = [path for path in (two.state_dir / "lists").iterdir() if b"192.0.2.1" in path.read_bytes()]
    text.unlink()
    if change == "edited":
        text.write_text(BAD)
    before = two.in_force()
    outcome = two.run("rollback", "1")
    assert (outcome.status, outcome.stdout) == (1, "")
    assert outcome.stderr == (
        "closedmail: error: the list of ndb in generation 1 is no longer there, or is not what was verified then; go "
        f"back to another generation, see: closedmail --config {two.config_path} history\n"
    )
    assert two.in_force() == before


def test_a_rollback_that_can_not_be_published(two: Site) -> None:
    two.set(outbound__transport="closed")
    two.published()
    (two.etc / "master.cf").write_text((two.etc / "master.cf").read_text().replace("smtp      unix", "other     unix"))
    before = two.in_force()
    outcome = two.run("rollback", "1")
    assert (outcome.status, outcome.stdout) == (1, "")
    assert outcome.stderr.startswith(
        "closedmail: error: publish-failed: network.ndb.outbound.transport: master.cf has no"
    )
    assert two.in_force() == before
    assert not (two.state_dir / "work").exists()


def test_while_a_sync_is_running(two: Site) -> None:
    descriptor = os.open(two.state_dir / "sync.lock", os.O_RDWR)
    fcntl.flock(descriptor, fcntl.LOCK_EX)
    try:
        for command in (["rollback", "1"], ["release", "koeln.example"]):
            outcome = two.run(*command)
            assert (outcome.status, outcome.stdout) == (1, "")
            assert outcome.stderr == "closedmail: error: busy: another sync is running; wait for it to end\n"
    finally:
        os.close(descriptor)


@pytest.mark.parametrize("number", ["0", "-1", "one", "1.5", ""])
def test_no_number(two: Site, number: str) -> None:
    outcome = two.run("rollback", "--", number)
    assert (outcome.status, outcome.stdout) == (2, "")


@pytest.mark.real("root")
@pytest.mark.parametrize("command", [["history"], ["rollback", "1"], ["release", "koeln.example"]], ids=" ".join)
def test_no_permission(two: Site, command: list[str]) -> None:
    (two.state_dir / "store" / "data.mdb").chmod(0o600)  # else its group may read
    outcome = two.fork(*command, user=pwd.getpwnam("nobody").pw_uid)
    assert (outcome.status, outcome.stdout) == (1, "")
    assert "run as root or as" in outcome.stderr


@pytest.mark.real("root", "Python for all users")
def test_root_becomes_the_owner(plain: Site) -> None:
    owner = pwd.getpwnam("nobody")
    for text in (OLD, "bonn.example\tesmtp:[192.0.2.2]\n"):
        plain.put(text)
        plain.published()
    for path in (plain.state_dir, plain.map_dir, *plain.state_dir.rglob("*"), *plain.map_dir.iterdir()):
        os.chown(path, owner.pw_uid, owner.pw_gid)
    for command in (["release", "koeln.example"], ["rollback", "1"]):
        outcome = plain.fork(*command)
        assert (outcome.status, outcome.stderr) == (0, ""), command
    made = [path for folder in (plain.state_dir, plain.map_dir) for path in folder.rglob("*")]
    assert {(path.stat().st_uid, path.stat().st_gid) for path in made} == {(owner.pw_uid, owner.pw_gid)}
    assert os.geteuid() == 0
