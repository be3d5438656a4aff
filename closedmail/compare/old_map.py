"""Read an old table: an indexed one through postmap(1), or a text file, plain or signed."""

import re
from pathlib import Path
from tempfile import TemporaryDirectory

from closedmail.compare.old_rows import parse_text
from closedmail.errors import ClosedmailError
from closedmail.lists.openpgp import unverified_text
from closedmail.mta.own_tables import OwnTables, TableError

_MAX_SIZE = 1 << 30  # bytes; a local file is the administrator's own


def read_map(name: str, config_directory: str) -> dict[str, str]:
    """Read all rows of `type:/path`, or of a text file. Raises ClosedmailError."""
    if re.match(r"[a-z0-9_]+:", name):
        return _indexed(name, config_directory)
    with TemporaryDirectory(prefix="closedmail-") as work:
        try:
            text = unverified_text(Path(name), Path(work), _MAX_SIZE) or Path(name)
            with text.open(encoding="utf-8", errors="replace") as lines:
                return parse_text(lines)
        except OSError as error:
            raise ClosedmailError(f"{name}: {error.strerror}") from None


def _indexed(name: str, config_directory: str) -> dict[str, str]:
    try:
        rows = OwnTables(config_directory).rows(name)
    except TableError as error:
        raise ClosedmailError(f"{name}: {error}") from None
    if rows is None:
        path = name.partition(":")[2]
        raise ClosedmailError(f"{name}: tables of this type can't be listed; give the text that it is made of: {path}")
    return rows
