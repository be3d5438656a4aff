"""The switch from one generation to the next: interrupted at every step, watched while it happens, put right again.

Whatever happens, no route is without its TLS policy, and the next run brings the new generation into force.
"""

import os
import random
import shutil
import signal
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from support.network import DAY, Recorder, Signers, Site, assert_covered, nexthops, put_program, routes, text_rows, tree

from closedmail.errors import ClosedmailError, StoreError
from closedmail.mta.postfix_settings import read_settings
from closedmail.publish.switch import switch
from closedmail.store.writer import StoreWriter

pytestmark = pytest.mark.real("postmap", "postconf")

OLD = "koeln.example\tesmtp:[192.0.2.1]\nbonn.example\tesmtp:[192.0.2.2]\n"
NEW = "koeln.example\tesmtp:[198.51.100.1]\nbonn.example\tesmtp:[192.0.2.2]\naachen.example\tesmtp:[198.51.100.3]\n"
_MOST_STEPS = 40


# --- interrupted at every step -------------------------------------------------------------------------------------


class Faults:
    """Lets the `at`-th step of a switch fail: a rename, a link, a removal, a write to the disk, the commit.

    `lasting`: and each after it, as on a disk that is gone. `count` is how many steps there were.
    """

    def __init__(self, monkeypatch: pytest.MonkeyPatch, at: int, *, lasting: bool = False, die: bool = False) -> None:
        self.count = 0
        self.committed = False
        self._at, self._lasting, self._die = at, lasting, die
        self._armed = False
        for where, name in ((os, "link"), (os, "fsync"), (Path, "replace"), (Path, "unlink"), (Path, "mkdir")):
            monkeypatch.setattr(where, name, self._failing(getattr(where, name), OSError(5, "Input/output error")))
        self._commit = StoreWriter.commit
        failing = self._failing(self._noting_commit, StoreError("store: Input/output error"))
        monkeypatch.setattr(StoreWriter, "commit", lambda store: failing(store))
        monkeypatch.setattr("closedmail.sync.publication.switch", self._switch)

    def _noting_commit(self, store: StoreWriter) -> None:
        self._commit(store)
        self.committed = True

    def _failing(self, real: Callable[..., Any], error: Exception) -> Callable[..., Any]:
        def step(*args: Any, **how: Any) -> Any:
            if self._armed:
                self.count += 1
                if self.count - 1 == self._at or (self._lasting and self.count > self._at):
                    if self._die:
                        os._exit(9)
                    raise error
            return real(*args, **how)

        return step

    def _switch(self, *args: Any) -> None:
        self._armed = True
        try:
            switch(*args)
        finally:
            self._armed = False


def fresh_site(folder: Path, signers: Signers) -> Site:
    folder.mkdir()
    return Site(folder, signers, signed=False)


def publish_with_fault(site: Site, monkeypatch: pytest.MonkeyPatch, at: int, *, lasting: bool) -> bool:
    """Run a sync whose switch fails at a step; whether there was such a step. The state afterwards is checked."""
    with monkeypatch.context() as context:
        faults = Faults(context, at, lasting=lasting)
        try:
            report = site.sync().networks["ndb"]
            refused = report.code == "publish-failed"
        except ClosedmailError:
            refused = True
    assert_covered(site.rows(), site.rows("tls_policy"))
    assert_covered(site.lookup(site.rows()), site.lookup(site.rows("tls_policy"), "tls_policy"))
    number = site.manifest.generation
    if not faults.committed:
        assert number == 1
        assert site.rows() == {"koeln.example": "smtp:[192.0.2.1]", "bonn.example": "smtp:[192.0.2.2]"}
        if not lasting:
            assert site.rows("tls_policy").keys() == {"[192.0.2.1]", "[192.0.2.2]"}
    else:
        assert number == 2
    happened = faults.count > at
    assert refused or not happened or faults.committed
    return happened


def sync_and_die(site: Site, monkeypatch: pytest.MonkeyPatch, at: int) -> int:
    """A sync in a process of its own, which ends at a step of the switch, if there are so many; its exit status."""
    child = os.fork()
    if not child:
        try:
            Faults(monkeypatch, at, die=True)
            site.sync()
        finally:
            os._exit(0)
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    assert status in (0, 9)
    return status


@pytest.mark.parametrize("lasting", [False, True], ids=["once", "from then on"])
def test_a_switch_that_fails_at_any_step(
    surroundings: Path, signers: Signers, monkeypatch: pytest.MonkeyPatch, lasting: bool
) -> None:
    for at in range(_MOST_STEPS):
        site = fresh_site(surroundings / str(at), signers)
        site.put(OLD)
        site.published()
        site.put(NEW)
        happened = publish_with_fault(site, monkeypatch, at, lasting=lasting)
        report = site.sync()
        assert report.generation == 2
        assert report.networks["ndb"].code is None
        assert site.rows()["koeln.example"] == "smtp:[198.51.100.1]"
        assert site.rows().keys() == {"aachen.example", "bonn.example", "koeln.example"}
        site.assert_consistent()
        before = site.in_force()
        assert site.sync().networks["ndb"].result == "unchanged"
        assert site.in_force() == before
        if not happened:
            break
    else:
        raise AssertionError("the switch never came to its end")
    assert at > 12


def test_a_first_switch_that_fails_at_any_step(
    surroundings: Path, signers: Signers, monkeypatch: pytest.MonkeyPatch
) -> None:
    for at in range(_MOST_STEPS):
        site = fresh_site(surroundings / str(at), signers)
        site.put(OLD)
        with monkeypatch.context() as context:
            faults = Faults(context, at)
            report = site.sync()
        if faults.count > at and not faults.committed:
            assert (report.generation, report.networks["ndb"].code) == (None, "publish-failed")
            assert list(site.map_dir.iterdir()) == []
            with site.store() as store, pytest.raises(StoreError):
                store.current()
        assert site.sync().generation == 1
        site.assert_consistent()
        if faults.count <= at:
            return
    raise AssertionError("the switch never came to its end")


def test_a_switch_that_is_killed_at_any_step(
    surroundings: Path, signers: Signers, monkeypatch: pytest.MonkeyPatch
) -> None:
    for at in range(_MOST_STEPS):
        site = fresh_site(surroundings / str(at), signers)
        site.put(OLD)
        site.published()
        site.put(NEW)
        status = sync_and_die(site, monkeypatch, at)
        assert_covered(site.rows(), site.rows("tls_policy"))
        assert_covered(site.lookup(site.rows()), site.lookup(site.rows("tls_policy"), "tls_policy"))
        assert site.manifest.generation in (1, 2)
        assert site.sync().generation == 2
        site.assert_consistent()
        if status == 0:
            return
    raise AssertionError("the switch never came to its end")


def test_a_switch_that_is_killed_and_not_wanted_any_more(
    surroundings: Path, signers: Signers, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The list is taken back: where nothing was switched yet, the next run has nothing to publish."""
    for at in range(_MOST_STEPS):
        site = fresh_site(surroundings / str(at), signers)
        site.put(OLD)
        site.published()
        before = {path.name for path in site.state_dir.iterdir()}
        site.put(NEW)
        status = sync_and_die(site, monkeypatch, at)
        site.put(OLD)
        assert site.sync().networks["ndb"].code is None
        assert site.route("koeln.example") == "smtp:[192.0.2.1]"
        assert {path.name for path in site.state_dir.iterdir()} == before
        if status == 0:
            return
    raise AssertionError("the switch never came to its end")


def test_a_commit_that_fails_takes_the_maps_back(plain: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    plain.put(OLD)
    plain.published()
    before = plain.in_force()
    plain.put(NEW)

    def commit(_: StoreWriter) -> None:
        raise StoreError("store: no space left")

    with monkeypatch.context() as context:
        context.setattr(StoreWriter, "commit", commit)
        assert "no space left" in plain.refused("publish-failed").reason
    after = plain.in_force()
    assert {name: file and (file.data, file.inode) for name, file in after.items()} == {
        name: file and (file.data, file.inode) for name, file in before.items()
    }
    assert not (plain.state_dir / "switching").exists()
    assert plain.published().added == ["aachen.example"]


def test_an_interrupted_switch_is_finished_without_a_new_list(plain: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    plain.put(OLD)
    plain.published()
    plain.put(NEW)
    real = Path.replace

    def replace(self: Path, target: Path) -> Path:
        if self.name.startswith("transport"):
            raise OSError(5, "Input/output error")
        return real(self, target)

    with monkeypatch.context() as context:
        context.setattr(Path, "replace", replace)
        plain.refused("publish-failed")
    assert plain.route("koeln.example") == "smtp:[192.0.2.1]"
    assert (plain.state_dir / "switching").exists()
    plain.list_file().unlink()  # and nothing can be fetched
    report = plain.refused("fetch-failed")
    assert report.domains == 3
    assert plain.route("koeln.example") == "smtp:[198.51.100.1]"
    assert plain.manifest.generation == 2
    plain.assert_consistent()


# --- put right again -----------------------------------------------------------------------------------------------


def edit(path: Path) -> None:
    path.write_text(path.read_text().replace("192.0.2.1", "203.0.113.66"))


def make_again(path: Path) -> None:
    """What an administrator does who has edited the text: postmap."""
    edit(path)
    etc = path.parents[1] / "etc"
    subprocess.run(["postmap", "-c", str(etc), f"hash:{path}"], check=True)  # noqa: S607  Debian's


def empty(folder: Path) -> None:
    for path in folder.iterdir():
        path.unlink()


DAMAGE: dict[str, Callable[[Path], object]] = {
    "text gone": lambda maps: (maps / "transport").unlink(),
    "policy gone": lambda maps: (maps / "tls_policy").unlink(),
    "index gone": lambda maps: next(maps.glob("transport.*")).unlink(),
    "all gone": empty,
    "index gone, something like it there": lambda maps: next(maps.glob("transport.*")).rename(maps / "transport.bak"),
    "text edited": lambda maps: edit(maps / "transport"),
    "policy edited": lambda maps: edit(maps / "tls_policy"),
    "edited and made again": lambda maps: make_again(maps / "transport"),
    "index cut": lambda maps: os.truncate(next(maps.glob("tls_policy.*")), 0),
    "an old one put back": lambda maps: (maps / "transport").write_text("# closedmail generation 1\n"),
}


@pytest.mark.parametrize("kind", DAMAGE)
def test_maps_are_put_right_under_the_same_number(plain: Site, kind: str) -> None:
    plain.settings["postfix.map_type"] = "hash"
    plain.put(OLD)
    plain.published()
    rows = plain.rows(), plain.rows("tls_policy")
    DAMAGE[kind](plain.map_dir)
    plain.now += 60
    report = plain.sync()
    assert (report.generation, report.networks["ndb"].result, report.networks["ndb"].code) == (1, "unchanged", None)
    (plain.map_dir / "transport.bak").unlink(missing_ok=True)
    assert (plain.rows(), plain.rows("tls_policy")) == rows
    plain.assert_consistent()
    assert plain.manifest.published_at == plain.now - 60
    before = plain.in_force()
    plain.sync()
    assert plain.in_force() == before


def test_maps_are_put_right_though_the_list_is_refused(plain: Site) -> None:
    plain.put(OLD)
    plain.published()
    (plain.map_dir / "transport").unlink()
    plain.put("")
    plain.refused("empty")
    assert plain.rows().keys() == {"bonn.example", "koeln.example"}
    plain.assert_consistent()


def test_an_idle_run_builds_nothing(plain: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    plain.put(OLD)
    plain.published()
    recorder = Recorder(plain.folder / "bin", ["postmap"], monkeypatch)
    before = plain.in_force()
    for _ in range(3):
        plain.now += DAY
        plain.sync()
    assert recorder.calls() == []
    assert plain.in_force() == before


def test_rubbish_of_a_killed_run_goes(plain: Site) -> None:
    plain.put(OLD)
    for name in (".closedmail-build", ".closedmail-build-x1y2z3"):
        build = plain.map_dir / name
        build.mkdir(parents=True)
        (build / "transport").write_text("left over")
    (plain.state_dir / "work" / "ndb").mkdir(parents=True)
    plain.published()
    plain.assert_consistent()


def test_a_killed_runs_postmap_never_gets_at_the_next_run(plain: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """The worst that it can do: it begins once the next run has proved its table, and leaves half of one."""
    plain.settings["postfix.map_type"] = "hash"
    plain.put(OLD)
    plain.published()
    real, folder = shutil.which("postmap"), plain.folder / "bin"
    folder.mkdir()
    put_program(
        folder / "postmap",
        f"""#!/bin/sh
        if [ ! -e {folder}/pid ]; then
            echo $$ >{folder}/pid
            kill -KILL $PPID
            until [ -e {folder}/go ]; do sleep 0.01; done
            {real} "$@" && head -c 5000 "${{3#*:}}.db" >{folder}/half && cat {folder}/half >"${{3#*:}}.db"
            exec touch {folder}/end
        fi
        {real} "$@" || exit
        if [ "$3" = -q ]; then
            touch {folder}/go
            until [ -e {folder}/end ]; do sleep 0.01; done
        fi
        """,
    )
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")
    plain.put(NEW)
    assert plain.spawn("sync").status == -signal.SIGKILL
    assert plain.sync().generation == 2
    plain.assert_consistent()


# --- watched while it happens --------------------------------------------------------------------------------------


@contextmanager
def watcher(look: Callable[[], None]) -> Iterator[list[int]]:
    """Look again and again in a thread; what it raises is raised at the end. Gives how often it looked."""
    stop, looks = threading.Event(), [0]
    failures: list[BaseException] = []

    def watch() -> None:
        try:
            while not stop.is_set():
                look()
                looks[0] += 1
                stop.wait(0.001)  # the other thread has something to do, too
        except BaseException as error:
            failures.append(error)

    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    try:
        yield looks
    finally:
        stop.set()
        thread.join()
    if failures:
        raise failures[0]


def changing_lists(rounds: int) -> Iterator[str]:
    """Lists of the same domains, each with other addresses."""
    chance = random.Random(7)  # noqa: S311  repeatable
    for _ in range(rounds):
        octets = [(chance.randrange(200), chance.randrange(1, 255)) for _ in range(20)]
        yield "".join(f"d{n:02}.example esmtp:[198.51.{high}.{low}]\n" for n, (high, low) in enumerate(octets))


def test_no_route_is_ever_without_its_policy(plain: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """Reads the texts: the routes first, since a row stays longer than its route."""
    settings = cache(read_settings)
    monkeypatch.setattr("closedmail.sync.inputs.read_settings", settings)  # Postfix's own settings never change here
    plain.set(shrink_limit="100%")
    first, *later = changing_lists(200)
    plain.put(first)
    plain.published()

    def look() -> None:
        transport = text_rows(plain.map_dir / "transport")
        assert len(transport) == 20
        assert_covered(transport, text_rows(plain.map_dir / "tls_policy"))

    with watcher(look) as looks:
        for text in later:
            plain.put(text)
            plain.now += 1
            plain.published()
    assert looks[0] > len(later)
    plain.assert_consistent()


def test_postmap_never_finds_a_route_without_its_policy(plain: Site) -> None:
    plain.set(shrink_limit="100%")
    first, *later = changing_lists(40)
    plain.put(first)
    plain.published()
    keys = list(plain.rows())

    def look() -> None:
        found = plain.lookup(keys)
        assert found.keys() == set(keys)
        wanted = {hop for value in found.values() for hop in nexthops(value)}
        assert plain.lookup(wanted, "tls_policy").keys() == wanted

    with watcher(look) as looks:
        for text in later:
            plain.put(text)
            plain.now += 1
            plain.published()
    assert looks[0] > 10


def test_a_reader_of_the_store_sees_whole_generations(plain: Site) -> None:
    plain.set(on_removed="release", shrink_limit="100%")
    plain.put(routes(300))
    plain.published()

    def look() -> None:
        with plain.store() as store:
            for _ in range(20):
                snapshot = store.current()
                start = 300 * (snapshot.generation - 1)
                wanted = [f"d{n:05}.example" for n in range(start, start + 300)]
                assert [key for key, _ in snapshot.records()] == wanted

    for turn in range(1, 6):
        look()
        plain.put(routes(300, start=300 * turn))
        plain.published()
    look()
    assert tree(plain.map_dir)
