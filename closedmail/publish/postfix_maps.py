"""Build Postfix's maps for a generation: `tls_policy`, `recipients_unusual` and `transport`."""

from collections.abc import Iterable
from pathlib import Path

from closedmail.maps.unusual_spellings import REFUSAL, TABLE, UNUSUAL, USUAL, unusual_table
from closedmail.publish.built_maps import BuiltMaps, build_folder
from closedmail.publish.postmap import build_table
from closedmail.publish.regexp_table import build_regexp_table

TRANSPORT, TLS_POLICY = "transport", "tls_policy"


def build_maps(
    map_dir: Path,
    head: str,
    transport: Iterable[tuple[str, str]],
    tls_policy: Iterable[tuple[str, str]],
    map_type: str,
    config_directory: str,
) -> BuiltMaps:
    """Build all maps aside and look their keys up again. Raises Refused(publish-failed), and then nothing is left.

    What refuses unusual spellings stands before the routes that these spellings would go around.
    """
    spellings = {f"x@{name}": REFUSAL for name in UNUSUAL} | {f"x@{name}": "" for name in USUAL}
    with build_folder(map_dir) as folder:
        policies = build_table(folder, TLS_POLICY, head, tls_policy, map_type, config_directory)
        guard = build_regexp_table(folder, TABLE, head, unusual_table(), spellings, config_directory)
        return BuiltMaps(
            folder,
            [*policies, guard],
            build_table(folder, TRANSPORT, head, transport, map_type, config_directory),
        )
