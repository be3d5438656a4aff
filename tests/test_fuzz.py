"""The short form of scripts/fuzz: mutants for every parser of other people's bytes, the same ones in each run."""

import subprocess
import sys
from pathlib import Path

FUZZ = Path(__file__).resolve().parents[1] / "scripts" / "fuzz.py"
_INPUTS = 300


def fuzz(*arguments: str, code: str = "") -> "subprocess.CompletedProcess[str]":
    """Run scripts/fuzz; `code` runs first, and changes a parser."""
    start = f"import sys; sys.path.insert(0, {str(FUZZ.parent)!r}); import fuzz\n{code}\nsys.exit(fuzz.main())"
    command = [sys.executable, "-c", start, *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=600, check=False)


def test_no_parser_fails() -> None:
    done = fuzz("--inputs", str(_INPUTS), "--seed", "7")
    assert (done.returncode, done.stderr) == (0, ""), done.stdout
    lines = done.stdout.splitlines()
    assert len(lines) >= 16
    assert all(line.split()[1:] == [str(_INPUTS), "inputs,", "0", "findings"] for line in lines[1:])


def test_what_is_wrong_is_found() -> None:
    """A traceback, an endless loop, and quadratic time."""
    faulty = (
        "import re; from fuzz_targets import TARGETS, FuzzTarget\n"
        "fuzz._HANGS = 1\n"
        "def endless(data):\n"
        "    while b';' in data: pass\n"
        "TARGETS['header'] = FuzzTarget(lambda data: data.decode('ascii'))\n"
        "TARGETS['mark'] = FuzzTarget(endless)\n"
        "TARGETS['smtp'] = FuzzTarget(lambda data: [data[at:].count(b'\\0') for at in range(len(data))])\n"
    )
    done = fuzz("header", "--inputs", "50", code=faulty)
    assert done.returncode == 1
    assert "header: UnicodeDecodeError: " in done.stdout
    done = fuzz("mark", "--inputs", "50", code=faulty)
    assert "mark: takes more than 1 seconds: " in done.stdout
    done = fuzz("smtp", "--minutes", "0.2", code=faulty.replace("_HANGS = 1", "_HANGS = 10"))
    assert "smtp: more than linear time: Bomb(" in done.stdout
