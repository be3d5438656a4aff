"""What a disk may hold after a loss of power: a model of the cache that was lost.

What was synced is there: a file's data after fsync of the file, its name after fsync of the folder that has it. Of all
else each may be there or not: names, and of a file's data nothing, all, its size with zeros, a part, or some of its
pages. File systems promise more than that, each something else. Modes and owners are not looked at.
"""

import os
import random
import re
import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from support.file_operations import Create, Folder, Operation, Remove, Rename, Resize, Sync, Write

_PAGE = 4096
_ASIDE = re.compile(r"(^|/)(work|\.closedmail-build-[^/]*)/")
_LOCKS = ("/lock.mdb", "/sync.lock")
_RANDOM = 6  # choices by chance after each operation

# What becomes of the data that was not synced. `half` is of a single write: the one at which a file is cut.
Data = Literal["lost", "whole", "zeros", "cut", "pages", "half"]
_DATA: tuple[Data, ...] = ("lost", "whole", "zeros", "cut", "pages")


@dataclass(slots=True)
class _Change:
    """A change of a file's data."""

    done: Write | Resize
    durable: bool = False


@dataclass(slots=True)
class _File:
    """What is on the disk for sure, and the changes since."""

    number: int
    data: bytes = b""
    changes: list[_Change] = field(default_factory=list)

    def sync(self) -> None:
        self.data = self.after("whole")
        self.changes = []

    def after(self, what: Data, chance: random.Random | None = None) -> bytes:
        """The data after a loss of power."""
        if not self.changes:
            return self.data
        data = bytearray(self.data)
        pending = [change for change in self.changes if not change.durable]
        half = pending[len(pending) // 2] if pending else None
        lost = False
        for change in self.changes:
            done = change.done
            how: Data = "whole" if change.durable else what
            if how == "cut":
                lost = lost or change is half
                how = "half" if change is half else "lost" if lost else "whole"
            if how == "lost":
                continue
            if isinstance(done, Resize):
                if done.size < len(data) and not done.grow:
                    del data[done.size :]
                _grow(data, done.size)
                continue
            written = bytearray(done.data)
            if how == "half":
                del written[len(written) // 2 :]
            end = done.start + len(written)
            before = len(data)
            _grow(data, end)
            for at in range(0, len(written), _PAGE):
                place, page = done.start + at, written[at : at + _PAGE]
                if how == "zeros" or (how == "pages" and chance and chance.random() < 0.5):
                    if place < before:  # a page that was there before is the old one or the new one
                        continue
                    page = bytearray(len(page))
                data[place : place + len(page)] = page
        return bytes(data)


def _grow(data: bytearray, size: int) -> None:
    data.extend(bytes(max(0, size - len(data))))


@dataclass(slots=True)
class _Naming:
    """A change of names: of `folder`, and where a name moves, of `source`."""

    folder: int
    name: str
    node: int  # 0: the name goes
    source: tuple[int, str] | None = None
    durable: bool = False


@dataclass(frozen=True)
class State:
    """A disk after a loss of power: files by path with their numbers and data, None for folders."""

    after: int  # so many operations
    names: str  # what became of the names that were not synced, in words
    data: str
    files: Mapping[str, tuple[int, bytes] | None]

    def __str__(self) -> str:
        return f"after {self.after} operations, names {self.names}, data {self.data}"


_Names = dict[int, dict[str, int]]  # of each folder


class Disk:
    """A folder and what a run does to it. Files are known by number, whatever their names are."""

    def __init__(self, root: Path) -> None:
        """Begin with what lies there, as if it had been synced long ago; the folder itself is there to stay."""
        self._root = str(root)
        self._synced: _Names = {1: {}}
        self._now: _Names = {1: {}}
        self._files: dict[int, _File] = {}
        self._namings: list[_Naming] = []
        self._last = 1
        self._read(root, 1)

    def _read(self, folder: Path, number: int) -> None:
        for path in sorted(folder.iterdir()):
            self._last += 1
            self._synced[number][path.name] = self._now[number][path.name] = node = self._last
            if path.is_dir():
                self._synced[node], self._now[node] = {}, {}
                self._read(path, node)
            else:
                self._files[node] = _File(node, path.read_bytes())

    def numbers(self) -> dict[str, int]:
        """The numbers of the files that are there now, by path."""
        return {path: found for path, found in self._walk(self._now, 1, "") if found in self._files}

    def apply(self, done: Operation) -> None:
        """One operation of the run."""
        match done:
            case Write(path, synced=synced):
                self._file(path).changes.append(_Change(done, durable=synced))
            case Resize(path):
                self._file(path).changes.append(_Change(done))
            case Sync(path):
                node = self._node(path)
                if node in self._files:
                    self._files[node].sync()
                else:
                    self._sync_names(node)
            case Create(path) | Folder(path):
                folder, name = self._place(path)
                if name in self._now[folder]:
                    return  # an open of what is there
                self._last += 1
                if isinstance(done, Folder):
                    self._now[self._last], self._synced[self._last] = {}, {}
                else:
                    self._files[self._last] = _File(self._last)
                self._name(_Naming(folder, name, self._last))
            case Rename(path, target):
                source, (folder, name) = self._place(path), self._place(target)
                self._name(_Naming(folder, name, self._node(path), None if done.link else source))
            case Remove(path):
                self._name(_Naming(*self._place(path), 0))

    def _name(self, naming: _Naming) -> None:
        _rename(self._now, naming)
        self._namings.append(naming)

    def _sync_names(self, folder: int) -> None:
        """A rename is one step, and on the disk with the folder that it leads to."""
        for naming in self._namings:
            naming.durable = naming.durable or naming.folder == folder
        while self._namings and self._namings[0].durable:
            _rename(self._synced, self._namings.pop(0))

    def states(self, after: int, chance: random.Random) -> Iterator[State]:
        """What may be on the disk if the power is lost now."""
        pending = [naming for naming in self._namings if not naming.durable]
        every = range(len(pending))
        choices: list[tuple[str, set[int]]] = [
            (f"up to {n} of {len(pending)}", set(range(n))) for n in (*every, len(pending))
        ]
        choices += [(f"all but {n}", {*every} - {n}) for n in every]
        choices += [("by chance", {n for n in every if chance.random() < 0.5}) for _ in range(_RANDOM)]
        for words, chosen in choices:
            kept = {id(pending[n]) for n in chosen}
            names = {folder: dict(found) for folder, found in self._synced.items()}
            for naming in self._namings:
                if naming.durable or id(naming) in kept:
                    _rename(names, naming, by_durable=naming.durable)
            found = dict(self._walk(names, 1, ""))
            for hows in (*((how,) for how in _DATA), _DATA):
                files: dict[str, tuple[int, bytes] | None] = {}
                for path, node in found.items():
                    file = self._files.get(node)
                    files[path] = (node, file.after(chance.choice(hows), chance)) if file else None
                yield State(after, words, " or ".join(hows), files)

    def _walk(self, names: _Names, folder: int, above: str) -> Iterator[tuple[str, int]]:
        for name, node in names[folder].items():
            yield above + name, node
            if node in names:
                yield from self._walk(names, node, f"{above}{name}/")

    def _place(self, path: str) -> tuple[int, str]:
        above, _, name = path.rpartition("/")
        return self._node(above), name

    def _node(self, path: str) -> int:
        node = 1
        for part in path.removeprefix(self._root).split("/")[1:]:
            node = self._now[node][part]
        return node

    def _file(self, path: str) -> _File:
        return self._files[self._node(path)]


def _rename(names: _Names, naming: _Naming, *, by_durable: bool = True) -> None:
    """Change names; one that was lost takes those along that it was to be moved to."""
    if naming.source:
        folder, name = naming.source
        there = names[folder].get(name) == naming.node
        if not there and not by_durable:
            return
        if there:
            del names[folder][name]
    if naming.node:
        names[naming.folder][naming.name] = naming.node
    else:
        names[naming.folder].pop(naming.name, None)


def all_states(disk: Disk, operations: Iterable[Operation], chance: random.Random) -> list[State]:
    """Every state that a run may leave, each once, in the order of its operations."""
    found: dict[tuple[tuple[str, bytes | None], ...], State] = {}
    for number, done in enumerate(operations, start=1):
        disk.apply(done)
        for state in disk.states(number, chance):
            found.setdefault(_seen(state), state)
    return list(found.values())


def _seen(state: State) -> tuple[tuple[str, bytes | None], ...]:
    """What makes two states the same: of what a run builds aside, only that it lies there."""
    seen: list[tuple[str, bytes | None]] = []
    for path, file in sorted(state.files.items()):
        if not _ASIDE.search(path):
            seen.append((path, None if file is None else b"" if path.endswith(_LOCKS) else file[1]))
    return tuple(seen)


class Copies:
    """Lays states out at the place of the run, where each file is the very file that it was: inode, time and all.

    `Copies(pool, root)`, then `keep` before and after the run. The pool is on the same file system.
    """

    def __init__(self, pool: Path, root: Path) -> None:
        self._pool, self._root = pool, root
        self._times: dict[int, int] = {}
        pool.mkdir(exist_ok=True)

    def keep(self, numbers: Mapping[str, int]) -> None:
        """Keep the files that are there now, by path with their numbers."""
        for path, number in numbers.items():
            kept = self._pool / str(number)
            if not kept.exists():
                os.link(self._root / path, kept)
            self._times[number] = kept.stat().st_mtime_ns

    def lay_out(self, files: Mapping[str, tuple[int, bytes] | None]) -> None:
        """Put a state in place of what is there."""
        for path in self._root.iterdir():
            shutil.rmtree(path)
        for name, file in sorted(files.items()):
            path = self._root / name
            if file is None:
                path.mkdir(mode=0o755)
                continue
            number, data = file
            if number in self._times:
                kept = self._pool / str(number)
                kept.write_bytes(data)
                os.utime(kept, ns=(self._times[number], self._times[number]))
                if not path.exists():
                    os.link(kept, path)
            else:
                path.write_bytes(data)


def sample(states: Sequence[State], most: int, chance: random.Random) -> list[State]:
    """So many of them, in their order."""
    chosen = sorted(chance.sample(range(len(states)), min(most, len(states))))
    return [states[at] for at in chosen]
