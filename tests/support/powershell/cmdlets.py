"""The cmdlets that are built in. Each gets scope, named and positional arguments, and the values piped to it."""

from collections.abc import Callable
from typing import Any

from support.powershell.runtime import Scope
from support.powershell.values import Table, one, text_of, true

Cmdlet = Callable[[Scope, Table, list[Any], list[Any]], list[Any]]


def _filter(keep: bool) -> Cmdlet:
    def run(scope: Scope, named: Table, positional: list[Any], piped: list[Any]) -> list[Any]:
        (block,) = positional
        inside = Scope(scope.shell, scope)
        out: list[Any] = []
        for value in piped:
            inside.variables["_"] = value
            result = block(inside)
            out += ([value] if true(one(result)) else []) if keep else result
        return out

    return run


def _sort(scope: Scope, named: Table, positional: list[Any], piped: list[Any]) -> list[Any]:
    values: list[str] = sorted(piped, key=len if named["property"] == "Length" else str.lower)
    return list(dict.fromkeys(values)) if "unique" in named else values


def _warn(scope: Scope, named: Table, positional: list[Any], piped: list[Any]) -> list[Any]:
    scope.shell.warnings.append(text_of(positional[0]))
    return []


def _nothing(scope: Scope, named: Table, positional: list[Any], piped: list[Any]) -> list[Any]:
    return []


def _join(scope: Scope, named: Table, positional: list[Any], piped: list[Any]) -> list[Any]:
    return ["\\".join(positional)]


CMDLETS: dict[str, Cmdlet] = {
    "where-object": _filter(keep=True),
    "foreach-object": _filter(keep=False),
    "sort-object": _sort,
    "out-null": _nothing,
    "write-warning": _warn,
    "set-strictmode": _nothing,
    "join-path": _join,
}
