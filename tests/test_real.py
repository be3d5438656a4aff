"""The mechanism that skips, or in CI fails, tests on parts that the machine does not have."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from support.real import _has_ipv6_loopback, missing, require

TESTS = Path(__file__).parent

SAMPLE = """\
import pytest

@pytest.mark.real("sh")
def test_part_is_there(): ...

@pytest.mark.real("sh", "no-such-command")
def test_part_is_missing():
    raise AssertionError("ran all the same")
"""


def test_missing_names_what_is_missing_only() -> None:
    assert missing("sh", "no-such-command", "cat") == ["no-such-command"]


def test_root_is_a_part(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    assert missing("root") == ["root"]
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    assert missing("root") == []


LOOPBACK = "00000000000000000000000000000001 01 80 10 80       lo\n"
ETHERNET = "fe8000000000000000fc00fffe000001 04 40 20 80     eth0\n"


@pytest.mark.parametrize(
    ("addresses", "there"),
    [(LOOPBACK, True), (ETHERNET + LOOPBACK, True), (LOOPBACK + ETHERNET, True), (ETHERNET, False), ("", False)],
)
def test_the_ipv6_loopback_is_a_part(tmp_path: Path, addresses: str, there: bool) -> None:
    """Wherever it stands among the addresses of other interfaces (/proc/net/if_inet6)."""
    path = tmp_path / "if_inet6"
    assert not _has_ipv6_loopback(path)
    path.write_text(addresses)
    assert _has_ipv6_loopback(path) is there


def test_require_skips_by_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CI", raising=False)
    with pytest.raises(pytest.skip.Exception, match="needs no-such-command"):
        require("sh", "no-such-command")


def test_require_fails_in_ci(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CI", "true")
    with pytest.raises(pytest.fail.Exception, match="needs no-such-command"):
        require("sh", "no-such-command")


@pytest.mark.parametrize(("ci", "status", "line"), [("", 0, "1 passed, 1 skipped"), ("true", 1, "1 passed, 1 error")])
def test_marker_decides_the_exit_status(tmp_path: Path, ci: str, status: int, line: str) -> None:
    (tmp_path / "test_sample.py").write_text(SAMPLE)
    result = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-c", os.devnull, "--rootdir", tmp_path, "-p", "support.real", tmp_path],
        env={**os.environ, "CI": ci, "PYTHONPATH": str(TESTS), "PYTEST_ADDOPTS": "-p no:cacheprovider"},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (result.returncode, line in result.stdout) == (status, True), result.stdout
