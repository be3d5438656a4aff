"""The switch from one generation to the next, in the one order that never routes a partner without its TLS policy.

The TLS policy first: it has the rows of the old routes and of the new ones. Then the policy store, in its one
transaction. Then the routes. A mark stands in the state directory meanwhile, so that the next run finishes a switch
that was interrupted. What fails before the store has switched is taken back.
"""

import os
import shutil
from pathlib import Path

from closedmail.errors import Refused, StoreError
from closedmail.publish.files import remove_tree, sync_path
from closedmail.publish.postfix import BuiltMaps
from closedmail.store.writer import StoreWriter

_MARK = "switching"


def interrupted(state_dir: Path) -> bool:
    """Whether the last switch did not come to its end."""
    return (state_dir / _MARK).exists()


def switch(state_dir: Path, maps: BuiltMaps | None, store: StoreWriter) -> None:
    """Put maps and store in force. Raises Refused(publish-failed), and then the old generation is in force."""
    mark = state_dir / _MARK
    map_dir = maps.folder.parent if maps else state_dir
    try:
        mark.touch()  # empty, and so whole as soon as it is there
        sync_path(state_dir)
        undo: list[tuple[Path, Path | None]] = []
        try:
            if maps:
                undo = _rename_into(map_dir, maps.tls_policy, maps.folder / "old")
            store.commit()
        except (OSError, StoreError):
            _take_back(undo)
            mark.unlink()
            raise
        if maps:
            _rename_into(map_dir, maps.transport, None)
            remove_tree(maps.folder)
        mark.unlink()
        sync_path(state_dir)
    except StoreError as error:
        raise Refused("publish-failed", str(error)) from None
    except OSError as error:
        raise Refused("publish-failed", f"{error.filename or map_dir}: {error.strerror}") from None


def _rename_into(map_dir: Path, files: list[Path], keep: Path | None) -> list[tuple[Path, Path | None]]:
    """Rename files into the folder, all or none; returns what `_take_back` needs where `keep` names a folder."""
    done: list[tuple[Path, Path | None]] = []
    if keep is not None:
        keep.mkdir()
    try:
        for path in files:
            place = map_dir / path.name
            old = None
            if keep is not None and place.exists():
                old = keep / path.name
                try:
                    os.link(place, old)
                except PermissionError:  # root made it anew by hand: nobody may link what is not his own
                    shutil.copyfile(place, old)
                    old.chmod(0o644)
            path.replace(place)
            done.append((place, old))
        sync_path(map_dir)
    except OSError:
        if keep is not None:
            _take_back(done)
        raise
    return done


def _take_back(done: list[tuple[Path, Path | None]]) -> None:
    for place, old in done:
        if old is None:
            place.unlink()
        else:
            old.replace(place)
