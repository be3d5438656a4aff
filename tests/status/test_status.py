"""`closedmail status`: each thing that it warns of or calls critical, with the object and the exit status it gives."""

import os
import shutil
import time
from pathlib import Path
from typing import Any

import pytest
from support.daemon import closedmail, closedmail_as, closedmail_inside
from support.gateway import Gateway
from support.keys import Signer
from support.network import DAY, MAIN_CF, MASTER_CF, MINUTE, USER, Outcome, Signers, Site

from closedmail.config import load
from closedmail.status.status import Status, find_status
from closedmail.sync.sync_report import NOBODY_SIGNS

pytestmark = pytest.mark.real("gpg", "postmap", "postconf")

TWO = "koeln.example\tesmtp:[192.0.2.1]\nbonn.example\tesmtp:[192.0.2.2]\n"
NOBODY = 65534  # the user of that name, on every Debian


@pytest.fixture
def synced(site: Site) -> Site:
    """A signed list in force, signed a minute ago; nothing is wrong."""
    site.put(TWO)
    site.published()
    return site


def look(site: Site, *, later: int = 0) -> Status:
    """What `status` finds at that time after the sync."""
    return find_status(site.config, site.now + later)


def only_problem(status: Status, state: str, network: str | None = "ndb") -> str:
    """The one problem there is, which has made the state what it is."""
    assert (status.state, len(status.problems)) == (state, 1), status.problems
    value = status.to_json()
    assert value["state"] == state
    assert value["problems"] == status.problems
    if network is None:
        return status.problems[0]
    assert value["networks"][network]["state"] == state
    (problem,) = value["networks"][network]["problems"]
    assert status.problems == [f"{network}: {problem}"]
    return str(problem)


def status_json(outcome: Outcome) -> dict[str, Any]:
    assert outcome.stderr == ""
    assert list(outcome.json) == ["state", "generation", "problems", "networks", "counters"]
    for network in outcome.json["networks"].values():
        assert list(network) == ["domains", "signed_at", "fetched_at", "age_seconds", "held", "state", "problems"]
    return outcome.json


def iso(seconds: int) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(seconds))


# The object


def test_all_is_well(synced: Site) -> None:
    outcome = synced.run("status", "--json")
    assert outcome.status == 0
    value = status_json(outcome)
    age = value["networks"]["ndb"].pop("age_seconds")
    assert MINUTE <= age < MINUTE + 60
    assert value == {
        "state": "ok",
        "generation": 1,
        "problems": [],
        "networks": {
            "ndb": {
                "domains": 2,
                "signed_at": iso(synced.now - MINUTE),
                "fetched_at": iso(synced.now),
                "held": [],
                "state": "ok",
                "problems": [],
            }
        },
        "counters": None,
    }


def test_the_words_for_people(synced: Site) -> None:
    outcome = synced.run("status")
    assert (outcome.status, outcome.stderr) == (0, "")
    assert outcome.stdout.splitlines() == [
        f"ok: generation 1 of {iso(synced.now)} is in force",
        f"ndb: ok: 2 domains, signed {iso(synced.now - MINUTE)}, fetched {iso(synced.now)}",
    ]
    shutil.rmtree(synced.state_dir / "store")
    outcome = synced.run("status")
    assert (outcome.status, outcome.stderr) == (1, "")
    assert outcome.stdout.splitlines()[0] == "critical: no generation is in force"
    assert "problem: " in outcome.stdout


def test_several_networks_and_one_without_a_list(synced: Site) -> None:
    synced.add_network("kim", signed=False)
    synced.set("kim", closed_domains=["kim.example"])
    synced.drop("network.kim.source")
    synced.drop("network.kim.signature")
    synced.add_network("industry", signed=False)
    synced.put("werk.example\tesmtp:[192.0.2.9]\n", network="industry")
    synced.sync()
    outcome = synced.run("status", "--json")
    value = status_json(outcome)
    assert outcome.status == 1
    assert {name: item["state"] for name, item in value["networks"].items()} == {
        "ndb": "ok",
        "kim": "ok",
        "industry": "warning",
    }
    assert value["state"] == "warning"
    assert value["networks"]["kim"] == {
        "domains": 0,
        "signed_at": None,
        "fetched_at": None,
        "age_seconds": None,
        "held": [],
        "state": "ok",
        "problems": [],
    }
    assert value["networks"]["industry"]["domains"] == 1


# Warnings


def test_nobody_signs(plain: Site) -> None:
    """The log of each sync says so, too."""
    plain.put(TWO)
    for _ in range(2):
        assert f"  note: {NOBODY_SIGNS}\n" in plain.run("sync").stdout
    problem = only_problem(look(plain), "warning")
    assert 'signature = "none"' in problem
    outcome = plain.run("status", "--json")
    assert outcome.status == 1
    assert outcome.json["networks"]["ndb"]["signed_at"] is None


def test_the_last_sync_was_refused(synced: Site) -> None:
    synced.put_raw(b"koeln.example\tesmtp:[198.51.100.1]\n")
    synced.refused("unsigned")
    problem = only_problem(look(synced), "warning")
    assert "refused (unsigned)" in problem
    assert synced.run("status").status == 1
    synced.put(TWO)
    synced.sync()
    assert look(synced).state == "ok"


def test_a_fetch_that_failed_is_a_warning_before_it_is_critical(synced: Site) -> None:
    synced.list_file().unlink()
    synced.refused("fetch-failed")
    assert "fetch-failed" in only_problem(look(synced), "warning")
    status = look(synced, later=DAY + 1)
    assert (status.state, len(status.problems)) == ("critical", 2)


def test_an_old_signature(synced: Site) -> None:
    synced.set(max_age="10d", fetch_max_age="100d")
    assert look(synced, later=10 * DAY - MINUTE).state == "ok"
    assert "max_age" in only_problem(look(synced, later=10 * DAY - MINUTE + 1), "warning")
    synced.drop("network.ndb.max_age")
    assert look(synced, later=99 * DAY).state == "ok"  # no limit unless there is one


def test_held_domains(synced: Site) -> None:
    synced.put("koeln.example\tesmtp:[192.0.2.1]\nunclear.example esmtp:\n")
    synced.published()
    status = look(synced)
    problem = only_problem(status, "warning")
    assert "bonn.example" in problem
    assert "unclear.example" in problem
    assert status.to_json()["networks"]["ndb"]["held"] == ["bonn.example", "unclear.example"]
    synced.put(f"{TWO}unclear.example\tesmtp:[192.0.2.3]\n", when=synced.now)
    synced.published()
    assert look(synced).state == "ok"


def test_a_partner_that_stands_alone_is_held(synced: Site) -> None:
    """Its TLS demand can't be met: nothing of it concerns a network."""
    alone = {"inbound__mode": "enforce", "inbound__allow_from": ["192.0.2.7"], "outbound__tls": "secure"}
    synced.partner("alone.example", route="esmtp:[192.0.2.7]", **alone)
    synced.sync()
    problem = only_problem(look(synced), "warning", network=None)
    assert "alone.example" in problem


@pytest.fixture(scope="module")
def short(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A key that expires 40 days after the test began."""
    signer = Signer(tmp_path_factory.mktemp("s") / "h", USER, expires=iso(int(time.time()) + 40 * DAY)[:10])
    yield signer
    signer.stop()


def pin(site: Site, *keys: Signer) -> None:
    site.key_file.write_bytes(b"".join(key.public() for key in keys))
    site.set(signing_keys=[key.fingerprint for key in keys], fetch_max_age="300d")


def test_a_key_that_expires_soon(site: Site, short: Signer) -> None:
    pin(site, short)
    site.put_raw(short.clearsign(TWO.encode()))
    site.published()
    assert look(site).state == "ok"
    problem = only_problem(look(site, later=15 * DAY), "warning")
    assert short.fingerprint in problem
    assert "expires in" in problem
    problem = only_problem(look(site, later=41 * DAY), "critical")
    assert f"{short.fingerprint} has expired" in problem


def test_one_of_two_pinned_keys_has_expired(site: Site, short: Signer, signers: Signers) -> None:
    """Rollover: with the next key in use, the old one is untidy and no alarm."""
    pin(site, signers.net, short)
    site.put(TWO)
    site.published()
    problem = only_problem(look(site, later=41 * DAY), "warning")
    assert f"{short.fingerprint} has expired" in problem


def test_a_pinned_key_that_is_not_in_the_file(synced: Site, short: Signer, signers: Signers) -> None:
    synced.set(signing_keys=[signers.net.fingerprint, short.fingerprint])
    assert f"{short.fingerprint} is not in key_file" in only_problem(look(synced), "warning")
    synced.set(signing_keys=[short.fingerprint])
    assert f"{short.fingerprint} is not in key_file" in only_problem(look(synced), "critical")


def test_a_key_file_that_is_gone_or_broken(synced: Site) -> None:
    synced.key_file.write_text("no key")
    assert f"is not in key_file: {synced.key_file} has no OpenPGP key; " in only_problem(look(synced), "critical")
    synced.key_file.unlink()
    status = look(synced)
    assert status.state in ("warning", "critical")
    assert status.problems


# Fingerprints of certificates


@pytest.mark.parametrize(
    ("main_cf", "options", "sent"),
    [
        ("compatibility_level = 3.6", "", ""),
        ("compatibility_level = 3.5", "", "MD5"),  # so says Postfix itself, with nothing set
        ("compatibility_level = 0", "", "MD5"),
        ("smtpd_tls_fingerprint_digest = sha512", "", "SHA-512"),
        ("smtpd_tls_fingerprint_digest = $own_digest\nown_digest = md5", "", "MD5"),
        ("compatibility_level = 0", "-o smtpd_tls_fingerprint_digest=sha256", ""),  # which listener, nobody knows
    ],
)
def test_fingerprints_that_never_match(tmp_path: Path, main_cf: str, options: str, sent: str) -> None:
    """Postfix makes them with another digest: all mail of these partners would be refused, and nobody knew why."""
    etc = tmp_path / "etc"
    etc.mkdir()
    master_cf = MASTER_CF.replace("smtpd\n", f"smtpd\n  {options}\n", 1) if options else MASTER_CF
    (etc / "master.cf").write_text(master_cf)

    def problems(more: str) -> list[str]:
        """What is found after a sync, with these lines in main.cf."""
        (etc / "main.cf").write_text(f"{MAIN_CF.format(folder=tmp_path)}{more}\n")
        os.utime(etc / "main.cf", (0, 0))  # see Site.write_main_cf
        gateway.sync()
        status = find_status(load(gateway.config), int(time.time()))
        assert status.state == "warning"  # nobody signs this list
        return status.general.sentences

    gateway = Gateway(tmp_path)
    gateway.write_list([TWO])
    gateway.configure(more=f'[postfix]\nmap_dir = "{tmp_path}/maps"\nconfig_directory = "{etc}"')
    expected = [
        f'partner."{partner}".inbound.certificates[{at}].{name} is SHA-256, but Postfix makes {sent} fingerprints, '
        "which never match it; set smtpd_tls_fingerprint_digest = sha256 in main.cf, reload Postfix and run: "
        f"closedmail --config {gateway.config} sync"
        for partner, at, name in (("cert.example", 1, "fingerprint"), ("both.example", 0, "pubkey_fingerprint"))
    ]
    assert problems(main_cf) == (expected if sent else [])
    assert problems("smtpd_tls_fingerprint_digest = sha256") == []


# Critical


def test_no_successful_fetch_for_long(synced: Site) -> None:
    assert look(synced, later=DAY).state == "ok"
    assert "fetch_max_age" in only_problem(look(synced, later=DAY + 1), "critical")
    synced.set(fetch_max_age="2d")
    assert look(synced, later=DAY + 1).state == "ok"
    # A fetch that brings nothing new is one.
    synced.drop("network.ndb.fetch_max_age")
    synced.now += 2 * DAY
    synced.sync()
    assert look(synced).state == "ok"


def test_no_generation(site: Site) -> None:
    status = look(site)
    assert (status.state, status.generation) == ("critical", None)
    assert any("no generation is in force yet" in problem for problem in status.problems)
    outcome = site.run("status", "--json")
    assert (outcome.status, status_json(outcome)["generation"]) == (1, None)
    assert not site.state_dir.exists()


def test_a_network_that_was_never_fetched(synced: Site) -> None:
    synced.add_network("new", signed=True)
    problem = only_problem(look(synced), "critical", network="new")
    assert "never fetched" in problem


@pytest.mark.parametrize("how", ["cut", "garbage", "removed", "a file"])
def test_a_store_that_cannot_be_read(synced: Site, how: str) -> None:
    store = synced.state_dir / "store"
    match how:
        case "cut":
            os.truncate(store / "data.mdb", 8192)
        case "garbage":
            (store / "data.mdb").write_bytes(os.urandom(65536))
        case "removed":
            shutil.rmtree(store)
        case "a file":
            shutil.rmtree(store)
            store.write_text("")
    outcome = synced.run("status", "--json")
    value = status_json(outcome)
    assert (outcome.status, value["state"], value["generation"]) == (1, "critical", None)
    assert str(store) in value["problems"][0]


def test_a_lost_or_broken_fetch_log(synced: Site) -> None:
    log = synced.state_dir / "sync.json"
    for text in ("", "{", "[]", '{"networks": {"ndb": 7}}', '{"networks": {"ndb": {"fetched_at": "yesterday"}}}'):
        log.write_text(text)
        assert "never fetched" in only_problem(look(synced), "critical")
    log.unlink()
    assert "never fetched" in only_problem(look(synced), "critical")


@pytest.mark.real("root")
def test_a_state_directory_without_permission(synced: Site) -> None:
    """As another user: one line that says so, and not that nothing is in force."""
    synced.write_config()
    synced.state_dir.chmod(0o700)
    try:
        said = closedmail_as(NOBODY, "status", "--json", config=synced.config_path)
        assert (said.status, said.stderr, said.json["state"]) == (1, "", "critical")
        assert any("no permission" in problem for problem in said.json["problems"])
        arguments = ["explain", "--sender", "u@koeln.example", "--client-address", "192.0.2.1"]
        said = closedmail_as(NOBODY, *arguments, config=synced.config_path)
        assert (said.status, "no permission" in said.error) == (1, True)
    finally:
        synced.state_dir.chmod(0o755)


@pytest.mark.real("root")
def test_without_a_temporary_directory(synced: Site, tmp_path: Path) -> None:
    """Nowhere to put gpg's keyring: the keys can't be looked at, and that is said."""
    synced.write_config()
    said = closedmail("status", "--json", config=synced.config_path, environment={"PATH": str(tmp_path)})
    assert (said.status, said.stderr) == (1, "")
    assert any("keys" in problem for problem in said.json["problems"])


def test_it_changes_nothing(synced: Site) -> None:
    before = {path: path.stat().st_mtime_ns for path in synced.folder.rglob("*") if path.name != "lock.mdb"}
    closedmail_inside("status", config=synced.config_path)
    after = {path: path.stat().st_mtime_ns for path in synced.folder.rglob("*") if path.name != "lock.mdb"}
    assert after == before
