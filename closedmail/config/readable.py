"""Whether the user who runs closedmail can read its configuration, which root always can."""

import grp
import os
import stat
from dataclasses import dataclass
from pathlib import Path

from closedmail.config.config_files import DROP_INS
from closedmail.owner import user_name
from closedmail.words import printable


@dataclass(frozen=True, slots=True)
class Unreadable:
    """What keeps a user from the configuration. `group` and `mode` would let it in, "" for what they already are.

    Both are "" where no command is proposed: for a folder that is not closedmail's.
    """

    user: str
    path: str
    group: str = ""
    mode: str = ""

    @property
    def sentence(self) -> str:
        """Say what follows from it."""
        return (
            f"{self.user}, who runs closedmail, can't read {printable(self.path)}, and so not the configuration: the "
            "timer's runs fail, and so do the daemons when they start again"
        )

    @property
    def advice(self) -> str:
        """Say what to run."""
        commands = [
            *([f"chgrp {self.group} {self.path}"] if self.group else []),
            *([f"chmod {self.mode} {self.path}"] if self.mode else []),
        ]
        return f"run: {' && '.join(commands)}" if commands else "put it where that user can read it"


def find_unreadable(config: Path) -> Unreadable | None:
    """Find the first path on the way to a configuration file, or to its drop-ins, that this process can't read.

    Raises nothing.
    """
    user = user_name(os.geteuid())
    drop_ins = config.parent / DROP_INS
    if (found := _stopped(config)) or (drop_ins.is_dir() and (found := _stopped(drop_ins))):
        return _judge(found, config, user)
    try:
        files = sorted(each for each in drop_ins.iterdir() if each.suffix == ".toml" and each.name[0] != ".")
    except OSError:
        return None
    return next((_judge(each, config, user) for each in files if not os.access(each, os.R_OK)), None)


def _stopped(path: Path) -> Path | None:
    """Find the first path on the way that can't be passed, or read; None where there is nothing in the end."""
    for each in reversed(path.absolute().parents):
        if not os.access(each, os.X_OK):
            return each
    wanted = os.R_OK | os.X_OK if path.is_dir() else os.R_OK
    return None if os.access(path, wanted) or not path.exists() else path


def _judge(blocked: Path, config: Path, user: str) -> Unreadable:
    folder = config.absolute().parent
    if blocked in folder.parents or (blocked == folder and "closedmail" not in folder.name):
        return Unreadable(user, str(blocked))
    try:
        found = blocked.stat()
    except OSError:
        return Unreadable(user, str(blocked))
    wanted = 0o050 if stat.S_ISDIR(found.st_mode) else 0o040
    mode = stat.S_IMODE(found.st_mode)
    gid = os.getegid()
    return Unreadable(
        user,
        str(blocked),
        _group_name(gid) if found.st_gid != gid else "",
        f"{mode | wanted:04o}" if mode & wanted != wanted else "",
    )


def _group_name(gid: int) -> str:
    try:
        return grp.getgrgid(gid).gr_name
    except KeyError:
        return str(gid)
