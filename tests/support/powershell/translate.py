"""Translate a node into a function of Python's: one entry a type of node, made by `statements` and `expressions`."""

from collections.abc import Callable
from typing import Any

from support.powershell.runtime import Expression, Scope, Statement
from support.powershell.tree import Node, down, text
from support.powershell.values import items, one

STATEMENTS: dict[str, Callable[[Node], Statement]] = {}
EXPRESSIONS: dict[str, Callable[[Node], Expression]] = {}


def constant(value: Any) -> Expression:
    """An expression of this value."""

    def give(scope: Scope) -> Any:
        return value

    return give


def statement(node: Node) -> Statement:
    """Translate a statement; one that is an expression gives its value, unrolled."""
    node = down(node)
    made = STATEMENTS.get(node.type)
    if made is not None:
        return made(node)
    value = expression(node)
    if node.type == "invokation_expression":  # a method without a value gives nothing
        return lambda scope: [given for given in items(value(scope)) if given is not None]
    return lambda scope: items(value(scope))


def expression(node: Node) -> Expression:
    """Translate an expression. What has no entry fails the test."""
    node = down(node)
    if node.type in STATEMENTS:
        run = STATEMENTS[node.type](node)
        return lambda scope: one(run(scope))
    made = EXPRESSIONS.get(node.type.replace("_argument_", "_"))
    assert made is not None, f"{node.type} is not modelled: {text(node)[:80]}"
    return made(node)
