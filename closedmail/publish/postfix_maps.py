"""Build Postfix's maps for a generation: the TLS policy tables and `transport`."""

from collections.abc import Iterable, Mapping
from pathlib import Path

from closedmail.publish.built_maps import BuiltMaps, build_folder
from closedmail.publish.postmap import build_table

TRANSPORT = "transport"


def build_maps(
    map_dir: Path,
    head: str,
    transport: Iterable[tuple[str, str]],
    tls_policies: Mapping[str, Iterable[tuple[str, str]]],
    map_type: str,
    config_directory: str,
) -> BuiltMaps:
    """Build all maps aside and look all keys up again; `tls_policies` are the tables' rows by the name of the table.

    Raises Refused(publish-failed), and then nothing is left.
    """
    with build_folder(map_dir) as folder:
        demands = []
        for name, rows in tls_policies.items():
            demands += build_table(folder, name, head, rows, map_type, config_directory)
        return BuiltMaps(folder, demands, build_table(folder, TRANSPORT, head, transport, map_type, config_directory))
