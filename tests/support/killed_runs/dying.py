"""Run on a machine with Sendmail: closedmail, which kills itself before the N-th call of a switch that changes a file.

Usage: python3 dying.py N CONFIG ARGUMENT…; calls are counted from the beginning of the switch to the end of the run.
Where there are fewer, its exit status is that of closedmail.
"""

import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from closedmail.cli.main import main
from closedmail.store.writer import StoreWriter
from closedmail.sync import publication

_LAST = int(sys.argv[1])
_counted: list[str] = []
_armed: list[bool] = []


def _dying(name: str, real: Callable[..., Any]) -> Callable[..., Any]:
    def call(*args: Any, **how: Any) -> Any:
        if _armed:
            _counted.append(name)
            if len(_counted) == _LAST:
                os.kill(os.getpid(), signal.SIGKILL)
        return real(*args, **how)

    return call


def _switch(*args: Any) -> None:
    _armed.append(True)
    _real_switch(*args)


_real_switch = getattr(publication, "switch")  # noqa: B009, it is only imported there
setattr(publication, "switch", _switch)  # noqa: B010
for _where, _names in ((os, ("link", "fsync", "utime", "rmdir")), (Path, ("replace", "unlink", "mkdir", "touch"))):
    for _name in _names:
        setattr(_where, _name, _dying(_name, getattr(_where, _name)))
setattr(StoreWriter, "commit", _dying("commit", StoreWriter.commit))  # noqa: B010
sys.argv[1:] = ["--config", *sys.argv[2:]]
main()
