"""The user who runs closedmail, and what root can read and that user can't: one line says which, and what to run."""

import json
import os
import pwd
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from tempfile import mkdtemp

import pytest
from support.patient import Patient, patient

from closedmail.config import parse
from closedmail.config.readable import Unreadable, find_unreadable
from closedmail.doctor.checks.running import Running, state_findings
from closedmail.owner import become_owner, call_as_owner, child
from closedmail.owner.python_files import advice, own_files, unreadable_for_me

pytestmark = pytest.mark.real("root", "Python for all users", "postconf", "postmap", "openssl")
NOBODY = 65534
GROUP = "nogroup"
PROGRAM = Path(sys.executable).with_name("closedmail")


@pytest.fixture(scope="module")
def gateway() -> Iterator[Patient]:
    """A gateway below a folder of closedmail's, whose state directory is nobody's."""
    with patient(wired=True) as made:
        folder = made.folder / "closedmail"
        folder.mkdir(mode=0o755)
        shutil.copy(made.config, folder / "closedmail.toml")
        made.config = folder / "closedmail.toml"
        for path in (made.folder / "state", *(made.folder / "state").rglob("*")):
            os.chown(path, NOBODY, NOBODY)
        yield made


@pytest.fixture
def config(gateway: Patient) -> Iterator[Path]:
    """The configuration file, in order again at the end."""
    path = Path(gateway.config)
    yield path
    shutil.rmtree(path.parent / "conf.d", ignore_errors=True)
    for each, mode in ((path, 0o644), (path.parent, 0o755)):
        os.chown(each, 0, 0)
        each.chmod(mode)


def run(config: Path | str, *command: str, program: str | Path = PROGRAM) -> subprocess.CompletedProcess[str]:
    words = [str(program), "--config", str(config), *command]
    return subprocess.run(words, capture_output=True, text=True, timeout=120, check=False)


def found(config: Path) -> list[dict[str, object]]:
    findings = json.loads(run(config, "doctor", "--json").stdout)["findings"]
    return [item for item in findings if item["id"] == "service-user"]


def close_file(config: Path) -> None:
    config.chmod(0o600)


def close_to_others(config: Path) -> None:
    config.chmod(0o640)


def close_folder(config: Path) -> None:
    config.parent.chmod(0o700)


def close_drop_in(config: Path) -> None:
    (config.parent / "conf.d").mkdir()
    (config.parent / "conf.d" / "own.toml").write_text("")
    (config.parent / "conf.d" / "own.toml").chmod(0o600)


def close_drop_ins(config: Path) -> None:
    close_drop_in(config)
    (config.parent / "conf.d").chmod(0o700)


@pytest.mark.parametrize(
    ("close", "fix"),
    [
        (close_file, ["chgrp nogroup {0}/closedmail.toml", "chmod 0640 {0}/closedmail.toml"]),
        (close_to_others, ["chgrp nogroup {0}/closedmail.toml"]),
        (close_folder, ["chgrp nogroup {0}", "chmod 0750 {0}"]),
        (close_drop_in, ["chgrp nogroup {0}/conf.d/own.toml", "chmod 0640 {0}/conf.d/own.toml"]),
        (close_drop_ins, ["chgrp nogroup {0}/conf.d", "chmod 0750 {0}/conf.d"]),
    ],
)
def test_what_is_closed_is_found(config: Path, close: object, fix: list[str]) -> None:
    """As the user sees it; the commands, run in their order, let the user in, one step at a time."""
    assert callable(close)
    close(config)

    def look() -> list[str] | None:
        seen = call_as_owner(config.parents[1] / "state", lambda: _shown(find_unreadable(config)))
        assert seen is None or isinstance(seen, list)
        return seen

    assert look() == [each.format(config.parent) for each in fix]
    for _ in range(2):
        for command in look() or ():
            subprocess.run(shlex.split(command), check=True)
    assert look() is None
    assert run(config, "history").returncode == 0


def _shown(found: Unreadable | None) -> list[str] | None:
    return found.advice.removeprefix("run: ").split(" && ") if found else None


def test_a_folder_of_others_is_not_opened(config: Path, tmp_path: Path) -> None:
    """No chgrp for /root, nor for anything else that is not closedmail's."""
    tmp_path.chmod(0o700)
    place = tmp_path / "closedmail.toml"
    shutil.copy(config, place)
    seen = call_as_owner(config.parents[1] / "state", lambda: _shown(find_unreadable(place)))
    assert seen == ["put it where that user can read it"]


def test_the_commands_of_root_say_it(config: Path) -> None:
    close_file(config)
    advised = f"run: chgrp {GROUP} {config} && chmod 0640 {config}"
    synced = run(config, "sync", "--json")
    assert advised in synced.stderr
    assert "networks" in json.loads(synced.stdout)
    shown = run(config, "status")
    assert (shown.returncode, advised in shown.stdout) == (1, True)
    assert "nobody, who runs closedmail, can't read" in shown.stdout
    assert [item["fix"] for item in found(config)] == [[f"chgrp {GROUP} {config}", f"chmod 0640 {config}"]]


def test_setup_opens_it_before_anything_is_started(config: Path, gateway: Patient) -> None:
    """And --undo gives the mode back."""
    close_file(config)
    done = run(config, "setup", "--yes")
    assert oct(config.stat().st_mode & 0o777) == oct(0o640), done
    assert config.stat().st_gid == NOBODY
    assert found(config) == []
    run(config, "setup", "--undo")
    assert config.stat().st_mode & 0o777 == 0o600


CONFIG = parse('[gateway]\nown_domains = ["city.example"]\n')


@pytest.mark.parametrize(
    ("running", "fix", "text"),
    [
        (
            Running(generation=1, unreadable=Unreadable("u", "/etc/closedmail/closedmail.toml", "g", "0640")),
            ("chgrp g /etc/closedmail/closedmail.toml", "chmod 0640 /etc/closedmail/closedmail.toml"),
            "u, who runs closedmail, can't read",
        ),
        (Running(generation=1, unreadable=Unreadable("u", "/root")), (), "; put it where that user can read it"),
        (Running(unable="u can't read /opt/x; run: y"), (), "u can't read /opt/x; run: y"),
    ],
)
def test_doctor_says_it(running: Running, fix: tuple[str, ...], text: str) -> None:
    [only] = state_findings(CONFIG, running)
    assert (only.id, only.fix) == ("service-user", fix)
    assert text in only.text


# Python's own files.


@pytest.fixture(scope="module")
def venv() -> Iterator[Path]:
    """A virtual environment, in a folder that all may pass."""
    folder = Path(mkdtemp(prefix="closedmail-"))
    folder.chmod(0o755)
    place = folder / "closedmail"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", "--symlinks", place], check=True)
    library = next((place / "lib").glob("python*")) / "site-packages"
    here = next(Path(sys.prefix, "lib").glob("python*")) / "site-packages"
    for name in ("click", "idna", "lmdb", "gnupg.py", "lmdb.libs"):
        source = here / name
        if source.is_dir():
            shutil.copytree(source, library / name)
        elif source.exists():
            shutil.copy(source, library / name)
    (library / "own.pth").write_text(f"{Path(__file__).parents[1]}\n")
    yield place
    shutil.rmtree(folder)


@pytest.mark.parametrize("closed", ["lmdb", "lmdb/*.py", "gnupg.py", ""])
def test_python_that_only_root_can_read(config: Path, venv: Path, closed: str) -> None:
    """One line names the path, and a command that mends it."""
    library = next((venv / "lib").glob("python*")) / "site-packages"
    paths = sorted(library.glob(closed)) if closed else [venv]
    for path in paths:
        path.chmod(path.stat().st_mode & 0o700)
    program = venv / "bin" / "python"

    def ran(*command: str) -> subprocess.CompletedProcess[str]:
        words: list[str | Path] = [program, "-P", "-m", "closedmail", "--config", config, *command]
        return subprocess.run(words, capture_output=True, text=True, timeout=120, check=False, cwd="/")

    more: list[tuple[str, ...]] = [] if closed else [("history",), ("release", "koeln.example"), ("status",)]
    for command in (*more, ("sync",)):
        done = ran(*command)
        assert done.returncode == 1
        assert re.fullmatch(r"closedmail: error: nobody, .* can't read \S+, of which Python .*; run: .*\n", done.stderr)
        assert f"can't read {paths[0]}, " in done.stderr
    if not closed:
        first = json.loads(ran("doctor", "--json").stdout)["findings"][0]
        assert (first["id"], first["fix"], f"can't read {venv}, " in first["text"]) == ("service-user", [], True)
    command_ = done.stderr.rpartition("run: ")[2]
    assert command_ == f"chmod -R a+rX {venv}\n"
    subprocess.run(shlex.split(command_), check=True)
    assert ran("history").returncode == 0


@pytest.mark.parametrize(
    ("prefix", "base", "blocked", "said"),
    [
        (
            "/opt/closedmail",
            "/usr",
            "/opt/closedmail/lib/python3/lmdb",
            "chmod -R a+rX /opt/closedmail",
        ),
        ("/opt/closedmail", "/usr", "/opt/closedmail", "chmod -R a+rX /opt/closedmail"),
        (
            "/opt/closedmail",
            "/usr",
            "/usr/lib/python3/lmdb",
            "chmod -R a+rX /usr/lib/python3/lmdb",
        ),
        ("/root/venv", "/root/.pyenv/3.11", "/root", "umask 022; /usr/bin/python3 -m venv /opt/closedmail"),
        ("/opt/closedmail", "/root/.pyenv/3.11", "/root", "with a Python outside of it"),
    ],
)
def test_what_to_run(monkeypatch: pytest.MonkeyPatch, prefix: str, base: str, blocked: str, said: str) -> None:
    monkeypatch.setattr(sys, "prefix", prefix)
    monkeypatch.setattr(sys, "base_prefix", base)
    assert said in advice(Path(blocked))


def test_own_files_are_those_of_packages_too() -> None:
    names = {Path(file).name for file in own_files()}
    assert {"latin_1.py", "gnupg.py", "sync_command.py", "public_suffix_list.dat"} <= names
    assert unreadable_for_me(own_files()) is None


# The state directory.


@pytest.mark.parametrize("home", [True, False])
def test_a_missing_state_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, home: bool) -> None:
    """Its user's, where it is anybody's home; root's else."""
    place = tmp_path / "lib" / "closedmail"
    nobody = pwd.getpwuid(NOBODY)
    users = [pwd.struct_passwd((*nobody[:5], str(place), nobody[6]))] if home else []
    monkeypatch.setattr(pwd, "getpwall", lambda: [pwd.getpwuid(0), *users])
    monkeypatch.setattr(child, "changeable_folder", lambda _: None)
    monkeypatch.setattr(child, "other_owner", lambda _: None)
    become_owner(place)
    assert place.exists() == home
    if home:
        assert (place.stat().st_uid, place.stat().st_mode & 0o777) == (NOBODY, 0o755)


def test_not_where_others_could_put_a_link(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    nobody = pwd.getpwuid(NOBODY)
    folder = tmp_path / "theirs"
    folder.mkdir()
    os.chown(folder, NOBODY, NOBODY)
    monkeypatch.setattr(pwd, "getpwall", lambda: [pwd.struct_passwd((*nobody[:5], str(folder / "x"), nobody[6]))])
    become_owner(folder / "x")
    assert not (folder / "x").exists()
