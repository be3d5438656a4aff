"""The files of `[monitoring]`, which each `sync` writes anew, whatever became of it."""

from collections.abc import Iterator
from pathlib import Path

from closedmail.care.report import write_report
from closedmail.core.model import Config
from closedmail.errors import ClosedmailError


def write_monitoring_files(config: Config, now: int) -> Iterator[str]:
    """Write what is configured, at a time (Unix seconds). Gives a line for each file that could not be written."""
    if config.monitoring.report:
        try:
            write_report(config, Path(config.monitoring.report), now)
        except ClosedmailError as error:
            yield f"monitoring.report: {error}"
