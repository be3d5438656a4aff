"""Statements: blocks, functions, loops, conditions, assignments and pipelines."""

from collections.abc import Iterator
from typing import Any

from support.powershell.commands import command
from support.powershell.runtime import Continue, Expression, Scope, Statement
from support.powershell.translate import STATEMENTS, constant, expression, statement
from support.powershell.tree import Node, down, inner, text
from support.powershell.values import PowerShellError, Table, items, one, plus, text_of, true


def block(node: Node) -> Statement:
    """Translate statements in a row."""
    parts = [statement(child) for child in inner(node) if child.is_named]

    def run(scope: Scope) -> list[Any]:
        return [value for part in parts for value in part(scope)]

    return run


def _function(node: Node) -> Statement:
    name = next(text(child).lower() for child in node.children if child.type == "function_name")
    source = text(node)
    if source not in _KNOWN:  # each script has the same ones
        names = [parameter for parameter, _ in parameters(node)]
        has_body = node.children[-2].type == "script_block"
        _KNOWN[source] = (names, block(node.children[-2]) if has_body else constant([]))

    def define(scope: Scope) -> list[Any]:
        scope.shell.functions[name] = _KNOWN[source]
        return []

    return define


_KNOWN: dict[str, tuple[list[str], Statement]] = {}


def parameters(node: Node) -> Iterator[tuple[str, Expression]]:
    """The parameters of a function or script, each with its default."""
    found = [node]
    while found and not any(child.type == "script_parameter" for child in found):
        found = [child for parent in found for child in parent.children if child.type != "script_block"]
    for parameter in (child for child in found if child.type == "script_parameter"):
        name = next(text(child)[1:].lower() for child in parameter.children if child.type == "variable")
        default = [child.children[-1] for child in parameter.children if child.type == "script_parameter_default"]
        yield name, expression(default[0]) if default else constant(None)


def _foreach(node: Node) -> Statement:
    variable = next(child for child in node.children if child.type == "variable")
    values = expression(next(child for child in node.children if child.type == "pipeline"))
    body = block(node.children[-1])
    name = text(variable)[1:].lower()

    def run(scope: Scope) -> list[Any]:
        out: list[Any] = []
        found = values(scope)
        for value in [] if found is None else list(items(found)):
            scope.variables[name] = value
            try:
                out += body(scope)
            except Continue:
                continue
        return out

    return run


def _if(node: Node) -> Statement:
    branches: list[tuple[Expression, Statement]] = []
    clauses = [
        node,
        *(clause for child in node.children if child.type == "elseif_clauses" for clause in child.children),
    ]
    for clause in clauses:
        condition = next(child for child in clause.children if child.type == "pipeline")
        body = next(child for child in clause.children if child.type == "statement_block")
        branches.append((expression(condition), block(body)))
    otherwise = [block(child.children[-1]) for child in node.children if child.type == "else_clause"]

    def run(scope: Scope) -> list[Any]:
        for condition, body in branches:
            if true(condition(scope)):
                return body(scope)
        return otherwise[0](scope) if otherwise else []

    return run


def _flow(node: Node) -> Statement:
    word = text(node.children[0]).lower()
    said = expression(node.children[1]) if len(node.children) > 1 else None

    def run(scope: Scope) -> list[Any]:
        if word == "throw":
            raise PowerShellError(text_of(said(scope)) if said else "")
        assert word == "continue"
        raise Continue

    return run


def _assignment(node: Node) -> Statement:
    left, operator, right = inner(node)
    target = down(left)
    value = expression(right)
    added = {"=": False, "+=": True}[text(operator)]
    old = expression(target) if added else None
    if target.type == "variable":
        name = text(target)[1:].lower()

        def assign(scope: Scope) -> list[Any]:
            new = value(scope)
            scope.variables[name] = plus(old(scope), new) if old else new
            return []

        return assign
    assert not added
    if target.type == "array_literal_expression":
        return _several(target, value)
    assert target.type == "element_access"
    base, key = expression(target.children[0]), expression(target.children[2])

    def store(scope: Scope) -> list[Any]:
        new = value(scope)
        table = base(scope)
        assert isinstance(table, Table)
        table[key(scope)] = new
        return []

    return store


def _several(target: Node, value: Expression) -> Statement:
    """$a, $b = ...: the last one gets what is left, and all that get nothing are $null."""
    names = [text(down(child))[1:].lower() for child in inner(target) if child.is_named]

    def assign(scope: Scope) -> list[Any]:
        values = items(value(scope))
        last = len(names) - 1
        for at, name in enumerate(names):
            scope.variables[name] = one(values[at:] if at == last else values[at : at + 1])
        return []

    return assign


def _chain(node: Node) -> Statement:
    first, *rest = [child for child in inner(node) if child.is_named]
    start = statement(first)
    commands = [command(child) for child in rest]

    def run(scope: Scope) -> list[Any]:
        values = start(scope)
        for next_command in commands:
            values = next_command(scope, values)
        return values

    return run


def _alone(node: Node) -> Statement:
    alone = command(node)
    return lambda scope: alone(scope, [])


STATEMENTS |= {
    "statement_list": block,
    "function_statement": _function,
    "foreach_statement": _foreach,
    "if_statement": _if,
    "flow_control_statement": _flow,
    "assignment_expression": _assignment,
    "pipeline_chain": _chain,
    "command": _alone,
}
