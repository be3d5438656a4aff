"""Switch from one generation to the next, in the one order that never routes a partner without its TLS policy.

The TLS demands first, of every MTA: they have the rows of the old routes and of the new ones. Then the policy store, in
its one transaction. Then the routes. A mark is in the state directory meanwhile, so that the next run finishes a
switch that was interrupted. If a step fails before the store has switched, all is undone.
"""

import os
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

from closedmail.errors import Refused, StoreError
from closedmail.files import remove_tree, sync_path
from closedmail.publish.built_maps import DISPLACED, BuiltMaps, touch_displaced

_MARK = "switching"


class _Renamed(NamedTuple):
    """A file that was put in `place`, a link to the one that was there before, and when that one was made."""

    place: Path
    old: Path | None
    made: int = 0


def interrupted(state_dir: Path) -> bool:
    """Check whether the last switch was interrupted."""
    return (state_dir / _MARK).exists()


def switch(state_dir: Path, maps: Sequence[BuiltMaps], commit_store: Callable[[], None]) -> None:
    """Put maps and store in force; `commit_store` does the latter and may raise StoreError.

    Raises Refused(publish-failed), and then the old generation is in force."""
    mark = state_dir / _MARK
    where = maps[0].folder.parent if maps else state_dir
    try:
        mark.touch()  # empty, and so whole as soon as it is there
        sync_path(state_dir)
        undo: dict[Path, list[_Renamed]] = {}
        try:
            for built in maps:
                undo[built.folder] = _rename_into(built, built.demands, linked=True)
            commit_store()
        except (OSError, StoreError):
            for built in maps:
                _take_back(built, undo.get(built.folder, []))
            mark.unlink()
            raise
        for built in maps:
            if built.touched:
                # Again: a process that was just opening a file took its new time for the time of opening.
                touch_displaced(built.folder / DISPLACED)
        for built in maps:
            _rename_into(built, built.routes, linked=built.touched)
        for built in maps:
            remove_tree(built.folder)
        mark.unlink()
        sync_path(state_dir)
    except StoreError as error:
        raise Refused("publish-failed", str(error)) from None
    except OSError as error:
        raise Refused("publish-failed", f"{error.filename or where}: {error.strerror}") from None


def _rename_into(built: BuiltMaps, files: list[Path], *, linked: bool) -> list[_Renamed]:
    """Rename files into their folder, all or none; returns what `_take_back` needs where they are `linked`."""
    done: list[_Renamed] = []
    keep, map_dir = built.folder / DISPLACED, built.folder.parent
    if linked:
        keep.mkdir(exist_ok=True)
    try:
        for path in files:
            place = map_dir / path.name
            old, made = None, 0
            if linked and place.exists():
                old, made = keep / path.name, place.stat().st_mtime_ns
                try:
                    os.link(place, old)
                except PermissionError:  # root rebuilt it manually: nobody may link another user's file
                    shutil.copyfile(place, old)
                    old.chmod(0o644)
            path.replace(place)
            done.append(_Renamed(place, old, made))
        sync_path(map_dir)
        if built.touched:
            touch_displaced(keep)
    except OSError:
        if linked:
            _take_back(built, done)
        raise
    return done


def _take_back(built: BuiltMaps, done: list[_Renamed]) -> None:
    for place, old, made in done:
        if old is None:
            place.unlink()
            continue
        aside = old.with_name(f"{old.name}.not")
        if built.touched:
            os.link(place, aside)
            os.utime(old, ns=(made, made))  # by its time it is known again
        old.replace(place)
    if built.touched:
        touch_displaced(built.folder / DISPLACED)
