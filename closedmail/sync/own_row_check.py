"""Look for rows of the administrator's own tables that stand in front of the generation in force."""

from contextlib import suppress
from pathlib import Path

from closedmail.core.model import Config
from closedmail.errors import StoreError
from closedmail.maps.own_rows import OwnRows
from closedmail.maps.own_rows_file import keep_own_rows
from closedmail.mta.own_tables import OwnTables, find_own_rows
from closedmail.mta.postfix_settings import read_chain
from closedmail.programs import ProgramError
from closedmail.store.environment import store_path
from closedmail.store.snapshot import Snapshot, StoreReader
from closedmail.sync.sync_report import SyncReport


def report_own_rows(config: Config, report: SyncReport) -> None:
    """Complete the report of a run by what it is that Postfix uses in place of what is in force, and keep it.

    A dry run keeps nothing, and so does one that can't ask Postfix. Raises OSError where it can't be kept.
    """
    with StoreReader(store_path(config.gateway.state_dir)) as store, suppress(StoreError):
        try:
            report.own_rows = _look(config, store.current())
        except ProgramError as error:
            report.own_rows = OwnRows(unread=(("transport_maps", str(error)),))
            return
        if not report.dry_run:
            keep_own_rows(Path(config.gateway.state_dir), report.own_rows)


def _look(config: Config, snapshot: Snapshot) -> OwnRows:
    """Find the rows in front of those in force. Raises ProgramError where Postfix can't be asked."""
    if config.postfix is None:
        return OwnRows()
    directory = config.postfix.config_directory
    return find_own_rows(read_chain(directory, config.postfix.map_dir), OwnTables(directory), snapshot)
