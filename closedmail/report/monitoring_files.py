"""Write the files of `[monitoring]`, after each `sync`, whatever its result."""

from collections.abc import Iterator
from pathlib import Path

from closedmail.core.model import Config
from closedmail.errors import ClosedmailError
from closedmail.report.report import render_report, write_report
from closedmail.status.status import find_status
from closedmail.status.textfile import render_textfile, write_textfile


def write_monitoring_files(config: Config, now: int) -> Iterator[str]:
    """Write what is configured, at a time (Unix seconds). Yields a sentence for each file that could not be written."""
    textfile, report = config.monitoring.textfile, config.monitoring.report
    if not (textfile or report):
        return
    status = find_status(config, now)
    if textfile:
        try:
            write_textfile(Path(textfile), render_textfile(status, now))
        except OSError as error:
            yield not_written("monitoring.textfile", textfile, error)
    if report:
        try:
            write_report(Path(report), render_report(config, status, now))
        except ClosedmailError as error:
            yield f"monitoring.report: {error}"


def not_written(key: str, path: str, error: OSError) -> str:
    """Render the sentence for a file that can't be written."""
    return f"{key}: {path}: {error.strerror or error}; the user that syncs must be able to write into its folder"
