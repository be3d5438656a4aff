"""Real faults of the machine, and that every one of them is exit 1, one clear line, and the old generation in force.

A small disk that is full or read-only, files of another user, a clock that jumps, programs that die or hang, processes
that are killed, a state directory from a backup.
"""

import os
import pwd
import re
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import pytest
from support.daemon import Daemon
from support.disk import SmallDisk
from support.keys import Signer
from support.network import DAY, HOUR, MINUTE, USER, Outcome, Signers, Site, put_program, routes, tree
from support.real import require

from closedmail.errors import Refused
from closedmail.lists.fetch import fetch
from closedmail.lists.openpgp import verify
from closedmail.mta.postfix_settings import read_settings
from closedmail.store.writer import StoreWriter

pytestmark = pytest.mark.real("postmap", "postconf")

KIB = 1024
OLD, NEW = 40, 160  # domains in force, and in the list that is to follow


def error_of(outcome: Outcome) -> str:
    """The one line of a run that failed as it should, without what all such lines begin with."""
    assert outcome.status == 1, outcome
    (line,) = outcome.stderr.splitlines()
    assert line.startswith("closedmail: error: ")
    assert line.isprintable()
    return line.removeprefix("closedmail: error: ")


def maps(site: Site) -> dict[str, tuple[bytes, int]]:
    """The files that Postfix reads: contents and inode. Their ctime may change, where a switch was taken back."""
    assert not [name for name, file in tree(site.map_dir).items() if file is None]
    return {name: (file.data, file.inode) for name, file in tree(site.map_dir).items() if file}


def leftovers(site: Site) -> set[str]:
    """List what a run leaves in the state directory when it could not clean up."""
    names = {path.name for path in site.state_dir.iterdir()} if site.state_dir.exists() else set()
    return names - {"store", "lists", "sync.json", "sync.lock"}


class InForce:
    """A generation in force; `check` that nothing of it changed: maps, store, what `explain` and the daemon answer."""

    def __init__(self, site: Site, daemon: Daemon) -> None:
        self._site, self._daemon = site, daemon
        self._maps, self._manifest, self._records = maps(site), site.manifest, site.records

    def check(self) -> None:
        site = self._site
        assert maps(site) == self._maps
        assert (site.manifest, site.records) == (self._manifest, self._records)
        assert not leftovers(site)
        assert site.fork("explain", "--recipient", "a@d00001.example").status == 0
        assert "generation 1 " in site.fork("status").stdout
        assert (self._asked("d00001.example"), self._asked(f"d{NEW - 1:05}.example")) == ("REJECT", "DUNNO")

    def _asked(self, domain: str) -> str:
        action = self._daemon.ask(sender=f"a@{domain}", client_address="203.0.113.9")
        return (action or "").partition(" ")[0]


class NothingInForce:
    """No generation, and none half made."""

    def __init__(self, site: Site) -> None:
        self._site = site

    def check(self) -> None:
        site = self._site
        assert not site.map_dir.exists() or not list(site.map_dir.iterdir())
        assert not leftovers(site)
        outcome = site.fork("explain", "--recipient", "a@d00001.example")
        assert "no generation is in force yet" in error_of(outcome)
        assert "no generation is in force" in site.fork("status").stdout


def put_in_force(site: Site) -> Daemon:
    """A generation, a new list that is to follow it, and the daemon that has the former."""
    site.put(routes(OLD))
    site.published()
    site.put(routes(NEW))
    return Daemon(site.config_path, "--listen", f"unix:{site.folder}/policy.sock")


# --- a full disk ---------------------------------------------------------------------------------------------------

# What of the gateway is on the small disk, whether the list is signed, the map type, and how much more room each
# attempt has. postmap waits a second before it fails, so that there must not be too many of these.
PLACES = {
    "all": ("state maps", False, "lmdb", 12 * KIB),
    "state": ("state", False, "lmdb", 4 * KIB),
    "state, signed": ("state", True, "lmdb", 20 * KIB),
    "maps": ("maps", False, "hash", 12 * KIB),
}
MOST = 1024 * KIB


@pytest.fixture
def disk(surroundings: Path) -> Iterator[SmallDisk]:
    require("tmpfs")
    with SmallDisk(surroundings / "disk") as mounted:
        yield mounted


def move(site: Site, disk: SmallDisk, what: str) -> None:
    """Put the state directory, the map folder, or both on the disk."""
    if "state" in what:
        site.state_dir = disk.place / "state"
    if "maps" in what:
        site.map_dir = disk.place / "maps"
    site.settings |= {"gateway.state_dir": str(site.state_dir), "postfix.map_dir": str(site.map_dir)}


@dataclass(frozen=True)
class Crowded:
    """A gateway that is on the small disk, in part or as a whole."""

    site: Site
    disk: SmallDisk
    step: int

    def fill_up(self, in_force: InForce | NothingInForce) -> list[str]:
        """Try with ever more room until a sync succeeds; nothing may change before. The lines of those that failed."""
        lines = []
        for room in range(0, MOST, self.step):
            self.disk.leave(room)
            outcome = self.site.fork("sync")
            if outcome.status == 0:
                break
            lines.append(error_of(outcome))
            in_force.check()
        else:
            raise AssertionError("there is never enough room")
        assert lines
        self.disk.empty()
        assert self.site.sync().networks["ndb"].result == "unchanged"
        self.site.assert_consistent()
        assert len(self.site.records) == NEW
        return lines


@pytest.fixture
def crowded(request: pytest.FixtureRequest, disk: SmallDisk) -> Crowded:
    what, signed, map_type, step = PLACES[request.param]
    site = request.getfixturevalue("site" if signed else "plain")
    assert isinstance(site, Site)
    move(site, disk, what)
    site.settings["postfix.map_type"] = map_type
    return Crowded(site, disk, step)


def assert_explained(lines: list[str], disk: SmallDisk) -> None:
    """Each line names a place on the disk, and says what is wrong with it."""
    unclear = [line for line in lines if not re.search("[Nn]o space (is )?left", line) or str(disk.place) not in line]
    assert not unclear


@pytest.mark.parametrize("crowded", ["maps"], indirect=True)
def test_a_full_disk_changes_nothing(crowded: Crowded) -> None:
    with put_in_force(crowded.site) as daemon:
        crowded.fill_up(InForce(crowded.site, daemon))


@pytest.mark.parametrize("crowded", ["state", "state, signed", "all"], indirect=True)
def test_a_full_disk_is_told(crowded: Crowded) -> None:
    with put_in_force(crowded.site) as daemon:
        assert_explained(crowded.fill_up(InForce(crowded.site, daemon)), crowded.disk)


@pytest.mark.parametrize("crowded", ["state", "state, signed"], indirect=True)
def test_a_disk_that_is_full_from_the_first(crowded: Crowded) -> None:
    crowded.site.put(routes(NEW))
    assert_explained(crowded.fill_up(NothingInForce(crowded.site)), crowded.disk)


def test_without_a_lock_file_on_a_full_disk(plain: Site, disk: SmallDisk) -> None:
    """As after a backup that left it out: LMDB would make it, and be killed in its first byte. Readers need none."""
    move(plain, disk, "state")
    plain.put(routes(OLD))
    plain.published()
    (plain.state_dir / "store" / "lock.mdb").unlink()
    disk.leave(0)
    assert plain.fork("explain", "--recipient", "a@d00001.example").status == 0
    assert_explained([error_of(plain.fork("rollback", "1"))], disk)
    disk.empty()
    assert plain.fork("explain", "--recipient", "a@d00001.example").status == 0


@pytest.mark.parametrize("size", [3 * KIB, 50 * KIB])
def test_a_list_that_does_not_fit_on_the_disk(disk: SmallDisk, size: int) -> None:
    source = disk.place.parent / "source"
    source.write_bytes(b"x" * size)
    for room in range(0, size, 4 * KIB):
        disk.leave(room)
        with pytest.raises(Refused, match=r"list\.part: No space left on device; free some space") as refused:
            fetch(str(source), disk.place / "list", max_size=MOST)
        assert refused.value.code == "fetch-failed"
        assert [path.name for path in disk.place.iterdir()] == ["ballast"]
    disk.empty()
    assert fetch(str(source), disk.place / "list", max_size=MOST).path


# How a list is signed, and what is surely too little room: a compressed file's text is longer than the file.
SIGNED: dict[str, tuple[Callable[[Signer, bytes], bytes], int]] = {
    "clearsigned": (lambda signer, text: signer.clearsign(text), 130 * KIB),
    "compressed": (lambda signer, text: signer.sign(text), 300 * KIB),
    "detached": (lambda signer, text: signer.detach(text), 120 * KIB),
}


@pytest.mark.real("gpg")
@pytest.mark.parametrize("how", SIGNED)
def test_gpg_on_a_full_disk(disk: SmallDisk, signers: Signers, how: str) -> None:
    """It goes on without the keys that it can't write down; no message may make anybody mistrust the signer then."""
    sign, least = SIGNED[how]
    text = (routes(250) if how == "clearsigned" else routes(250) * 20).encode()
    folder, keys = disk.place.parent, disk.place.parent / "keys"
    keys.write_bytes(signers.net.public())
    raw, detached = folder / "raw", folder / "detached"
    raw.write_bytes(text if how == "detached" else sign(signers.net, text))
    detached.write_bytes(sign(signers.net, text))
    work = disk.place / "work"
    work.mkdir()
    check = partial(
        verify,
        raw,
        work,
        key_file=keys,
        signing_keys=[signers.net.fingerprint],
        max_size=MOST,
        now=int(time.time()),
        detached=detached if how == "detached" else None,
    )
    for room in range(0, least, 24 * KIB):
        disk.leave(room)
        with pytest.raises(Refused, match=f"^{work}.*: No space left on device; ") as refused:
            check()
        assert refused.value.code == "bad-signature"
        assert not list(work.iterdir())
    disk.empty()
    assert check().text.read_bytes() == text


def test_a_disk_without_inodes(plain: Site, surroundings: Path) -> None:
    require("tmpfs")
    with SmallDisk(surroundings / "disk", inodes=100) as disk:
        move(plain, disk, "state maps")
        plain.settings["postfix.map_type"] = "lmdb"
        with put_in_force(plain) as daemon:
            in_force = InForce(plain, daemon)
            for free in range(40):
                disk.leave_inodes(free)
                outcome = plain.fork("sync")
                if outcome.status == 0:
                    break
                assert_explained([error_of(outcome)], disk)
                in_force.check()
        assert free > 4
        disk.empty()
        plain.assert_consistent()
        assert len(plain.records) == NEW


@pytest.mark.real("gpg")
def test_a_full_folder_for_temporary_files(site: Site, disk: SmallDisk, monkeypatch: pytest.MonkeyPatch) -> None:
    """`sync` has its own below the state directory; a dry run and `status` say why they can't do all of their work."""
    site.put(routes(OLD))
    site.published()
    before = site.in_force()
    monkeypatch.setattr("tempfile.tempdir", str(disk.place))
    site.put(routes(NEW))
    for room in (0, 12 * KIB, 60 * KIB):
        disk.leave(room)
        assert_explained([error_of(site.fork("sync", "--dry-run"))], disk)
        status = site.fork("status")
        assert (status.status, status.stderr) == (1, "")
        assert "generation 1 " in status.stdout
        assert "No space left on device" in status.stdout
        assert "not in key_file" not in status.stdout
        assert site.in_force() == before
        assert [path.name for path in disk.place.iterdir()] == ["ballast"]
    assert site.fork("sync").status == 0
    assert len(site.records) == NEW


def test_status_knows_of_the_full_disk(plain: Site, disk: SmallDisk) -> None:
    move(plain, disk, "maps")
    plain.put(routes(OLD))
    plain.published()
    plain.put(routes(NEW))
    disk.leave(0)
    plain.refused("publish-failed")
    said = plain.fork("status").stdout
    assert "the last sync was refused (publish-failed)" in said
    assert "No space left on device" in said


def test_a_log_that_can_not_be_written_is_not_the_reason(plain: Site, disk: SmallDisk) -> None:
    move(plain, disk, "state")
    plain.put(routes(OLD))
    plain.published()
    plain.list_file().unlink()
    disk.leave(0)
    assert str(plain.list_file()) in error_of(plain.fork("sync"))


def test_a_log_that_can_not_be_written_after_publishing(plain: Site) -> None:
    (plain.state_dir / "sync.json").mkdir(parents=True)
    plain.put(routes(OLD))
    line = error_of(plain.fork("sync"))
    assert plain.manifest.generation == 1
    assert "sync.json" in line
    assert "generation 1 is in force" in line


# --- read-only, and somebody else's --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "what",
    [
        "maps",
        "state",
    ],
)
def test_a_read_only_disk(plain: Site, disk: SmallDisk, what: str) -> None:
    move(plain, disk, what)
    place = {"maps": plain.map_dir, "state": plain.state_dir}[what]
    with put_in_force(plain) as daemon:
        in_force = InForce(plain, daemon)
        disk.write_protect(True)
        line = error_of(plain.fork("sync"))
        in_force.check()
        disk.write_protect(False)
        assert plain.fork("sync").status == 0
    plain.assert_consistent()
    assert f"{place}" in line
    assert "Read-only file system" in line
    assert "run as root" not in line


# What root owns though the rest is another user's, below the gateway's folder.
FOREIGN = [
    "maps",
    "state/store",
    "state/store/data.mdb",
    "state/store/lock.mdb",
    "state/lists",
    "state/sync.lock",
]


@pytest.fixture
def owned(plain: Site) -> Site:
    """A gateway whose files are all of another user, one generation in force and a new list at hand."""
    require("root")
    user = pwd.getpwnam("nobody")
    plain.put(routes(OLD))
    plain.published()
    for top in (plain.state_dir, plain.map_dir):
        for path in (top, *top.rglob("*")):
            os.chown(path, user.pw_uid, user.pw_gid)
    plain.put(routes(NEW))
    return plain


@pytest.mark.parametrize("what", FOREIGN)
def test_a_part_that_root_owns(owned: Site, what: str) -> None:
    place = owned.folder / what
    mode, user = place.stat().st_mode, place.stat().st_uid
    os.chown(place, 0, 0)
    place.chmod(0o755 if what == "state/lists" else mode & ~0o077)
    before = maps(owned), owned.manifest, owned.records
    line = error_of(owned.fork("sync"))
    assert (maps(owned), owned.manifest, owned.records) == before
    assert not leftovers(owned)
    os.chown(place, user, -1)
    place.chmod(mode)
    assert owned.fork("sync").status == 0
    owned.assert_consistent()
    # A file of the store is known by the store, which is what has to be given back as a whole.
    assert str(place).removesuffix(".mdb").removesuffix("/data").removesuffix("/lock") in line


@pytest.mark.parametrize("what", ["state/sync.json", "maps/transport", "maps/tls_policy"])
def test_a_file_that_root_owns_is_replaced(owned: Site, what: str) -> None:
    """Root has edited it, or made the map anew by hand."""
    place = owned.folder / what
    user = place.stat().st_uid
    os.chown(place, 0, 0)
    assert owned.fork("sync").status == 0
    assert place.stat().st_uid == user
    owned.assert_consistent()
    assert len(owned.records) == NEW


# --- a clock that is wrong -----------------------------------------------------------------------------------------

YEAR = 365 * DAY
JUMPS = [-YEAR, YEAR, -DAY, DAY, 0]


@pytest.mark.real("gpg")
def test_an_unchanged_list_stays_whatever_the_clock_says(site: Site) -> None:
    site.put(routes(OLD))
    site.published()
    right, before = site.now, site.in_force()
    for jump in JUMPS:
        site.now = right + jump
        assert site.sync().networks["ndb"].result == "unchanged"
        # And where it is fetched as a whole: by another inode.
        site.put_raw(site.list_file().read_bytes())
        assert site.sync().networks["ndb"].result == "unchanged"
        assert site.in_force() == before


@pytest.mark.real("gpg")
@pytest.mark.parametrize("back", [11 * MINUTE, DAY, YEAR])
def test_a_new_list_while_the_clock_is_back(site: Site, back: int) -> None:
    site.put(routes(OLD))
    site.published()
    right, before = site.now, site.in_force()
    site.put(routes(NEW))
    site.now = right - back - MINUTE  # the list was signed a minute ago
    assert "check the clock here" in site.refused("from-the-future").reason
    site.refused("from-the-future", force=True)
    assert site.in_force() == before
    site.now = right
    assert site.published().domains == NEW
    site.assert_consistent()


@pytest.mark.real("gpg")
def test_a_first_list_while_the_clock_is_back(site: Site) -> None:
    site.put(routes(OLD))
    site.now -= YEAR
    assert site.sync().generation is None
    NothingInForce(site).check()
    site.now += YEAR
    site.published()


@pytest.mark.real("gpg")
def test_a_list_while_the_clock_is_ahead(site: Site) -> None:
    """Its time of signing is its own: nothing of the wrong clock remains that would refuse the next one."""
    right = site.now
    site.put(routes(OLD))
    site.now = right + YEAR
    site.published()
    site.now = right
    site.put(routes(NEW), when=right)
    assert site.published().domains == NEW
    site.assert_consistent()


@pytest.mark.real("gpg")
@pytest.mark.parametrize(("ahead", "code"), [(5 * MINUTE, None), (DAY, "from-the-future")])
def test_a_key_that_is_made_later_than_now(
    site: Site, tmp_path_factory: pytest.TempPathFactory, ahead: int, code: str | None
) -> None:
    """As it looks to a machine whose clock was set back; gpg itself asks the machine's clock."""
    made = time.strftime("%Y%m%dT%H%M%S", time.gmtime(site.now + ahead))
    signer = Signer(tmp_path_factory.mktemp("k") / "h", USER, created=made)
    try:
        site.put(routes(OLD))
        site.published()
        site.key_file.write_bytes(site.signers.net.public() + signer.public())
        site.set(signing_keys=[site.signers.net.fingerprint, signer.fingerprint])
        site.put_raw(signer.clearsign(routes(NEW).encode(), when=site.now + ahead + MINUTE))
        report = site.sync().networks["ndb"]
        assert report.code == code
        assert report.domains == (OLD if code else NEW)
        assert ("check the clock here" in report.reason) == bool(code)
        assert "key_file" not in site.fork("status").stdout
        # Lists by the other key are what they were.
        site.put(routes(OLD), when=site.now + ahead + MINUTE if not code else site.now)
        assert site.sync(force=True).networks["ndb"].domains == OLD
    finally:
        signer.stop()


def test_a_hold_while_the_clock_jumps(plain: Site) -> None:
    plain.set(hold_for="7d")
    plain.put(routes(OLD + 1))
    plain.published()
    right = plain.now
    plain.put(routes(OLD))
    lost = f"d{OLD:05}.example"
    assert plain.published().held == [lost]
    for jump in (0, -YEAR, -DAY, 3 * DAY, -3 * DAY, 7 * DAY - 1):
        plain.now = right + jump
        assert list(plain.sync().networks["ndb"].held) == [lost]
        assert (plain.route(lost) or "").startswith("retry:4")
    for later in (0, HOUR - 1):
        plain.now = right + 7 * DAY + later
        assert list(plain.sync().networks["ndb"].held) == [lost]
    plain.now += 1
    assert list(plain.sync().networks["ndb"].held) == []
    assert plain.route(lost) is None
    plain.assert_consistent()


def test_a_hold_that_begins_while_the_clock_is_back(plain: Site) -> None:
    plain.set(hold_for="7d")
    plain.put(routes(OLD + 1))
    plain.published()
    right = plain.now
    plain.put(routes(OLD))
    plain.now = right - YEAR
    lost = plain.published().held
    plain.now = right + DAY
    assert list(plain.sync().networks["ndb"].held) == lost


def change_route(site: Site) -> str:
    """Lead one domain elsewhere; the nexthop that no route wants any more, but the mail in the queue."""
    site.put(routes(OLD).replace("[198.51.0.1]\n", "[192.0.2.77]\n"))
    site.published()
    return "[198.51.0.1]"


def test_a_tls_row_that_stays_while_the_clock_jumps(plain: Site) -> None:
    plain.put(routes(OLD))
    plain.published()
    right = plain.now
    nexthop = change_route(plain)
    for jump in (0, -YEAR, -DAY, DAY // 2, -MINUTE, DAY - 1):
        plain.now = right + jump
        plain.sync()
        assert plain.policy(nexthop) == "encrypt"
    plain.now = right + DAY
    plain.sync()
    assert plain.policy(nexthop) is None
    plain.assert_consistent()


def test_a_tls_row_that_begins_to_stay_while_the_clock_is_back(plain: Site) -> None:
    plain.put(routes(OLD))
    plain.published()
    right = plain.now
    plain.now = right - YEAR
    nexthop = change_route(plain)
    plain.now = right + MINUTE
    plain.sync()
    assert plain.policy(nexthop) == "encrypt"


@pytest.mark.real("gpg")
def test_status_when_the_last_fetch_is_in_the_future(site: Site) -> None:
    site.put(routes(OLD))
    site.now += YEAR
    site.published()
    status = site.fork("status")
    assert status.status == 1
    assert "clock" in status.stdout


# --- programs that die, hang, or do half of it ---------------------------------------------------------------------

# What a fake postmap does; {real} is the real one. It builds where there is no -q, and `$f` is then the table's text.
MAKE = 'case $* in *" -q "*) exec {real} "$@";; esac; f=${{3#*:}}; '
ASK = 'case $* in *" -q "*) ;; *) exec {real} "$@";; esac; '
DYING = {
    "killed while it builds": (MAKE + 'head -c 5000 /dev/zero >"$f.db"; kill -KILL $$', "postmap"),
    "ended while it builds": (MAKE + 'head -c 5000 /dev/zero >"$f.db"; kill -TERM $$', "postmap"),
    "killed while it is asked": (ASK + "head -n 1 >/dev/null; kill -KILL $$", "postmap"),
    "hangs while it builds": (MAKE + "exec sleep 1000", "did not end in time"),
    "hangs while it is asked": (ASK + "exec sleep 1000", "did not end in time"),
    "index cut": (MAKE + '{real} "$@"; truncate -s 4096 "$f.db"', "postmap"),
    "index empty": (MAKE + '{real} "$@"; : >"$f.db"', "postmap"),
    "index gone": (MAKE + '{real} "$@"; rm "$f.db"', "postmap made no file"),
    "text gone": (MAKE + '{real} "$@"; rm "$f"', "tls_policy"),
    "answers with noise": (ASK + 'echo hello; exec {real} "$@"', "hello"),
}  # fmt: skip


def put_in_path(site: Site, name: str, script: str, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = site.folder / "bin"
    folder.mkdir()
    put_program(folder / name, f"#!/bin/sh\n{script.format(real=shutil.which(name))}\n")
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")


@pytest.mark.parametrize("kind", DYING)
def test_a_postmap_that_dies(plain: Site, monkeypatch: pytest.MonkeyPatch, kind: str) -> None:
    script, word = DYING[kind]
    plain.settings["postfix.map_type"] = "hash"
    with put_in_force(plain) as daemon, monkeypatch.context() as context:
        in_force = InForce(plain, daemon)
        put_in_path(plain, "postmap", script, context)
        if "hangs" in kind:
            settings = read_settings(str(plain.etc))
            context.setattr("closedmail.mta.postconf._TIME_LIMIT", 0.05)
            context.setattr("closedmail.sync.inputs.read_settings", lambda _: settings)  # postconf needs more
        line = error_of(plain.fork("sync"))
        assert line.startswith("publish-failed: ")
        assert word in line
        in_force.check()
    assert plain.published().domains == NEW
    plain.assert_consistent()


HARMLESS = {
    "warns": MAKE + 'echo "postmap: warning: the moon is full" >&2; exec {real} "$@"',
    "warns when asked": ASK + 'echo "postmap: warning: the moon is full" >&2; exec {real} "$@"',
    "makes an index that nobody may read": "umask 077; " + MAKE + '{real} "$@"; chmod 0 "$f.db"',
}


@pytest.mark.parametrize("kind", HARMLESS)
def test_a_postmap_that_does_its_work_all_the_same(plain: Site, monkeypatch: pytest.MonkeyPatch, kind: str) -> None:
    plain.settings["postfix.map_type"] = "hash"
    plain.put(routes(OLD))
    with monkeypatch.context() as context:
        put_in_path(plain, "postmap", HARMLESS[kind], context)
        assert plain.fork("sync").status == 0
    plain.assert_consistent()
    assert {path.stat().st_mode & 0o777 for path in plain.map_dir.iterdir()} == {0o644}


DEAD_POSTCONF = {
    "killed": ("kill -KILL $$", "postconf"),
    "hangs": ("exec sleep 1000", "did not end in time"),
    "says nothing": ("exit 0", "master.cf"),
    "fails": ("echo postconf: fatal: no luck >&2; exit 1", "no luck"),
}


@pytest.mark.parametrize("kind", DEAD_POSTCONF)
def test_a_postconf_that_dies(plain: Site, monkeypatch: pytest.MonkeyPatch, kind: str) -> None:
    script, word = DEAD_POSTCONF[kind]
    with put_in_force(plain) as daemon, monkeypatch.context() as context:
        in_force = InForce(plain, daemon)
        put_in_path(plain, "postconf", script, context)
        context.setattr("closedmail.mta.postconf._TIME_LIMIT", 0.02)
        line = error_of(plain.fork("sync"))
        assert line.startswith("publish-failed: ")
        assert word in line
        in_force.check()
    assert plain.published().domains == NEW


@pytest.mark.parametrize("program", ["postmap", "postconf"])
@pytest.mark.parametrize("kind", ["a folder", "not executable", "no program"])
def test_a_program_that_can_not_be_run(plain: Site, monkeypatch: pytest.MonkeyPatch, program: str, kind: str) -> None:
    folder = plain.folder / "bin"
    folder.mkdir()
    with put_in_force(plain) as daemon, monkeypatch.context() as context:
        in_force = InForce(plain, daemon)
        for name in {"postmap", "postconf"} - {program}:
            (folder / name).symlink_to(str(shutil.which(name)))
        if kind == "a folder":
            (folder / program).mkdir()
        else:
            (folder / program).write_text("no program")
            (folder / program).chmod(0o755 if kind == "no program" else 0o644)
        context.setenv("PATH", str(folder))
        context.setattr("closedmail.programs._ADMINISTRATORS", str(folder))
        line = error_of(plain.fork("sync"))
        assert line.startswith(f"publish-failed: {program} ")
        in_force.check()
    assert plain.published().domains == NEW


# --- several at a time, and killed ones ----------------------------------------------------------------------------


@pytest.mark.parametrize("before", [0, OLD], ids=["the first list", "a new one"])
def test_syncs_that_start_at_the_same_moment(plain: Site, before: int) -> None:
    if before:
        plain.put(routes(before))
        plain.published()
    generation = plain.manifest.generation if before else 0
    plain.put(routes(NEW))
    plain.write_config()
    processes = [
        subprocess.Popen(
            plain.command("sync", "--json"),
            env=plain.environment(),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for _ in range(5)
    ]
    outcomes = [Outcome(process.wait(), *process.communicate()) for process in processes]
    results = []
    for outcome in outcomes:
        network = outcome.json["networks"]["ndb"]
        results.append(network["code"] or network["result"])
        if outcome.status:
            assert error_of(outcome).startswith("busy: ")
        assert outcome.json["generation"] in (generation + 1, generation or None)
    assert results.count("published") == 1
    assert set(results) <= {"published", "busy", "unchanged"}
    assert plain.manifest.generation == generation + 1
    plain.assert_consistent()
    assert plain.sync().networks["ndb"].result == "unchanged"


def test_syncs_that_start_at_the_same_moment_again_and_again(plain: Site) -> None:
    """Without the time that Python takes to start: forks that wait for one sign."""
    plain.set(shrink_limit="100%")
    for turn in range(1, 6):
        plain.put(routes(20, start=turn))
        plain.write_config()
        starter, sign = os.pipe()
        children = []
        for _ in range(5):
            child = os.fork()
            if not child:
                try:
                    os.close(sign)
                    os.read(starter, 1)
                    os._exit(plain.run("sync").status)
                finally:
                    os._exit(99)
            children.append(child)
        os.close(starter)
        os.close(sign)
        statuses = [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children]
        assert set(statuses) <= {0, 1}
        assert 0 in statuses
        assert plain.manifest.generation == turn
        plain.assert_consistent()


def read_and_stay(site: Site) -> int:
    """A process that reads the store and is killed in the midst of its transaction; its number."""
    ready, report = os.pipe()
    child = os.fork()
    if not child:
        try:
            with site.store() as store:
                next(store.current().records())
                os.write(report, b"x")
                signal.pause()
        finally:
            os._exit(99)
    os.close(report)
    assert os.read(ready, 1) == b"x"
    os.close(ready)
    return child


def test_readers_that_were_killed_do_not_let_the_store_grow(plain: Site) -> None:
    plain.set(shrink_limit="100%", on_removed="release")
    plain.settings["gateway.keep_generations"] = 1
    plain.put(routes(500))
    plain.published()
    data = plain.state_dir / "store" / "data.mdb"
    sizes = []
    # A store that nobody has open forgets its readers, so the daemon has it open, as it always has.
    with Daemon(plain.config_path, "--listen", f"unix:{plain.folder}/policy.sock") as daemon:
        for turn in range(1, 21):
            assert daemon.ask(sender="a@d00300.example", client_address="203.0.113.9")
            reader = read_and_stay(plain)
            os.kill(reader, signal.SIGKILL)
            os.waitpid(reader, 0)
            plain.put(routes(500, start=turn))
            plain.published()
            sizes.append(data.stat().st_size)
    # The pages of two generations and of one more; with those of all that were killed it would be many times as much.
    assert max(sizes) < 2 * max(sizes[:4])
    plain.assert_consistent()


def test_a_reader_that_hangs_stops_nobody(plain: Site) -> None:
    plain.set(shrink_limit="100%", on_removed="release")
    plain.settings["gateway.keep_generations"] = 1
    plain.put(routes(500))
    plain.published()
    data = plain.state_dir / "store" / "data.mdb"
    with Daemon(plain.config_path, "--listen", f"unix:{plain.folder}/policy.sock"):
        reader = read_and_stay(plain)
        try:
            for turn in range(1, 6):
                plain.put(routes(500, start=turn))
                plain.published()
            assert plain.manifest.generation == 6
        finally:
            os.kill(reader, signal.SIGKILL)
            os.waitpid(reader, 0)
        size = data.stat().st_size
        for turn in range(6, 12):
            plain.put(routes(500, start=turn))
            plain.published()
        assert data.stat().st_size == size
    plain.assert_consistent()


@pytest.mark.parametrize("when", ["before the commit", "after it"])
def test_a_daemon_that_is_killed_while_sync_publishes(plain: Site, monkeypatch: pytest.MonkeyPatch, when: str) -> None:
    commit = StoreWriter.commit

    def kill_and_commit(store: StoreWriter) -> None:
        if when == "after it":
            commit(store)
        daemon.kill()
        if when == "before the commit":
            commit(store)

    with suppress(AssertionError), put_in_force(plain) as daemon, monkeypatch.context() as context:
        assert daemon.ask(sender="a@d00001.example", client_address="203.0.113.9")
        context.setattr(StoreWriter, "commit", kill_and_commit)
        plain.published()
    assert not daemon.running
    plain.assert_consistent()
    with Daemon(plain.config_path, "--listen", f"unix:{plain.folder}/policy.sock") as daemon:
        asked = daemon.ask(sender=f"a@d{NEW - 1:05}.example", client_address="203.0.113.9")
        assert (asked or "").startswith("REJECT")
        plain.put(routes(OLD))
        plain.published(force=True)
    plain.assert_consistent()


# --- a state directory from a backup -------------------------------------------------------------------------------


@pytest.fixture
def restored(site: Site) -> Site:
    """A gateway whose state directory is that of two lists ago; Postfix's maps are those of the newest list."""
    site.set(shrink_limit="100%", on_removed="release")
    site.put(routes(20), when=site.now - 3 * MINUTE)
    site.published()
    subprocess.run(["cp", "-a", str(site.state_dir), str(site.folder / "backup")], check=True)  # noqa: S607
    for turn in (1, 2):
        site.put(routes(20 + turn, start=turn), when=site.now - (3 - turn) * MINUTE)
        site.published()
    shutil.rmtree(site.state_dir)
    (site.folder / "backup").rename(site.state_dir)
    return site


def test_the_next_sync_brings_the_newest_list_again(restored: Site) -> None:
    before = restored.rows()
    report = restored.sync()
    assert report.networks["ndb"].code is None
    assert restored.rows() == before
    assert len(restored.records) == 22
    restored.assert_consistent()
    assert restored.sync().networks["ndb"].result == "unchanged"


def assert_held_by_their_rows(restored: Site) -> None:
    """What the older list has is routed; partners that only the rows of the maps know are held, whatever is set."""
    rows = restored.rows()
    assert rows.keys() == {f"d{n:05}.example" for n in range(24)}
    held = [f"d{n:05}.example" for n in range(20, 24)]
    assert [key for key, value in rows.items() if value.startswith("retry:4.3.2")] == held
    assert restored.manifest.generation == 4  # not 2: the maps have said 3
    restored.assert_consistent()


def test_maps_follow_a_restored_store_where_nothing_can_be_fetched(restored: Site) -> None:
    restored.list_file().unlink()
    restored.refused("fetch-failed")
    assert_held_by_their_rows(restored)


def test_a_list_older_than_the_restored_one_is_a_replay(restored: Site) -> None:
    restored.put(routes(30), when=restored.now - 4 * MINUTE)
    restored.refused("replayed")
    restored.refused("replayed", force=True)
    # What was in force when the backup was made is no replay.
    restored.put(routes(20), when=restored.now - 3 * MINUTE)
    assert restored.sync().networks["ndb"].code is None
    assert_held_by_their_rows(restored)


@pytest.mark.real("gpg")
def test_a_policy_store_from_a_backup_takes_no_old_list(site: Site) -> None:
    """Nor one that is newer than the store: `sync.json` knows what has been accepted since."""
    site.put(routes(OLD), when=site.now - 3 * MINUTE)
    site.published()
    store, backup = site.state_dir / "store", site.folder / "backup"
    subprocess.run(["cp", "-a", str(store), str(backup)], check=True)  # noqa: S607  Debian's
    site.put(routes(NEW), when=site.now - MINUTE)
    site.published()
    shutil.rmtree(store)
    backup.rename(store)
    site.put(routes(OLD + 1), when=site.now - 2 * MINUTE)
    site.refused("replayed")
    site.refused("replayed", force=True)
    site.put(routes(NEW), when=site.now - MINUTE)
    assert site.published(force=True).domains == NEW


@pytest.mark.parametrize("parts", ["store", "sync.json", "lists", "store lists"])
def test_a_part_of_the_state_from_a_backup(site: Site, parts: str) -> None:
    """The rest is newer: what is in force decides, and the list is not taken as unchanged where it is another one."""
    site.set(shrink_limit="100%", on_removed="release")
    site.put(routes(20), when=site.now - 2 * MINUTE)
    site.published()
    backup = site.folder / "backup"
    backup.mkdir()
    for part in parts.split():
        subprocess.run(["cp", "-a", str(site.state_dir / part), str(backup)], check=True)  # noqa: S607  Debian's
    site.put(routes(22))
    site.published()
    for part in parts.split():
        place = site.state_dir / part
        shutil.rmtree(place) if place.is_dir() else place.unlink()
        (backup / part).rename(place)
    assert site.sync().networks["ndb"].code is None
    assert len(site.records) == 22
    assert len(site.rows()) == 22
    site.assert_consistent()


def test_a_restored_store_without_its_lock_file(site: Site) -> None:
    """As from a backup that leaves sockets and locks out."""
    site.put(routes(OLD))
    site.published()
    (site.state_dir / "store" / "lock.mdb").unlink()
    (site.state_dir / "sync.lock").unlink()
    assert site.fork("explain", "--recipient", "a@d00001.example").status == 0
    site.put(routes(NEW))
    site.published()
    site.assert_consistent()
