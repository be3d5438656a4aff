"""Inspect the machine under Sendmail: paths by their modes, as Sendmail sees them, and whether the milter answers."""

import pwd
import stat
from functools import cache
from pathlib import Path

from closedmail.daemon.socket_peer import stranger
from closedmail.daemon.socket_query import ask
from closedmail.doctor.path_access import groups_of, stopped_at
from closedmail.doctor.sendmail_facts import PathState
from closedmail.files import read_file
from closedmail.milter.milter_health import NEGOTIATE, QUIT
from closedmail.programs import find

_LARGEST = 64 * 1024 * 1024  # bytes of a file that is read


class SendmailMachine:
    """`SendmailLookups` on this machine, each made once. `not_asked` are sockets that this user may not use."""

    def __init__(self, state_dir: str, *, sticky: bool) -> None:
        """Remember nothing yet. With `sticky` Sendmail trusts world-writable folders that have the sticky bit.

        That is DontBlameSendmail's TrustStickyBit.
        """
        self._state_dir, self._sticky = Path(state_dir), sticky
        self.not_asked: list[str] = []
        self._strangers: dict[str, str] = {}
        self.path = cache(self._path)
        self.lines = cache(self._lines)
        self.answers = cache(self._answers)

    def _path(self, path: str) -> PathState:
        place = Path(path)
        stopped, writable = "", ""
        for each in reversed(place.parents):
            try:
                mode = each.stat().st_mode
            except OSError:
                break
            if mode & 0o022 and not (self._sticky and mode & stat.S_ISVTX):
                writable = writable or str(each)
            # libsmutil's safedirpath: root has to come through as any other user.
            stopped = stopped or stopped_at(each, 0, {0})
        try:
            found = place.stat()
        except OSError:
            return PathState("", 0, stopped, writable)
        kind = "folder" if stat.S_ISDIR(found.st_mode) else "socket" if stat.S_ISSOCK(found.st_mode) else "file"
        certificates = _read(path).count(b"-----BEGIN CERTIFICATE-----") if kind == "file" else 0
        return PathState(kind, stat.S_IMODE(found.st_mode), stopped, writable, certificates)

    def _lines(self, path: str) -> list[str]:
        return _read(path).decode("utf-8", "replace").splitlines()

    def unreadable(self, path: str) -> str:
        """Find why the owner of the state directory can't read a file, "" where it can."""
        try:
            found = Path(path).stat()
            owner = self._state_dir.stat().st_uid
        except OSError as error:
            return error.strerror or "it is not there" if error.filename == path else ""
        if not stat.S_ISREG(found.st_mode):
            return "it is no file"
        if owner == 0:
            return ""
        try:
            user = pwd.getpwuid(owner)
        except KeyError:
            return ""
        stopped = stopped_at(Path(path), owner, groups_of(user.pw_name, user.pw_gid))
        return f"because of {stopped}" if stopped else ""

    def has_program(self, name: str) -> bool:
        """Check whether there is such a program."""
        return find(name) is not None

    def _answers(self, where: str) -> bool:
        try:
            answer = ask(where, NEGOTIATE, 5, QUIT)
        except PermissionError:
            self.not_asked.append(where)
            return True
        self._strangers[where] = stranger(answer.user, str(self._state_dir))
        return answer.data[4:5] == b"O" and not self._strangers[where]

    def stranger(self, where: str) -> str:
        """Name the user who listens there in the milter's place, "" for none."""
        self.answers(where)
        return self._strangers.get(where, "")


def _read(path: str) -> bytes:
    """Read a file, b"" where it can't be read."""
    try:
        return read_file(path, _LARGEST, follow=True)
    except OSError:
        return b""
