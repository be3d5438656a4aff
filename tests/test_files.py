"""Files that are whole or not there, while others are at work on them."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from closedmail.files import fresh_folder, remove_tree


def add(folder: Path) -> None:
    (folder / "added").touch()


def take(folder: Path) -> None:
    for path in folder.iterdir():
        path.unlink()


@pytest.mark.parametrize("meddle", [add, take], ids=["a file comes", "a file goes"])
@pytest.mark.parametrize("task", [remove_tree, fresh_folder])
def test_a_folder_goes_while_a_killed_runs_child_works_in_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, task: Callable[[Path], object], meddle: Callable[[Path], None]
) -> None:
    folder = tmp_path / "work"
    folder.mkdir()
    for name in "abc":
        (folder / name).touch()
    real, times = os.unlink, iter(range(3))

    def unlink(name: Any, **how: Any) -> None:
        if next(times, None) is not None:
            with monkeypatch.context() as context:
                context.setattr(os, "unlink", real)
                meddle(folder)
        real(name, **how)

    monkeypatch.setattr(os, "unlink", unlink)
    task(folder)
    assert not folder.exists() or not list(folder.iterdir())


def test_a_folder_that_cannot_go_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "work").mkdir()
    tries = []

    def rmdir(*_: Any, **__: Any) -> None:
        tries.append(1)
        raise OSError(13, "Permission denied")

    monkeypatch.setattr(os, "rmdir", rmdir)
    with pytest.raises(PermissionError):
        remove_tree(tmp_path / "work")
    assert len(tries) == 1
