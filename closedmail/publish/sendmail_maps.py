"""Build Sendmail's maps for a generation: `access` and `mailertable`."""

import os
from collections.abc import Iterable
from pathlib import Path

from closedmail.errors import Refused
from closedmail.publish.built_maps import BuiltMaps, build_folder
from closedmail.publish.makemap import build_map

MAILERTABLE, ACCESS = "mailertable", "access"


def build_sendmail_maps(
    map_dir: Path, head: str, mailertable: Iterable[tuple[str, str]], access: Iterable[tuple[str, str]], map_type: str
) -> BuiltMaps:
    """Build both maps aside and read them back. Raises Refused(publish-failed), and then nothing is left."""
    with build_folder(map_dir) as folder:
        built = BuiltMaps(
            folder,
            build_map(folder, ACCESS, head, access, map_type),
            build_map(folder, MAILERTABLE, head, mailertable, map_type),
            touched=True,
        )
        for path in (*built.demands, *built.routes):
            _check_owner(map_dir / path.name)
        return built


def _check_owner(path: Path) -> None:
    """Raise Refused for a file of another user, whose time we may not change when we replace it (`touch_displaced`)."""
    if path.exists() and os.geteuid() not in (0, path.stat().st_uid):
        raise Refused("publish-failed", f"{path} belongs to another user, who made it manually; remove it")
