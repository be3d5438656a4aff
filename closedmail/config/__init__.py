"""Read the configuration: TOML in, `closedmail.core.model.Config` out, and every error with its key.

Nothing is guessed and nothing unknown is ignored. Files that the configuration names are not opened here, and names
in it are not resolved.
"""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from closedmail.config.config_files import (
    ConfigFault,
    ConfigFile,
    find_state_dir,
    flat_text,
    merge,
    parse_toml,
    read_files,
)
from closedmail.config.key_lines import nearest
from closedmail.config.tables import read_config
from closedmail.config.toml_table import Faults
from closedmail.core.model import Config
from closedmail.errors import ConfigError, NothingSet
from closedmail.words import printable

__all__ = ["ConfigFault", "build", "find_faults", "find_state_dir", "load", "parse"]


def load(path: Path) -> Config:
    """Read and check a configuration file, and `conf.d/*.toml` beside it.

    Raises ConfigError for the first error, with an empty key where a file can't be read, and NothingSet, which is one,
    where there are only comments.
    """
    config, faults = _read(path)
    if not faults:
        return config
    first = faults[0]
    if isinstance(first.error, NothingSet):
        raise first.error
    # Which of several files it is is worth saying; which line is found by the key.
    where = "" if first.file == str(path) else f" (in {printable(first.file)}, line {first.line})"
    remedy = f"`{{closedmail}} check` names all {len(faults)} errors" if len(faults) > 1 else ""
    raise ConfigError(first.error.key, first.error.message + where, remedy)


def find_faults(path: Path) -> list[ConfigFault]:
    """Find all errors of a configuration file and its drop-ins; none if it can be used."""
    return _read(path)[1]


def parse(text: str, path: str = "closedmail.toml") -> Config:
    """Check a configuration given as TOML text; `path` names it in errors and in the result. Raises ConfigError."""
    data = parse_toml(text, path)
    if not data:
        raise _nothing_set(path)
    return replace(build(data, path), text=text)


def build(data: Mapping[str, object], path: str = "closedmail.toml") -> Config:
    """Check a configuration given as the nested dict that tomllib makes. Raises ConfigError for the first error."""
    config, errors = read_config(dict(data), path, Faults())
    if errors:
        raise errors[0]
    return config


def _read(path: Path) -> tuple[Config, list[ConfigFault]]:
    """Read all files. Return the configuration, which is one where there are no faults, and all faults."""
    read = list(read_files(path))
    files = [each for each in read if isinstance(each, ConfigFile)]
    faults = Faults()
    data, origins = merge(files, faults)
    config, errors = read_config(data, str(path), faults)
    if unread := [each for each in read if isinstance(each, ConfigFault)]:
        return config, unread  # what these files set is unknown, and may be all that is missing
    if not data:
        return config, [ConfigFault(str(path), None, _nothing_set(str(path)))]
    located = []
    for error in errors:
        file = nearest(origins, error.key) or files[0]
        located.append(ConfigFault(file.path, nearest(file.lines, error.key), error))
    return replace(config, text=files[0].text if len(files) == 1 else flat_text(data)), located


def _nothing_set(path: str) -> NothingSet:
    return NothingSet(
        "", f"{printable(path)}: nothing is set in it yet; begin with own_domains in [gateway], and a [network.NAME]"
    )
