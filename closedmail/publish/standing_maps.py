"""Find the partners that only the maps know: rows that stand in `map_dir` and are not of the policy store."""

from collections.abc import Container, Mapping
from pathlib import Path

from closedmail.files import open_text
from closedmail.maps.standing_rows import StandingRows, parse_standing
from closedmail.publish.built_maps import LARGEST, map_faults


def standing_rows(
    table: Path,
    identities: Mapping[str, list[int]],
    generation: int,
    built: int,
    own_rows: Container[str] = (),
) -> StandingRows:
    """Read the rows of a table that is newer than the policy store, or that another store's run has put there.

    `identities` are those of the maps that the store knows, `generation` and `built` (when it made them) its own, 0
    for no store. Rows of the store's own table, and of an older one, say nothing that it does not know: none are given.
    Raises OSError for a table that can't be read.
    """
    known = identities.get(table.name)
    if known is not None and not map_faults(table.parent, {table.name: known}):
        return StandingRows()
    try:
        with open_text(table, LARGEST, "surrogateescape") as lines:
            found = parse_standing(lines, own_rows)
    except (FileNotFoundError, NotADirectoryError):
        return StandingRows()
    newer = not generation or found.generation > generation or found.published > built
    return found if found.generation and newer else StandingRows()
