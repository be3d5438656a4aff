"""Inspect the machine under Postfix: files as the user postfix sees them, tables, and whether policyd answers."""

import pwd
import stat
from collections.abc import Mapping
from functools import cache
from pathlib import Path

from closedmail.daemon.socket_peer import stranger
from closedmail.daemon.socket_query import ask_policy_service
from closedmail.doctor.path_access import groups_of, stopped_at
from closedmail.doctor.postfix_facts import FileState
from closedmail.files import read_file
from closedmail.mta.postconf import run_postfix
from closedmail.mta.restrictions import split_list
from closedmail.programs import ProgramError

_LARGEST = 64 * 1024 * 1024  # bytes of a file that is read
_INDEXED = ("hash", "btree", "lmdb", "cdb", "dbm", "sdbm")
_TEXTS = ("texthash", "cidr", "pcre", "regexp")


class PostfixMachine:
    """`PostfixLookups` on this machine, each made once. `not_asked` are sockets that this user may not use."""

    def __init__(self, config_directory: str, mail_owner: str, state_dir: str = "") -> None:
        """Remember nothing yet. `mail_owner` is the user as whom Postfix's processes run."""
        self._directory, self._owner, self._state_dir = config_directory, mail_owner, state_dir
        self.not_asked: list[str] = []
        self._strangers: dict[str, str] = {}
        self.file = cache(self._file)
        self.table = cache(self._table)
        self.answers = cache(self._answers)

    def _file(self, path: str) -> FileState:
        try:
            found = Path(path).stat()
        except OSError:
            return FileState("", self._stopped_at(Path(path)))
        kind = "folder" if stat.S_ISDIR(found.st_mode) else "socket" if stat.S_ISSOCK(found.st_mode) else "file"
        certificates = _read(path).count(b"-----BEGIN CERTIFICATE-----") if kind == "file" else 0
        return FileState(kind, self._stopped_at(Path(path)), certificates)

    def _stopped_at(self, path: Path) -> str:
        """Find the first path on the way whose mode keeps the user postfix out, "" where none does."""
        try:
            user = pwd.getpwnam(self._owner)
        except KeyError:
            return ""
        return stopped_at(path, user.pw_uid, groups_of(self._owner, user.pw_gid))

    def _table(self, table: str) -> Mapping[str, str] | None:
        kind, _, name = table.removeprefix("proxy:").partition(":")
        if table.startswith("/"):
            return dict.fromkeys(_read(table).decode("utf-8", "replace").split(), "")
        if kind in _INDEXED:
            try:
                rows = run_postfix("postmap", "-c", self._directory, "-s", f"{kind}:{name}")
            except ProgramError:
                return None
            return dict(_pair(line) for line in rows.splitlines())
        if kind in _TEXTS:
            lines = _read(name).decode("utf-8", "replace").splitlines()
            return dict(_pair(line) for line in lines if line.strip() and not line.lstrip().startswith("#"))
        if kind == "static":
            return {"*": name}
        if kind == "inline":
            items = (item.strip("{} ").partition("=") for item in split_list(name.strip()[1:-1]))
            return {key.strip(): value.strip() for key, _, value in items}
        return None

    def _answers(self, where: str) -> bool:
        try:
            answer = ask_policy_service(where)
        except PermissionError:
            self.not_asked.append(where)
            return True
        self._strangers[where] = stranger(answer.user, self._state_dir)
        return answer.data.startswith(b"action=") and not self._strangers[where]

    def stranger(self, where: str) -> str:
        """Name the user who listens there in policyd's place, "" for none."""
        self.answers(where)
        return self._strangers.get(where, "")


def _pair(line: str) -> tuple[str, str]:
    key, _, value = line.strip().partition("\t") if "\t" in line.strip() else line.strip().partition(" ")
    return key.strip(), value.strip()


def _read(path: str) -> bytes:
    """Read a file, b"" where it can't be read."""
    try:
        return read_file(path, _LARGEST, follow=True)
    except OSError:
        return b""
