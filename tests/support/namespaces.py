"""Run a module of the tests in namespaces of its own: its network has nothing but loopback, and ends with it."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

_TESTS = Path(__file__).parents[1]


def in_namespace(module: str, folder: Path, time_limit: float) -> Any:
    """Run `python -m support.MODULE FOLDER`, and return the JSON that it prints."""
    names = ("--net", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc")
    command = ["unshare", *names, sys.executable, "-m", f"support.{module}", str(folder)]
    done = subprocess.run(command, cwd=_TESTS, capture_output=True, text=True, timeout=time_limit, check=False)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    return json.loads(done.stdout)
