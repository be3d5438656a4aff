"""The readers' copy of the policy store: of one generation, whatever happens to the file meanwhile."""

import gc
import os
import shutil
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest
from support.gateway import Gateway, make_gateway

from closedmail.errors import StoreError
from closedmail.store import private_copy
from closedmail.store.private_copy import PrivateCopy
from closedmail.store.snapshot import Snapshot, StoreReader


@pytest.fixture
def own(tmp_path: Path) -> Gateway:
    return make_gateway(tmp_path)


@pytest.fixture
def meanwhile(monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable[[int], None]], list[int]]:
    """Have something happen after each copying; the list has a number for each."""

    def arrange(happen: Callable[[int], None]) -> list[int]:
        copy, times = private_copy._copy, list[int]()

        def copy_and_happen(source: int, target: int) -> int:
            size = copy(source, target)
            times.append(size)
            happen(len(times))
            return size

        monkeypatch.setattr(private_copy, "_copy", copy_and_happen)
        return times

    return arrange


def open_files() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


def publish(own: Gateway, mode: str) -> None:
    own.configure(inbound=f'mode = "{mode}"\nallow_from = ["192.0.2.1"]')
    own.sync()


def test_a_generation_that_comes_while_it_is_copied(
    own: Gateway, meanwhile: Callable[[Callable[[int], None]], list[int]]
) -> None:
    """Then it is copied again, until nothing comes."""
    times = meanwhile(lambda number: publish(own, ("report", "defer")[number - 1]) if number < 3 else None)
    with StoreReader(own.store) as reader:
        assert reader.current().generation == 3
        assert len(times) == 3
        assert reader.current().generation == 3
        assert len(times) == 3


def test_generations_without_end(own: Gateway, meanwhile: Callable[[Callable[[int], None]], list[int]]) -> None:
    before = open_files()
    data = own.store / "data.mdb"

    def touch(number: int) -> None:
        with data.open("r+b") as file:
            file.seek(144)  # the number of the transaction, in the first meta page
            file.write(number.to_bytes(8, "little"))

    meanwhile(touch)
    with pytest.raises(StoreError, match="changes all the time"):
        PrivateCopy(own.store)
    assert open_files() == before


def test_cut_while_it_is_copied(own: Gateway, meanwhile: Callable[[Callable[[int], None]], list[int]]) -> None:
    meanwhile(lambda _: os.truncate(own.store / "data.mdb", 0))
    before = open_files()
    with StoreReader(own.store) as reader:
        for _ in range(3):
            with pytest.raises(StoreError, match=r"broken|no generation is in force"):
                reader.current()
    assert open_files() == before


def test_cut_behind_its_copy(own: Gateway) -> None:
    """What has been copied can be read to the end."""
    copy = PrivateCopy(own.store)
    try:
        with Snapshot(copy.environment, own.store) as snapshot:
            before = list(snapshot.records())
            os.truncate(own.store / "data.mdb", 0)
            assert list(snapshot.records()) == before != []
            assert not copy.is_current()
    finally:
        copy.close()


def test_what_can_not_be_read_is_not_copied_again(
    own: Gateway, meanwhile: Callable[[Callable[[int], None]], list[int]], monkeypatch: pytest.MonkeyPatch
) -> None:
    times = meanwhile(lambda _: None)
    good = own.folder / "good"
    shutil.copyfile(own.store / "data.mdb", good)
    with StoreReader(own.store) as reader, monkeypatch.context() as patch:
        patch.setattr("closedmail.store.environment.SCHEMA", 99)
        for _ in range(3):
            with pytest.raises(StoreError, match="schema 2, this closedmail knows 99"):
                reader.current()
        assert len(times) == 1
        patch.undo()
        good.replace(own.store / "data.mdb")
        assert reader.current().generation == 1
        assert len(times) == 2


def test_readers_leave_the_folder_alone(own: Gateway) -> None:
    """They need no permission to write, and no lock file."""
    (own.store / "lock.mdb").unlink()
    with StoreReader(own.store) as reader:
        assert reader.current().generation == 1
    assert [path.name for path in own.store.iterdir()] == ["data.mdb"]


def grows_for_ever(step: Callable[[], object]) -> bool:
    """Whether each step leaves memory behind: half a block of Python's or more, however often it has been made before.

    What is kept for later (free lists, caches, interned names) grows as well, by an amount that depends on what has run
    before; it comes to an end.
    """
    for _ in range(10):
        gc.collect()
        before = sys.getallocatedblocks()
        for _ in range(200):
            step()
        gc.collect()
        if sys.getallocatedblocks() - before < 100:
            return False
    return True


def test_copies_leave_nothing_behind(own: Gateway) -> None:
    """A daemon takes one with each generation, for years; and one at each question while the store is cut short."""

    def take() -> None:
        with StoreReader(own.store) as reader, suppress(StoreError):
            reader.current()

    data = own.store / "data.mdb"
    for size in (data.stat().st_size, 8192):
        os.truncate(data, size)
        assert not grows_for_ever(take)


def test_one_object_left_behind_would_show() -> None:
    left: list[bytes] = []
    assert grows_for_ever(lambda: left.append(b"/proc/self/fd/%d" % len(left)))
    assert len(left) == 2000
    assert not grows_for_ever(lambda: left.append(left[0]))
