"""Read typed values from the tables of a TOML file. Every error is a ConfigError that carries the full key.

A table is checked for unknown keys when it is opened, before anything in it is read: a misspelled required key is
reported as misspelled, not as missing.
"""

import difflib
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass, fields
from typing import Generic, TypeVar

from closedmail.config.wording import describe, join, one_of
from closedmail.errors import ConfigError
from closedmail.words import quote

T = TypeVar("T")
S = TypeVar("S", bound=str)


@dataclass(frozen=True, slots=True)
class Kind(Generic[T]):
    """Values that are written as strings: `parse` raises ValueError, `like` is an example as TOML writes it."""

    parse: Callable[[str], T]
    like: str


def keys_of(kind: type) -> list[str]:
    """List the keys of a table that is read into a dataclass field by field."""
    return [field.name for field in fields(kind)]


class Table:
    """One table of the file. `key` is its full key, "" for the file itself."""

    __slots__ = ("_values", "key")

    def __init__(self, key: str, value: object, known: Collection[str]) -> None:
        """Take a table. Raises ConfigError when `value` is none, or for the first key in it that is not `known`."""
        if not isinstance(value, dict):
            raise ConfigError(key, f"found {describe(value)}; write a table: [{key}]")
        self.key = key
        self._values: dict[str, object] = value
        for name, found in self._values.items():
            if name not in known:
                raise ConfigError(self.key_of(name), _unknown(key, name, found, known))

    @classmethod
    def member(cls, parent: str, name: str, value: object, known: Collection[str]) -> "Table":
        """Make a table whose name the administrator chose, in the table of full key `parent`."""
        return cls(join(parent, name), value, known)

    def key_of(self, name: str) -> str:
        """Spell the full key of one of this table's keys."""
        return join(self.key, name)

    def has(self, name: str) -> bool:
        """Check whether the key is set, to whatever value."""
        return name in self._values

    def error(self, name: str, message: str) -> ConfigError:
        """Make a ConfigError about one of this table's keys."""
        return ConfigError(self.key_of(name), message)

    def text(self, name: str, default: T, kind: Kind[T]) -> T:
        """Read a value that is written as a string, and parse it."""
        return _parsed(self.key_of(name), self._values[name], kind) if name in self._values else default

    def texts(self, name: str, default: tuple[T, ...], kind: Kind[T]) -> tuple[T, ...]:
        """Read an array of such values. An error names the element (`allow_from[1]`), the first being 0."""
        if name not in self._values:
            return default
        key = self.key_of(name)
        like = f"[{kind.like}]"
        return tuple(_parsed(f"{key}[{at}]", item, kind) for at, item in enumerate(self._array(name, like)))

    def tables(self, name: str, like: str, known: Collection[str]) -> list["Table"]:
        """Read an array of tables, empty where the key is not set."""
        if name not in self._values:
            return []
        key = self.key_of(name)
        tables = []
        for at, item in enumerate(self._array(name, like)):
            if not isinstance(item, dict):
                raise ConfigError(f"{key}[{at}]", f"found {describe(item)}; write a table, such as {like[1:-1]}")
            tables.append(Table(f"{key}[{at}]", item, known))
        return tables

    def choice(self, name: str, allowed: tuple[S, ...], default: S | None) -> S:
        """Read one of a few words; where the default is None, the key is required, and "" counts as not set."""
        value = self._values.get(name, "" if default is None else default)
        key = self.key_of(name)
        if default is None and value == "":
            raise ConfigError(key, f"required, and not set; write one of {one_of(allowed)}")
        if not isinstance(value, str):
            raise ConfigError(key, f"found {describe(value)}; write one of {one_of(allowed)}")
        if value not in allowed:
            raise ConfigError(key, f"found {quote(value)}; allowed are {one_of(allowed)}{_nearest(value, allowed)}")
        return value

    def flag(self, name: str, default: bool) -> bool:
        """Read true or false."""
        value = self._values.get(name, default)
        if not isinstance(value, bool):
            raise self.error(name, f"found {describe(value)}; write true or false, without quotes")
        return value

    def integer(self, name: str, default: int, least: int, most: int) -> int:
        """Read a whole number between two bounds, both allowed."""
        value = self._values.get(name, default)
        # To Python a bool is an int, to TOML it is not.
        if isinstance(value, bool) or not isinstance(value, int):
            raise self.error(name, f"found {describe(value)}; write a whole number, without quotes")
        if not least <= value <= most:
            raise self.error(name, f"found {describe(value)}; allowed are {least} to {most}")
        return value

    def table(self, name: str, known: Collection[str]) -> "Table":
        """Read a table within this one; where it is not set, an empty one."""
        return Table(self.key_of(name), self._values.get(name, {}), known)

    def members(self, name: str) -> Iterator[tuple[str, object]]:
        """Read the members of a table whose keys are names that the administrator chose (`network`, `partner`)."""
        value = self._values.get(name, {})
        if not isinstance(value, dict):
            raise self.error(name, f"found {describe(value)}; write tables with names: [{name}.NAME]")
        yield from value.items()

    def _array(self, name: str, like: str) -> list[object]:
        value = self._values[name]
        if not isinstance(value, list):
            raise self.error(name, f"found {describe(value)}; write an array, such as {like}")
        return value


def _parsed(key: str, value: object, kind: Kind[T]) -> T:
    if not isinstance(value, str):
        raise ConfigError(key, f"found {describe(value)}; write a string, in quotes, such as {kind.like}")
    try:
        return kind.parse(value)
    except ValueError as error:
        raise ConfigError(key, str(error)) from None


def _unknown(key: str, name: str, found: object, known: Collection[str]) -> str:
    near = _nearest(name, known)
    if near:
        return f"unknown key{near}"
    # [partner.klinik.example] is the key "example" in the table "klinik".
    table, _, last = key.partition(".")
    if isinstance(found, dict) and table in ("partner", "network") and "." not in last:
        dotted = quote(f"{last}.{name}")
        return f"unknown key; if the dot belongs to the name, quote it: [{table}.{dotted}]"
    return f"unknown key; known here are {', '.join(sorted(known))}"


def _nearest(word: str, known: Collection[str]) -> str:
    near = difflib.get_close_matches(word[:100], known, n=1)
    return f"; did you mean {quote(near[0])}?" if near else ""
