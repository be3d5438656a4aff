"""Postfix's maps for a generation: `tls_policy` and `transport`, built aside in the map folder itself.

They are built there because a rename only works within one file system, and because a folder that can't be written
shows before anything has changed.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from closedmail.core.tls_policy import Row
from closedmail.errors import Refused
from closedmail.publish.files import fresh_folder
from closedmail.publish.postmap import build_table

TRANSPORT, TLS_POLICY = "transport", "tls_policy"
_BUILD = ".closedmail-build"


@dataclass(frozen=True, slots=True)
class BuiltMaps:
    """Files that are ready to be renamed into the folder above theirs, in this order."""

    folder: Path
    tls_policy: list[Path]
    transport: list[Path]


def header(generation: int, published: str) -> str:
    """The comment at the head of every map; its first line is how a later run knows what it finds."""
    return (
        f"# closedmail generation {generation}\n"
        f"# Published {published} by closedmail sync, which replaces this file: do not edit it.\n"
    )


def build_maps(
    map_dir: Path,
    head: str,
    transport: Iterable[tuple[str, str]],
    tls_policy: Iterable[tuple[str, Row]],
    map_type: str,
    config_directory: str,
) -> BuiltMaps:
    """Build both maps aside and look all keys up again. Raises Refused(publish-failed)."""
    try:
        map_dir.mkdir(mode=0o755, parents=True, exist_ok=True)
        folder = fresh_folder(map_dir / _BUILD)
        policies = ((nexthop, str(row.policy)) for nexthop, row in tls_policy)
        return BuiltMaps(
            folder,
            build_table(folder, TLS_POLICY, head, policies, map_type, config_directory),
            build_table(folder, TRANSPORT, head, transport, map_type, config_directory),
        )
    except OSError as error:
        raise Refused("publish-failed", f"{error.filename or map_dir}: {error.strerror}: see map_dir") from None


def maps_in_force(map_dir: Path, generation: int) -> bool:
    """Whether both maps of that generation, text and index, are where Postfix reads them."""
    wanted = f"# closedmail generation {generation}\n"
    for name in (TLS_POLICY, TRANSPORT):
        try:
            with (map_dir / name).open(encoding="utf-8") as file:
                if file.readline() != wanted:
                    return False
        except (OSError, UnicodeDecodeError):
            return False
        if not any(path.suffix for path in map_dir.glob(f"{name}.*")):
            return False
    return True
