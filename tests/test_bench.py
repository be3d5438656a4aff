"""The measurements still run, with numbers so small that they say nothing; what is measured is not looked at."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from support.real import require

ROOT = Path(__file__).resolve().parent.parent


def bench(*arguments: str) -> str:
    """What scripts/bench prints."""
    done = subprocess.run(
        [sys.executable, "scripts/bench.py", *arguments],
        cwd=ROOT,
        env={**os.environ, "PATH": f"{os.environ['PATH']}:/usr/sbin:/sbin"},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def figures(output: str, name: str) -> list[str]:
    """What stands behind a name at the beginning of a line."""
    (line,) = (line.strip() for line in output.splitlines() if line.strip().startswith(name + " "))
    return line.removeprefix(name).split()


def test_latency() -> None:
    output = bench("latency", "--partners", "100", "--requests", "9", "--rounds", "1", "--connections", "3")
    assert figures(output, "closedmail, 100 partners")[0] == "3"


def test_memory() -> None:
    output = bench("memory", "--partners", "100", "--requests", "1")
    assert float(figures(output, "100")[2])


@pytest.mark.real("root", "postfix", "postfix-lmdb")
def test_mail() -> None:
    require("root", "postfix", "postfix-lmdb")
    output = bench("mail", "--partners", "100", "--messages", "3", "--sessions", "1", "--rounds", "1")
    assert int(figures(output, "with closedmail")[0])
