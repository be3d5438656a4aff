"""What root changes by `setup` and `--undo` while the service user puts links in its way: nothing but its own files."""

import os
import shutil
import stat
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from support.daemon import closedmail
from support.patient import Patient, patient

from closedmail.config import load
from closedmail.doctor.chmod_fixes import safe_fixes
from closedmail.doctor.finding import Finding, Fix
from closedmail.doctor.setup_record import SetupRecord, SetupStep
from closedmail.files import replace_file
from closedmail.folders import changeable_folder, open_folder

pytestmark = pytest.mark.real("root", "postconf", "postmap", "openssl")
NOBODY = 65534


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def as_nobody(work: Callable[[], object]) -> None:
    """Call something as nobody, in a child."""
    child = os.fork()
    if child == 0:
        status = 1
        try:
            os.setgroups([])
            os.setgid(NOBODY)
            os.setuid(NOBODY)
            work()
            status = 0
        finally:
            os._exit(status)
    assert os.waitpid(child, 0)[1] == 0


def give(state: Path) -> None:
    """Give a state directory to nobody, as the package does to closedmail's user."""
    for path in (state, *state.rglob("*")):
        os.chown(path, NOBODY, NOBODY, follow_symlinks=False)


@pytest.fixture(scope="module")
def shared() -> Iterator[Patient]:
    with patient(wired=True, daemon=False) as made:
        give(made.folder / "state")
        yield made


@pytest.fixture
def gateway(shared: Patient) -> Iterator[Patient]:
    """The gateway of all tests here, brought in order after each."""
    yield shared
    state = shared.folder / "state"
    web = state / "web"
    if web.is_symlink():
        web.unlink()
    else:
        shutil.rmtree(web, ignore_errors=True)
    shutil.rmtree(SetupRecord(state).path.parent, ignore_errors=True)
    (shared.etc / "shadow").unlink(missing_ok=True)
    assert closedmail("sync", config=shared.config).status == 0


@pytest.fixture
def secret(gateway: Patient) -> Path:
    """A file of root's alone, as /etc/shadow is."""
    path = gateway.etc / "shadow"
    path.write_text("root:x")
    path.chmod(0o600)
    return path


def index_of(gateway: Patient, name: str = "transport") -> Path:
    return next(path for path in (gateway.folder / "state" / "postfix").glob(f"{name}.*"))


def test_a_link_in_place_of_a_map(gateway: Patient, secret: Path) -> None:
    place = index_of(gateway)

    def attack() -> None:
        place.unlink()
        place.symlink_to(secret)

    as_nobody(attack)
    said = closedmail("doctor", config=gateway.config)
    assert "chmod" not in said.stdout
    closedmail("setup", "--yes", config=gateway.config)
    assert mode(secret) == 0o600
    assert not place.is_symlink()  # sync, as the owner, has published anew
    assert mode(place) == 0o644


def test_sync_repairs_modes(gateway: Patient) -> None:
    """What doctor proposed a chmod for: the owner does it, by sync."""
    place, folder = index_of(gateway), index_of(gateway).parent
    before = place.stat().st_ino
    for path, wrong, right in ((place, 0o600, 0o644), (folder, 0o700, 0o755)):
        path.chmod(wrong)
        found = [item for item in gateway.findings() if item.id == "map-access"]
        assert found
        assert {item.fix for item in found} == {(f"closedmail --config {gateway.config} sync",)}
        assert closedmail("sync", config=gateway.config).status == 0
        assert mode(path) == right
    assert place.stat().st_ino == before
    for path in (place, folder):
        path.chmod(0o777)  # whoever may write there may route mail
    assert closedmail("sync", config=gateway.config).status == 0
    assert (mode(place) & 0o002, mode(folder)) == (0, 0o775)
    os.chown(place, 0, 0)  # root made it anew by hand
    place.chmod(0o600)
    assert closedmail("sync", config=gateway.config).status == 0
    assert (mode(place), place.stat().st_uid) == (0o644, NOBODY)


@pytest.mark.parametrize("recorded", [[0o733], [0o733, 0o600]], ids=["killed", "done"])
def test_undo_of_a_record_of_before(gateway: Patient, secret: Path, recorded: list[int]) -> None:
    place = index_of(gateway)
    record = SetupRecord(Path(load(gateway.config).gateway.state_dir))
    record.add(SetupStep("map-access", f"chmod 0644 {place}", modes={str(place): recorded}))

    def attack() -> None:
        place.unlink()
        place.symlink_to(secret)

    as_nobody(attack)
    done = closedmail("setup", "--undo", config=gateway.config)
    assert (done.status, mode(secret)) == (0, 0o600)
    assert f"{place}: its mode is left as it is: {gateway.folder}/state may be written by others" in done.stdout


def test_who_is_to_run_other_chmods(gateway: Patient) -> None:
    """Not maps: the sentence says it."""
    config = load(gateway.config)
    there, elsewhere = gateway.folder / "state" / "key.pem", gateway.etc / "main.cf"
    found = [Finding.of("starttls", "wrong", (Fix.chmod("0600", str(path)),)) for path in (there, elsewhere)]
    one, other = safe_fixes(config, found)
    assert one.fixes == ()
    assert one.text.startswith(f"wrong; as its owner, run: chmod 0600 {there} (not as root: {gateway.folder}/state may")
    assert other == found[1]


def test_which_folders_are_roots(tmp_path: Path) -> None:
    """Every way in which somebody else may exchange what lies on the way."""
    base = tmp_path / "base"
    base.mkdir(mode=0o755)
    for name, owner, group, rights in (
        ("root", 0, 0, 0o755),
        ("roots-group", 0, 0, 0o775),
        ("theirs", NOBODY, 0, 0o755),
        ("group", 0, NOBODY, 0o775),
        ("world", 0, 0, 0o777),
        ("sticky", 0, 0, 0o1777),
    ):
        folder = base / name
        folder.mkdir()
        (folder / "roots").touch()
        (folder / "nobodys").touch()
        os.chown(folder / "nobodys", NOBODY, NOBODY)
        (folder / "link").symlink_to(base / "root" / "roots")
        (base / f"to-{name}").symlink_to(name)
        os.chown(folder, owner, group)
        folder.chmod(rights)
    bad = ("theirs", "group", "world")
    for name in ("root", "roots-group", *bad, "sticky"):
        for what in ("roots", "link", "nobodys", "missing"):
            wrong = name in bad or (name == "sticky" and what in ("nobodys", "missing"))
            for via in (name, f"to-{name}"):
                assert changeable_folder(base / via / what) == (base / name if wrong else None), (via, what)


@pytest.mark.parametrize("way", ["folder", "file"])
@pytest.mark.parametrize(
    "command",
    [("status", "--textfile", "x.prom"), ("report", "--output", "x.html"), ("export", "csv", "--output", "x.csv")],
    ids=lambda command: command[0],
)
def test_what_root_writes_into_folders_of_others(
    gateway: Patient, secret: Path, command: tuple[str, ...], way: str
) -> None:
    """A folder that is a link is refused, a link in place of the file is replaced; root's files stay as they are."""
    theirs = gateway.folder / "state" / "web"

    def attack() -> None:
        if way == "folder":
            theirs.symlink_to(gateway.etc)
        else:
            theirs.mkdir()
            (theirs / command[-1]).symlink_to(secret)

    as_nobody(attack)
    before = {path.name: path.read_bytes() for path in gateway.etc.iterdir()}
    done = closedmail(*command[:-1], theirs / command[-1], config=gateway.config)
    assert {path.name: path.read_bytes() for path in gateway.etc.iterdir()} == before
    assert mode(secret) == 0o600
    if way == "folder":
        assert done.status == 1
        assert "is a symbolic link that another user may have made" in done.stderr
    else:
        assert (theirs / command[-1]).read_bytes() != before["shadow"]
        assert not (theirs / command[-1]).is_symlink()


def test_a_link_of_roots_is_followed(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to("real")
    assert replace_file(tmp_path / "link" / "file", [b"x"])
    assert (tmp_path / "real" / "file").read_bytes() == b"x"
    os.lchown(tmp_path / "link", NOBODY, NOBODY)
    os.close(
        open_folder(tmp_path / "link")
    )  # in a folder of root's alone: whoever owns the link, root has put it there
