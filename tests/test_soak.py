"""The soak of scripts/soak in its short form: hostile peers and a store that changes, for most of a minute."""

import subprocess
from pathlib import Path

import pytest

import closedmail

SOAK = Path(closedmail.__file__).parent.parent / "scripts" / "soak"


@pytest.mark.real("2,500 open files")
def test_soak() -> None:
    """It checks each answer, that the daemon lives, and what it has at the end; and that all peers did something."""
    # Twelve parts of four seconds: caches and counters are not full yet after the first one, as they are after minutes.
    command = [str(SOAK), "--minutes", "0.8", "--partners", "2000", "--seed", "short", "--margin", "16"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=600, check=False)
    print(done.stdout, done.stderr)
    assert done.stdout.splitlines()[-1] == "soak: passed"
    assert done.returncode == 0
    assert done.stdout.count("quiet after part") == 12
