"""`status --nagios`, `status --textfile`, and the textfile that `sync` writes: read by others' programs."""

import os
import re
import shutil
import subprocess
import threading
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families
from support.network import DAY, MINUTE, Outcome, Site, routes
from support.real import find

from closedmail.core.model import Config
from closedmail.daemon.counters_file import MILTER, POLICYD
from closedmail.daemon.exposition import exposition
from closedmail.lists.gpg_status import KeyState
from closedmail.publish.built_maps import map_faults
from closedmail.status import map_check
from closedmail.status.nagios import plugin_line, unknown_line
from closedmail.status.problems import Problem, Problems
from closedmail.status.status import NetworkStatus, Status, find_status
from closedmail.status.textfile import families
from closedmail.sync.lock import sync_lock

pytestmark = pytest.mark.real("gpg", "postmap", "postconf")

TWO = "koeln.example\tesmtp:[192.0.2.1]\nbonn.example\tesmtp:[192.0.2.2]\n"
COUNTERS = """{"since": 1, "saved_at": 2, "counts": [
["ndb", "koeln.example", "accept", "ok", 40],
["ndb", "koeln.example", "reject", "address", 3],
["ndb", "bonn.example", "reject", "address", 4],
["ndb", "bonn.example", "reject", "tls", 1],
["-", "alone.example", "report", "address", 2]
]}"""
MILTER_COUNTERS = '{"since": 1, "saved_at": 2, "counts": [["ndb", "koeln.example", "reject", "address", 5]]}'

# The Monitoring Plugins Development Guidelines: 'label'=value[UOM];[warn];[crit];[min];[max]
ITEM = re.compile(r"'([^'=|]+)'=(-?[0-9.]+)(s|c)?((?:;[0-9.:~@-]*){0,4})")

Samples = dict[tuple[str, ...], float]


@pytest.fixture
def synced(site: Site) -> Site:
    site.put(TWO)
    site.published()
    return site


def put_counters(site: Site) -> None:
    for name, text in ((POLICYD, COUNTERS), (MILTER, MILTER_COUNTERS)):
        (site.state_dir / name).parent.mkdir(exist_ok=True)
        (site.state_dir / name).write_text(text)


def plugin(outcome: Outcome) -> tuple[str, str, dict[str, tuple[str, str]]]:
    """The state, the text and the performance data (value with unit, thresholds) of a plugin's output."""
    assert outcome.stderr == ""
    (line,) = outcome.stdout.splitlines()
    assert line.isprintable()
    assert len(line.encode()) <= 4096
    text, _, perfdata = line.partition(" | ")
    assert "|" not in text + perfdata
    items = {}
    for item in perfdata.split(" ") if perfdata else ():
        found = ITEM.fullmatch(item)
        assert found, item
        items[found[1]] = (found[2] + (found[3] or ""), found[4])
    found = re.fullmatch(r"CLOSEDMAIL (OK|WARNING|CRITICAL|UNKNOWN) - (.+)", text)
    assert found, text
    return found[1], found[2], items


# --nagios


def test_all_is_well(synced: Site) -> None:
    put_counters(synced)
    synced.set(max_age="45d")
    outcome = synced.run("status", "--nagios")
    state, text, items = plugin(outcome)
    assert (outcome.status, state) == (0, "OK")
    assert re.fullmatch(r"generation 1 of \S+ is in force, ndb: 2 domains", text)
    for name in ("generation_age", "ndb_fetch_age", "ndb_age"):
        value, thresholds = items.pop(name)
        limits = {"generation_age": ";;;0", "ndb_fetch_age": f";;{DAY};0", "ndb_age": f";{45 * DAY};;0"}
        assert (value[-1], thresholds) == ("s", limits[name])
        assert (MINUTE if name == "ndb_age" else 0) <= int(value[:-1]) < MINUTE + 60
    assert items == {
        "held": ("0", ";0;;0"),
        "ndb_domains": ("2", ";;;0"),
        "ndb_held": ("0", ";0;;0"),
        "ndb_accept": ("40c", ";;;0"),
        "ndb_report": ("0c", ";;;0"),
        "ndb_defer": ("0c", ";;;0"),
        "ndb_reject": ("13c", ";;;0"),
        "-_accept": ("0c", ";;;0"),
        "-_report": ("2c", ";;;0"),
        "-_defer": ("0c", ";;;0"),
        "-_reject": ("0c", ";;;0"),
    }


def held(site: Site) -> None:
    site.put("koeln.example\tesmtp:[192.0.2.1]\n", when=site.now)
    site.published()


def refused(site: Site) -> None:
    site.put_raw(b"nobody signed this\n")
    site.refused("unsigned")


def unreadable(site: Site) -> None:
    shutil.rmtree(site.state_dir / "store")


def held_and_without_maps(site: Site) -> None:
    held(site)
    (site.map_dir / "transport").unlink()


@pytest.mark.parametrize(
    ("fault", "status", "state", "begin"),
    [
        (held, 1, "WARNING", "ndb: 1 domain is held: bonn.example"),
        (refused, 1, "WARNING", "ndb: the last sync was refused (unsigned): "),
        (unreadable, 2, "CRITICAL", "/"),
        # The worst first, since the end may be cut off.
        (held_and_without_maps, 2, "CRITICAL", "Postfix's map "),
    ],
)
def test_what_is_wrong(synced: Site, fault: Any, status: int, state: str, begin: str) -> None:
    fault(synced)
    outcome = synced.run("status", "--nagios")
    found, text, items = plugin(outcome)
    assert (outcome.status, found) == (status, state)
    assert text.startswith(begin)
    # Without it, the exit status stays that of the public interface.
    assert synced.run("status").status == 1
    assert ("generation_age" in items) == (fault is not unreadable)
    assert items.get("ndb_held") == ("1" if fault in (held, held_and_without_maps) else "0", ";0;;0")


def test_days_to_a_keys_end(synced: Site) -> None:
    """Of the keys that can sign, the next to expire."""
    status = find_status(synced.config, synced.now)
    assert "key_days" not in plugin_line(status, synced.now)  # this one never expires
    status.networks["ndb"].keys = [
        KeyState("AB" * 20, synced.now + days * DAY, days < 0, revoked, True)
        for days, revoked in ((-5, False), (3, True), (12, False), (90, False))
    ]
    assert " 'ndb_key_days'=12;30:;0:" in plugin_line(status, synced.now)


@pytest.mark.parametrize("how", ["missing", "broken", "a directory"])
def test_a_configuration_that_can_not_be_read(tmp_path: Path, site: Site, how: str) -> None:
    """Icinga shows stdout only."""
    site.write_config()
    site.config_path.unlink()
    if how == "broken":
        site.config_path.write_text('[gateway]\nown_domain = ["x.example"]\n')
    elif how == "a directory":
        site.config_path.mkdir()
    site.write_config = lambda: None  # type: ignore[method-assign]
    outcome = site.run("status", "--nagios")
    assert (outcome.status, plugin(outcome)[0]) == (3, "UNKNOWN")
    assert site.run("status").status == 2


def test_json_and_nagios_are_two_things(synced: Site) -> None:
    outcome = synced.run("status", "--json", "--nagios")
    assert (outcome.status, outcome.stdout) == (2, "")
    assert outcome.stderr == "closedmail: error: give either --json or --nagios\n"


def test_words_of_others_do_not_get_out_of_the_text(plain: Site) -> None:
    """Column names come from whoever serves the list."""
    plain.set(format="csv", column="Domain", outbound__smarthost=["[192.0.2.1]:25"])
    plain.put("a|b \x1b[31m,\"x\n'y'=1;2|\"\n")
    plain.sync()
    state, text, items = plugin(plain.run("status", "--nagios"))
    assert state == "CRITICAL"
    assert "no column" in text
    assert "a/b" in text
    assert set(items) <= {"ndb_domains", "ndb_held", "ndb_fetch_age"}


def test_one_line_whatever_is_said() -> None:
    """And the worst of it first, whomever it concerns."""
    status = Status(generation=1, networks={"ndb": NetworkStatus(found=Problems("ndb"))})
    status.general.warn("held", "a\nb | 'x'=1\x1b[31m\x00\u202e")
    status.networks["ndb"].found.alarm("key-unusable", "key gone")
    state, text, _ = plugin(Outcome(2, plugin_line(status, 0) + "\n", ""))
    assert (state, text) == ("CRITICAL", r"ndb: key gone; a b / 'x'=1\x1b[31m\x00\u202e")
    assert unknown_line("a|b\nc") == "CLOSEDMAIL UNKNOWN - a/b c"


def test_it_stays_short(site: Site) -> None:
    """Whatever is wrong, and with however many networks; items are left out, never cut."""
    status = Status(generation=1)
    for number in range(200):
        network = find_status(site.config, site.now).networks["ndb"] if not number else status.networks["net000"]
        status.networks[f"net{number:03}"] = network
    status.general.alarm("store", "ä" * 5000)
    outcome = Outcome(2, plugin_line(status, site.now) + "\n", "")
    _, text, items = plugin(outcome)
    assert text.endswith("...")
    assert len(text.encode()) <= 1024
    assert 20 < len(items) < 400
    assert len(unknown_line("x" * 9999)) < 1100


# Prometheus


def samples(text: str) -> Samples:
    """By name and label values; promtool and prometheus_client have nothing to say about the text."""
    done = subprocess.run(
        [str(find("promtool")), "check", "metrics"], input=text, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert not re.search(r"^[^#].*\} \S+ \S+$", text, re.MULTILINE), "the textfile collector refuses timestamps"
    return {
        (sample.name, *sample.labels.values()): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


@pytest.mark.real("promtool")
def test_the_whole_textfile(synced: Site) -> None:
    put_counters(synced)
    synced.add_network("kim")
    for key in ("source", "signature"):
        synced.drop(f"network.kim.{key}")
    synced.set("kim", closed_domains=["kim.example"])
    synced.set(max_age="45d")
    synced.sync()
    status = find_status(synced.config, synced.now)
    expiring = KeyState("AB" * 20, synced.now + DAY, False, False, True)
    status.networks["ndb"].keys = [expiring, *status.networks["ndb"].keys]
    found = samples(exposition(families(status, synced.now + 5)))
    name = "closedmail_network_"
    assert found == {
        ("closedmail_state",): 0,
        ("closedmail_state_timestamp_seconds",): synced.now + 5,
        ("closedmail_in_force_generation",): 2,
        ("closedmail_in_force_timestamp_seconds",): synced.now,
        (f"{name}state", "ndb"): 0,
        (f"{name}state", "kim"): 0,
        (f"{name}domains", "ndb"): 2,
        (f"{name}domains", "kim"): 0,
        ("closedmail_held_domains", "-"): 0,
        ("closedmail_held_domains", "ndb"): 0,
        ("closedmail_held_domains", "kim"): 0,
        (f"{name}refused", "ndb", ""): 0,
        (f"{name}refused", "kim", ""): 0,
        (f"{name}signed_timestamp_seconds", "ndb"): synced.now - MINUTE,
        (f"{name}fetched_timestamp_seconds", "ndb"): synced.now,
        (f"{name}max_age_seconds", "ndb"): 45 * DAY,
        (f"{name}fetch_max_age_seconds", "ndb"): DAY,
        (f"{name}usable_keys", "ndb"): 2,
        (f"{name}key_expiry_timestamp_seconds", "ndb", "AB" * 20): synced.now + DAY,
        ("closedmail_mails_total", "policyd", "ndb", "accept", "ok"): 40,
        ("closedmail_mails_total", "policyd", "ndb", "reject", "address"): 7,
        ("closedmail_mails_total", "policyd", "ndb", "reject", "tls"): 1,
        ("closedmail_mails_total", "policyd", "-", "report", "address"): 2,
        ("closedmail_mails_total", "milter", "ndb", "reject", "address"): 5,
    }


@pytest.mark.real("promtool")
@pytest.mark.parametrize(
    ("fault", "expected"),
    [
        (held, {("closedmail_state",): 1, ("closedmail_held_domains", "ndb"): 1}),
        (refused, {("closedmail_state",): 1, ("closedmail_network_refused", "ndb", "unsigned"): 1}),
        (unreadable, {("closedmail_state",): 2, ("closedmail_in_force_generation",): 0}),
        (held_and_without_maps, {("closedmail_state",): 2, ("closedmail_network_state", "ndb"): 1}),
    ],
)
def test_what_is_wrong_in_numbers(synced: Site, fault: Any, expected: Samples) -> None:
    fault(synced)
    file = synced.folder / "closedmail.prom"
    assert synced.run("status", "--textfile", str(file)).status == 1
    assert expected.items() <= samples(file.read_text()).items()


@pytest.mark.parametrize("more", [(), ("--json",), ("--nagios",)])
def test_the_textfile_beside_other_output(synced: Site, more: tuple[str, ...]) -> None:
    """Replaced in one step, and readable for node_exporter whatever the umask is."""
    file = synced.folder / "closedmail.prom"
    file.write_text("old")
    with file.open() as reader:
        umask = os.umask(0o077)
        try:
            outcome = synced.run("status", "--textfile", str(file), *more)
        finally:
            os.umask(umask)
        assert reader.read() == "old"
    plain = synced.run("status", *more)
    assert (outcome.status, outcome.stderr) == (0, "")
    assert len(outcome.stdout.splitlines()) == len(plain.stdout.splitlines())
    assert file.stat().st_mode & 0o777 == 0o644
    assert "\nclosedmail_state 0\n" in file.read_text()
    assert [path.name for path in synced.folder.glob(".closed*")] == []


def test_a_textfile_that_can_not_be_written(synced: Site) -> None:
    place = str(synced.folder / "nowhere" / "closedmail.prom")
    outcome = synced.run("status", "--textfile", place)
    assert outcome.status == 1
    assert outcome.stdout.startswith("ok: generation 1")
    assert outcome.stderr.startswith(f"closedmail: error: --textfile {place}: No such file or directory")
    outcome = synced.run("status", "--nagios", "--textfile", place)
    assert (outcome.status, plugin(outcome)[0]) == (3, "UNKNOWN")
    outcome = synced.run("status", "--textfile", str(synced.folder / "closedmail.txt"))
    assert (outcome.status, "end in .prom" in outcome.stderr) == (2, True)


# What sync writes


@pytest.fixture
def watched(site: Site) -> Site:
    site.settings["monitoring.textfile"] = str(site.folder / "closedmail.prom")
    site.put(TWO)
    return site


def state(site: Site) -> tuple[float, float]:
    """The state and the generation in the textfile, which is removed."""
    file = site.folder / "closedmail.prom"
    text = file.read_text()
    file.unlink()
    found = {key: value for key, _, value in (line.partition(" ") for line in text.splitlines())}
    return float(found["closedmail_state"]), float(found["closedmail_in_force_generation"])


def test_every_sync_writes_it(watched: Site) -> None:
    """Published, unchanged, refused, not to be published, and where nothing can be read."""
    assert (watched.run("sync").status, state(watched)) == (0, (0, 1))
    assert (watched.run("sync").status, state(watched)) == (0, (0, 1))
    watched.put_raw(b"nobody signed this\n")
    assert (watched.run("sync").status, state(watched)) == (1, (1, 1))
    watched.put(f"{TWO}new.example\tesmtp:[192.0.2.3]\n", when=watched.now)
    watched.set(outbound__transport="nowhere")
    outcome = watched.run("sync")
    assert (outcome.status, "publish-failed" in outcome.stderr, state(watched)) == (1, True, (1, 1))
    watched.set(outbound__transport="smtp")
    assert (watched.run("sync").status, state(watched)) == (0, (0, 2))
    os.truncate(watched.state_dir / "store" / "data.mdb", 8192)
    outcome = watched.run("sync")
    assert (outcome.status, outcome.stdout, state(watched)) == (1, "", (2, 0))


def test_runs_that_do_not_write_it(watched: Site) -> None:
    """A dry run changes nothing; usage errors did nothing; the other sync writes its own."""
    assert watched.run("sync", "--dry-run").status == 0
    assert watched.run("sync", "--network", "nobody").status == 2
    watched.state_dir.mkdir()
    with sync_lock(watched.state_dir):
        assert watched.run("sync").status == 1
    assert not (watched.folder / "closedmail.prom").exists()


@pytest.mark.parametrize("as_json", [False, True])
def test_a_textfile_that_sync_can_not_write(watched: Site, as_json: bool) -> None:
    """It is said, and nothing else is lost by it."""
    place = str(watched.folder / "nowhere" / "closedmail.prom")
    watched.settings["monitoring.textfile"] = place
    outcome = watched.run("sync", *(["--json"] if as_json else []))
    assert outcome.status == 1
    assert outcome.stderr == (
        f"closedmail: error: monitoring.textfile: {place}: No such file or directory; the user that syncs must be "
        "able to write into its folder; the lists are not affected\n"
    )
    if as_json:
        assert outcome.json["networks"]["ndb"]["result"] == "published"
    else:
        assert "Generation 1 is in force." in outcome.stdout
    assert watched.route("koeln.example") == "smtp:[192.0.2.1]"


def test_it_is_no_part_of_a_generation(watched: Site) -> None:
    watched.published()
    watched.drop("monitoring")
    assert watched.sync().networks["ndb"].result == "unchanged"
    assert watched.manifest.generation == 1
    found = watched.run("explain", "--recipient", "koeln.example", "--json").json
    assert found["configuration_changed"] is False


# Maps


def maps_problem(site: Site) -> str:
    status = find_status(site.config, site.now)
    assert status.state == "critical"
    (problem,) = status.problems
    return problem


@pytest.mark.parametrize("name", ["transport", "tls_policy"])
@pytest.mark.parametrize("how", ["removed", "written anew", "copied back"])
@pytest.mark.parametrize("index", [False, True])
def test_maps_that_are_not_in_force(synced: Site, name: str, how: str, index: bool) -> None:
    path = next(iter(synced.map_dir.glob(f"{name}.*"))) if index else synced.map_dir / name
    data = path.read_bytes()
    path.unlink()
    if how != "removed":
        path.write_bytes(data if how == "copied back" else b"koeln.example smtp:[203.0.113.66]\n")
    fault = "is missing" if how == "removed" else "is not the file that was put there"
    assert maps_problem(synced) == (
        f"Postfix's map {path} {fault}: mail to partners may take another way; run: {synced.config.command('sync')}"
    )
    assert synced.run("sync").status == 0
    assert find_status(synced.config, synced.now).state == "ok"


def test_a_map_folder_that_is_gone(synced: Site) -> None:
    shutil.rmtree(synced.map_dir)
    assert re.search(r"/tls_policy\.\S+ is missing, and 4 more: ", maps_problem(synced))


def test_maps_of_another_mta_that_are_not_made_yet(plain: Site) -> None:
    """[postfix] has come into the file, and no sync since then."""
    plain.put(TWO)
    postfix = {key: value for key, value in plain.settings.items() if key.startswith("postfix")}
    plain.drop("postfix")
    plain.sync()
    plain.settings |= postfix
    status = find_status(plain.config, plain.now)
    sentence = "Postfix's maps are not made yet: mail to partners may take another way; run: "
    assert list(status.general) == [Problem("maps", "critical", sentence + plain.config.command("sync"))]


def test_a_switch_that_happens_meanwhile(synced: Site) -> None:
    """Between its renames, files are not those of the store: the end of the switch is waited for."""
    mark, place, aside = synced.state_dir / "switching", synced.map_dir / "transport", synced.folder / "aside"
    mark.touch()
    place.rename(aside)
    seen = threading.Event()

    def finish() -> None:
        seen.wait(10)
        aside.rename(place)
        mark.unlink()

    worker = threading.Thread(target=finish)
    worker.start()
    looks, failed = map_check._problems, []

    def look(config: Config, manifest: Any) -> Any:
        found = list(looks(config, manifest))
        failed.extend(found)
        if len(failed) == 3:
            seen.set()
        return iter(found)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(map_check, "_PATIENCE", 60.0)
        patch.setattr(map_check, "_problems", look)
        assert find_status(synced.config, synced.now).problems == []
    worker.join()
    assert seen.is_set()


def test_a_switch_that_ends_while_the_maps_are_looked_at(synced: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """What was seen before its end is looked at once more."""
    mark, place, aside = synced.state_dir / "switching", synced.map_dir / "transport", synced.folder / "aside"
    mark.touch()
    place.rename(aside)
    looks, seen = map_check._problems, []

    def look(config: Config, manifest: Any) -> Any:
        found = list(looks(config, manifest))
        seen.append(len(found))
        if len(seen) == 2:
            aside.rename(place)
            mark.unlink()
        return iter(found)

    monkeypatch.setattr(map_check, "_PATIENCE", 60.0)
    monkeypatch.setattr(map_check, "_problems", look)
    assert find_status(synced.config, synced.now).problems == []
    assert seen == [1, 1, 0]


def test_a_switch_that_was_interrupted(synced: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its end is not waited for for ever."""
    monkeypatch.setattr(map_check, "_PATIENCE", 0.3)
    (synced.state_dir / "switching").touch()
    (synced.map_dir / "transport").unlink()
    assert "is missing" in maps_problem(synced)


def test_a_generation_that_comes_between_store_and_maps(synced: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    done: list[list[str]] = []

    def faults(map_dir: Path, identities: dict[str, list[int]]) -> list[str]:
        if not done:
            synced.put(routes(30), when=synced.now)
            synced.sync(force=True)
            done.append(map_faults(map_dir, identities))
        return map_faults(map_dir, identities)

    monkeypatch.setattr(map_check, "map_faults", faults)
    status = find_status(synced.config, synced.now)
    assert done[0]  # what was asked first was of the old generation
    assert [problem for problem in status.problems if "map" in problem] == []
    assert status.generation == 2
