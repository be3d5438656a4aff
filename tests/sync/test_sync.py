"""`closedmail sync` from the list to Postfix's maps: what it publishes, reports, brakes, holds and lets go.

The real gpg, postmap and postconf; the specification's sections are named where a test follows one.
"""

import os
import socket
from pathlib import Path

import pytest
from support.https_server import Answer, Authority, Handler, HttpsServer, Request
from support.network import DAY, HOUR, MINUTE, Recorder, Site, nexthops, routes, tree
from support.real import require

from closedmail.errors import ConfigError
from closedmail.inbound.decision import decide
from closedmail.inbound.facts import Envelope

pytestmark = pytest.mark.real("gpg", "postmap", "postconf")

TWO = "koeln.example\tesmtp:[192.0.2.1]\nbonn.example\tesmtp:[192.0.2.2]\n"
BONN = "bonn.example\tesmtp:[192.0.2.2]\n"


def verdict(site: Site, sender: str, client: str = "203.0.113.9") -> str:
    """Judge a mail by the generation in force."""
    with site.store() as store:
        return decide(Envelope(sender, client), store.current()).outcome


# --- a list in force -----------------------------------------------------------------------------------------------


def test_eight_thousand_domains(site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    site.set(outbound__tls="encrypt", outbound__tls_protocols=">=TLSv1.2", outbound__port=25)
    site.put(routes(8000))
    outcome = site.run("sync", "--json")
    assert (outcome.status, outcome.stderr) == (0, "")
    report = outcome.json
    network = report["networks"]["ndb"]
    wanted = {f"d{n:05}.example": f"smtp:[198.51.{n // 250}.{n % 250 + 1}]:25" for n in range(8000)}
    assert report["generation"] == 1
    assert (network["result"], network["domains"]) == ("published", 8000)
    assert network["added"] == list(wanted)

    assert site.lookup(wanted) == wanted
    single = {hop for value in wanted.values() for hop in nexthops(value)}
    assert site.lookup(single, "tls_policy") == dict.fromkeys(single, "encrypt protocols=>=TLSv1.2")
    site.assert_consistent()
    assert verdict(site, "a@d00077.example") == "reject"
    assert verdict(site, "a@d00077.example", "192.0.2.9") == "accept"

    before = tree(site.map_dir), tree(site.state_dir / "lists"), site.in_force()
    recorder = Recorder(tmp_path / "bin", ["gpg", "postmap"], monkeypatch)
    again = site.run("sync", "--json").json
    assert recorder.calls() == []
    assert (tree(site.map_dir), tree(site.state_dir / "lists"), site.in_force()) == before
    assert again["generation"] == 1
    network = again["networks"]["ndb"]
    assert (network["result"], network["domains"], network["added"]) == ("unchanged", 8000, [])


def test_json_has_the_shape_of_the_interface(site: Site) -> None:
    signed = site.now - 2 * MINUTE
    site.put(TWO + "slip.example esmtp:\n", when=signed)
    outcome = site.run("sync", "--json")
    report = outcome.json
    network = report["networks"]["ndb"]
    assert report["generation"] == 1
    assert {key: network[key] for key in ("result", "code", "reason", "domains", "added", "removed", "changed")} == {
        "result": "published",
        "code": None,
        "reason": "",
        "domains": 2,
        "added": ["bonn.example", "koeln.example"],
        "removed": [],
        "changed": [],
    }
    assert network["held"] == ["slip.example"]
    assert network["signer"] == site.signers.net.fingerprint
    (skipped,) = network["skipped"]
    assert skipped == {"line": 3, "text": "slip.example esmtp:", "reason": skipped["reason"]}
    assert network["signed_at"].endswith("Z")
    manifest = site.manifest
    assert manifest.lists[0].signed_at == signed
    assert manifest.reason == "sync"


def test_a_refusal_in_json_and_on_stderr(site: Site) -> None:
    outcome = site.run("sync", "--json")
    assert outcome.status == 1
    network = outcome.json["networks"]["ndb"]
    assert outcome.json["generation"] is None
    assert (network["result"], network["code"]) == ("refused", "fetch-failed")
    assert str(site.list_file()) in network["reason"]
    (line,) = outcome.stderr.splitlines()
    assert line == f"closedmail: error: ndb: fetch-failed: {network['reason']}"


def test_the_summary_names_what_changed(plain: Site) -> None:
    plain.put(TWO)
    first = plain.run("sync").stdout
    assert "added: 2: bonn.example, koeln.example" in first
    assert "Generation 1 is in force." in first
    assert "Nothing changed, generation 1 stays in force." in plain.run("sync").stdout
    plain.put("bonn.example esmtp:[192.0.2.9]\naachen.example esmtp:[192.0.2.3]\na.example local:joe\n")
    second = plain.run("sync").stdout
    for words in ("added: 1: aachen", "removed: 1: koeln", "changed: 1: bonn", "held: 1: koeln", "skipped: 1 line"):
        assert words in second
    assert "line 3: " in second
    assert "a.example local:joe" in second
    assert "Generation 2 is in force." in second


def test_a_new_list_with_the_same_text(site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    site.put(TWO, when=site.now - 2 * DAY)
    site.published()
    before = tree(site.map_dir)
    recorder = Recorder(tmp_path / "bin", ["gpg", "postmap"], monkeypatch)
    site.put(TWO, when=site.now - DAY)
    report = site.sync()
    assert (report.generation, report.networks["ndb"].result) == (1, "unchanged")
    assert report.networks["ndb"].signed_at == site.now - DAY
    assert set(recorder.calls()) == {"gpg"}
    assert tree(site.map_dir) == before
    assert site.manifest.lists[0].signed_at == site.now - DAY
    site.put(TWO, when=site.now - 2 * DAY)
    site.refused("replayed")
    site.put(TWO, when=site.now - DAY)
    site.sync()
    assert recorder.calls().count("gpg") > 0
    site.sync()
    assert recorder.calls() == []


def test_maps_are_for_everybody_to_read(plain: Site) -> None:
    # Postfix's own daemons are another user: an administrator's umask must not lock them out.
    old = os.umask(0o077)
    try:
        plain.put(TWO)
        plain.published()
    finally:
        os.umask(old)
    assert plain.map_dir.stat().st_mode & 0o7777 == 0o755
    for path in plain.map_dir.iterdir():
        assert path.stat().st_mode & 0o7777 == 0o644, path


def test_no_line_moves_the_terminal(plain: Site) -> None:
    plain.put(TWO + "a.example\x1b[2Jesmtp:[192.0.2.1]\nb.example \u202eesmtp:x\n\x9b1m.example esmtp:[192.0.2.1]\n")
    outcome = plain.run("sync")
    assert r"a.example\x1b[2Jesmtp:[192.0.2.1]" in outcome.stdout
    assert "skipped: 3 lines" in outcome.stdout
    assert all(line.isprintable() for line in outcome.stdout.splitlines())


# --- https ---------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    require("openssl")
    return Authority(tmp_path_factory.mktemp("ca"))


def conditional(body: bytes, etag: str) -> Handler:
    def answer(request: Request, connection: socket.socket) -> Answer:
        if request.headers.get("If-None-Match") == etag:
            return Answer(304, headers={"ETag": etag})
        return Answer(body=body, headers={"ETag": etag})

    return answer


def test_https_and_304(site: Site, authority: Authority, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    signed = site.signers.net.clearsign(TWO.encode(), when=site.now - MINUTE)
    with HttpsServer(tmp_path / "web", authority=authority) as server:
        server.answers["/list"] = conditional(signed, '"a"')
        site.set(source=server.url("/list"), ca_file=server.ca_file)
        site.published()
        before = site.in_force()
        recorder = Recorder(tmp_path / "bin", ["gpg", "postmap"], monkeypatch)
        assert site.sync().networks["ndb"].result == "unchanged"
        assert [request.headers.get("If-None-Match") for request in server.requests] == [None, '"a"']
        assert recorder.calls() == []
        assert site.in_force() == before
        assert site.log["ndb"].fetched_at == site.now

        # What a server calls unchanged it says of its own list, not of another server's.
        other = site.signers.net.clearsign(BONN.encode(), when=site.now - MINUTE)
        server.answers["/other"] = conditional(other, '"a"')
        site.set(source=server.url("/other"))
        assert site.published().removed == ["koeln.example"]
        assert server.requests[-1].headers.get("If-None-Match") is None


@pytest.mark.parametrize("status", [404, 403, 500, 503])
def test_https_that_fails(
    site: Site, authority: Authority, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, status: int
) -> None:
    monkeypatch.setattr("closedmail.lists.fetch.time.sleep", lambda _: None)
    with HttpsServer(tmp_path / "web", authority=authority) as server:
        server.answers["/list"] = [
            Answer(body=site.signers.net.clearsign(TWO.encode(), when=site.now - MINUTE)),
            Answer(status),
        ]
        site.set(source=server.url("/list"), ca_file=server.ca_file)
        site.published()
        before = site.in_force()
        assert str(status) in site.refused("fetch-failed").reason
        assert site.in_force() == before


def test_no_secret_of_a_source_is_shown_or_kept(site: Site, authority: Authority, tmp_path: Path) -> None:
    """After a good and a refused fetch: no command says it, and no file holds it but closedmail.toml."""
    page, textfile = tmp_path / "report.html", tmp_path / "closedmail.prom"
    with HttpsServer(tmp_path / "web", authority=authority) as server:
        signed = site.signers.net.clearsign(TWO.encode(), when=site.now - MINUTE)
        server.answers["/list?sig=geheim"] = [Answer(body=signed), Answer(404)]
        site.set(source=server.url("/list?sig=geheim"), ca_file=server.ca_file)
        site.settings |= {"monitoring.report": str(page), "monitoring.textfile": str(textfile)}
        site.published()
        ends = [site.run("sync"), site.run("sync", "--json"), site.run("sync", "--dry-run")]
        assert {end.status for end in ends} == {1}
        assert all("/list?" in end.stdout + end.stderr for end in ends)
        ends += [site.run(command) for command in ("status", "history", "check", "doctor", "report", "lint")]
        ends += [site.run("status", "--nagios"), site.run("status", "--json"), site.run("history", "--json")]
        ends += [site.run("doctor", "--json"), site.run("explain", "koeln.example"), site.run("export", "json")]
    assert "/list?…" in page.read_text()
    assert all("geheim" not in end.stdout + end.stderr for end in ends)
    files = [page, textfile, *(path for path in site.state_dir.rglob("*") if path.is_file())]
    assert [path.name for path in files if b"geheim" in path.read_bytes()] == []


def test_https_of_a_strange_authority(site: Site, authority: Authority, tmp_path: Path) -> None:
    with HttpsServer(tmp_path / "web", authority=authority) as server:
        site.set(source=server.url("/list"), ca_file=str(Authority(tmp_path / "other").ca_file))
        assert "ca_file" in site.refused("fetch-failed").reason
        assert not server.requests


# --- what a list may change ----------------------------------------------------------------------------------------


def test_added_removed_changed_held_skipped(plain: Site) -> None:
    plain.put(TWO)
    plain.published()
    plain.put(
        "bonn.example esmtp:[192.0.2.9]\naachen.example esmtp:[192.0.2.3]\n"
        "slip.example esmtp:[192.0.2.3\ncity.example esmtp:[192.0.2.66]\n. esmtp:[192.0.2.66]\n"
    )
    report = plain.published()
    assert report.added == ["aachen.example"]
    assert report.removed == ["koeln.example"]
    assert report.changed == ["bonn.example"]
    assert report.held == ["koeln.example", "slip.example"]
    assert [(line.line, line.bad) for line in report.skipped] == [(3, True), (4, False), (5, False)]
    assert report.domains == 2
    rows = plain.rows()
    assert {key: rows[key] for key in ("aachen.example", "bonn.example")} == {
        "aachen.example": "smtp:[192.0.2.3]",
        "bonn.example": "smtp:[192.0.2.9]",
    }
    assert rows["koeln.example"].startswith("retry:4.")
    assert rows["slip.example"].startswith("retry:4.")
    assert rows.keys() == {"aachen.example", "bonn.example", "koeln.example", "slip.example"}
    plain.assert_consistent()


def comparable(report: dict[str, object]) -> dict[str, object]:
    return {key: value for key, value in report.items() if key != "dry_run"}


def test_dry_run_prints_the_same_and_changes_nothing(site: Site) -> None:
    site.put(TWO, when=site.now - 2 * MINUTE)
    site.published()
    site.put(BONN + "aachen.example esmtp:[192.0.2.3]\n. esmtp:[192.0.2.1]\n")
    before = tree(site.folder)
    dry, dry_words = site.run("sync", "--dry-run", "--json"), site.run("sync", "--dry-run")
    assert tree(site.folder) == before
    wet = site.run("sync", "--json")
    assert (dry.status, dry_words.status) == (0, 0)
    assert comparable(dry.json) == comparable(wet.json)
    assert wet.json["generation"] == 2
    for words in ("added: 1: aachen.example", "removed: 1: koeln.example", "line 3: "):
        assert words in dry_words.stdout


def test_dry_run_says_what_is_refused(site: Site) -> None:
    site.put(TWO)
    site.published()
    site.put("", when=site.now)
    before = tree(site.folder)
    dry = site.run("sync", "--dry-run", "--json")
    assert dry.status == 1
    assert dry.json["networks"]["ndb"]["code"] == "empty"
    assert tree(site.folder) == before


def test_dry_run_on_a_machine_without_anything(site: Site) -> None:
    site.put(TWO)
    site.write_config()
    before = tree(site.folder)
    dry = site.spawn("sync", "--dry-run", "--json")
    assert (dry.status, dry.stderr) == (0, "")
    assert dry.json["networks"]["ndb"]["added"] == ["bonn.example", "koeln.example"]
    assert tree(site.folder) == before
    wet = site.run("sync", "--json")
    assert comparable(dry.json) == comparable(wet.json)


def test_dry_run_after_a_first_sync_that_was_refused(site: Site) -> None:
    site.refused("fetch-failed")
    site.put(TWO)
    before = tree(site.folder)
    assert site.sync(dry_run=True).networks["ndb"].result == "published"
    assert tree(site.folder) == before
    assert site.published().added == ["bonn.example", "koeln.example"]
    site.assert_consistent()


# --- brakes (4.3) --------------------------------------------------------------------------------------------------


def test_shrunk_at_its_limit(plain: Site) -> None:
    plain.set(hold_for="1d")
    plain.put(routes(100))
    plain.published()
    # More than 10 % and at least five: eleven of a hundred are too many, ten are not.
    plain.put(routes(89, start=11))
    before = plain.in_force()
    assert "11 would be lost" in plain.refused("shrunk").reason
    assert plain.in_force() == before
    plain.put(routes(90, start=10))
    assert len(plain.published().removed) == 10
    # 90 are in force now, and those that are held do not count once more.
    plain.put(routes(79, start=21))
    plain.refused("shrunk")
    assert len(plain.published(force=True).removed) == 11
    assert len(plain.records) == 100


def test_rerouted_domains_count_with_the_lost_ones(plain: Site) -> None:
    plain.set(shrink_floor=3)
    plain.put(routes(20))
    plain.published()
    rows = routes(20).splitlines(keepends=True)
    moved = [row.replace("198.51.", "203.0.") for row in rows[:2]]
    plain.put("".join((*moved, *rows[3:])))
    reason = plain.refused("shrunk").reason
    assert "1 would be lost" in reason
    assert "2 rerouted" in reason
    plain.put("".join((*moved, *rows[2:])))
    assert len(plain.published().changed) == 2


def test_shrink_floor_lets_small_lists_change(plain: Site) -> None:
    plain.put(routes(4))
    plain.published()
    plain.put(routes(1))
    assert len(plain.published().held) == 3


def test_bad_lines_at_their_limit(plain: Site) -> None:
    plain.set(bad_line_limit="10%")
    bad = "".join(f"bad{n}.example esmtp:\n" for n in range(10))
    plain.put(routes(95))
    plain.published()
    plain.put(routes(89) + bad)  # 10 of 99
    before = plain.in_force()
    report = plain.refused("bad-lines")
    assert "10 of 99" in report.reason
    assert len(report.skipped) == 10
    assert plain.in_force() == before
    plain.put(routes(90) + bad)  # 10 of 100 are not more than 10 %
    report = plain.published()
    assert (len(report.skipped), len(report.held)) == (10, 15)


def test_bad_line_floor(plain: Site) -> None:
    plain.put(routes(10))
    plain.published()
    bad = "".join(f"bad{n}.example esmtp:\n" for n in range(5))
    plain.put(routes(10) + bad)
    plain.refused("bad-lines")
    plain.put(routes(10) + "".join(bad.splitlines(keepends=True)[:4]))
    plain.published()
    plain.put(routes(10) + bad)
    assert len(plain.published(force=True).held) == 5


def test_what_is_skipped_by_rule_is_no_bad_line(plain: Site) -> None:
    plain.put(routes(10))
    plain.published()
    plain.put(routes(10) + "".join(f"a{n}.city.example esmtp:[192.0.2.1]\nb{n}.example local:x\n" for n in range(9)))
    report = plain.sync().networks["ndb"]
    assert (report.result, report.held, len(report.skipped)) == ("published", [], 18)


def test_empty(plain: Site) -> None:
    plain.put("# nothing\ncity.example esmtp:[192.0.2.1]\n")
    report = plain.refused("empty")
    assert [line.line for line in report.skipped] == [2]
    assert plain.sync().generation is None
    assert not plain.map_dir.exists()
    plain.put(TWO)
    plain.published()
    before = plain.in_force()
    plain.put("")
    plain.refused("empty")
    assert plain.in_force() == before
    assert plain.published(force=True).held == ["bonn.example", "koeln.example"]
    plain.assert_consistent()


def test_with_no_list_in_force_only_empty_applies(plain: Site) -> None:
    plain.put(routes(5) + "".join(f"bad{n}.example esmtp:\n" for n in range(50)))
    assert len(plain.published().held) == 50


def test_renamed_mailers_are_no_rerouting(plain: Site) -> None:
    plain.put(routes(100))
    plain.published()
    plain.put(routes(100).replace("esmtp:", "smtp:"))
    report = plain.published()
    assert (report.added, report.removed, report.changed, report.held) == ([], [], [], [])
    assert plain.records["d00003.example"].value == "smtp:[198.51.0.4]"  # as Sendmail gets it
    assert plain.route("d00003.example") == "smtp:[198.51.0.4]"


def test_grown_at_its_limit(plain: Site) -> None:
    plain.drop("network.ndb.grow_floor")
    plain.put(routes(100))  # a first list may have any length
    plain.published()
    plain.put(routes(126))
    before = plain.in_force()
    reason = plain.refused("grown").reason
    assert "to 100 domains of ndb, 26 would be added (d00100.example, " in reason
    assert "sync --network ndb --force" in reason
    assert plain.in_force() == before
    plain.put(routes(125))
    assert len(plain.published().added) == 25
    plain.put(routes(160))
    plain.refused("grown")
    assert len(plain.published(force=True).added) == 35
    plain.set(grow_limit="0%", grow_floor=2)
    plain.sync()
    plain.put(routes(162))
    plain.refused("grown")
    plain.put(routes(161))
    plain.published()


def test_domains_that_come_back_are_not_new(plain: Site) -> None:
    plain.set(shrink_limit="100%")
    plain.put(routes(100))
    plain.published()
    plain.put(routes(10))
    assert len(plain.published().held) == 90
    plain.put(routes(100))
    assert len(plain.published().added) == 90


def test_domains_of_another_network_are_not_new(plain: Site) -> None:
    """They stay with it, sync after sync; a list that names them is taken for its own domains."""
    plain.add_network("hin")
    plain.put(routes(60))
    plain.put(routes(5, start=900), network="hin")
    plain.published()
    plain.put(routes(60) + routes(6, start=900), network="hin")
    report = plain.sync().networks["hin"]
    assert (report.result, report.added) == ("published", ["d00905.example"])


@pytest.mark.parametrize(
    "value",
    [
        *("esmtp:[127.0.0.1]", "esmtp:[IPv6:::ffff:127.0.0.1]", "esmtp:[0.0.0.0]", "esmtp:[224.0.0.1]"),
        *("esmtp:[169.254.1.1]", "esmtp:[255.255.255.255]", "esmtp:localhost", "esmtp:mx", "esmtp:[192.0.2.9]"),
        *("relay:[192.0.2.1]:[IPv6:2001:db8::9]", "error:", 'error: ""'),
    ],
)
def test_lines_to_nowhere(plain: Site, monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    """The domain keeps its route, or is held; a [partner] table is the administrator's own word."""
    monkeypatch.setattr("closedmail.sync.host_admission.own_addresses", lambda: frozenset({"192.0.2.9", "2001:db8::9"}))
    plain.put(TWO)
    plain.published()
    plain.put(BONN + f"koeln.example {value}\naachen.example {value}\n")
    report = plain.published()
    assert (report.held, report.changed, report.removed) == (["aachen.example"], [], [])
    assert [line.line for line in report.skipped] == [2, 3]
    assert plain.route("koeln.example") == "smtp:[192.0.2.1]"
    assert str(plain.route("aachen.example")).startswith("retry:4.3.2 ")
    if not value.startswith("error"):
        plain.partner("aachen.example", network="ndb", route=value)
        plain.published()
        assert str(plain.route("aachen.example")).startswith("smtp:")
    plain.assert_consistent()


def test_within(plain: Site) -> None:
    """What was in force outside of new bounds is held; nothing else outside of them is taken, held or counted."""
    plain.set(bad_line_limit="0%", bad_line_floor=1)
    plain.put(TWO)
    plain.published()
    plain.set(within=["koeln.example", ".koeln.example"])
    report = plain.published()
    assert (report.held, report.domains) == (["bonn.example"], 1)
    assert [line.reason for line in report.skipped] == ["outside of what may be taken from this list (within)"]
    assert verdict(plain, "a@bonn.example") == "reject"
    plain.put(TWO + "gmail.example esmtp:[203.0.113.66]\nmail.example esmtp:\na.koeln.example esmtp:[192.0.2.1]\n")
    report = plain.published()
    assert (report.added, report.held, len(report.skipped)) == (["a.koeln.example"], ["bonn.example"], 3)
    assert plain.route("gmail.example") is None
    assert verdict(plain, "a@gmail.example") == "none"
    plain.set(within=[])
    assert plain.published().added == ["bonn.example", "gmail.example"]
    plain.assert_consistent()


def test_within_is_each_network_s_own(plain: Site) -> None:
    plain.add_network("hin")
    plain.set(within=["koeln.example"])
    plain.put(TWO)
    plain.put("aachen.example esmtp:[192.0.2.3]\n", network="hin")
    plain.published()
    assert {key for key, entry in plain.records.items() if entry.in_force} == {"koeln.example", "aachen.example"}


def test_a_network_takes_nothing_of_another(plain: Site) -> None:
    """Routes, guards and senders of one network stay, and what was tried is reported."""
    plain.add_network("hin")
    plain.set("hin", inbound__allow_from=["203.0.113.0/24"])
    plain.set(closed_domains=["kim.example"])
    plain.put(".land.example esmtp:[192.0.2.1]\n" + BONN)
    plain.put("aachen.example esmtp:[192.0.2.3]\n", network="hin")
    plain.published()
    tried = ["amt.land.example", "bonn.example", "praxis.kim.example"]
    plain.put("".join(f"{key} esmtp:[192.0.2.66]\n" for key in tried), network="hin")
    plain.put(".land.example esmtp:[192.0.2.1]\nbonn.example esmtp:\n" + "koeln.example esmtp:[192.0.2.1]\n" * 200)
    report = plain.sync(force=True)
    reasons = [line.reason for line in report.networks["hin"].skipped]
    assert [reason.split()[0] for reason in reasons] == tried
    assert ["below .land.example" in reasons[0], "in force" in reasons[1], "closed_domains" in reasons[2]] == [True] * 3
    found = plain.lookup([".land.example", *tried])
    assert found == {".land.example": "smtp:[192.0.2.1]", "bonn.example": "smtp:[192.0.2.2]"}
    for domain in tried:
        assert verdict(plain, f"a@{domain}", "203.0.113.9") == "reject"
        explained = plain.run("explain", "--recipient", f"a@{domain}", "--json").json
        assert "192.0.2.66" not in explained["transport"]
        assert explained["network"] == "ndb"
    plain.assert_consistent()


def test_old_line_ends(site: Site) -> None:
    """Lines that end with CR alone are no empty list, and --force does not accept them."""
    site.set(signature=str(site.folder / "ndb.sig"))

    def put(text: str) -> None:
        (site.folder / "ndb.sig").write_bytes(site.signers.net.detach(text.encode(), when=site.now - MINUTE))
        site.put_raw(text.encode())

    put(TWO)
    site.published()
    before = site.in_force()
    for text in (TWO, "# members\n" + TWO):
        put(text.replace("\n", "\r"))
        for force in (False, True):
            reason = site.refused("bad-lines", force=force).reason
            assert reason.startswith("the list of ndb: its lines end with CR alone, as on old Macs")
            assert "LF or CR LF" in reason
        assert site.in_force() == before


def test_brakes_never_compare_configuration(plain: Site) -> None:
    plain.put(routes(20) + "".join(f"a{n}.land.example esmtp:[192.0.2.{n + 1}]\n" for n in range(20)))
    plain.published()
    plain.settings["gateway.own_domains"] = ["city.example", "land.example"]
    plain.set(outbound__port=26, outbound__transport="closed")
    plain.put(routes(21) + "".join(f"a{n}.land.example esmtp:[192.0.2.{n + 1}]\n" for n in range(20)))
    report = plain.published()
    assert report.added == ["d00020.example"]
    assert report.held == []
    assert report.changed == []
    assert len(report.removed) == 20
    assert plain.route("d00003.example") == "closed:[198.51.0.4]:26"
    assert plain.route("a3.land.example") is None
    assert verdict(plain, "a@a3.land.example") == "none"


# --- held domains (4.4) --------------------------------------------------------------------------------------------


def test_a_lost_domain_is_held_and_let_go(plain: Site) -> None:
    plain.set(hold_for="2d")
    plain.put(TWO)
    plain.published()
    plain.put(BONN)
    assert plain.published().held == ["koeln.example"]
    value = plain.route("koeln.example")
    assert value is not None
    assert value.startswith("retry:4.")
    assert verdict(plain, "a@koeln.example") == "reject"
    assert verdict(plain, "a@koeln.example", "192.0.2.1") == "accept"
    assert plain.manifest.lists[0].domains == 1

    # It survives syncs that change nothing, and those that do.
    plain.now += DAY
    assert list(plain.sync().networks["ndb"].held) == ["koeln.example"]
    plain.put(BONN + "aachen.example esmtp:[192.0.2.3]\n")
    assert plain.published().held == ["koeln.example"]
    plain.now += DAY - 1
    assert list(plain.sync().networks["ndb"].held) == ["koeln.example"]

    # The first run that sees it due ends nothing, nor does another one within the hour.
    for later in (1, HOUR - 1):
        plain.now += later
        report = plain.sync()
        assert (report.generation, report.networks["ndb"].held) == (3, ("koeln.example",))
    plain.now += 1
    report = plain.sync()
    assert (report.generation, report.networks["ndb"].held) == (4, [])
    assert list(report.networks["ndb"].notes) == [
        "koeln.example is no longer held: the list lost it, and its hold (hold_for) has ended"
    ]
    assert plain.route("koeln.example") is None
    assert verdict(plain, "a@koeln.example") == "none"
    assert plain.sync().generation == 4
    plain.assert_consistent()


def test_a_held_domain_that_comes_back_is_routed(plain: Site) -> None:
    plain.put(TWO)
    plain.published()
    plain.put(BONN)
    plain.published()
    plain.put(TWO)
    report = plain.published()
    assert (report.added, report.held, report.domains) == (["koeln.example"], [], 2)
    assert plain.route("koeln.example") == "smtp:[192.0.2.1]"
    # Lost again, it is held for the whole time again.
    plain.now += 6 * DAY
    plain.put(BONN)
    plain.published()
    plain.now += 6 * DAY
    assert list(plain.sync().networks["ndb"].held) == ["koeln.example"]


def test_no_hold_ends_while_nothing_can_be_fetched(plain: Site) -> None:
    plain.set(hold_for="1d")
    plain.put(TWO)
    plain.published()
    plain.put(BONN)
    plain.published()
    plain.list_file().unlink()
    for _ in range(3):
        plain.now += DAY
        assert list(plain.refused("fetch-failed").held) == ["koeln.example"]
    assert plain.rows().keys() == {"bonn.example", "koeln.example"}
    assert plain.manifest.generation == 2
    # Two runs that have verified the list, not one; those that failed in between count for nothing.
    plain.put(BONN)
    assert list(plain.sync().networks["ndb"].held) == ["koeln.example"]
    plain.now += HOUR
    plain.list_file().unlink()
    assert list(plain.refused("fetch-failed").held) == ["koeln.example"]
    plain.put(BONN)
    assert list(plain.sync().networks["ndb"].held) == []
    assert plain.rows().keys() == {"bonn.example"}
    assert plain.sync().generation == 3


def test_held_until_released(plain: Site) -> None:
    plain.set(hold_for="")
    plain.put(TWO)
    plain.published()
    plain.put(BONN)
    plain.published()
    plain.now += 3650 * DAY
    assert list(plain.sync().networks["ndb"].held) == ["koeln.example"]


def test_on_removed_release(plain: Site) -> None:
    plain.set(on_removed="release")
    plain.put(TWO)
    plain.published()
    plain.put(BONN)
    report = plain.published()
    assert (report.removed, report.held) == (["koeln.example"], [])
    assert plain.route("koeln.example") is None
    assert verdict(plain, "a@koeln.example") == "none"


def test_on_removed_keep(plain: Site) -> None:
    plain.set(on_removed="keep")
    plain.put(TWO)
    plain.published()
    plain.put(BONN)
    report = plain.published()
    assert (report.removed, report.held) == (["koeln.example"], [])
    plain.now += 365 * DAY
    plain.put(BONN + "aachen.example esmtp:[192.0.2.3]\n")
    plain.published()
    assert plain.route("koeln.example") == "smtp:[192.0.2.1]"
    assert verdict(plain, "a@koeln.example") == "reject"
    plain.assert_consistent()


def test_a_line_that_is_not_understood(plain: Site) -> None:
    plain.put(TWO)
    plain.published()
    plain.put(BONN + "koeln.example esmtp:[192.0.2.1\nneu.example esmtp:[192.0.2.1\ngmail.example is down\n")
    report = plain.published()
    assert report.held == ["neu.example"]
    assert report.removed == []
    assert report.domains == 2
    assert plain.route("koeln.example") == "smtp:[192.0.2.1]"
    assert plain.route("gmail.example") is None
    # Not understood for ever, it stays; mended, it is routed.
    plain.now += 100 * DAY
    assert list(plain.sync().networks["ndb"].held) == ["neu.example"]
    plain.put(TWO + "neu.example esmtp:[192.0.2.3]\n")
    report = plain.published()
    assert (report.held, report.added) == ([], ["neu.example"])
    plain.assert_consistent()


# --- configuration and list ----------------------------------------------------------------------------------------


def test_configuration_is_published_with_the_list_in_force(site: Site) -> None:
    site.put(TWO)
    site.published()
    site.put_raw(b"forged")
    site.set(outbound__port=26, outbound__tls="may")
    report = site.refused("unsigned")
    assert report.domains == 2
    manifest = site.manifest
    assert (manifest.generation, manifest.reason) == (2, "configuration")
    assert site.route("koeln.example") == "smtp:[192.0.2.1]:26"
    site.assert_consistent()
    site.refused("unsigned")
    assert site.manifest.generation == 2


def test_configuration_alone(plain: Site) -> None:
    plain.put(TWO)
    plain.published()
    plain.settings["gateway.trusted_clients"] = ["203.0.113.0/24"]
    report = plain.sync()
    assert (report.generation, report.networks["ndb"].result) == (2, "published")
    assert plain.manifest.reason == "configuration"
    assert verdict(plain, "a@koeln.example") == "none"
    # Paths and daemons are no part of a generation.
    plain.settings["policyd.on_failure"] = "dunno"
    plain.settings["gateway.keep_generations"] = 3
    assert plain.sync().generation == 2


def test_postfix_settings_are_configuration(plain: Site) -> None:
    plain.put(TWO)
    plain.published()
    plain.write_main_cf("append_dot_mydomain = yes\n")
    assert plain.sync().generation == 2
    assert plain.manifest.rewriting.append_dot_mydomain
    assert plain.sync().generation == 2


def test_another_key_file(site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    site.put(TWO)
    site.published()
    recorder = Recorder(tmp_path / "bin", ["gpg"], monkeypatch)
    site.key_file.write_bytes(site.signers.net.public() + site.signers.stranger.public())
    report = site.sync().networks["ndb"]
    assert report.code is None
    assert recorder.calls()  # verified once more, by the keys that there are now
    site.sync()
    assert not recorder.calls()
    site.key_file.write_bytes(site.signers.stranger.public())
    before = site.in_force()
    site.refused("wrong-signer")
    assert site.in_force() == before


def test_a_signer_that_is_no_longer_pinned(site: Site) -> None:
    site.key_file.write_bytes(site.signers.net.public() + site.signers.stranger.public())
    site.set(signing_keys=[site.signers.net.fingerprint, site.signers.stranger.fingerprint])
    site.put(TWO)
    site.published()
    site.set(signing_keys=[site.signers.stranger.fingerprint])
    site.refused("wrong-signer")
    assert site.route("koeln.example") == "smtp:[192.0.2.1]"


def test_a_list_that_has_to_be_signed_from_now_on(plain: Site) -> None:
    plain.put(TWO)
    plain.published()
    plain.drop("network.ndb.signature")
    plain.set(key_file=str(plain.key_file), signing_keys=[plain.signers.net.fingerprint])
    plain.refused("unsigned")
    plain.put(TWO)
    report = plain.sync().networks["ndb"]
    assert (report.code, report.signer) == (None, plain.signers.net.fingerprint)


def test_key_file_that_is_missing(site: Site) -> None:
    site.put(TWO)
    site.key_file.unlink()
    outcome = site.run("sync")
    assert outcome.status == 2
    (line,) = outcome.stderr.splitlines()
    assert "network.ndb.key_file" in line


@pytest.mark.parametrize("change", ["gone", "edited", "cut"])
def test_the_text_of_the_list_is_not_what_was_kept(plain: Site, change: str) -> None:
    plain.put(TWO + "a.land.example esmtp:[192.0.2.3]\nslip.example esmtp:\n")
    plain.published()
    (text,) = (plain.state_dir / "lists").iterdir()
    if change == "gone":
        text.unlink()
    else:
        text.write_bytes(b"evil.example esmtp:[203.0.113.66]\n" if change == "edited" else text.read_bytes()[:20])
    # What is in force counts, under the new configuration: own domains leave it.
    plain.list_file().rename(plain.folder / "away")
    plain.settings["gateway.own_domains"] = ["city.example", "land.example"]
    report = plain.refused("fetch-failed")
    assert plain.manifest.generation == 2
    assert plain.route("koeln.example") == "smtp:[192.0.2.1]"
    assert plain.rows().keys() == {"koeln.example", "bonn.example", "slip.example"}
    assert report.domains == 2
    (plain.folder / "away").rename(plain.list_file())
    assert plain.sync().networks["ndb"].code is None
    if change == "gone":  # fetched again, it is there again
        (text,) = (plain.state_dir / "lists").iterdir()
        assert text.read_bytes() == plain.list_file().read_bytes()
    plain.assert_consistent()


@pytest.mark.parametrize(
    "content", [None, "", "{", "[]", '{"networks": 3}', '{"networks": {"ndb": 3}}',
                '{"networks": {"ndb": {"fetched_at": "x", "validators": [1]}}}',
                '{"networks": {"ndb": {"validators": {"stat": ["x"], "etag": 3}, "result": []}}}'],
)  # fmt: skip
def test_sync_json_that_is_gone_or_broken(site: Site, content: str | None) -> None:
    site.put(TWO)
    site.published()
    log = site.state_dir / "sync.json"
    if content is None:
        log.unlink()
    else:
        log.write_text(content)
    assert site.run("status", "--json").json["generation"] == 1
    report = site.sync()
    assert (report.generation, report.networks["ndb"].result) == (1, "unchanged")
    assert site.log["ndb"].fetched_at == site.now


# --- several networks, formats, partners ---------------------------------------------------------------------------


def test_one_network_is_refused_and_another_published(plain: Site) -> None:
    plain.add_network("kim")
    plain.put(TWO)
    plain.put("praxis.example esmtp:[198.51.100.1]\n", network="kim")
    plain.published()
    plain.put("", network="kim")
    plain.put(TWO + "aachen.example esmtp:[192.0.2.3]\n")
    outcome = plain.run("sync", "--json")
    networks = outcome.json["networks"]
    assert (outcome.status, outcome.json["generation"]) == (1, 2)
    assert (networks["ndb"]["result"], networks["ndb"]["added"]) == ("published", ["aachen.example"])
    assert (networks["kim"]["result"], networks["kim"]["code"]) == ("refused", "empty")
    assert networks["kim"]["domains"] == 1
    assert plain.route("praxis.example") == "smtp:[198.51.100.1]"
    plain.assert_consistent()


def test_one_network_by_name(plain: Site) -> None:
    plain.add_network("kim")
    plain.put(TWO)
    plain.put("praxis.example esmtp:[198.51.100.1]\n", network="kim")
    plain.sync()
    plain.put(TWO + "aachen.example esmtp:[192.0.2.3]\n")
    plain.put("praxis.example esmtp:[198.51.100.2]\n", network="kim")
    report = plain.sync("kim")
    assert [report.networks[name].result for name in ("ndb", "kim")] == ["unchanged", "published"]
    assert plain.route("aachen.example") is None
    assert plain.route("praxis.example") == "smtp:[198.51.100.2]"
    assert plain.sync("ndb").networks["ndb"].added == ["aachen.example"]


def test_unknown_network_is_a_usage_error(plain: Site) -> None:
    plain.put(TWO)
    outcome = plain.spawn("sync", "--network", "nbd")
    assert outcome.status == 2
    (line,) = outcome.stderr.splitlines()
    assert line.startswith("closedmail: error: ")
    assert "'nbd'" in line
    assert "ndb" in line
    assert not plain.state_dir.exists()
    with pytest.raises(ConfigError):
        plain.sync("ndb", "nbd")


def test_a_network_without_a_list(plain: Site) -> None:
    plain.drop("network.ndb")
    plain.set("kim", closed_domains=["kim.example"], inbound__mode="enforce", outbound__tls="may",
              outbound__transport="smtp", inbound__allow_from=["198.51.100.0/24"])  # fmt: skip
    plain.partner("praxis.kim.example", network="kim", route="relay:[198.51.100.1]")
    report = plain.sync()
    assert (report.generation, report.networks["kim"].result) == (1, "published")
    rows = plain.rows()
    assert rows["praxis.kim.example"] == "smtp:[198.51.100.1]"
    assert rows["kim.example"].startswith("error:5.4.4")
    assert rows[".kim.example"].startswith("error:5.4.4")
    assert verdict(plain, "a@x.kim.example") == "reject"
    assert plain.sync().networks["kim"].result == "unchanged"
    plain.assert_consistent()


def test_partners_alone(plain: Site) -> None:
    plain.drop("network.ndb")
    plain.partner("klinik.example", route="esmtp:[192.0.2.20]", outbound__tls="encrypt", inbound__mode="defer",
                  inbound__allow_from=["192.0.2.20"])  # fmt: skip
    outcome = plain.run("sync", "--json")
    assert (outcome.status, outcome.json["generation"], outcome.json["networks"]) == (0, 1, {})
    assert plain.rows() == {"klinik.example": "closedmail:[192.0.2.20]"}
    assert verdict(plain, "a@klinik.example") == "defer"
    plain.partner("klinik.example", outbound__transport="nowhere")
    outcome = plain.run("sync", "--json")
    assert outcome.status == 1
    assert "publish-failed" in outcome.stderr
    assert "nowhere" in outcome.stderr
    assert plain.manifest.generation == 1


def test_partner_tables_over_the_list(plain: Site) -> None:
    plain.partner("koeln.example", network="ndb", outbound__tls="secure", outbound__tls_match=["mx.koeln.example"])
    plain.partner("mail.city.example", network="ndb", route="esmtp:mx.city.example")
    plain.partner("inbound.example", inbound__mode="report", inbound__allow_from=["192.0.2.77"])
    plain.put(TWO + "city.example esmtp:[192.0.2.66]\n")
    plain.published()
    assert plain.rows() == {
        "koeln.example": "smtp:[192.0.2.1]",
        "bonn.example": "smtp:[192.0.2.2]",
        "mail.city.example": "smtp:mx.city.example",
    }
    assert plain.policy("[192.0.2.1]") == "secure match=mx.koeln.example"
    assert plain.policy("[192.0.2.2]") == "encrypt"
    assert verdict(plain, "a@inbound.example") == "report"
    plain.put(BONN)
    assert plain.published().held == ["koeln.example"]
    plain.assert_consistent()


def test_the_same_domain_in_two_networks(plain: Site) -> None:
    plain.add_network("kim")
    plain.put(TWO)
    plain.put("praxis.example esmtp:[198.51.100.1]\nbonn.example esmtp:[198.51.100.2]\n", network="kim")
    report = plain.sync()
    (skipped,) = report.networks["kim"].skipped
    assert (skipped.line, skipped.text) == (2, "bonn.example esmtp:[198.51.100.2]")
    assert plain.route("bonn.example") == "smtp:[192.0.2.2]"
    # What the first list loses is held, and goes to the other network when it is let go.
    plain.put("koeln.example esmtp:[192.0.2.1]\n")
    plain.sync()
    assert (plain.route("bonn.example") or "").startswith("retry:4.")
    assert plain.run("release", "bonn.example").status == 0
    assert plain.route("bonn.example") == "smtp:[198.51.100.2]"
    # Who has it in force keeps it, whatever stands first in the file.
    plain.put(TWO)
    assert [line.line for line in plain.sync().networks["ndb"].skipped] == [2]
    assert plain.route("bonn.example") == "smtp:[198.51.100.2]"
    plain.partner("bonn.example", network="ndb")
    plain.sync()
    assert plain.route("bonn.example") == "smtp:[192.0.2.2]"
    plain.assert_consistent()


@pytest.mark.parametrize("kind", ["domains", "csv"])
def test_formats_without_routes(plain: Site, kind: str) -> None:
    plain.set(format=kind, outbound__smarthost=["[198.51.100.1]:25", "relay2.example"], outbound__port=26)
    if kind == "csv":
        plain.set(column="Domain")
        plain.put('\ufeffName;x,Domain\n"Cologne, the",koeln.example\nBonn,bonn.example\nUs,city.example\n')
    else:
        plain.put("# comment\nkoeln.example\nBONN.example\n\ncity.example\n")
    report = plain.published()
    assert report.added == ["bonn.example", "koeln.example"]
    assert [line.line for line in report.skipped] == [4 if kind == "csv" else 5]
    route = "smtp:[198.51.100.1]:25, relay2.example:26"
    assert plain.rows() == {"bonn.example": route, "koeln.example": route}
    assert plain.rows("tls_policy") == {"[198.51.100.1]:25": "encrypt", "relay2.example:26": "encrypt"}
    plain.assert_consistent()


@pytest.mark.parametrize(
    ("settings", "text", "line"),
    [
        ({"format": "domains"}, "# two\npraxis.example\nBonn.example\n", "Bonn.example"),
        ({"format": "csv", "column": "Domain"}, "No,Domain\n1,praxis.example\n2,bonn.example\n", "2,bonn.example"),
    ],
)
def test_the_same_domain_in_a_list_without_routes(plain: Site, settings: dict[str, str], text: str, line: str) -> None:
    plain.add_network("kim")
    plain.set("kim", outbound__smarthost=["[198.51.100.7]"], **settings)
    plain.put(TWO)
    plain.put(text, network="kim")
    report = plain.sync().networks["kim"]
    assert report.added == ["praxis.example"]
    (skipped,) = report.skipped
    assert (skipped.line, skipped.text) == (3, line)
    assert "ndb" in skipped.reason


def test_a_column_that_the_table_does_not_have(plain: Site) -> None:
    plain.set(format="csv", column="Domain", outbound__smarthost=["[198.51.100.1]"])
    plain.put("No,Domain\n1,koeln.example\n")
    plain.published()
    plain.set(column="Domäne")
    outcome = plain.run("sync", "--json")
    assert outcome.status == 1
    assert outcome.json["networks"]["ndb"]["code"] == "bad-lines"
    assert "Domäne" in outcome.json["networks"]["ndb"]["reason"]
    assert plain.route("koeln.example") == "smtp:[198.51.100.1]"
    plain.set(column="Domain")
    assert plain.sync().networks["ndb"].code is None


def test_detached_signature(site: Site) -> None:
    signature = site.folder / "ndb.sig"
    site.set(signature=str(signature))

    def put(text: str, when: int) -> None:
        site.put_raw(text.encode())
        signature.write_bytes(site.signers.net.detach(text.encode(), when=when))

    put(TWO, site.now - 3 * MINUTE)
    assert site.published().signer == site.signers.net.fingerprint
    assert site.sync().networks["ndb"].result == "unchanged"
    before = site.in_force()
    site.put_raw(BONN.encode())  # the list came, its signature did not yet
    site.refused("bad-signature")
    assert site.in_force() == before
    put(BONN, site.now - 2 * MINUTE)
    assert site.published().removed == ["koeln.example"]
    signature.unlink()
    site.refused("fetch-failed")
    site.assert_consistent()


# --- names that Postfix spells otherwise (5) -----------------------------------------------------------------------


def test_both_spellings_and_shared_ones(plain: Site) -> None:
    plain.put("köln.example esmtp:[192.0.2.1]\ngrüße.example esmtp:[192.0.2.2]\ngrüsse.example esmtp:[192.0.2.3]\n")
    plain.published()
    found = plain.lookup(["köln.example", "KÖLN.example", "xn--kln-sna.example", "xn--gre-6ka8h.example"])
    assert found["köln.example"] == found["xn--kln-sna.example"] == found["KÖLN.example"] == "smtp:[192.0.2.1]"
    for shared in ("grüße.example", "grüsse.example"):
        value = plain.route(shared)
        assert value is not None
        assert value.startswith("retry:4.")
    rows = plain.rows()
    assert sorted(value for key, value in rows.items() if key.startswith("xn--gr")) == [
        "smtp:[192.0.2.2]",
        "smtp:[192.0.2.3]",
    ]
    plain.assert_consistent()


def test_own_domains_are_shielded(plain: Site) -> None:
    plain.settings["gateway.own_domains"] = ["city.land.example", "münster.land.example"]
    plain.put(".land.example esmtp:[192.0.2.1]\ncity.land.example esmtp:[192.0.2.66]\n")
    report = plain.published()
    assert [line.line for line in report.skipped] == [2]
    rows = plain.rows()
    assert rows[".land.example"] == "smtp:[192.0.2.1]"
    for own in ("city.land.example", "münster.land.example"):
        assert (rows[own], rows["." + own]) == (":", ":")
    plain.assert_consistent()


def test_error_lines(plain: Site) -> None:
    plain.put("gone.example error:5.1.2:550 gone\nlater.example error:4.7.0:450 later\n")
    plain.published()
    assert plain.rows() == {"gone.example": "error:5.1.2 gone", "later.example": "retry:4.7.0 later"}
    assert verdict(plain, "a@gone.example") == "reject"


# --- TLS policies (5) ----------------------------------------------------------------------------------------------


def test_rows_stay_for_tls_linger(plain: Site) -> None:
    plain.settings["postfix.tls_linger"] = "1h"
    plain.put(TWO)
    plain.published()
    plain.put(BONN + "koeln.example esmtp:[192.0.2.9]\n")
    plain.published()
    assert plain.rows("tls_policy") == dict.fromkeys(["[192.0.2.1]", "[192.0.2.2]", "[192.0.2.9]"], "encrypt")
    plain.now += 1800
    plain.put(BONN + "koeln.example esmtp:[192.0.2.10]\n")
    plain.published()
    plain.now += 1799
    assert plain.sync().generation == 3
    assert set(plain.rows("tls_policy")) == {"[192.0.2.1]", "[192.0.2.2]", "[192.0.2.9]", "[192.0.2.10]"}
    plain.now += 1
    report = plain.sync()
    assert (report.generation, report.networks["ndb"].result) == (3, "unchanged")
    assert set(plain.rows("tls_policy")) == {"[192.0.2.2]", "[192.0.2.9]", "[192.0.2.10]"}
    plain.now += 1800
    plain.sync()
    assert set(plain.rows("tls_policy")) == {"[192.0.2.2]", "[192.0.2.10]"}
    plain.assert_consistent()


def test_a_row_is_not_loosened_too_early(plain: Site) -> None:
    plain.settings["postfix.tls_linger"] = "1h"
    plain.set(outbound__tls="secure", outbound__tls_match=["mx.net.example"])
    plain.put(TWO)
    plain.published()
    plain.set(outbound__tls="may")
    plain.drop("network.ndb.outbound.tls_match")
    plain.published()
    assert plain.policy("[192.0.2.1]") == "secure match=mx.net.example"
    plain.now += 3599
    plain.sync()
    assert plain.policy("[192.0.2.1]") == "secure match=mx.net.example"
    plain.now += 1
    plain.sync()
    assert plain.policy("[192.0.2.1]") == "may"
    # Stricter stands at once.
    plain.set(outbound__tls="encrypt")
    plain.published()
    assert plain.policy("[192.0.2.1]") == "encrypt"
    plain.assert_consistent()


def test_a_row_loosened_twice_stays_for_the_middle_one(plain: Site) -> None:
    plain.settings["postfix.tls_linger"] = "1h"
    plain.put(TWO)
    plain.set(outbound__tls="secure", outbound__tls_match=["mx.net.example"])
    plain.published()
    plain.drop("network.ndb.outbound.tls_match")
    plain.set(outbound__tls="encrypt")
    plain.published()
    plain.now += 3500
    plain.set(outbound__tls="may")
    plain.published()
    plain.now += 100
    plain.sync()
    # The last route that wanted `encrypt` went 100 seconds ago.
    assert plain.policy("[192.0.2.1]") != "may"


def test_without_linger_a_row_still_outlives_its_route(plain: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    plain.settings["postfix.tls_linger"] = "0s"
    plain.put(TWO)
    plain.published()
    seen: list[set[str]] = []
    real = Path.replace

    def replace(self: Path, target: Path) -> Path:
        done = real(self, target)
        if self.name == "tls_policy":
            wanted = {hop for value in plain.rows().values() for hop in nexthops(value)}
            seen.append(wanted - plain.rows("tls_policy").keys())
        return done

    monkeypatch.setattr(Path, "replace", replace)
    plain.put(TWO.replace("192.0.2.", "198.51.100."))
    plain.published()
    assert seen == [set()]
    plain.now += MINUTE
    plain.sync()
    assert set(plain.rows("tls_policy")) == {"[198.51.100.1]", "[198.51.100.2]"}


def test_a_nexthop_that_another_network_takes_over(plain: Site) -> None:
    """What waits for a nexthop keeps its policy for tls_linger, also where the next one can't be compared with it."""
    plain.settings["postfix.tls_linger"] = "1h"
    plain.add_network("hin")
    plain.set(on_removed="release")
    plain.set("hin", outbound__tls="dane", outbound__tls_protocols=">=TLSv1.3")
    plain.put("koeln.example esmtp:[relay.example]\nbonn.example esmtp:[192.0.2.2]\n")
    plain.put("bern.example esmtp:[other.example]\n", network="hin")
    plain.published()
    plain.put("bonn.example esmtp:[192.0.2.2]\n")
    plain.put("bern.example esmtp:[relay.example]\n", network="hin")
    plain.published()
    assert plain.policy("[relay.example]") == "encrypt"
    plain.now += 3600
    plain.sync()
    assert plain.policy("[relay.example]") == "dane protocols=>=TLSv1.3"
    plain.drop("network.hin.outbound.tls_protocols")
    plain.set("hin", outbound__tls="dane-only")
    plain.published()
    assert plain.policy("[relay.example]") == "dane-only protocols=>=TLSv1.3"
    plain.assert_consistent()


def test_of_two_policies_the_stricter_stands(plain: Site) -> None:
    plain.partner("streng.example", network="ndb", route="esmtp:[192.0.2.1]", outbound__tls="verify",
                  outbound__tls_match=["mx.koeln.example"])  # fmt: skip
    plain.put(TWO)
    report = plain.published()
    assert report.held == []
    assert plain.policy("[192.0.2.1]") == "verify match=mx.koeln.example"
    assert any("[192.0.2.1]" in note and "stricter" in note for note in report.notes)
    plain.assert_consistent()


@pytest.mark.parametrize(
    ("settings", "keys", "word"),
    [
        ({"outbound.tls": "dane"}, ["koeln.example"], "dane"),
        ({"outbound.tls": "dane-only"}, ["koeln.example"], "dane-only"),
        ({"outbound.tls": "verify"}, ["koeln.example"], "tls_match"),
        ({"outbound.tls": "secure"}, ["koeln.example"], "tls_match"),
    ],
)
def test_what_an_address_literal_can_not_have(
    plain: Site, settings: dict[str, str], keys: list[str], word: str
) -> None:
    plain.settings |= {f"network.ndb.{key}": value for key, value in settings.items()}
    plain.put("koeln.example esmtp:[192.0.2.1]\nbonn.example esmtp:mx.bonn.example\n")
    report = plain.published()
    assert report.held == keys
    assert any(word in note for note in report.notes)
    assert report.domains == 1
    value = plain.route("koeln.example")
    assert value is not None
    assert value.startswith("retry:4.")
    assert plain.rows("tls_policy").keys() == {"mx.bonn.example"}
    assert verdict(plain, "a@koeln.example") == "reject"
    # Held for its TLS demand, it is listed all the same: mending the configuration is no change of the list.
    plain.set(outbound__tls="may")
    report = plain.published()
    assert (report.held, report.added, report.domains) == ([], [], 2)
    plain.assert_consistent()


def test_incomparable_policies_are_held(plain: Site) -> None:
    plain.partner("dane.example", network="ndb", route="esmtp:mx.net.example", outbound__tls="dane")
    plain.put("koeln.example esmtp:mx.net.example\nbonn.example esmtp:mx.bonn.example\n")
    report = plain.published()
    assert report.held == ["dane.example", "koeln.example"]
    assert any("mx.net.example" in note and "outbound.transport" in note for note in report.notes)
    assert plain.rows("tls_policy").keys() == {"mx.bonn.example"}
    plain.assert_consistent()


def test_fingerprints_are_separated_by_a_bar(plain: Site) -> None:
    one, other = "AA:" * 31 + "AA", "BB:" * 31 + "BB"
    plain.set(outbound__tls="fingerprint", outbound__tls_match=[one, other])
    plain.put("koeln.example esmtp:[192.0.2.1]:[IPv6:2001:db8::1]\n")
    plain.published()
    assert plain.route("koeln.example") == "smtp:[192.0.2.1], [2001:db8::1]"
    for nexthop in ("[192.0.2.1]", "[2001:db8::1]"):
        assert plain.policy(nexthop) == f"fingerprint match={one}|{other}"


def test_names_are_separated_by_a_colon(plain: Site) -> None:
    plain.set(outbound__tls="secure", outbound__tls_match=["mx1.net.example", ".net.example"])
    plain.put(TWO)
    plain.published()
    assert plain.policy("[192.0.2.1]") == "secure match=mx1.net.example:.net.example"


@pytest.mark.parametrize("level", ["dane", "dane-only", "fingerprint"])
def test_a_row_is_not_opened_too_early(plain: Site, level: str) -> None:
    """Levels that no order compares: one that may send in the clear is looser all the same."""
    plain.settings["postfix.tls_linger"] = "1h"
    plain.set(outbound__tls=level)
    if level == "fingerprint":
        plain.set(outbound__tls_match=[":".join(["AB"] * 32)])
    plain.put("koeln.example esmtp:[mx.koeln.example]\n")
    plain.published()
    strict = plain.policy("[mx.koeln.example]")
    assert strict is not None
    assert strict.startswith(level)
    plain.drop("network.ndb.outbound.tls_match")
    plain.set(outbound__tls="may")
    plain.published()
    assert plain.policy("[mx.koeln.example]") == strict
    plain.now += 3600
    plain.sync()
    assert plain.policy("[mx.koeln.example]") == "may"


def test_a_network_renamed_while_its_list_is_refused(plain: Site) -> None:
    """Nothing is published: without its list, the partners' mail would leave."""
    plain.put(TWO)
    plain.published()
    before = plain.in_force()
    network = {key: value for key, value in plain.settings.items() if key.startswith("network.ndb.")}
    plain.drop("network.ndb")
    plain.settings |= {key.replace(".ndb.", ".new."): value for key, value in network.items()}
    plain.put("")
    report = plain.sync()
    assert (report.failure and report.failure.code, report.networks["new"].code) == ("publish-failed", "empty")
    assert plain.in_force() == before
    plain.put(TWO)
    assert plain.sync().networks["new"].result == "published"


def test_a_network_taken_out_and_back_accepts_no_older_list(site: Site) -> None:
    site.put(TWO, when=site.now - 100)
    site.published()
    network = {key: value for key, value in site.settings.items() if key.startswith("network.ndb.")}
    site.drop("network.ndb")
    site.partner("other.example", inbound__mode="off")
    site.sync()
    site.settings |= network
    site.put(TWO, when=site.now - 101)
    assert site.sync().networks["ndb"].code == "replayed"
    site.put(TWO, when=site.now - 100)
    assert site.sync().networks["ndb"].result == "published"


def test_a_closed_domain_that_is_an_own_one(plain: Site) -> None:
    """The own domain wins, in the maps as in the decision."""
    plain.set(closed_domains=["a.city.example", "inside.example"])
    plain.put(TWO)
    plain.published()
    assert plain.route("a.city.example") is None
    assert (plain.route("inside.example") or "").startswith("error:5.4.4")


@pytest.mark.parametrize("more", ["guard", "partner", "network", "alone"])
def test_a_first_list_that_is_refused(plain: Site, more: str) -> None:
    """What belongs to the network waits for its list; what has no list does not."""
    plain.put("")
    if more == "guard":
        plain.set(closed_domains=["inside.example"])
    elif more == "partner":
        plain.partner("koeln.example", network="ndb", route="esmtp:[192.0.2.9]")
    elif more == "network":
        plain.set("guard", closed_domains=["inside.example"])
        plain.set("guard", outbound__tls="may", inbound__mode="enforce", inbound__allow_from=["192.0.2.9"])
    else:
        plain.partner("koeln.example", inbound__mode="off")
    report = plain.sync()
    assert report.networks["ndb"].code == "empty"
    assert report.generation == (1 if more in ("network", "alone") else None)
    assert (plain.map_dir / "transport").exists() == (more in ("network", "alone"))
