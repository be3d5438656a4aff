"""Commands that root starts in, or with, a folder of somebody else's: nothing in it is ever run."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.patient import Patient, patient

pytestmark = pytest.mark.real("root", "postconf", "postmap", "openssl")
NOBODY = 65534
CHECKOUT = Path(__file__).parents[1]
PROGRAM = Path(sys.executable).with_name("closedmail")


@pytest.fixture(scope="module")
def gateway() -> Iterator[Patient]:
    with patient(wired=True) as made:
        yield made


def trap(folder: Path, *, whole: bool) -> Path:
    """Somebody's package of our name; give the file that it makes when any of it is run."""
    marker = folder / "was-run"
    code = f"import os; open({str(marker)!r}, 'w').write(str(os.getuid())); os._exit(0)\n"
    names = ["__main__.py", "milter/__main__.py", "milter/milter_child.py"]
    for name in [*names, "__init__.py", "milter/__init__.py"] if whole else names:
        path = folder / "closedmail" / name
        path.parent.mkdir(exist_ok=True, parents=True)
        path.write_text("" if name.endswith("__init__.py") and name != "__init__.py" else code)
    for each in (folder, *folder.rglob("*")):
        os.chown(each, NOBODY, NOBODY)
    return marker


@pytest.mark.parametrize("way", ["current folder", "PYTHONPATH"])
def test_setup_runs_no_other_code(gateway: Patient, tmp_path: Path, way: str) -> None:
    marker = trap(tmp_path, whole=True)
    command, folder, environment = [str(PROGRAM)], tmp_path, dict(os.environ)
    if way == "PYTHONPATH":  # of a checkout, whose folder comes first
        command, folder = [sys.executable, "-m", "closedmail"], CHECKOUT
        environment["PYTHONPATH"] = str(tmp_path)
    done = subprocess.run(
        [*command, "--config", gateway.config, "setup", "--yes"],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert not marker.exists(), marker.read_text()
    assert "generation 1" in done.stdout, done
    assert "Not everything was fetched" not in done.stdout


def test_a_module_of_our_own_is_this_package(tmp_path: Path) -> None:
    """What the milter and the demo start: from a checkout, too, and wherever they were started."""
    marker = trap(tmp_path, whole=True)
    code = (
        "import json; from closedmail.programs import own_module; print(json.dumps(own_module('closedmail', 'lint')))"
    )
    made = subprocess.run([sys.executable, "-c", code], cwd=CHECKOUT, capture_output=True, text=True, check=True)
    command = json.loads(made.stdout)
    for environment in ({}, {"PYTHONPATH": str(tmp_path), "PYTHONSTARTUP": str(tmp_path / "closedmail/__main__.py")}):
        done = subprocess.run(
            command, cwd=tmp_path, env={**os.environ, **environment}, capture_output=True, text=True, check=False
        )
        assert not marker.exists()
        assert (done.returncode, "Missing argument 'FILE'" in done.stderr) == (2, True), done
    assert str(CHECKOUT / "closedmail") in command
