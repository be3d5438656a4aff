"""What a run does to the files below a folder, call by call, as strace sees it."""

import re
import subprocess
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

# What changes files or syncs them, and what moves the place at which write(2) writes.
_CALLS = (
    *("openat", "open", "creat", "write", "writev", "pwrite64", "pwritev", "pwritev2", "lseek", "mmap", "msync"),
    *("truncate", "ftruncate", "fallocate", "copy_file_range", "sendfile", "rename", "renameat", "renameat2"),
    *("link", "linkat", "symlink", "symlinkat", "unlink", "unlinkat", "mkdir", "mkdirat", "rmdir", "fsync"),
    *("fdatasync", "sync_file_range", "sync", "syncfs"),
)
_UNFINISHED = " <unfinished ...>"
_LINE = re.compile(r"(\d+) +(.*)")
_RESUMED = re.compile(r"<\.\.\. \w+ resumed>(.*)")
_CALL = re.compile(r"(\w+)\((.*)\) += (-?\d+)(?:<(.*)>)?")
_STRING = r'"((?:[^"\\]|\\.)*)"'
_OPEN_FILE = re.compile(r"(-?\w+)<([^<>]*)>")
_SYNCED_WRITES = ("O_SYNC", "O_DSYNC")


@dataclass(frozen=True, slots=True)
class Create:
    """A new, empty file."""

    path: str


@dataclass(frozen=True, slots=True)
class Folder:
    """A new folder."""

    path: str


@dataclass(frozen=True, slots=True)
class Write:
    """Bytes in a file; `synced` where the call ended only when they were on the disk."""

    path: str
    start: int
    data: bytes
    synced: bool = False


@dataclass(frozen=True, slots=True)
class Resize:
    """A new size of a file, `grow` where it is a least size."""

    path: str
    size: int
    grow: bool = False


@dataclass(frozen=True, slots=True)
class Rename:
    """A new name in place of another one, or beside it."""

    path: str
    target: str
    link: bool = False


@dataclass(frozen=True, slots=True)
class Remove:
    """A name that is gone."""

    path: str


@dataclass(frozen=True, slots=True)
class Sync:
    """A file's data, or a folder's names, on the disk."""

    path: str


Operation = Create | Folder | Write | Resize | Rename | Remove | Sync


def record(command: Sequence[str], environment: Mapping[str, str], below: Path) -> list[Operation]:
    """Run a command, with its children, which must succeed. Give what it did to the files below a folder."""
    log = below.with_name(f"{below.name}.strace")
    strace = ["strace", "-f", "-yy", "-x", "-s", str(1 << 24), "-o", str(log), f"-etrace={','.join(_CALLS)}"]
    done = subprocess.run([*strace, *command], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    lines = log.read_text().splitlines()
    log.unlink()
    reader = _Reader(str(below))
    return [operation for process, line in _whole(lines) for operation in reader.read(process, line)]


def _whole(lines: Sequence[str]) -> Iterator[tuple[str, str]]:
    """Put calls together that strace shows in two lines; each comes when it has ended."""
    begun: dict[str, str] = {}
    for line in lines:
        found = _LINE.fullmatch(line)
        assert found, line
        process, text = found.groups()
        if text.endswith(_UNFINISHED):
            begun[process] = text.removesuffix(_UNFINISHED)
            continue
        if resumed := _RESUMED.match(text):
            text = begun.pop(process) + resumed[1]
        yield process, text


class _Reader:
    """Reads calls in their order: at which place an open file is written, and how, hangs on those before."""

    def __init__(self, below: str) -> None:
        self._below = below
        self._places: defaultdict[tuple[str, str], int] = defaultdict(int)  # by process and descriptor
        self._synced: dict[tuple[str, str], bool] = {}

    def read(self, process: str, line: str) -> Iterator[Operation]:
        """One call's operations below the folder; none of a call that failed."""
        found = _CALL.match(line)
        if not found or found[3].startswith("-") or self._below not in line:
            return
        name, arguments, result, opened = found.groups()
        file = _OPEN_FILE.match(arguments)
        descriptor, path = file.groups() if file else ("", "")
        at, ours = (process, descriptor), path.startswith(self._below)
        match name:
            case "openat" | "open" | "creat":
                yield from self._open((process, result), opened, arguments)
            case "write" | "writev" if ours:
                data = b"".join(map(_bytes, re.findall(_STRING, arguments)))[: int(result)]
                assert len(data) == int(result), line[:200]
                yield Write(path, self._places[at], data, self._synced.get(at, False))
                self._places[at] += len(data)
            case "pwrite64" if ours:
                data, start = _bytes(re.findall(_STRING, arguments)[0]), int(arguments.rpartition(", ")[2])
                assert len(data) == int(result), line[:200]
                yield Write(path, start, data, self._synced.get(at, False))
            case "lseek" if ours:
                self._places[at] = int(result)
            case "ftruncate" if ours:
                yield Resize(path, int(arguments.rpartition(", ")[2]))
            case "fallocate" if ours:
                mode, offset, size = arguments.split(", ")[1:]
                assert mode == "0", line
                yield Resize(path, int(offset) + int(size), grow=True)
            case "fsync" | "fdatasync" if ours:
                yield Sync(path)
            case "rename" | "renameat" | "renameat2" | "link" | "linkat":
                old, new = self._paths(arguments)
                yield Rename(old, new, link=name.startswith("link"))
            case "mkdir" | "mkdirat":
                yield Folder(*self._paths(arguments))
            case "unlink" | "unlinkat" | "rmdir":
                yield Remove(*self._paths(arguments))
            case "mmap":
                written = "PROT_WRITE" in arguments and "MAP_SHARED" in arguments
                # Nothing of LMDB's lock file outlives a restart.
                assert not written or "/lock.mdb>" in arguments, f"not modelled: {line}"
            case _:
                assert not ours or name == "sync_file_range", f"not modelled: {line[:200]}"

    def _open(self, at: tuple[str, str], path: str, arguments: str) -> Iterator[Operation]:
        self._places[at] = 0
        self._synced[at] = any(flag in arguments for flag in _SYNCED_WRITES)
        if path.startswith(self._below) and "O_CREAT" in arguments:
            yield Create(path)
        if path.startswith(self._below) and "O_TRUNC" in arguments:
            yield Resize(path, 0)
        assert "O_APPEND" not in arguments or not path.startswith(self._below), "not modelled"

    def _paths(self, arguments: str) -> list[str]:
        """The paths of a call's arguments, whole; of two, both."""
        found = re.findall(rf"(?:\w+<([^<>]*)>, )?{_STRING}", arguments)
        paths = [str(PurePosixPath(folder or "/nowhere", name)) for folder, name in found]
        assert all(path.startswith(self._below) for path in paths), f"not modelled: {arguments}"
        return paths


def _bytes(shown: str) -> bytes:
    """The bytes of a string as strace shows it."""
    return shown.encode("ascii").decode("unicode_escape").encode("latin-1")
