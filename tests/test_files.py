"""Files that are whole or not there, while others are at work on them."""

import errno
import fcntl
import os
import resource
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

import pytest

from closedmail import files
from closedmail.files import folder_owner, fresh_folder, remove_tree, replace_file


def add(folder: Path) -> None:
    (folder / "added").touch()


def take(folder: Path) -> None:
    for path in folder.iterdir():
        path.unlink()


@pytest.mark.parametrize("meddle", [add, take], ids=["a file comes", "a file goes"])
@pytest.mark.parametrize("task", [remove_tree, fresh_folder])
def test_a_folder_goes_while_a_killed_runs_child_works_in_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, task: Callable[[Path], object], meddle: Callable[[Path], None]
) -> None:
    folder = tmp_path / "work"
    folder.mkdir()
    for name in "abc":
        (folder / name).touch()
    real, times = os.unlink, iter(range(3))

    def unlink(name: Any, **how: Any) -> None:
        if next(times, None) is not None:
            with monkeypatch.context() as context:
                context.setattr(os, "unlink", real)
                meddle(folder)
        real(name, **how)

    monkeypatch.setattr(os, "unlink", unlink)
    task(folder)
    assert not folder.exists() or not list(folder.iterdir())


def test_a_folder_that_cannot_go_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "work").mkdir()
    tries = []

    def rmdir(*_: Any, **__: Any) -> None:
        tries.append(1)
        raise OSError(13, "Permission denied")

    monkeypatch.setattr(os, "rmdir", rmdir)
    with pytest.raises(PermissionError):
        remove_tree(tmp_path / "work")
    assert len(tries) == 1


# --- replace_file --------------------------------------------------------------------------------------------------

OWNER = (os.geteuid(), os.getegid())


@contextmanager
def failing(module: Any, name: str, nth: int) -> Iterator[None]:
    """The nth call of a function fails; all others are real."""
    real, calls = getattr(module, name), iter(range(1, 99))

    def call(*given: Any, **named: Any) -> Any:
        if next(calls) == nth:
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        return real(*given, **named)

    with pytest.MonkeyPatch.context() as context:
        context.setattr(module, name, call)
        yield
        assert next(calls) > nth, "the call that was to fail was never made"


@contextmanager
def no_room() -> Iterator[None]:
    """No file gets longer than 5 bytes."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (5, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


FAULTS: dict[str, Callable[[], AbstractContextManager[None]]] = {
    "open": lambda: failing(os, "open", 1),
    "fstat": lambda: failing(os, "fstat", 1),
    "write": no_room,
    "fchown": lambda: failing(os, "fchown", 1),
    "fchmod": lambda: failing(os, "fchmod", 1),
    "fsync of the file": lambda: failing(os, "fsync", 1),
    "rename": lambda: failing(os, "replace", 1),
}


@pytest.mark.parametrize("old", [b"old", None], ids=["there", "new"])
@pytest.mark.parametrize("fault", FAULTS)
def test_a_call_that_fails(tmp_path: Path, fault: str, old: bytes | None) -> None:
    target = tmp_path / "target"
    if old is not None:
        target.write_bytes(old)
    with FAULTS[fault](), pytest.raises(OSError, match="target") as caught:
        replace_file(target, [b"new contents"], 0o640, OWNER)
    assert caught.value.filename == str(target)
    assert caught.value.strerror == os.strerror(errno.EFBIG if fault == "write" else errno.EIO)
    assert {path: path.read_bytes() for path in tmp_path.iterdir()} == ({} if old is None else {target: old})
    assert replace_file(target, [b"new contents"], 0o640, OWNER)
    assert {path: path.read_bytes() for path in tmp_path.iterdir()} == {target: b"new contents"}


def test_a_folder_that_can_not_be_synced(tmp_path: Path) -> None:
    """The one failure that comes after the switch."""
    target = tmp_path / "target"
    target.write_bytes(b"old")
    with failing(os, "fsync", 2), pytest.raises(OSError, match="target"):
        replace_file(target, [b"new"])
    assert {path: path.read_bytes() for path in tmp_path.iterdir()} == {target: b"new"}


def test_contents_that_fail(tmp_path: Path) -> None:
    """What makes the contents may fail as it likes: its own error passes, and nothing is left."""

    def contents() -> Iterator[bytes]:
        yield b"half"
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        replace_file(tmp_path / "target", contents())
    assert list(tmp_path.iterdir()) == []


def test_a_file_has_its_mode_and_owner_before_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    target, calls = tmp_path / "target", []

    def noted(name: str, real: Callable[..., Any]) -> Callable[..., Any]:
        def call(*given: Any, **named: Any) -> Any:
            calls.append(name)
            return real(*given, **named)

        return call

    for name in ("fchown", "fchmod", "fsync", "replace"):
        monkeypatch.setattr(os, name, noted(name, getattr(os, name)))
    before = os.umask(0o077)
    try:
        replace_file(target, [b"contents"], 0o664, OWNER)
    finally:
        os.umask(before)
    assert calls == ["fchown", "fchmod", "fsync", "replace", "fsync"]
    assert target.stat().st_mode & 0o7777 == 0o664


@pytest.mark.skipif(os.geteuid() != 0, reason="only root gives files away")
def test_what_root_writes_belongs_to_the_folder(tmp_path: Path) -> None:
    os.chown(tmp_path, 12345, 54321)
    target = tmp_path / "target"
    replace_file(target, [b"contents"], 0o640, folder_owner(target))
    found = target.stat()
    assert (found.st_uid, found.st_gid, found.st_mode & 0o7777) == (12345, 54321, 0o640)


def test_a_file_that_says_the_same_stays(tmp_path: Path) -> None:
    target = tmp_path / "target"
    assert replace_file(target, [b"con", b"tents"], unless_same=True)
    number = target.stat().st_ino
    assert not replace_file(target, [b"contents"], unless_same=True)
    assert target.stat().st_ino == number
    assert replace_file(target, [b"others"], unless_same=True)
    assert list(tmp_path.iterdir()) == [target]


def test_a_link_is_replaced_not_followed(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").write_bytes(b"elsewhere")
    (tmp_path / "target").symlink_to("elsewhere")
    replace_file(tmp_path / "target", [b"new"])
    assert not (tmp_path / "target").is_symlink()
    assert (tmp_path / "elsewhere").read_bytes() == b"elsewhere"


LEFT = f"{files._ASIDE}0123456789abcdef"


def test_leftovers_of_a_killed_writer_go(tmp_path: Path) -> None:
    code = (
        "import os, signal, sys, pathlib; from closedmail.files import replace_file\n"
        "def contents():\n    yield b'half'\n    os.kill(os.getpid(), signal.SIGKILL)\n"
        "replace_file(pathlib.Path(sys.argv[1]), contents())"
    )
    killed = subprocess.run([sys.executable, "-c", code, str(tmp_path / "another")], check=False)
    assert killed.returncode == -signal.SIGKILL
    (left,) = tmp_path.iterdir()
    assert left.name.startswith(files._ASIDE)
    replace_file(tmp_path / "target", [b"contents"])
    assert list(tmp_path.iterdir()) == [tmp_path / "target"]


def test_what_a_living_writer_has_stays(tmp_path: Path) -> None:
    def contents() -> Iterator[bytes]:
        replace_file(tmp_path / "inner", [b"inner"])
        yield b"outer"

    replace_file(tmp_path / "outer", contents())
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == {"inner": b"inner", "outer": b"outer"}


def test_what_is_not_ours_stays(tmp_path: Path) -> None:
    """A link, also to a file that is ours, a folder and a pipe with our names, and files with others."""
    target = tmp_path / "target"
    folder, outside = tmp_path / "folder", tmp_path / LEFT
    folder.mkdir()
    outside.touch()
    (folder / LEFT).symlink_to(outside)
    (folder / f"{LEFT}1").mkdir()
    os.mkfifo(folder / f"{LEFT}2")
    for name in (".target.new", "closedmail-new-0123456789abcdef", ".closedmail-new"):
        (folder / name).touch()
    before = {*folder.iterdir()}
    replace_file(folder / "target", [b"contents"])
    assert {*folder.iterdir()} == before | {folder / "target"}
    assert outside.exists()
    assert not target.exists()


def test_a_file_that_is_swept_before_it_is_locked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real, times = fcntl.flock, iter(["gone", "taken"])

    def flock(descriptor: int, how: int) -> None:
        state = next(times, None)
        if state:
            (aside,) = tmp_path.iterdir()
            aside.unlink()
        if state == "taken":
            raise BlockingIOError(errno.EWOULDBLOCK, "taken")
        real(descriptor, how)

    monkeypatch.setattr(fcntl, "flock", flock)
    replace_file(tmp_path / "target", [b"contents"])
    assert next(times, None) is None
    assert [(path.name, path.read_bytes()) for path in tmp_path.iterdir()] == [("target", b"contents")]


def test_a_file_system_without_locks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def flock(*_: object) -> None:
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    (tmp_path / LEFT).touch()
    monkeypatch.setattr(fcntl, "flock", flock)
    replace_file(tmp_path / "target", [b"contents"])
    assert {path.name for path in tmp_path.iterdir()} == {"target", LEFT}  # who knows whether somebody writes it


_WRITER = """
import pathlib, sys
from closedmail.files import replace_file
for turn in range(200):
    replace_file(pathlib.Path(sys.argv[1]), [sys.argv[2].encode() * 5000] * 20)
"""


def test_two_writers_at_a_time(tmp_path: Path) -> None:
    """Each succeeds every time, and who reads meanwhile sees whole files of one of them."""
    target = tmp_path / "target"
    replace_file(target, [b"a" * 100_000])
    writers = [
        subprocess.Popen([sys.executable, "-c", _WRITER, str(target), letter], stderr=subprocess.PIPE)
        for letter in "ab"
    ]
    seen = set()
    while any(writer.poll() is None for writer in writers):
        seen.add(target.read_bytes())
    assert [(writer.communicate()[1], writer.returncode) for writer in writers] == [(b"", 0)] * 2
    seen.add(target.read_bytes())
    assert seen <= {b"a" * 100_000, b"b" * 100_000}
    assert list(tmp_path.iterdir()) == [target]
