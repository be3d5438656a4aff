"""Check whether a user can reach a file, by the modes along its path."""

import grp
import stat
from pathlib import Path


def stopped_at(path: Path, uid: int, groups: set[int]) -> str:
    """Find the first path on the way whose mode keeps a user out; "" where none does, or where there is no file.

    Folders must be searchable, sockets writable, all else readable. Root has no more rights than others.
    """
    for each in (*reversed(path.parents), path):
        try:
            found = each.stat()
        except PermissionError:
            return str(each.parent)
        except OSError:
            return ""
        wanted = 1 if stat.S_ISDIR(found.st_mode) else 2 if stat.S_ISSOCK(found.st_mode) else 4
        shift = 6 if found.st_uid == uid else 3 if found.st_gid in groups else 0
        if not found.st_mode >> shift & wanted:
            return str(each)
    return ""


def groups_of(name: str, gid: int) -> set[int]:
    """Return all groups of a user."""
    return {gid, *(group.gr_gid for group in grp.getgrall() if name in group.gr_mem)}
