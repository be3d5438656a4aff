"""Values of the small PowerShell interpreter, and its operators.

Values are str, bool, int, None, list for arrays, `Table` for hashtables, `Thing` for objects.
"""

import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any


class PowerShellError(Exception):
    """What `throw`, or a failing cmdlet, ends a script with."""


class Table(dict[str, Any]):
    """A hashtable: keys without case."""

    def __init__(self, items: Iterable[tuple[str, Any]] = ()) -> None:
        super().__init__()
        for key, value in items:
            self[key] = value

    def __setitem__(self, key: str, value: Any) -> None:
        super().__setitem__(str(key).lower(), value)

    def __getitem__(self, key: str) -> Any:
        return super().get(str(key).lower())

    def __contains__(self, key: object) -> bool:
        return super().__contains__(str(key).lower())


class Thing:
    """An object with properties, names without case."""

    def __init__(self, properties: Mapping[str, Any]) -> None:
        self.properties = {key.lower(): value for key, value in properties.items()}


def text_of(value: Any) -> str:
    """[string]$value"""
    if isinstance(value, list):
        return " ".join(map(text_of, value))
    return "" if value is None else str(value)


def items(value: Any) -> list[Any]:
    """What a pipeline or foreach makes of a value."""
    return value if isinstance(value, list) else [value]


def one(values: list[Any]) -> Any:
    return None if not values else values[0] if len(values) == 1 else values


def true(value: Any) -> bool:
    if isinstance(value, list):
        return len(value) > 1 or (len(value) == 1 and true(value[0]))
    return value is not None and value is not False and value not in (0, "")


def plus(left: Any, right: Any) -> Any:
    if isinstance(left, list):
        return [*left, *items(right)]
    if isinstance(left, Table):
        assert isinstance(right, Table)
        assert not left.keys() & right.keys()
        return Table([*left.items(), *right.items()])
    if isinstance(left, str):
        return left + text_of(right)
    assert isinstance(left, int)
    return left + right


def _same(left: Any, right: Any) -> bool:
    assert not isinstance(left, list)  # that would be a filter
    return text_of(left).lower() == text_of(right).lower() and (left is None) == (right is None)


def _format(left: Any, right: Any) -> str:
    values = items(right)
    return re.sub(r"\{([0-9]+)\}", lambda match: text_of(values[int(match[1])]), left)


def _split(left: Any, right: Any) -> list[str]:
    between, count = right if isinstance(right, list) else (right, 0)
    assert isinstance(left, str)
    return left.split(between, count - 1 if count else -1)


OPERATORS: dict[str, Callable[[Any, Any], Any]] = {
    "+": plus,
    "-": lambda left, right: left - right,
    "-eq": _same,
    "-ne": lambda left, right: not _same(left, right),
    "-gt": lambda left, right: left > right,
    "-like": lambda left, right: bool(re.fullmatch(re.escape(right).replace(r"\*", ".*"), left, re.IGNORECASE)),
    "-split": _split,
    "-join": lambda left, right: right.join(map(text_of, items(left))),
    "-replace": lambda left, right: re.sub(right[0], right[1], left, flags=re.IGNORECASE),
    "-f": _format,
}
