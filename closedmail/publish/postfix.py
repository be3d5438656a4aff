"""Postfix's maps for a generation: `tls_policy` and `transport`, built aside in the map folder itself.

They are built there because a rename only works within one file system, and because a folder that can't be written
shows before anything has changed. Each run has a build folder of its own: a killed run's postmap may outlive it, and
what it still writes must never get into the files of the next run.
"""

from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from tempfile import mkdtemp

from closedmail.core.tls_policy import Row
from closedmail.errors import Refused
from closedmail.publish.files import make_folder, remove_tree
from closedmail.publish.postmap import build_table

TRANSPORT, TLS_POLICY = "transport", "tls_policy"
_BUILD = ".closedmail-build-"  # and a random end


@dataclass(frozen=True, slots=True)
class BuiltMaps:
    """Files that are ready to be renamed into the folder above theirs, in this order."""

    folder: Path
    tls_policy: list[Path]
    transport: list[Path]

    def identities(self) -> dict[str, list[int]]:
        """By which `maps_in_force` knows these files again, by name; they stay the same when a file is renamed."""
        return {path.name: _identity(path) for path in (*self.tls_policy, *self.transport)}


def header(generation: int, published: str) -> str:
    """The comment at the head of every map."""
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
    """Build both maps aside and look all keys up again. Raises Refused(publish-failed), and then nothing is left."""
    folder: Path | None = None
    try:
        make_folder(map_dir)
        remove_leftovers(map_dir)
        folder = Path(mkdtemp(prefix=_BUILD, dir=map_dir))
        policies = ((nexthop, str(row.policy)) for nexthop, row in tls_policy)
        return BuiltMaps(
            folder,
            build_table(folder, TLS_POLICY, head, policies, map_type, config_directory),
            build_table(folder, TRANSPORT, head, transport, map_type, config_directory),
        )
    except Refused:
        if folder:
            remove_tree(folder)
        raise
    except OSError as error:
        if folder:
            with suppress(OSError):
                remove_tree(folder)
        raise Refused("publish-failed", f"{error.filename or map_dir}: {error.strerror}: see map_dir") from None


def remove_leftovers(map_dir: Path) -> None:
    """Remove what killed runs were building; call it under the lock. What can't be removed now is for the next run."""
    for path in map_dir.glob(f"{_BUILD.rstrip('-')}*"):
        with suppress(OSError):
            remove_tree(path)


def maps_in_force(map_dir: Path, identities: Mapping[str, list[int]]) -> bool:
    """Whether the maps lie where Postfix reads them, text and index, as they were put there."""
    try:
        return all(_identity(map_dir / name) == known for name, known in identities.items())
    except OSError:
        return False


def _identity(path: Path) -> list[int]:
    found = path.stat()
    return [found.st_ino, found.st_size, found.st_mtime_ns]
