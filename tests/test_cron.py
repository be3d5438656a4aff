"""The cron form of the timer: its one command, run by a shell as cron does."""

import os
import re
import subprocess
from pathlib import Path

import pytest

CRON = Path(__file__).parents[1] / "scripts" / "closedmail.cron"
FIELDS = re.compile(r"^(\S+ \S+ \S+ \S+ \S+) (\S+) (.*)$", re.MULTILINE)


def run(folder: Path, sync: str, *, systemd: bool = False) -> tuple[str, list[str]]:
    """What cron would send by mail, and what was called in place of sleep and closedmail."""
    lines = [line for line in CRON.read_text().splitlines() if not line.startswith("#")]
    assert all(re.match(r"[A-Z]+=", line) for line in lines[:-1])
    found = FIELDS.match(lines[-1])
    assert found
    when, user, command = found.groups()
    assert (when, user) == ("0 * * * *", "closedmail")
    assert "%" not in command  # a new line to cron, crontab(5)
    (folder / "systemd").mkdir()
    bin_folder = folder / "bin"
    bin_folder.mkdir()
    for name, script in (("sleep", ""), ("closedmail", sync)):
        (bin_folder / name).write_text(f'#!/bin/sh\necho {name} "$@" >>{folder}/calls\n{script}\n')
        (bin_folder / name).chmod(0o755)
    command = command.replace("/run/systemd/system", str(folder / "systemd" / ("" if systemd else "none")))
    done = subprocess.run(
        ["/bin/sh", "-c", command],
        env={"PATH": f"{bin_folder}:{os.environ['PATH']}"},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=30,
        check=False,
    )
    calls = folder / "calls"
    return done.stdout, calls.read_text().splitlines() if calls.exists() else []


@pytest.mark.parametrize(
    ("sync", "mail"),
    [
        ("echo published; exit 0", ""),
        ("echo 'ndb: refused: shrunk'; echo 'more  blanks' >&2; exit 1", "ndb: refused: shrunk\nmore  blanks\n"),
        ("exit 2", "\n"),
    ],
)
def test_sync_is_run_after_a_while_and_heard_of_when_it_fails(tmp_path: Path, sync: str, mail: str) -> None:
    said, (slept, called) = run(tmp_path, sync)
    assert said == mail
    assert re.fullmatch(r"sleep \d{1,4}", slept)
    assert 0 <= int(slept.split()[1]) < 3600
    assert called == "closedmail sync"


def test_where_systemd_runs_its_timer_is_enough(tmp_path: Path) -> None:
    assert run(tmp_path, "", systemd=True) == ("", [])
