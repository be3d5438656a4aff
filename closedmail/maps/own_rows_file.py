"""Keep what the last run saw of the administrator's own tables: `own_rows.json` in the state directory."""

import json
from pathlib import Path

from closedmail.files import read_json, replace_file
from closedmail.maps.own_rows import OwnRows

OWN_ROWS = "own_rows.json"
_LONGEST = 64 * 1024 * 1024  # bytes


def read_own_rows(state_dir: Path) -> OwnRows:
    """Read what the last run saw; nothing where the file is missing or broken."""
    try:
        return OwnRows.from_json(read_json(state_dir / OWN_ROWS, _LONGEST))
    except (OSError, ValueError, KeyError, TypeError):
        return OwnRows()


def keep_own_rows(state_dir: Path, found: OwnRows) -> None:
    """Write which rows this run saw, where these are others; of a table that it could not read, those seen last.

    Raises OSError.
    """
    before, unread = read_own_rows(state_dir), {table for table, _ in found.unread}
    rows = (*found.rows, *(row for row in before.rows if row.table in unread and row not in found.rows))
    kept = OwnRows(tuple(sorted(rows)))
    if kept != before:
        replace_file(state_dir / OWN_ROWS, [json.dumps(kept.to_json(), indent=1).encode()], 0o640)
