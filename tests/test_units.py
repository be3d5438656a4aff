"""The units of postfix-examples/systemd, as systemd's own assessment sees them."""

import subprocess
from pathlib import Path

import pytest

FOLDER = Path(__file__).parents[1] / "postfix-examples" / "systemd"
SERVICES = sorted(FOLDER.glob("*.service"))

pytestmark = pytest.mark.real("systemd-analyze")


def assess(unit: Path, threshold: int) -> int:
    """The exit status: 0 where the exposure is at most a tenth of the threshold."""
    command = ("systemd-analyze", "--no-pager", "security", "--offline=yes", f"--threshold={threshold}", str(unit))
    return subprocess.run(command, stdout=subprocess.DEVNULL, timeout=30, check=False).returncode


@pytest.mark.parametrize("unit", SERVICES, ids=lambda unit: unit.stem)
def test_the_exposure_of_each_service_is_small(unit: Path) -> None:
    assert assess(unit, 13) == 0
    assert assess(unit, 5) != 0
