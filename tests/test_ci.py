"""`.ci/run`: the checks run on the commit, in a clone of its own, in an environment of which all is known."""

import os
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path

import pytest
from support.real import require

ROOT = Path(__file__).parents[1]
# In the place of scripts/test: it notes what it was given, and fails.
CHECKS = """\
#!/usr/bin/env bash
{
    pwd
    stat -c %a .. .
    env -0 | sort -z | tr '\\0' '\\n' | grep -v -e ^PWD= -e ^SHLVL= -e ^_=
    printf 'argument %s\\n' "$@"
    ls
} >"$(cat log)"
echo 1 failed in 0.01s
exit 3
"""
BARE = {"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "LANG": "C.UTF-8"}


def git(checkout: Path, *arguments: str) -> None:
    who = ("-c", "user.name=x", "-c", "user.email=x@city.example", "-c", f"safe.directory={checkout}")
    subprocess.run(["git", "-C", checkout, *who, *arguments], check=True, capture_output=True)  # noqa: S607


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A repository with the script and, in place of the checks, one that writes to `tmp_path / "log"`."""
    require("git")
    checkout = tmp_path / "private" / "checkout"
    for name in (".ci/run", "scripts/lib.sh"):
        (checkout / name).parent.mkdir(parents=True)
        shutil.copy(ROOT / name, checkout / name)
    (tmp_path / "private").chmod(0o700)
    (checkout / "scripts/test").write_text(CHECKS)
    (checkout / "scripts/test").chmod(0o755)
    (checkout / "log").write_text(str(tmp_path / "log"))
    git(checkout, "init", "--quiet")
    git(checkout, "add", ".")
    git(checkout, "commit", "--quiet", "--message=first")
    return checkout


def run(checkout: Path, log: Path, environment: Mapping[str, str], *arguments: str) -> list[str]:
    """Run it, which fails as the checks do; what they have noted, line by line."""
    done = subprocess.run(
        [checkout / ".ci/run", *arguments],
        env={"PATH": os.environ["PATH"], "TMPDIR": "/nonexistent", **environment},
        cwd="/",
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stdout, done.stderr) == (3, "1 failed in 0.01s\n", "")
    noted = log.read_text().splitlines()
    assert not Path(noted[0]).parent.exists()
    return noted


def test_nothing_of_the_machine_counts(checkout: Path, tmp_path: Path) -> None:
    """But proxies, the settings of pip and whether it is a build server; and the arguments are handed on."""
    kept = {"CI": "true", "https_proxy": "http://192.0.2.1", "NO_PROXY": "a b", "PIP_INDEX_URL": "x\ty", "HOME": "/tmp"}
    lost = {
        "PYTHONUNBUFFERED": "1",
        "LC_ALL": "C",
        "CLOSEDMAIL_CONFIG": "/x",
        "GIT_DIR": "/nowhere",
        "http_proxyx": "1",
    }
    where, around, clone, *noted = run(checkout, tmp_path / "log", {**kept, **lost}, "-k", "two words")
    assert Path(where).parents[1] == Path("/tmp")
    # Others can read it, as an administrator's installation; nobody sees what else is there.
    assert (around, clone) == ("711", "755")
    ours = {"PIP_DISABLE_PIP_VERSION_CHECK": "1", "PIP_ROOT_USER_ACTION": "ignore"}
    pairs = sorted(f"{name}={value}" for name, value in {**BARE, **kept, **ours}.items())
    assert noted == [*pairs, "argument -k", "argument two words", "log", "scripts"]


def test_it_is_the_commit_that_counts(checkout: Path, tmp_path: Path) -> None:
    """Of a worktree its own; what is not committed is not there. A home directory is made where there is none."""
    git(checkout, "worktree", "add", "--quiet", "--detach", "../tree")
    tree = checkout.parent / "tree"
    (tree / "new").touch()
    git(tree, "add", "new")
    git(tree, "commit", "--quiet", "--message=second")
    (tree / "stray").touch()
    for at, expected in ((tree, ["log", "new", "scripts"]), (checkout, ["log", "scripts"])):
        where, _, _, *noted = run(at, tmp_path / "log", {"HOME": "/nonexistent"})
        assert f"HOME={Path(where).parent}/home" in noted
        assert noted[noted.index("argument ") + 1 :] == expected


@pytest.mark.real("root")
def test_a_checkout_of_somebody_else(checkout: Path, tmp_path: Path) -> None:
    for path in (checkout, *checkout.rglob("*")):
        os.chown(path, 65534, 65534, follow_symlinks=False)
    assert "log" in run(checkout, tmp_path / "log", {"HOME": "/nonexistent"})
