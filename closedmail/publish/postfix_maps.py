"""Build Postfix's maps for a generation: the TLS policy tables, `recipients_unusual` and `transport`."""

from collections.abc import Iterable, Mapping
from pathlib import Path

from closedmail.maps.unusual_spellings import REFUSAL, TABLE, UNUSUAL, USUAL, unusual_table
from closedmail.mta.map_types import TRANSPORT, MapTypes
from closedmail.publish.built_maps import BuiltMaps, build_folder
from closedmail.publish.postmap import build_table
from closedmail.publish.regexp_table import build_regexp_table


def build_maps(
    map_dir: Path,
    head: str,
    transport: Iterable[tuple[str, str]],
    tls_policies: Mapping[str, Iterable[tuple[str, str]]],
    map_types: MapTypes,
    config_directory: str,
) -> BuiltMaps:
    """Build all maps aside and look their keys up again; `tls_policies` are the tables' rows by the name of the table.

    What refuses unusual spellings stands before the routes that these spellings would go around. Raises
    Refused(publish-failed), and then nothing is left.
    """
    spellings = {f"x@{name}": REFUSAL for name in UNUSUAL} | {f"x@{name}": "" for name in USUAL}
    with build_folder(map_dir) as folder:
        demands = []
        for name, rows in tls_policies.items():
            demands += build_table(folder, name, head, rows, map_types.of(name), config_directory)
        demands.append(build_regexp_table(folder, TABLE, head, unusual_table(), spellings, config_directory))
        routes = build_table(folder, TRANSPORT, head, transport, map_types.of(TRANSPORT), config_directory)
        return BuiltMaps(folder, demands, routes)
