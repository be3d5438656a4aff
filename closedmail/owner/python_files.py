"""The files that Python runs closedmail from: the standard library's and the packages'.

A user who can't read all of them gets a ModuleNotFoundError or LookupError at some later moment, when one of them is
needed: pip under umask 077 makes files for its user alone, and a Python below /root is out of others' reach.
"""

import os
import sys
from collections.abc import Iterable, Iterator
from importlib.util import find_spec
from pathlib import Path

_PACKAGES = ("closedmail", "click", "encodings", "gnupg", "idna", "lmdb")


def own_files() -> list[str]:
    """List the files of all modules that are loaded, and of the packages that are loaded part by part."""
    loaded = (getattr(module, "__file__", None) for module in list(sys.modules.values()))
    return sorted({*filter(None, loaded), *_package_files()})


def _package_files() -> Iterator[str]:
    for name in _PACKAGES:
        spec = find_spec(name)
        if spec is None or not spec.origin:
            continue
        yield spec.origin
        for place in spec.submodule_search_locations or ():
            for folder, _, names in os.walk(place):
                yield from (os.path.join(folder, each) for each in names if each.endswith((".py", ".so", ".dat")))  # noqa: PTH118


def unreadable_for_me(files: Iterable[str]) -> Path | None:
    """Find what keeps this user from the first of the files that it can't read: the file, or a folder on the way."""
    folders: dict[str, bool] = {}
    for file in files:
        folder = os.path.dirname(file)  # noqa: PTH120, of a thousand names
        if folder not in folders:
            # Python lists folders, and takes one that it can't list for empty.
            folders[folder] = os.access(folder, os.R_OK | os.X_OK)
        if folders[folder] and (os.access(file, os.R_OK) or not os.access(file, os.F_OK)):
            continue  # a file that is gone is being upgraded
        return _stopped(Path(file))
    return None


def _stopped(path: Path) -> Path:
    for each in reversed(path.parents):
        if not os.access(each, os.X_OK):
            return each
    return path if os.access(path.parent, os.R_OK) else path.parent


def advice(blocked: Path) -> str:
    """Say what to run, so that all users may read it."""
    prefix, base = Path(sys.prefix), Path(sys.base_prefix)
    if prefix != base and (blocked == prefix or prefix in blocked.parents):
        return f"run: chmod -R a+rX {prefix}"
    if blocked == base or base in blocked.parents:
        return f"run: chmod -R a+rX {blocked}"
    return (
        "install closedmail outside of it, with a Python outside of it: umask 022; /usr/bin/python3 -m venv "
        "/opt/closedmail"
    )
