"""Read typed values from the tables of a TOML file. Every fault is a ConfigError that carries the full key.

Faults are collected, and reading goes on with the default of what is faulty, so that one run names them all. What
depends on several keys is checked only where all of them are sound (`Table.sound`): a fault has no echo.

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


class Faults:
    """All that is wrong with a configuration, in the order in which it was found, and each once."""

    __slots__ = ("_texts", "found")

    def __init__(self) -> None:
        self.found: list[ConfigError] = []
        self._texts: set[str] = set()

    def add(self, key: str, message: str) -> None:
        """Note a fault of the full key `key`."""
        fault = ConfigError(key, message)
        if str(fault) not in self._texts:
            self._texts.add(str(fault))
            self.found.append(fault)


class Table:
    """One table of the file. `key` is its full key, "" for the file itself."""

    __slots__ = ("_faults", "_missed", "_sound_until", "_values", "key")

    def __init__(self, key: str, value: object, known: Collection[str], faults: Faults) -> None:
        """Take a table. It is empty where `value` is none; keys that are not `known` are faults, and not looked at."""
        self.key = key
        self._faults, self._sound_until = faults, len(faults.found)
        self._values: dict[str, object] = {}
        # Keys of which something else is known to be wrong: that they are not set would be an echo of it.
        self._missed: set[str] = set()
        if not isinstance(value, dict):
            faults.add(key, f"found {describe(value)}; write a table: [{key}]")
            self._missed.update(known)
            return
        for name, found in value.items():
            if name in known:
                self._values[name] = found
            else:
                faults.add(self.key_of(name), _unknown(key, name, found, known))
                self._missed.update(known if isinstance(found, dict) else _nearest(name, known))

    def member(self, group: str, name: str, value: object, known: Collection[str]) -> "Table":
        """Open the table of a name that the administrator chose, in this one's table `group`."""
        return Table(join(self.key_of(group), name), value, known, self._faults)

    @property
    def sound(self) -> bool:
        """Whether nothing wrong was found since this table was opened."""
        return len(self._faults.found) == self._sound_until

    def key_of(self, name: str) -> str:
        """Spell the full key of one of this table's keys."""
        return join(self.key, name)

    def has(self, name: str) -> bool:
        """Check whether the key is set, to whatever value."""
        return name in self._values

    def fault(self, name: str, message: str, *, within: str = "") -> None:
        """Note a fault of one of this table's keys, or of one in its table `within`; of itself where `name` is ""."""
        table = self.key_of(within) if within else self.key
        self._faults.add(join(table, name) if name else table, message)

    def text(self, name: str, default: T, kind: Kind[T]) -> T:
        """Read a value that is written as a string, and parse it."""
        if name not in self._values:
            return default
        return next(self._parsed(self.key_of(name), self._values[name], kind), default)

    def texts(self, name: str, default: tuple[T, ...], kind: Kind[T]) -> tuple[T, ...]:
        """Read an array of such values. A fault names the element (`allow_from[1]`), the first being 0."""
        if name not in self._values:
            return default
        key = self.key_of(name)
        return tuple(
            value
            for at, item in enumerate(self._array(name, f"[{kind.like}]"))
            for value in self._parsed(f"{key}[{at}]", item, kind)
        )

    def tables(self, name: str, like: str, known: Collection[str]) -> list["Table"]:
        """Read an array of tables, empty where the key is not set."""
        if name not in self._values:
            return []
        key = self.key_of(name)
        tables = []
        for at, item in enumerate(self._array(name, like)):
            if isinstance(item, dict):
                tables.append(Table(f"{key}[{at}]", item, known, self._faults))
            else:
                self._faults.add(f"{key}[{at}]", f"found {describe(item)}; write a table, such as {like[1:-1]}")
        return tables

    def choice(self, name: str, allowed: tuple[S, ...], default: S | None) -> S:
        """Read one of a few words; where the default is None, the key is required, and "" counts as not set."""
        value = self._values.get(name, "" if default is None else default)
        if default is None and value == "":
            if name in self._missed:
                return allowed[0]
            self.fault(name, f"required, and not set; write one of {one_of(allowed)}")
        elif not isinstance(value, str):
            self.fault(name, f"found {describe(value)}; write one of {one_of(allowed)}")
        elif value not in allowed:
            self.fault(name, f"found {quote(value)}; allowed are {one_of(allowed)}{_did_you_mean(value, allowed)}")
        else:
            return value
        return allowed[0] if default is None else default

    def flag(self, name: str, default: bool) -> bool:
        """Read true or false."""
        value = self._values.get(name, default)
        if isinstance(value, bool):
            return value
        self.fault(name, f"found {describe(value)}; write true or false, without quotes")
        return default

    def integer(self, name: str, default: int, least: int, most: int) -> int:
        """Read a whole number between two bounds, both allowed."""
        value = self._values.get(name, default)
        # To Python a bool is an int, to TOML it is not.
        if isinstance(value, bool) or not isinstance(value, int):
            self.fault(name, f"found {describe(value)}; write a whole number, without quotes")
        elif not least <= value <= most:
            self.fault(name, f"found {describe(value)}; allowed are {least} to {most}")
        else:
            return value
        return default

    def table(self, name: str, known: Collection[str]) -> "Table":
        """Read a table within this one; where it is not set, an empty one."""
        table = Table(self.key_of(name), self._values.get(name, {}), known, self._faults)
        if name in self._missed:
            table._missed.update(known)
        return table

    def members(self, name: str) -> Iterator[tuple[str, object]]:
        """Read the members of a table whose keys are names that the administrator chose (`network`, `partner`)."""
        value = self._values.get(name, {})
        if not isinstance(value, dict):
            self.fault(name, f"found {describe(value)}; write tables with names: [{name}.NAME]")
            return
        yield from value.items()

    def _array(self, name: str, like: str) -> list[object]:
        value = self._values[name]
        if not isinstance(value, list):
            self.fault(name, f"found {describe(value)}; write an array, such as {like}")
            return []
        return value

    def _parsed(self, key: str, value: object, kind: Kind[T]) -> Iterator[T]:
        """Parse a value, or note what is wrong with it and yield nothing."""
        if not isinstance(value, str):
            self._faults.add(key, f"found {describe(value)}; write a string, in quotes, such as {kind.like}")
            return
        try:
            yield kind.parse(value)
        except ValueError as error:
            self._faults.add(key, str(error))


def _unknown(key: str, name: str, found: object, known: Collection[str]) -> str:
    if near := _did_you_mean(name, known):
        return f"unknown key{near}"
    # [partner.klinik.example] is the key "example" in the table "klinik".
    table, _, last = key.partition(".")
    if isinstance(found, dict) and table in ("partner", "network") and "." not in last:
        dotted = quote(f"{last}.{name}")
        return f"unknown key; if the dot belongs to the name, quote it: [{table}.{dotted}]"
    return f"unknown key; known here are {', '.join(sorted(known))}"


def _did_you_mean(word: str, known: Collection[str]) -> str:
    return "".join(f"; did you mean {quote(near)}?" for near in _nearest(word, known))


def _nearest(word: str, known: Collection[str]) -> list[str]:
    return difflib.get_close_matches(word[:100], known, n=1)
