"""Programs of our own run our own code, whatever lies in the current folder or in PYTHONPATH."""

import os
import subprocess
from pathlib import Path

import pytest

from closedmail.programs import own_module


@pytest.mark.parametrize("way", ["the current folder", "PYTHONPATH"])
@pytest.mark.real("root")
def test_code_of_others_is_not_run(tmp_path: Path, way: str) -> None:
    """`python -m` looks into the current folder first, which may be anybody's."""
    marker = tmp_path / "was-run"
    for name in ("closedmail", "click"):
        (tmp_path / name).mkdir()
        for file in ("__init__.py", "__main__.py"):
            (tmp_path / name / file).write_text(f"open({str(marker)!r}, 'w')\nraise SystemExit(0)\n")
    environment = {**os.environ, "PYTHONPATH": str(tmp_path)} if way == "PYTHONPATH" else dict(os.environ)
    done = subprocess.run(
        own_module("closedmail", "--version"),
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout.startswith("closedmail, version "), done.stderr
    assert not marker.exists()
