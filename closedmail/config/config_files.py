"""Read the files of a configuration: the file itself, and `conf.d/*.toml` beside it, in the order of their names.

They are one configuration: a table may stand in several files, a key in one.
"""

import json
import re
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from closedmail.config.key_lines import key_lines
from closedmail.config.toml_table import Faults
from closedmail.config.wording import join
from closedmail.errors import ConfigError
from closedmail.words import printable

# A closed network of 10,000 partner tables stays far below this; /dev/zero does not.
MAX_FILE = 64 * 1024 * 1024
DROP_INS = "conf.d"

_LINE = re.compile(r": line (\d+)[:,]")
_STATE_DIR = re.compile(
    r"""^\s*(?:gateway\s*\.\s*)?state_dir\s*=\s*(?:"(?P<double>[^"\\\n]+)"|'(?P<single>[^'\n]+)')""", re.M
)
_TOML_ERROR = re.compile(r"(?P<what>.*) \(at (?P<where>line \d+, column \d+|end of document)\)", re.DOTALL)


@dataclass(frozen=True)
class ConfigFile:
    """One file: its path, its text, and what tomllib made of it."""

    path: str
    text: str
    data: dict[str, object]

    @cached_property
    def lines(self) -> dict[str, int]:
        """The line of each key, spelled in full."""
        return key_lines(self.text)


@dataclass(frozen=True, slots=True)
class ConfigFault:
    """An error in the configuration: in which file and line, where that can be told, of which key, and what it is."""

    file: str
    line: int | None
    error: ConfigError

    def to_json(self) -> dict[str, object]:
        """Make an element of `check --json`."""
        return {"file": self.file, "line": self.line, "key": self.error.key, "text": self.error.message}

    def __str__(self) -> str:
        """Render it as compilers do."""
        if not self.error.key:
            return str(self.error)  # which names the file
        place = printable(self.file) + (f":{self.line}" if self.line else "")
        return f"{place}: {self.error}"


def read_files(path: Path) -> Iterator[ConfigFile | ConfigFault]:
    """Read a configuration file and its drop-ins; for one that can't be read, yield what is wrong with it."""
    paths = [path]
    try:
        paths += sorted(
            found
            for found in (path.parent / DROP_INS).iterdir()
            if found.suffix == ".toml" and not found.name.startswith(".")
        )
    except (FileNotFoundError, NotADirectoryError):
        pass
    except (OSError, ValueError) as error:
        yield ConfigFault(str(path.parent / DROP_INS), None, _unreadable(path.parent / DROP_INS, error))
    for each in paths:
        try:
            text = read_text(each)
            yield ConfigFile(str(each), text, parse_toml(text, str(each)))
        except ConfigError as error:
            line = _LINE.search(error.message)
            yield ConfigFault(str(each), int(line[1]) if line else None, error)


def read_text(path: Path) -> str:
    """Read a file of at most 64 MiB as UTF-8. Raises ConfigError with an empty key."""
    name = printable(str(path))
    try:
        with path.open("rb") as file:
            raw = file.read(MAX_FILE + 1)
    except FileNotFoundError:
        raise ConfigError(
            "", f"{name}: no such file; name the configuration with --config or CLOSEDMAIL_CONFIG"
        ) from None
    except (OSError, ValueError) as error:
        raise _unreadable(path, error) from None
    if len(raw) > MAX_FILE:
        raise ConfigError("", f"{name}: larger than {MAX_FILE // 1024**2} MiB; is this the configuration file?")
    try:
        # Editors on Windows put a byte order mark in front, which tomllib takes for a key.
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        raise ConfigError("", f"{name}: line {line}: not UTF-8; save the file in that encoding") from None


def find_state_dir(path: Path) -> str | None:
    """Find state_dir in a configuration, even one that has errors or is no TOML; None where nothing sets it."""
    found = None
    for each in read_files(path):
        if isinstance(each, ConfigFile):
            gateway = each.data.get("gateway")
            value = gateway.get("state_dir") if isinstance(gateway, dict) else None
            found = value if isinstance(value, str) else found
            continue
        try:
            with Path(each.file).open("rb") as file:
                text = file.read(MAX_FILE).decode("utf-8", "surrogateescape")
        except (OSError, ValueError):
            continue
        if line := _STATE_DIR.search(text):
            found = line["double"] or line["single"]
    return found if found and found.startswith("/") else None


def parse_toml(text: str, path: str) -> dict[str, object]:
    """Parse TOML; `path` names the file in errors. Raises ConfigError with an empty key."""
    try:
        return tomllib.loads(text)
    except RecursionError:
        raise ConfigError(
            "", f"{printable(path)}: nested too deeply; no key here nests deeper than four tables"
        ) from None
    except ValueError as error:  # TOMLDecodeError, and what Python's int() says of thousands of digits
        raise ConfigError("", f"{printable(path)}: {_syntax(str(error))}") from None


def merge(files: Sequence[ConfigFile], faults: Faults) -> tuple[dict[str, object], dict[str, ConfigFile]]:
    """Make one table of all files; tell for each table and key, spelled in full, in which file it stands first.

    A key that stands in two of them is a fault that names both.
    """
    merged: dict[str, object] = {}
    origins: dict[str, ConfigFile] = {}
    for file in files:
        _merge("", merged, file.data, file, origins, faults)
    return merged, origins


def _merge(
    key: str,
    into: dict[str, object],
    table: Mapping[str, object],
    file: ConfigFile,
    origins: dict[str, ConfigFile],
    faults: Faults,
) -> None:
    for name, value in table.items():
        full, here = join(key, name), into.get(name)
        if isinstance(value, dict) and (here is None or isinstance(here, dict)):
            target: dict[str, object] = here if here is not None else {}
            into[name] = target
            origins.setdefault(full, file)
            _merge(full, target, value, file, origins, faults)
        elif here is None:
            into[name] = value
            origins[full] = file
        else:
            both = f"{printable(origins[full].path)} and {printable(file.path)}"
            faults.add(full, f"set twice, in {both}; remove it from one of them")


def flat_text(data: Mapping[str, object]) -> str:
    """Write the tables of several files as one TOML text, one line a key."""
    return "".join(f"{key} = {value}\n" for key, value in _flat("", data))


def _flat(prefix: str, table: Mapping[str, object]) -> Iterator[tuple[str, str]]:
    for name, value in table.items():
        key = f"{prefix}{_string(name)}"
        if isinstance(value, dict) and value:
            yield from _flat(f"{key}.", value)
        else:
            yield key, _value(value)


def _value(value: object) -> str:
    match value:
        case bool():
            return "true" if value else "false"
        case str():
            return _string(value)
        case list():
            return f"[{', '.join(map(_value, value))}]"
        case dict():
            return f"{{{', '.join(f'{_string(name)} = {_value(item)}' for name, item in value.items())}}}"
        case _:  # numbers, and dates, which no key takes
            return str(value)


def _string(text: str) -> str:
    # JSON's escapes are TOML's, but for DEL and what it writes as a pair of surrogates.
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")


def _unreadable(path: Path, error: Exception) -> ConfigError:
    reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    name = printable(str(path))
    return ConfigError("", f"{name}: can't be read: {printable(reason)}; it must be a file that this user may read")


def _syntax(message: str) -> str:
    found = _TOML_ERROR.fullmatch(message)
    what, where = (found["what"], found["where"] + ": ") if found else (message, "")
    if what == "Cannot overwrite a value":
        what = "the same key is set twice"
    if what == r"Illegal character '\n'":
        what = "the line ends within a string: a quote is missing"
    return f"{where}{printable(what[:1].lower() + what[1:])}; fix the TOML syntax there"
