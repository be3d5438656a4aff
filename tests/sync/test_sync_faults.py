"""What `closedmail sync` refuses, and that nothing in force changes then: no map, no inode, no record.

Lists that can't be had, a Postfix that fails, state directories that are broken or somebody else's.
"""

import json
import os
import pwd
import shutil
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import lmdb
import pytest
from support.network import DAY, Site, put_program, routes, tree
from support.real import require

from closedmail.errors import ClosedmailError

pytestmark = pytest.mark.real("gpg", "postmap", "postconf")

TWO = "koeln.example\tesmtp:[192.0.2.1]\nbonn.example\tesmtp:[192.0.2.2]\n"


# --- lists that can't be had (those that are not to be trusted: test_bad_lists.py) ----------------------------------


def test_too_large(site: Site) -> None:
    site.put(TWO)
    site.published()
    site.set(max_size="4KiB")
    site.sync()
    before = site.in_force()
    site.put(routes(2000))
    site.refused("too-large")
    site.refused("too-large", force=True)
    assert site.in_force() == before


@pytest.mark.parametrize("kind", ["missing", "folder", "fifo", "forbidden-scheme"])
def test_fetch_failed(site: Site, kind: str) -> None:
    site.put(TWO)
    site.published()
    before = site.in_force()
    path = site.list_file()
    path.unlink()
    if kind == "folder":
        path.mkdir()
    elif kind == "fifo":
        os.mkfifo(path)
    reason = site.refused("fetch-failed").reason
    assert str(path) in reason
    assert site.in_force() == before
    assert site.log["ndb"].fetched_at == site.now


def test_fetched_at_is_of_the_last_success(site: Site) -> None:
    site.put(TWO)
    site.published()
    first = site.now
    site.now += DAY
    site.list_file().rename(site.folder / "away")
    site.refused("fetch-failed")
    log = site.log["ndb"]
    assert (log.fetched_at, log.attempted_at, log.code) == (first, site.now, "fetch-failed")


# --- a Postfix that can't be published to --------------------------------------------------------------------------


def publish_failed(site: Site, *words: str) -> None:
    """A new list must be refused, with these words, and nothing be changed or left; afterwards it is published."""
    before = site.in_force() if site.map_dir.exists() else None
    report = site.sync()
    network = report.networks["ndb"]
    assert (network.result, network.code) == ("refused", "publish-failed")
    assert report.failure
    for word in words:
        assert word in network.reason
    assert network.reason.isprintable()
    if before is None:
        assert report.generation is None
        assert not site.map_dir.exists() or not list(site.map_dir.iterdir())
    else:
        assert site.in_force() == before
    assert not (site.state_dir / "work").exists()


@pytest.fixture(params=["first", "later"])
def ready(request: pytest.FixtureRequest, plain: Site) -> Site:
    """A gateway with a new list, and one in force (later) or none (first)."""
    if request.param == "later":
        plain.put(TWO)
        plain.published()
    plain.put(TWO + "aachen.example esmtp:[192.0.2.3]\n")
    return plain


def published_now(site: Site) -> None:
    assert site.published().domains == 3
    site.assert_consistent()


def test_a_transport_that_master_cf_does_not_have(ready: Site) -> None:
    ready.set(outbound__transport="nowhere")
    publish_failed(ready, "network.ndb.outbound.transport", "'nowhere'")
    ready.set(outbound__transport="smtpd")
    publish_failed(ready)
    ready.set(outbound__transport="closed")
    published_now(ready)


def test_a_partner_transport_that_master_cf_does_not_have(ready: Site) -> None:
    ready.partner("koeln.example", network="ndb", outbound__transport="nowhere")
    publish_failed(ready, 'partner."koeln.example".outbound.transport')
    ready.drop("partner")
    published_now(ready)


@pytest.mark.parametrize("program", ["postmap", "postconf"])
def test_a_program_that_is_missing(ready: Site, monkeypatch: pytest.MonkeyPatch, program: str) -> None:
    folder = ready.folder / "bin"
    folder.mkdir()
    for name in {"postmap", "postconf"} - {program}:
        (folder / name).symlink_to(str(shutil.which(name)))
    with monkeypatch.context() as context:
        context.setenv("PATH", str(folder))
        context.setattr("closedmail.programs._ADMINISTRATORS", str(folder))
        publish_failed(ready, program)
    published_now(ready)


FAKES = {
    "fails": ("echo postmap: warning: no luck >&2; exit 1", "no luck"),
    "fails without a word": ("exit 75", "75"),
    "does nothing": ("exit 0", ""),
    "loses a row": ('case $* in *" -q "*) exec {real} "$@";; esac; f=${{3#*:}}; cp "$f" "$f.whole"; '
                    'sed -i "/192.0.2.2/d" "$f"; {real} "$@"; mv "$f.whole" "$f"', "192.0.2.2"),
    "answers otherwise": ('case $* in *" -q "*) {real} "$@" | sed s/192.0.2.1/203.0.113.66/; exit;; esac; '
                          'exec {real} "$@"',
                          "203.0.113.66"),
}  # fmt: skip


@pytest.mark.parametrize("fake", FAKES)
def test_a_postmap_that_fails(ready: Site, monkeypatch: pytest.MonkeyPatch, fake: str) -> None:
    script, word = FAKES[fake]
    folder = ready.folder / "bin"
    folder.mkdir()
    put_program(folder / "postmap", "#!/bin/sh\n" + script.format(real=shutil.which("postmap")) + "\n")
    with monkeypatch.context() as context:
        context.setenv("PATH", f"{folder}:{os.environ['PATH']}")
        publish_failed(ready, word)
    published_now(ready)


@pytest.mark.parametrize("map_type", ["nosuchtype", "texthash", "regexp"])
def test_a_map_type_that_can_not_be(plain: Site, map_type: str) -> None:
    plain.put(TWO)
    plain.published()
    plain.settings["postfix.map_type"] = map_type
    publish_failed(plain, map_type)


def test_a_configuration_directory_that_is_none(ready: Site) -> None:
    ready.settings["postfix.config_directory"] = str(ready.folder / "nowhere")
    publish_failed(ready, "nowhere")
    ready.settings["postfix.config_directory"] = str(ready.etc)
    published_now(ready)


def test_something_else_where_a_map_should_be(plain: Site) -> None:
    plain.put(TWO)
    (plain.map_dir / "tls_policy").mkdir(parents=True)
    plain.refused("publish-failed")
    assert [path.name for path in plain.map_dir.iterdir()] == ["tls_policy"]
    (plain.map_dir / "tls_policy").rmdir()
    plain.published()
    plain.assert_consistent()


def test_a_map_dir_that_is_a_file(plain: Site) -> None:
    plain.put(TWO)
    plain.map_dir.write_text("")
    assert str(plain.map_dir) in plain.refused("publish-failed").reason
    plain.map_dir.unlink()
    plain.published()


def test_partners_alone_that_can_not_be_published(plain: Site) -> None:
    plain.drop("network.ndb")
    plain.partner("klinik.example", route="esmtp:[192.0.2.20]", outbound__tls="encrypt", outbound__transport="nowhere",
                  inbound__mode="defer", inbound__allow_from=["192.0.2.20"])  # fmt: skip
    outcome = plain.run("sync", "--json")
    assert outcome.status == 1
    assert outcome.json["networks"] == {}
    (line,) = outcome.stderr.splitlines()
    assert "publish-failed" in line
    assert 'partner."klinik.example".outbound.transport' in line


# --- whose files they are ------------------------------------------------------------------------------------------


@pytest.fixture
def nobody() -> pwd.struct_passwd:
    require("root", "Python for all users")
    return pwd.getpwnam("nobody")


def test_root_becomes_the_owner_of_the_state_directory(site: Site, nobody: pwd.struct_passwd) -> None:
    site.put(TWO)
    site.run("sync", "--dry-run")
    for folder in (site.state_dir, site.map_dir):
        folder.mkdir()
        os.chown(folder, nobody.pw_uid, nobody.pw_gid)
    outcome = site.fork("sync")
    assert (outcome.status, outcome.stderr) == (0, "")
    made = [path for folder in (site.state_dir, site.map_dir) for path in folder.rglob("*")]
    assert len(made) > 6
    assert {(path.stat().st_uid, path.stat().st_gid) for path in made} == {(nobody.pw_uid, nobody.pw_gid)}
    assert os.geteuid() == 0
    site.assert_consistent()


def test_a_map_dir_that_can_not_be_written(site: Site, nobody: pwd.struct_passwd) -> None:
    site.put(TWO)
    site.run("sync", "--dry-run")
    site.map_dir.mkdir()
    site.state_dir.mkdir()
    os.chown(site.state_dir, nobody.pw_uid, nobody.pw_gid)
    outcome = site.fork("sync", "--json")
    network = outcome.json["networks"]["ndb"]
    assert (outcome.status, network["code"]) == (1, "publish-failed")
    assert str(site.map_dir) in network["reason"]
    assert "map_dir" in network["reason"]
    assert list(site.map_dir.iterdir()) == []
    os.chown(site.map_dir, nobody.pw_uid, nobody.pw_gid)
    assert site.fork("sync").status == 0
    # What can be written no more stays as it is, and Postfix can still read it.
    before = site.in_force()
    os.chown(site.map_dir, 0, 0)
    site.put(TWO + "aachen.example esmtp:[192.0.2.3]\n")
    assert site.fork("sync").status == 1
    assert site.in_force() == before


def test_a_state_directory_of_somebody_else(site: Site, nobody: pwd.struct_passwd) -> None:
    site.put(TWO)
    site.published()
    before = tree(site.folder)
    outcome = site.fork("sync", user=nobody.pw_uid)
    (line,) = outcome.stderr.splitlines()
    assert outcome.status == 1
    assert line.startswith("closedmail: error: ")
    assert str(site.state_dir) in line
    assert "root" in line
    assert {name: file for name, file in tree(site.folder).items() if name != "answer"} == before


# --- two at a time -------------------------------------------------------------------------------------------------


def waiting_postmap(site: Site) -> tuple[Path, Path, dict[str, str]]:
    """A postmap that says that it was started and waits for a sign: both files, and the environment that has it."""
    started, go = site.folder / "started", site.folder / "go"
    folder = site.folder / "bin"
    folder.mkdir()
    script = f'touch {started}; while [ ! -e {go} ]; do sleep 0.02; done; exec {shutil.which("postmap")} "$@"'
    put_program(folder / "postmap", f"#!/bin/sh\n{script}\n")
    return started, go, site.environment(PATH=f"{folder}:{os.environ['PATH']}")


def wait_for(path: Path, process: subprocess.Popen[bytes]) -> None:
    while not path.exists():
        assert process.poll() is None
        time.sleep(0.01)


def test_of_two_syncs_one_works(site: Site) -> None:
    site.put(TWO)
    site.published()
    site.put(TWO + "aachen.example esmtp:[192.0.2.3]\n")
    started, go, environment = waiting_postmap(site)
    command = site.command("sync")
    with subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL) as first:
        wait_for(started, first)
        before = site.in_force()
        second = site.spawn("sync", "--json")
        words = site.spawn("sync")
        assert site.in_force() == before
        go.touch()
        assert first.wait() == 0
    network = second.json["networks"]["ndb"]
    assert (second.status, network["result"], network["code"]) == (1, "refused", "busy")
    assert second.json["generation"] == 1
    assert network["domains"] == 2
    (line,) = words.stderr.splitlines()
    assert line.startswith("closedmail: error: busy: ")
    assert "No generation" not in words.stdout
    assert site.manifest.generation == 2
    assert site.spawn("sync").status == 0


def test_a_killed_sync_leaves_no_lock(site: Site) -> None:
    site.put(TWO)
    started, go, environment = waiting_postmap(site)
    with subprocess.Popen(site.command("sync"), env=environment, stdout=subprocess.DEVNULL) as first:
        wait_for(started, first)
        first.send_signal(signal.SIGKILL)
        first.wait()
    assert site.spawn("sync").status == 0
    go.touch()
    site.assert_consistent()


# --- stores that can't be used -------------------------------------------------------------------------------------


def newer_schema(folder: Path) -> None:
    with lmdb.open(str(folder), max_dbs=8) as environment, environment.begin(write=True) as txn:
        txn.put(b"schema", b"99", db=environment.open_db(b"meta", txn=txn))


def no_json(folder: Path) -> None:
    with lmdb.open(str(folder), max_dbs=8) as environment, environment.begin(write=True) as txn:
        txn.put(b"manifest", b'{"generation": 1}', db=environment.open_db(b"meta", txn=txn))


def overwrite(data: bytes) -> Callable[[Path], object]:
    return lambda folder: (folder / "data.mdb").write_bytes(data)


def cut(folder: Path) -> None:
    path = folder / "data.mdb"
    os.truncate(path, path.stat().st_size // 2)


def folder_for_file(folder: Path) -> None:
    (folder / "data.mdb").unlink()
    (folder / "data.mdb").mkdir()


def file_for_folder(folder: Path) -> None:
    shutil.rmtree(folder)
    folder.write_text("")


BROKEN: dict[str, tuple[Callable[[Path], object], str]] = {
    "newer": (newer_schema, "schema 99"),
    "no json": (no_json, "broken"),
    "garbage": (overwrite(os.urandom(65536)), "broken"),
    "text": (overwrite(b"x" * 100), "broken"),
    "cut": (cut, "cut short"),
    "cut to a page": (lambda folder: os.truncate(folder / "data.mdb", 4096), ""),
    "two pages of zeros": (overwrite(bytes(8192)), "broken"),
    "folder": (folder_for_file, ""),
    "file": (file_for_folder, ""),
}


@pytest.mark.parametrize("kind", BROKEN)
def test_a_store_that_can_not_be_used(site: Site, kind: str) -> None:
    damage, word = BROKEN[kind]
    site.put(routes(200))
    site.published()
    damage(site.state_dir / "store")
    before = tree(site.map_dir)
    outcome = site.spawn("sync", "--json")
    assert (outcome.status, outcome.stdout) == (1, "")
    (line,) = outcome.stderr.splitlines()
    assert line.startswith("closedmail: error: ")
    assert str(site.state_dir / "store") in line
    assert word in line
    assert tree(site.map_dir) == before
    # What the line says to do, helps.
    (site.state_dir / "store").rename(site.folder / "away")
    assert site.spawn("sync").status == 0
    site.assert_consistent()


def test_an_empty_store_is_no_generation(site: Site) -> None:
    site.put(TWO)
    (site.state_dir / "store").mkdir(parents=True)
    (site.state_dir / "store" / "data.mdb").touch()
    site.published()
    site.assert_consistent()


def test_a_full_disk_is_one_line(plain: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    plain.put(TWO)

    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device", str(plain.state_dir / "work"))

    with monkeypatch.context() as context:
        context.setattr("closedmail.sync.locked_run.fresh_folder", full)
        with pytest.raises(ClosedmailError, match="work: No space left"):
            plain.sync()
    with monkeypatch.context() as context:
        context.setattr("closedmail.sync.run.write_log", full)
        with pytest.raises(ClosedmailError, match="No space left"):
            plain.sync()
    plain.sync()
    plain.assert_consistent()


def test_a_state_directory_that_can_not_be_made(plain: Site) -> None:
    plain.put(TWO)
    plain.state_dir.write_text("")
    with pytest.raises(ClosedmailError, match=str(plain.state_dir)):
        plain.sync()


def test_json_is_the_only_thing_on_stdout(site: Site) -> None:
    site.put(TWO)
    for args in (("-v", "sync", "--json"), ("sync", "--json", "--dry-run"), ("sync", "--json", "--force")):
        assert isinstance(json.loads(site.run(*args).stdout), dict)


# --- the surroundings of a shell or of cron ------------------------------------------------------------------------


def test_a_path_without_the_administrators_programs(site: Site) -> None:
    """As cron's, and as that of users: postconf and postmap are in /usr/sbin."""
    site.put(TWO)
    outcome = site.spawn("sync", PATH="/usr/bin:/bin")
    assert (outcome.status, outcome.stderr) == (0, "")
    assert site.route("koeln.example") == "smtp:[192.0.2.1]"


@pytest.mark.real("prlimit")
def test_a_limit_of_address_space(plain: Site) -> None:
    """Where there is no room for the store, the limit is named, and how to raise it."""
    plain.put(TWO)
    command = ["prlimit", f"--as={2 << 30}", *plain.command("sync")]
    done = subprocess.run(command, env=plain.environment(), capture_output=True, text=True, check=False)
    (line,) = done.stderr.splitlines()
    assert (done.returncode, done.stdout) == (1, "")
    assert f"{plain.state_dir}/store: " in line
    assert "ulimit -v unlimited" in line
    assert "LimitAS=infinity" in line
