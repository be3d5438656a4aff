"""Read the configuration file: TOML in, `closedmail.core.model.Config` out, and every error with its key.

Only the first error is reported; nothing is guessed and nothing unknown is ignored. Files that the configuration
names are not opened here, and names in it are not resolved.
"""

import re
import tomllib
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from closedmail.config.tables import read_config
from closedmail.core.model import Config
from closedmail.errors import ConfigError, NothingSet
from closedmail.words import printable

__all__ = ["build", "load", "parse"]

# A closed network of 10,000 partner tables stays far below this; /dev/zero does not.
MAX_FILE = 64 * 1024 * 1024

_TOML_ERROR = re.compile(r"(?P<what>.*) \(at (?P<where>line \d+, column \d+|end of document)\)", re.DOTALL)


def load(path: Path) -> Config:
    """Read and check a configuration file.

    Raises ConfigError, for a file that can't be read with an empty key, and NothingSet, which is one, for a file of
    comments alone.
    """
    name = printable(str(path))
    try:
        with path.open("rb") as file:
            raw = file.read(MAX_FILE + 1)
    except FileNotFoundError:
        raise ConfigError(
            "", f"{name}: no such file; name the configuration with --config or CLOSEDMAIL_CONFIG"
        ) from None
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        raise ConfigError(
            "", f"{name}: can't be read: {printable(reason)}; it must be a file that this user may read"
        ) from None
    if len(raw) > MAX_FILE:
        raise ConfigError("", f"{name}: larger than {MAX_FILE // 1024**2} MiB; is this the configuration file?")
    try:
        # Editors on Windows put a byte order mark in front, which tomllib takes for a key.
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        raise ConfigError("", f"{name}: line {line}: not UTF-8; save the file in that encoding") from None
    return parse(text, str(path))


def parse(text: str, path: str = "closedmail.toml") -> Config:
    """Check a configuration given as TOML text; `path` names it in errors and in the result. Raises ConfigError."""
    try:
        data = tomllib.loads(text)
    except RecursionError:
        raise ConfigError(
            "", f"{printable(path)}: nested too deeply; no key here nests deeper than four tables"
        ) from None
    except ValueError as error:  # TOMLDecodeError, and what Python's int() says of thousands of digits
        raise ConfigError("", f"{printable(path)}: {_syntax(str(error))}") from None
    if not data:
        raise NothingSet(
            "",
            f"{printable(path)}: nothing is set in it yet; begin with own_domains in [gateway], and a [network.NAME]",
        )
    return replace(build(data, path), text=text)


def build(data: Mapping[str, object], path: str = "closedmail.toml") -> Config:
    """Check a configuration given as the nested dict that tomllib makes. Raises ConfigError."""
    return read_config(dict(data), path)


def _syntax(message: str) -> str:
    found = _TOML_ERROR.fullmatch(message)
    what, where = (found["what"], found["where"] + ": ") if found else (message, "")
    if what == "Cannot overwrite a value":
        what = "the same key is set twice"
    if what == r"Illegal character '\n'":
        what = "the line ends within a string: a quote is missing"
    return f"{where}{printable(what[:1].lower() + what[1:])}; fix the TOML syntax there"
