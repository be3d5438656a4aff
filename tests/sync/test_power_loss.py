"""The power is lost during a publication: every state that this may leave is in order, or is after the next `sync`.

One real run is seen by strace (`support.file_operations`), the states are those of a model (`support.power_loss`), and
each is laid out and asked by postmap, by the store's reader, by `status`, and by a `sync` that has to mend it.
"""

import random
import re
import shutil
import subprocess
from collections.abc import Callable, Iterable, Iterator
from copy import deepcopy
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from support.file_operations import Operation, Sync, record
from support.network import Site, nexthops
from support.power_loss import Copies, Disk, State, all_states, sample

from closedmail.errors import StoreError
from closedmail.store.environment import open_environment
from closedmail.store.snapshot import StoreReader

pytestmark = pytest.mark.real("strace", "postmap", "postconf")

LISTS = {
    1: "a.example\tesmtp:[192.0.2.1]\nb.example\tesmtp:[192.0.2.2]\n.c.example\tesmtp:[192.0.2.3]:[192.0.2.4]\n",
    2: "a.example\tesmtp:[192.0.2.11]\nb.example\tesmtp:[192.0.2.2]\n.c.example\tesmtp:[192.0.2.4]:[192.0.2.3]\n",
}
ROUTES = {
    1: {
        "a.example": "smtp:[192.0.2.1]",
        "b.example": "smtp:[192.0.2.2]",
        ".c.example": "smtp:[192.0.2.3], [192.0.2.4]",
    },
    2: {
        "a.example": "smtp:[192.0.2.11]",
        "b.example": "smtp:[192.0.2.2]",
        ".c.example": "smtp:[192.0.2.4], [192.0.2.3]",
    },
}
KEYS = sorted(ROUTES[1])
_MOST = 40  # states of each run that `status` and `sync` are asked about
_BROKEN = -1  # a generation that has lost records


@pytest.fixture(params=["lmdb", "hash"])
def disk_site(request: pytest.FixtureRequest, plain: Site, monkeypatch: pytest.MonkeyPatch) -> Site:
    """A gateway all of whose files are below one folder, none of which is there yet."""
    root = plain.folder / "disk"
    root.mkdir()
    plain.state_dir = root / "lib" / "state"
    # As by default, and on another file system's place.
    plain.map_dir = plain.state_dir / "postfix" if request.param == "lmdb" else root / "etc" / "maps"
    plain.settings |= {
        "gateway.state_dir": str(plain.state_dir),
        "postfix.map_dir": str(plain.map_dir),
        "postfix.map_type": request.param,
    }
    monkeypatch.setattr("closedmail.status.map_check._PATIENCE", 0.0)  # no other run is at work
    return plain


@dataclass(frozen=True)
class Found:
    """What readers find on a disk: the generation in force, and what Postfix has of both tables.

    None stands for a table that can't be read: Postfix defers. `routed` is the list whose routes these are, 0 for none.
    """

    generation: int | None
    transport: dict[str, str] | None
    policy: dict[str, str] | None

    @property
    def routed(self) -> int:
        return next((number for number, rows in ROUTES.items() if rows == self.transport), 0)


class Reader:
    """Reads what lies on a disk, the same data only once."""

    def __init__(self, site: Site) -> None:
        self._site, self._aside = site, site.folder / "aside"
        self._maps = site.map_dir.relative_to(site.folder / "disk")
        self._store = site.state_dir.relative_to(site.folder / "disk") / "store"
        self._ending = {"lmdb": "lmdb", "hash": "db"}[site.map_type]
        self._known: dict[tuple[str, bytes | None], Any] = {}

    def found(self, state: State) -> Found:
        hops = sorted({hop for rows in ROUTES.values() for route in rows.values() for hop in nexthops(route)})
        return Found(
            self._once(state, self._store / "data.mdb", self._generation),
            self._once(state, self._maps / f"transport.{self._ending}", partial(self._rows, KEYS)),
            self._once(state, self._maps / f"tls_policy.{self._ending}", partial(self._rows, hops)),
        )

    def _once(self, state: State, path: Path, read: Callable[[Path], Any]) -> Any:
        file = state.files.get(str(path))
        key = path.name, file[1] if file else None
        if key not in self._known:
            self._aside.mkdir()
            if file:
                (self._aside / path.name).write_bytes(file[1])
            self._known[key] = read(self._aside / path.name)
            shutil.rmtree(self._aside)
        return self._known[key]

    def _generation(self, path: Path) -> int | None:
        with StoreReader(path.parent) as store:
            try:
                snapshot = store.current()
            except StoreError:
                return None
            try:
                whole = sorted(key for key, _ in snapshot.records()) == KEYS
            except StoreError:
                whole = False
            return snapshot.generation if whole else _BROKEN

    def _rows(self, keys: list[str], path: Path) -> dict[str, str] | None:
        """What Postfix finds."""
        done = subprocess.run(
            ["postmap", "-c", self._site.etc, "-q", "-", f"{self._site.map_type}:{path.with_suffix('')}"],  # noqa: S607  Debian's
            input="".join(f"{key}\n" for key in keys),
            capture_output=True,
            text=True,
            check=False,
        )
        return None if done.stderr else dict(line.split("\t", 1) for line in done.stdout.splitlines())


class Publication:
    """One run that publishes list `number`, and every state in which a loss of power may leave the disk."""

    def __init__(self, site: Site, number: int) -> None:
        self.site, self.number, self.root = site, number, site.folder / "disk"
        self.copies, self._chance = Copies(site.folder / "pool", self.root), random.Random(16)  # noqa: S311  repeatable
        site.put(LISTS[number])
        self._before = Disk(self.root)
        self.copies.keep(self._before.numbers())
        self.operations = record(site.command("sync"), site.environment(PYTHONDONTWRITEBYTECODE="1"), self.root)
        self._reader = Reader(site)
        self.calm = 0  # states in which `status` has found all in order
        self.states = self._states(self.operations)

    def without(self, synced: str) -> None:
        """Go on as if the run had never synced what has this name, a pattern, below the folder."""
        pattern = re.compile(f"{re.escape(str(self.root))}/{synced}")
        kept = [done for done in self.operations if not (isinstance(done, Sync) and pattern.fullmatch(done.path))]
        assert len(kept) < len(self.operations), f"{synced} is not synced"
        self.states = self._states(kept)

    def _states(self, operations: Iterable[Operation]) -> list[State]:
        disk = deepcopy(self._before)
        states = all_states(disk, operations, self._chance)
        self.copies.keep(disk.numbers())
        return states

    def at_once(self) -> dict[str, list[str]]:
        """What is wrong before anybody has mended anything: all faults, with the states."""
        found: dict[str, list[str]] = {}
        for state in self.states:
            for fault in self._at_once(state):
                found.setdefault(fault, []).append(str(state))
        return found

    def mended(self, most: int) -> dict[str, list[str]]:
        """What `status` and `sync` make of so many of the states, chosen by chance: all faults, with the states."""
        found: dict[str, list[str]] = {}
        for state in sample(self.states, most, self._chance):
            self.copies.lay_out(state.files)
            for fault in self._mended(self._reader.found(state)):
                found.setdefault(fault, []).append(str(state))
        return found

    def _at_once(self, state: State) -> Iterator[str]:
        found = self._reader.found(state)
        if found.generation is None and self.number > 1:
            yield "the generation in force is lost"
        if found.generation == _BROKEN:
            yield "the store is broken"
        if found.transport is not None and not found.routed:
            yield "mail leaves by the public MX"
        if found.routed > (found.generation or 0):
            yield "routes are in force without their generation"
        if found.transport and found.policy is not None:
            hops = {hop for route in found.transport.values() for hop in nexthops(route)}
            if hops - found.policy.keys():
                yield "a route has no TLS policy"

    def _mended(self, found: Found) -> Iterator[str]:
        status = self.site.run("status", "--json")
        if status.json["generation"] != found.generation:
            yield "status knows another generation"
        if status.json["state"] != "critical":
            self.calm += 1
            if found.policy is None or found.routed != found.generation:
                yield "status finds nothing wrong"
        outcome = self.site.run("sync")
        if outcome.status:
            yield f"sync needs a hand: {outcome.stdout}{outcome.stderr}".replace(str(self.site.folder), "")
            return
        self.site.assert_consistent()
        if self.site.manifest.generation != self.number or self.site.rows() != ROUTES[self.number]:
            yield "sync does not bring the list into force"


def publish(site: Site, number: int) -> Publication:
    """Publish all lists up to `number`, the last one under the eyes of strace."""
    if number == 2:
        site.put(LISTS[1])
        assert site.run("sync").status == 0
    return Publication(site, number)


def lines(faults: dict[str, list[str]]) -> str:
    return "\n".join(f"{fault}: {len(states)} states, as {states[0]}" for fault, states in faults.items())


@pytest.mark.parametrize("number", LISTS)
def test_every_state_is_in_order_or_mended(disk_site: Site, number: int) -> None:
    publication = publish(disk_site, number)
    assert len(publication.states) > 80
    faults = publication.at_once()
    assert not faults, lines(faults)
    faults = publication.mended(_MOST)
    assert not faults, lines(faults)
    # Of the first list the fetch is noted last of all.
    assert publication.calm or number == 1


# --- that it would show --------------------------------------------------------------------------------------------

_NO_GENERATION = "routes are in force without their generation"
_NO_POLICY = "a route has no TLS policy"
# What is never synced, a pattern below the folder, and what shows, by the list that is published.
UNSYNCED = {
    1: {
        "lib": _NO_GENERATION,
        "lib/state": _NO_GENERATION,
        "lib/state/store": _NO_GENERATION,
    },
    2: {
        "lib/state/store/data.mdb": "the store is broken",
        "etc/maps": _NO_POLICY,
        "etc/maps/[^/]*/tls_policy.db": _NO_POLICY,
        "etc/maps/[^/]*/transport.db": "mail leaves by the public MX",
    },
}


@pytest.mark.parametrize("disk_site", ["hash"], indirect=True)
@pytest.mark.parametrize("number", UNSYNCED)
def test_a_missing_sync_is_seen(disk_site: Site, number: int) -> None:
    publication, shown = publish(disk_site, number), {}
    for synced, fault in UNSYNCED[number].items():
        publication.without(synced)
        shown[synced] = fault if fault in publication.at_once() else "nothing"
    assert shown == UNSYNCED[number]


@pytest.mark.parametrize("disk_site", ["lmdb"], indirect=True)
def test_a_new_store_that_is_not_synced(disk_site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """It would be broken, as former versions left it; it is made anew where nothing can have been in force."""
    publication = publish(disk_site, 1)
    publication.without("lib/state/store/.data.mdb.new")
    assert not publication.mended(_MOST // 2)
    monkeypatch.setattr("closedmail.sync.locked_run._nothing_published", lambda *_: False)
    assert "sync needs a hand" in lines(publication.mended(_MOST // 2))


# --- what a former version may have left: a store that was never synced ---------------------------------------------


def torn(kind: str, folder: Path) -> bytes:
    """A new environment as a loss of power may leave it."""
    open_environment(folder).close()
    new = (folder / "data.mdb").read_bytes()
    half = len(new) // 2
    return {
        "zeros": bytes(len(new)),
        "a page": new[:half],
        "a page and zeros": new[:half] + bytes(half),
        "zeros and a page": bytes(half) + new[half:],
        "a part of a page": new[:100],
        "zeros and more": bytes(len(new)) + b"more pages",
        "a page, zeros and more": new[:half] + bytes(half) + b"more pages",
        "whole": new,
    }[kind]


@pytest.mark.parametrize(
    "kind",
    [
        "zeros",
        "a page",
        "a page and zeros",
        "zeros and a page",
        "a part of a page",
        "zeros and more",
        "a page, zeros and more",
        "whole",
    ],
)
@pytest.mark.parametrize("refused", [False, True])
def test_a_new_store_that_a_power_loss_has_torn(plain: Site, kind: str, refused: bool) -> None:
    """Nothing was ever in force, whether or not a run has come to its end: the next run makes the store anew."""
    if refused:
        plain.refused("fetch-failed")
    else:
        plain.state_dir.mkdir()
    data = torn(kind, plain.state_dir / "store")
    (plain.state_dir / "store" / "data.mdb").write_bytes(data)
    plain.put(LISTS[1])
    assert plain.published().domains == 3
    plain.assert_consistent()


@pytest.mark.parametrize("trace", ["routes", "sync.json"])
def test_a_store_that_may_have_held_a_generation_is_never_made_anew(plain: Site, trace: str) -> None:
    plain.put(LISTS[1])
    plain.published()
    data = plain.state_dir / "store" / "data.mdb"
    data.write_bytes(bytes(8192))
    if trace == "routes":
        (plain.state_dir / "sync.json").unlink()
    else:
        shutil.rmtree(plain.map_dir)
    outcome = plain.run("sync")
    assert outcome.status == 1
    assert "broken" in outcome.stderr
    assert data.read_bytes() == bytes(8192)
