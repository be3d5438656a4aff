"""Whose the state directory is: root writes and reads it as its owner, never as root.

Whoever owns a folder chooses what lies in it: links, pipes, files that no sync wrote. What root would do there by
mistake its owner can't do at all. Reading happens in a child, since LMDB may crash on a file that was made to.
"""

import json
import os
import pwd
import resource
import signal
import socket
import struct
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

from closedmail.errors import ServiceUserError
from closedmail.files import make_folder
from closedmail.folders import changeable_folder
from closedmail.owner.packed_errors import pack_error, unpack_error, unreadable
from closedmail.owner.python_files import advice, own_files, unreadable_for_me

Ask = Callable[[Any], Any]  # a question and its answer, as JSON knows them

_HEAD = struct.Struct(">cI")  # a frame's kind and how long it is
_DATA, _END, _ERROR, _ASK = b"D", b"E", b"X", b"?"
_LARGEST_FRAME = 1 << 30  # bytes
_MOST = 4 << 30  # bytes of all frames
_PATIENCE = 60.0  # seconds without a byte, as of a store whose pages lead in a circle
_PIECE = 1 << 16
_CRASHES = (signal.SIGBUS, signal.SIGSEGV, signal.SIGABRT, signal.SIGFPE, signal.SIGILL)


def other_owner(state_dir: Path) -> os.stat_result | None:
    """Find the owner that root has to become, None where there is none, or where this is not root. Raises OSError."""
    if os.geteuid() != 0:
        return None
    try:
        found = state_dir.stat()
    except FileNotFoundError:
        return None
    return found if found.st_uid else None


def become_owner(state_dir: Path) -> None:
    """Go on as the owner of the state directory where this is root, so that no root-owned file stops the timer.

    It is a child that goes on. Root waits for its end, and ends in the same way: with its exit status, by SystemExit,
    or by its signal. Raises ClosedmailError where it crashes, as LMDB may on a file that was made to.
    """
    _make_missing(state_dir)
    if other_owner(state_dir) is None:
        return
    child = _fork()
    if child == 0:
        _drop_root(state_dir)
        return
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # a terminal's goes to both
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda number, _: os.kill(child, number))
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    if -status in _CRASHES:
        raise unreadable(state_dir, f"what reads it was ended by signal {-status}")
    if status < 0:
        with suppress(OSError):  # SIGKILL has no handler
            signal.signal(-status, signal.SIG_DFL)
        os.kill(os.getpid(), -status)
    raise SystemExit(status)


def _make_missing(state_dir: Path) -> None:
    """Make the state directory for the user whose home it is, as a package or adduser(8) has it. Else it is root's.

    Raises OSError.
    """
    if os.geteuid() != 0 or os.path.lexists(state_dir):
        return
    user = next((user for user in pwd.getpwall() if user.pw_uid and user.pw_dir == str(state_dir)), None)
    if user is None or changeable_folder(state_dir):
        return
    make_folder(state_dir)
    os.chown(state_dir, user.pw_uid, user.pw_gid, follow_symlinks=False)


def _drop_root(state_dir: Path) -> None:
    """Become the owner. Raises ServiceUserError where the owner can't read what Python needs."""
    owner = other_owner(state_dir)
    if owner is None:
        return
    files = own_files()
    try:
        os.initgroups(pwd.getpwuid(owner.st_uid).pw_name, owner.st_gid)
    except KeyError:  # a user without a name has no other groups
        os.setgroups([])
    os.setgid(owner.st_gid)
    os.setuid(owner.st_uid)
    if blocked := unreadable_for_me(files):
        raise ServiceUserError(
            f"{user_name(owner.st_uid)}, who runs closedmail, can't read {blocked}, of which Python needs all files; "
            f"{advice(blocked)}"
        )


def user_name(uid: int) -> str:
    """Return a user's name, or the number of one that has none."""
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return f"the user {uid}"


def call_as_owner(state_dir: Path, work: Callable[[], Any], patience: float = _PATIENCE) -> Any:
    """Call a function that reads the state directory, as its owner, and return what it returns, as JSON knows it.

    Raises what `work` raises, and ClosedmailError where it crashes or is silent for `patience` seconds.
    """
    return ask_as_owner(state_dir, lambda _: work(), _no_answer, patience)


def ask_as_owner(state_dir: Path, work: Callable[[Ask], Any], answer: Ask, patience: float = _PATIENCE) -> Any:
    """Call a function like `call_as_owner`, which may ask: `answer` stays root's, and trusts no question."""
    if other_owner(state_dir) is None:
        return work(answer)
    data = b"".join(_stream(state_dir, lambda ask: [json.dumps(work(ask)).encode()], answer, patience))
    try:
        return json.loads(data)
    except (ValueError, RecursionError):
        raise unreadable(state_dir, "what was read makes no sense") from None


def stream_as_owner(state_dir: Path, work: Callable[[], Iterable[bytes]]) -> Iterator[bytes]:
    """Give the bytes that a function makes of the state directory, while it makes them; see `call_as_owner`."""
    yield from _stream(state_dir, lambda _: work(), _no_answer, _PATIENCE)


def _no_answer(_: Any) -> Any:
    raise ValueError


def _stream(state_dir: Path, work: Callable[[Ask], Iterable[bytes]], answer: Ask, patience: float) -> Iterator[bytes]:
    if other_owner(state_dir) is None:
        yield from work(answer)
        return
    ours, theirs = socket.socketpair()
    child = _fork()
    if child == 0:
        ours.close()
        _serve(state_dir, theirs, work)
    theirs.close()
    ours.settimeout(patience)
    try:
        yield from _Frames(state_dir, ours, child, answer)
    finally:
        ours.close()
        with suppress(ProcessLookupError):
            os.kill(child, signal.SIGKILL)
        with suppress(ChildProcessError):
            os.waitpid(child, 0)


def _fork() -> int:
    """Fork, with nothing left in buffers that both would write."""
    for stream in (sys.stdout, sys.stderr):
        if stream is not None:
            with suppress(OSError, ValueError):
                stream.flush()
    return os.fork()


def _leave(status: int) -> None:
    """End a child, without what the parent has set up for its own end."""
    for stream in (sys.stdout, sys.stderr):
        with suppress(Exception):
            stream.flush()
    os._exit(status)


def _serve(state_dir: Path, parent: socket.socket, work: Callable[[Ask], Iterable[bytes]]) -> None:
    """Be the child."""

    def ask(question: Any) -> Any:
        _send(out.write, _ASK, json.dumps(question).encode())
        out.flush()
        return json.loads(answers.read(_HEAD.unpack(answers.read(_HEAD.size))[1]))

    try:
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        tempfile.tempdir = None  # root's may be closed to others
        with parent.makefile("wb") as out, parent.makefile("rb") as answers:
            try:
                _drop_root(state_dir)
                for chunk in work(ask):
                    for start in range(0, len(chunk), _LARGEST_FRAME):
                        _send(out.write, _DATA, chunk[start : start + _LARGEST_FRAME])
                _send(out.write, _END, b"")
            except Exception as error:  # whatever hostile data leads to is the parent's to tell
                _send(out.write, _ERROR, json.dumps(pack_error(error)).encode())
    finally:
        _leave(0)


def _send(write: Callable[[bytes], object], kind: bytes, data: bytes) -> None:
    write(_HEAD.pack(kind, len(data)) + data)


class _Frames:
    """What a child sends, until its end."""

    def __init__(self, state_dir: Path, peer: socket.socket, child: int, answer: Ask) -> None:
        self._state_dir, self._peer, self._child, self._answer = state_dir, peer, child, answer
        self._left = _MOST

    def __iter__(self) -> Iterator[bytes]:
        while True:
            kind, size = _HEAD.unpack(self._read(_HEAD.size))
            if kind == _END:
                return
            data = self._read(size)
            if kind == _ERROR:
                raise unpack_error(self._state_dir, data)
            if kind == _ASK:
                self._reply(data)
            else:
                yield data

    def _reply(self, question: bytes) -> None:
        try:
            _send(self._peer.sendall, _ASK, json.dumps(self._answer(json.loads(question))).encode())
        except (ValueError, RecursionError):
            raise unreadable(self._state_dir, "what was read makes no sense") from None
        except OSError:
            raise unreadable(self._state_dir, self._end()) from None

    def _read(self, size: int) -> bytes:
        self._left -= size
        if size > _LARGEST_FRAME or self._left < 0:
            raise unreadable(self._state_dir, "there is too much of it")
        pieces = []
        while size:
            try:
                piece = self._peer.recv(min(size, _PIECE))
            except TimeoutError:
                raise unreadable(self._state_dir, f"nothing came for {self._peer.gettimeout():g} seconds") from None
            except ConnectionError:
                piece = b""
            if not piece:
                raise unreadable(self._state_dir, self._end())
            pieces.append(piece)
            size -= len(piece)
        return b"".join(pieces)

    def _end(self) -> str:
        """Say how the child has ended. One that only says no more is not waited for."""
        for _ in range(100):
            ended = os.waitid(os.P_PID, self._child, os.WEXITED | os.WNOWAIT | os.WNOHANG)
            if ended is not None and ended.si_code in (os.CLD_KILLED, os.CLD_DUMPED):
                return f"what reads it was ended by signal {ended.si_status}"
            if ended is not None:
                break
            time.sleep(0.01)
        return "what reads it has ended"
