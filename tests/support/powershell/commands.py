"""Commands: their arguments, and who answers them: a function of the script, a cmdlet built in, or the model."""

from collections.abc import Callable
from typing import Any

from support.powershell.cmdlets import CMDLETS
from support.powershell.runtime import Expression, Scope
from support.powershell.translate import constant, expression
from support.powershell.tree import Node, down, inner, text
from support.powershell.values import Table


def command(node: Node) -> Callable[[Scope, list[Any]], list[Any]]:
    """Translate a command into a function of the scope and of what is piped to it."""
    node = down(node) if node.type != "command" else node
    name: Expression | None = None
    arguments: list[tuple[str, Expression | None]] = []
    for child in inner(node):
        if child.type in ("command_name", "command_name_expr"):
            name = constant(text(child)) if child.type == "command_name" else expression(child)
        elif child.type == "command_elements":
            for element in inner(child):
                if element.type == "command_parameter":
                    arguments.append((text(element)[1:], None))
                elif arguments and arguments[-1][0] and arguments[-1][1] is None:
                    arguments[-1] = (arguments[-1][0], expression(element))
                elif text(element).startswith("@") and down(element).type == "variable":
                    arguments.append(("@", expression(element)))
                else:
                    arguments.append(("", expression(element)))
    assert name is not None
    known_name = name

    def run(scope: Scope, piped: list[Any]) -> list[Any]:
        named, positional = Table(), []
        for key, value in arguments:
            if key == "@":
                assert value
                for splatted, item in value(scope).items():
                    assert splatted not in named
                    named[splatted] = item
            elif key:
                assert key not in named
                named[key] = True if value is None else value(scope)
            else:
                assert value
                positional.append(value(scope))
        return _invoke(scope, known_name(scope), named, positional, piped)

    return run


def _invoke(scope: Scope, name: str, named: Table, positional: list[Any], piped: list[Any]) -> list[Any]:
    if name.lower() in scope.shell.functions:
        names, body = scope.shell.functions[name.lower()]
        assert not named
        assert len(positional) <= len(names)
        inside = Scope(scope.shell, scope)
        inside.variables = dict(zip(names, positional + [None] * len(names), strict=False))
        return body(inside)
    builtin = CMDLETS.get(name.lower())
    if builtin is not None:
        return builtin(scope, named, positional, piped)
    assert not positional, f"{name} with positional parameters"
    assert not piped
    return scope.shell.call(name, named)
