"""Programs that end, fail, hang, are missing, and leave nothing that runs."""

import asyncio
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import pytest

from closedmail.programs import ProgramError, ProgramMissing, environment, find, read_output, run

PATIENCE = 60.0  # seconds; only a test that fails waits so long


def shell(text: str) -> list[str]:
    return ["sh", "-c", text]


def test_what_it_prints() -> None:
    ended = run(shell("echo said; echo complained >&2"), time_limit=PATIENCE)
    assert (ended.status, ended.stdout, ended.stderr) == (0, b"said\n", b"complained\n")


def test_what_it_reads(tmp_path: Path) -> None:
    assert run(["cat"], time_limit=PATIENCE).stdout == b""
    assert run(["cat"], time_limit=PATIENCE, stdin=b"bytes").stdout == b"bytes"
    (tmp_path / "file").write_bytes(b"file")
    assert run(["cat"], time_limit=PATIENCE, stdin=tmp_path / "file").stdout == b"file"


def test_output_to_a_file(tmp_path: Path) -> None:
    """Over what is there, which may be room that was made for it, and no longer than what was printed."""
    path = tmp_path / "out"
    for before in (None, b"", b"x" * 1000):
        if before is not None:
            path.write_bytes(before)
        assert run(shell("printf 12; printf 345"), time_limit=PATIENCE, stdout=path).stdout == b""
        assert path.read_bytes() == b"12345"


@pytest.mark.parametrize("how", ["stdin", "stdout"])
def test_a_file_that_can_not_be_opened(tmp_path: Path, how: str) -> None:
    with pytest.raises(FileNotFoundError, match="nowhere"):
        run(["true"], time_limit=PATIENCE, **{how: tmp_path / "nowhere" / "file"})  # type: ignore[arg-type]


def test_no_shell_and_an_environment() -> None:
    assert run(["printf", "%s", "$HOME; echo *"], time_limit=PATIENCE).stdout == b"$HOME; echo *"
    assert run(shell("echo $A"), time_limit=PATIENCE, env={"A": "b", "PATH": "/usr/bin:/bin"}).stdout == b"b\n"


@pytest.mark.parametrize("path", [None, "", "/usr/bin:/bin"])
def test_administrators_programs_are_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, path: str | None) -> None:
    """By whatever starts a program, with a PATH such as cron's; and nothing of the current folder is."""
    if path is None:
        monkeypatch.delenv("PATH")
    else:
        monkeypatch.setenv("PATH", path)
    (tmp_path / "ours").touch(0o755)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("closedmail.programs._ADMINISTRATORS", str(tmp_path / "sbin"))
    program = tmp_path / "sbin" / "administrators"
    program.parent.mkdir()
    program.write_text("#!/bin/sh\necho found\n")
    program.chmod(0o755)
    assert run(["administrators"], time_limit=PATIENCE).stdout == b"found\n"
    assert asyncio.run(read_output(["administrators"], environment(), 10)) == b"found\n"
    assert find("administrators") == str(program)
    assert find("ours") is None
    with pytest.raises(ProgramMissing):
        run(["ours"], time_limit=PATIENCE)


@pytest.mark.parametrize(
    ("text", "status", "words"),
    [
        ("exit 3", 3, "exit status 3"),
        ("echo first >&2; echo ' last ' >&2; echo >&2; exit 1", 1, "last"),
        ("kill -TERM $$", -15, "killed by signal 15"),
        ("echo so long >&2; kill -KILL $$", -9, "so long"),
        (r"printf '\033[2J\377\302\205\n' >&2; exit 1", 1, r"\x1b[2J\xff\x85"),
        ("head -c 100000 /dev/zero | tr '\\0' x >&2; exit 1", 1, "x" * 199 + "…"),
    ],
)
def test_one_that_fails(text: str, status: int, words: str) -> None:
    with pytest.raises(ProgramError) as caught:
        run(shell(text), time_limit=PATIENCE)
    error = caught.value
    assert (error.program, error.status, error.words) == ("sh", status, words)
    assert str(error).startswith("sh -c ")
    assert str(error).endswith(f": {words}")
    assert run(shell(text), time_limit=PATIENCE, accepted=(status,)).status == status
    assert run(shell(text), time_limit=PATIENCE, accepted=None).status == status


def test_one_that_is_missing() -> None:
    with pytest.raises(ProgramMissing, match=r"^nosuchprogram is not to be found: is Postfix installed\?$"):
        run(["nosuchprogram", "-c"], time_limit=PATIENCE, package="Postfix")
    with pytest.raises(ProgramMissing, match=r"is nosuchprogram installed\?$"):
        asyncio.run(read_output(["nosuchprogram"], environment(), 10))


def test_one_that_can_not_be_run(tmp_path: Path) -> None:
    program = tmp_path / "program"
    program.write_text("no program")
    for mode, words in ((0o644, "Permission denied"), (0o755, "Exec format error")):
        program.chmod(mode)
        with pytest.raises(ProgramError) as caught:
            run([str(program), "now"], time_limit=PATIENCE)
        assert (caught.value.status, str(caught.value)) == (None, f"{program} now: {words}")
        with pytest.raises(ProgramError, match=words):
            asyncio.run(read_output([str(program)], environment(), 10))


def assert_gone(pids: Sequence[str]) -> None:
    """Processes end, or are zombies that somebody has to wait for."""
    assert pids
    deadline = time.monotonic() + PATIENCE
    for pid in pids:
        while True:
            try:
                if Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z":
                    break
            except OSError:
                break
            assert time.monotonic() < deadline, f"{pid} goes on"
            time.sleep(0.01)


def test_one_that_hangs_ends_with_its_children(tmp_path: Path) -> None:
    """Also where a child keeps the pipe open. The limit passes when both numbers stand there, however late that is."""
    pids = tmp_path / "pids"
    command = shell(f"sleep 600 & echo $! $$ >{pids}; wait")
    limit = 0.05
    while not (pids.exists() and pids.read_text().endswith("\n")):
        with pytest.raises(ProgramError, match="did not end in time"):
            run(command, time_limit=limit)
        limit *= 2
        assert limit < PATIENCE
    assert_gone(pids.read_text().split())


def test_an_interrupt_ends_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As Ctrl-C does, which reaches us alone."""
    pids = tmp_path / "pids"

    def interrupted(*_: object) -> None:
        while not (pids.exists() and pids.read_text().endswith("\n")):
            time.sleep(0.01)
        raise KeyboardInterrupt

    monkeypatch.setattr("subprocess.Popen.communicate", interrupted)
    with pytest.raises(KeyboardInterrupt):
        run(shell(f"sleep 600 & echo $! $$ >{pids}; wait"), time_limit=PATIENCE)
    assert_gone(pids.read_text().split())


def test_output_of_one_among_tasks() -> None:
    command = shell("echo said; echo complained >&2; exit 7")
    assert asyncio.run(read_output(command, environment(), 1000)) == b"said\ncomplained\n"
    assert asyncio.run(read_output(["yes"], environment(), 1000)) == b"y\n" * 500


@pytest.mark.parametrize("steps", [2, 3, 4, 5, 50])
def test_a_task_that_is_cancelled_ends_it(tmp_path: Path, steps: int) -> None:
    """Also while asyncio has only begun to watch it: the program runs after the task's second step."""
    pids = tmp_path / "pids"

    async def cancelled() -> None:
        command = shell(f"sleep 600 & echo $! $$ >{pids}; wait")
        task = asyncio.create_task(read_output(command, environment(), 1000))
        for _ in range(steps):
            await asyncio.sleep(0)
        while not (pids.exists() and pids.read_text().endswith("\n")):
            time.sleep(0.01)  # no further step
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(asyncio.wait_for(cancelled(), PATIENCE))
    assert_gone(pids.read_text().split())


def test_where_programs_are(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert environment()["PATH"] == f"{tmp_path}:/usr/sbin:/sbin"
    assert find("nosuchprogram") is None
    (tmp_path / "nosuchprogram").symlink_to(sys.executable)
    assert find("nosuchprogram") == str(tmp_path / "nosuchprogram")
