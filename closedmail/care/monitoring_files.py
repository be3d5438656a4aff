"""The files that each sync writes for those who watch over it: `[monitoring]` in the configuration."""

from collections.abc import Iterator
from pathlib import Path

from closedmail.care.status import find_status
from closedmail.care.textfile import write_textfile
from closedmail.core.model import Config


def write_monitoring_files(config: Config, now: int) -> Iterator[str]:
    """Write what is configured; one sentence for each that can't be written. `now` is Unix time."""
    textfile = config.monitoring.textfile
    if textfile:
        try:
            write_textfile(Path(textfile), find_status(config, now), now)
        except OSError as error:
            yield not_written("monitoring.textfile", textfile, error)


def not_written(key: str, path: str, error: OSError) -> str:
    """The sentence for a file that can't be written."""
    return f"{key}: {path}: {error.strerror or error}; the user that syncs must be able to write into its folder"
