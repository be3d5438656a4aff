"""`closedmail report`, and the page that `sync` writes: what is in it, whose file it is, and what a failure costs."""

import calendar
import json
import re
import time
from html import unescape
from pathlib import Path

import pytest
from support.network import DAY, Site, routes

from closedmail.daemon.counters_file import MILTER, POLICYD
from closedmail.probe.probe_file import keep_probe
from closedmail.probe.probe_result import HostResult
from closedmail.report.report import gather_report
from closedmail.status.status import find_status

pytestmark = pytest.mark.real("gpg", "postmap", "postconf")

NOBODY = 65534
TWO = "koeln.example\tesmtp:[192.0.2.1]\nbonn.example\tesmtp:[192.0.2.2]\n"


def texts(path: Path) -> str:
    """What a reader sees, tags gone."""
    page = path.read_text(encoding="utf-8")
    return " ".join(unescape(re.sub(r"<style>.*?</style>|<[^>]*>", " ", page, flags=re.DOTALL)).split())


def counters(site: Site, *rows: tuple[str, str, str, str, int], name: str = POLICYD) -> None:
    saved = {"since": site.now - DAY, "saved_at": site.now, "counts": rows}
    (site.state_dir / name).parent.mkdir(exist_ok=True)
    (site.state_dir / name).write_text(json.dumps(saved))


def test_all_that_is_known(site: Site, tmp_path: Path) -> None:
    site.set("ndb", title="Netz für Größeres")
    site.partner(
        "clinic.example", network="ndb", route="esmtp:[192.0.2.9]", contact="Frau <Müller>", inbound__mode="defer"
    )
    site.put(TWO + "x <script>alert(1)</script>\nmüller.example\tesmtp:[192.0.2.3]\n", when=site.now - 7200)
    site.published()
    site.now += DAY
    site.put("koeln.example\tesmtp:[192.0.2.1]\nbroken <b>\nmüller.example\tesmtp:[192.0.2.3]\n", when=site.now - 3600)
    site.published(force=True)
    counters(site, ("ndb", "koeln.example", "reject", "address", 30), ("ndb", "koeln.example", "accept", "ok", 2))
    milter = (
        ("ndb", "koeln.example", "reject", "tls", 4),
        ("ndb", "", "reject", "address", 7),
        ("-", "alone.example", "report", "certificate", 1),
    )
    counters(site, *milter, name=MILTER)
    keep_probe(
        site.state_dir,
        [
            HostResult(
                "[192.0.2.1]:25",
                1,
                True,
                True,
                "encrypt",
                True,
                ("mx.koeln.example",),
                "Closed Net CA",
                "2026-12-24T00:00:00Z",
                days_left=29,
                probed_at="2026-11-24T03:00:00Z",
            ),
            HostResult(
                "[192.0.2.3]:25",
                1,
                policy="encrypt",
                error="192.0.2.3: Connection refused",
                probed_at="2026-11-24T03:00:00Z",
            ),
        ],
        "2026-11-24T03:00:00Z",
    )
    data = gather_report(site.config, find_status(site.config, site.now), site.now)
    assert (data.generation, data.partners, data.state) == (2, 4, "warning")
    assert [(row.key, row.network, row.why, row.until) for row in data.held.rows] == [
        ("bonn.example", "ndb", "the list lost it", site.now + 7 * DAY)
    ]
    assert [(row.network, row.partner, row.refused) for row in data.refusals.rows] == [
        ("ndb", "koeln.example", 34),
        ("ndb", "", 7),
        ("", "alone.example", 1),
    ]
    assert data.refusals.rows[0].reasons == {"address": 30, "tls": 4}
    assert [(row.network, row.verdicts) for row in data.counts] == [
        ("-", {"report": 1}),
        ("ndb", {"reject": 41, "accept": 2}),
    ]
    assert [(row.key, row.rules, row.contact) for row in data.tables.rows] == [
        ("clinic.example", "inbound defer, by ip; outbound TLS encrypt", "Frau <Müller>")
    ]
    assert [(row.number, row.in_force, row.networks["ndb"]) for row in data.history.rows] == [
        (2, True, (2, 0, 1, 0)),
        (1, False, (3, 3, 0, 0)),
    ]
    assert [(item.nexthop, item.ok) for item in data.hosts.rows] == [
        ("[192.0.2.3]:25", False),
        ("[192.0.2.1]:25", True),
    ]
    assert (data.networks[0].age, data.networks[0].held, data.networks[0].tables) == (3600, 1, 1)

    output = tmp_path / "report.html"
    outcome = site.run("report", "--output", str(output))
    assert (outcome.status, outcome.stdout, outcome.stderr) == (0, "", "")
    assert output.stat().st_mode & 0o777 == 0o644
    text = texts(output)
    for words in (
        "Closed mail networks of city.example",
        "with generation 2 of",
        "Netz für Größeres (ndb)",
        "Frau <Müller>",
        "xn--mller-kva.example" if data.held.total > 1 else "bonn.example",
        "broken <b>",
        "address 30, tls 4",
        "probe: 1 of 2 route hosts not ok (below)",
        "192.0.2.3: Connection refused",
        "29 days left",
        "partners without a network",
    ):
        assert words in text, words
    assert "script" not in text


def test_nothing_is_known_yet(site: Site, tmp_path: Path) -> None:
    output = tmp_path / "report.html"
    assert site.run("report", "--output", str(output)).status == 0
    text = texts(output)
    assert "no generation" in text
    assert f"run: closedmail --config {site.config_path} sync" in text


def test_broken_files_are_no_reason_for_none(site: Site, tmp_path: Path) -> None:
    site.put(TWO)
    site.published()
    (site.state_dir / POLICYD).parent.mkdir()
    for name in (POLICYD, "probe.json", "sync.json"):
        (site.state_dir / name).write_text("{")
    output = tmp_path / "report.html"
    assert site.run("report", "--output", str(output)).status == 0
    assert "koeln.example" not in texts(output)  # partners are counted, not listed
    assert "Partners 2" in texts(output)
    data = site.state_dir / "store" / "data.mdb"
    data.write_bytes(b"x" * 9000)
    assert site.run("report", "--output", str(output)).status == 0
    assert "critical" in texts(output)


def test_a_hundred_thousand_partners_make_a_page(plain: Site, tmp_path: Path) -> None:
    """Rows are bounded: of 100,000 partners, 24,576 of them counted by name, those with the most refusals are shown."""
    plain.put(routes(100_000))
    plain.published()
    rows = [("ndb", f"d{n:05}.example", "reject", "address", 1 + n % 977) for n in range(30_000)]
    counters(plain, *rows)
    keep_probe(
        plain.state_dir, [HostResult(f"[198.51.100.{n}]", 1, probed_at="2026-11-24T03:00:00Z") for n in range(999)], ""
    )
    output = tmp_path / "report.html"
    assert plain.run("report", "--output", str(output)).status == 0
    assert output.stat().st_size < 500_000
    text = texts(output)
    for words in (
        "Partners 100,000",
        "(15 of 24,577)",
        "… and 24,377 more partners.",
        "… and 799 more hosts.",
        "999 of 999",
    ):
        assert words in text, words


@pytest.mark.parametrize(
    ("place", "reason"),
    [
        ("missing/report.html", "No such file or directory"),
        ("folder", "Is a directory"),
        ("file/report.html", "Not a directory"),
    ],
)
def test_places_that_can_not_be_written(site: Site, tmp_path: Path, place: str, reason: str) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "file").touch()
    outcome = site.run("report", "--output", str(tmp_path / place))
    assert (outcome.status, outcome.stdout) == (1, "")
    assert outcome.stderr == (
        f"closedmail: error: {tmp_path / place}: {reason}; the folder must exist and be writable by the user that "
        "runs this\n"
    )
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "folder"]
    assert site.run("report").status == 2


@pytest.mark.real("root")
def test_a_folder_of_somebody_else_s(site: Site, surroundings: Path) -> None:
    site.put(TWO)
    site.published()
    theirs = surroundings / "www"
    theirs.mkdir()
    outcome = site.fork("report", "--output", str(theirs / "report.html"), user=NOBODY)
    assert outcome.status == 1
    assert "Permission denied; the folder must exist and be writable" in outcome.stderr
    assert list(theirs.iterdir()) == []


# Written by sync


def test_sync_writes_it_whatever_came_of_it(site: Site, tmp_path: Path) -> None:
    output = tmp_path / "report.html"
    site.settings["monitoring.report"] = str(output)
    site.put(TWO)
    assert site.run("sync", "--dry-run").status == 0
    assert not output.exists()
    for result in ("published", "unchanged"):
        output.unlink(missing_ok=True)
        outcome = site.run("sync", "--json")
        assert (outcome.status, outcome.json["networks"]["ndb"]["result"]) == (0, result)
        assert "with generation 1 of" in texts(output)
    output.unlink()
    site.put_raw(b"nobody has signed this")
    outcome = site.run("sync")
    assert outcome.status == 1
    assert "the last sync was refused (unsigned)" in texts(output)


def test_a_page_that_can_not_be_written_hides_nothing(site: Site, tmp_path: Path) -> None:
    """The generation is published all the same; the exit status says that something failed."""
    site.settings["monitoring.report"] = str(tmp_path / "missing" / "report.html")
    site.put(TWO)
    outcome = site.run("sync", "--json")
    assert outcome.status == 1
    assert outcome.json["networks"]["ndb"]["result"] == "published"
    assert outcome.stderr == (
        f"closedmail: error: monitoring.report: {tmp_path}/missing/report.html: No such file or directory; the folder "
        "must exist and be writable by the user that runs this; the lists are not affected\n"
    )
    assert site.manifest.generation == 1
    site.assert_consistent()
    site.drop("monitoring.")
    assert site.run("sync").status == 0
    assert site.manifest.generation in (1, 2)


def test_the_time_of_the_page_is_the_clock_s(site: Site, tmp_path: Path) -> None:
    before = int(time.time())
    output = tmp_path / "report.html"
    site.run("report", "--output", str(output))
    (made,) = re.findall(r'Made <time datetime="([^"]+)"', output.read_text())
    assert before <= calendar.timegm(time.strptime(made, "%Y-%m-%dT%H:%M:%SZ")) <= time.time()
