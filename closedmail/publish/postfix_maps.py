"""Build Postfix's maps for a generation: `tls_policy` and `transport`."""

from collections.abc import Iterable
from pathlib import Path

from closedmail.mta.map_types import TRANSPORT, MapTypes
from closedmail.publish.built_maps import BuiltMaps, build_folder
from closedmail.publish.postmap import build_table

TLS_POLICY = "tls_policy"


def build_maps(
    map_dir: Path,
    head: str,
    transport: Iterable[tuple[str, str]],
    tls_policy: Iterable[tuple[str, str]],
    map_types: MapTypes,
    config_directory: str,
) -> BuiltMaps:
    """Build both maps aside and look all keys up again. Raises Refused(publish-failed), and then nothing is left."""
    with build_folder(map_dir) as folder:
        return BuiltMaps(
            folder,
            build_table(folder, TLS_POLICY, head, tls_policy, map_types.of(TLS_POLICY), config_directory),
            build_table(folder, TRANSPORT, head, transport, map_types.of(TRANSPORT), config_directory),
        )
