"""Expressions: variables, operators, arrays, hashtables, members, methods, strings and numbers."""

from typing import Any

from support.powershell.runtime import Expression, Scope, ShouldProcess
from support.powershell.statements import block
from support.powershell.translate import EXPRESSIONS, constant, expression, statement
from support.powershell.tree import Node, down, inner, text
from support.powershell.values import OPERATORS, PowerShellError, Table, Thing, one, text_of, true


def _variable(node: Node) -> Expression:
    name = text(node).lstrip("$@").strip("{}").lower()
    if name.startswith("env:"):
        return lambda scope: scope.shell.environment[name.removeprefix("env:")]
    return lambda scope: scope.get(name)


def _binary(node: Node) -> Expression:
    left_node, operator_node, right_node = inner(node)
    left, right, operator = expression(left_node), expression(right_node), text(operator_node).lower()
    if operator == "-and":
        return lambda scope: true(left(scope)) and true(right(scope))
    if operator == "-or":
        return lambda scope: true(left(scope)) or true(right(scope))
    work = OPERATORS[operator]
    return lambda scope: work(left(scope), right(scope))


def _unary(node: Node) -> Expression:
    operator, operand = inner(node)
    value = expression(operand)
    assert text(operator).lower() == "-not", text(node)
    return lambda scope: not true(value(scope))


def _cast(node: Node) -> Expression:
    kind, operand = inner(node)
    assert text(kind).lower() == "[string]"
    value = expression(operand)
    return lambda scope: text_of(value(scope))


def _commas(node: Node) -> Expression:
    parts = [expression(child) for child in inner(node) if child.is_named]
    return lambda scope: [part(scope) for part in parts]


def _array(node: Node) -> Expression:
    parts = [statement(child) for child in inner(node) if child.is_named]
    return lambda scope: [value for part in parts for value in part(scope)]


def _group(node: Node) -> Expression:
    part = _array(node)
    return lambda scope: one(part(scope))


def _hash(node: Node) -> Expression:
    entries = []
    for body in (child for child in node.children if child.type == "hash_literal_body"):
        for entry in (child for child in body.children if child.type == "hash_entry"):
            key, _, value = [child for child in inner(entry) if child.type != ";"]
            name = down(key)
            entries.append(
                (
                    constant(text(name)) if name.type == "simple_name" else expression(name),
                    expression(value),
                )
            )
    return lambda scope: Table((key(scope), value(scope)) for key, value in entries)


def _script_block(node: Node) -> Expression:
    return constant(block(node))


def _name_of(node: Node) -> Expression:
    name = down(node)
    return expression(name) if name.type == "variable" else constant(text(name))


def _member(node: Node) -> Expression:
    base, name = expression(node.children[0]), _name_of(node.children[2])

    def read(scope: Scope) -> Any:
        value, key = base(scope), name(scope).lower()
        if isinstance(value, Thing):
            if key not in value.properties:
                raise PowerShellError(f"no property {key}")
            return value.properties[key]
        if isinstance(value, Table) and key in value:
            return value[key]
        if key == "count" and isinstance(value, list | Table):
            return len(value)
        if key == "keys" and isinstance(value, Table):
            return list(value)
        raise PowerShellError(f"no property {key} of {value!r}")

    return read


def _element(node: Node) -> Expression:
    base, key = expression(node.children[0]), expression(node.children[2])

    def read(scope: Scope) -> Any:
        table = base(scope)
        assert isinstance(table, Table)
        return table[key(scope)]

    return read


def _method(node: Node) -> Expression:
    base_node, dots, name_node, arguments_node = node.children
    name = text(name_node).lower()
    arguments = [
        expression(part)
        for child in arguments_node.children
        if child.type == "argument_expression_list"
        for part in inner(child)
        if part.is_named
    ]
    if text(dots) == "::":
        assert (text(base_node).lower(), name) == ("[char]", "convertfromutf32")
        return lambda scope: chr(arguments[0](scope))
    base = expression(base_node)

    def call(scope: Scope) -> Any:
        value = base(scope)
        said = [argument(scope) for argument in arguments]
        if isinstance(value, ShouldProcess):
            return getattr(value, name)(*said)
        if isinstance(value, Table):
            if name == "remove":
                value.pop(str(said[0]).lower(), None)
                return None
            assert name == "containskey"
            return said[0] in value
        assert isinstance(value, str)
        return value.strip("".join(said)) if name == "trim" else {"tolowerinvariant": value.lower}[name]()

    return call


def _verbatim(node: Node) -> Expression:
    return constant(text(node)[1:-1].replace("''", "'"))


def _expandable(node: Node) -> Expression:
    raw, start = text(node), node.start_byte
    parts: list[Expression] = []
    at = 1
    for child in (child for child in node.children if child.is_named):
        literal = raw[at : child.start_byte - start]
        parts += [constant(literal), expression(child)]
        at = child.end_byte - start
    end = raw[at:-1]
    assert "`" not in raw
    return lambda scope: "".join(text_of(part(scope)) for part in parts) + end


def _number(node: Node) -> Expression:
    return constant(int(text(node), 0))


EXPRESSIONS |= {
    "variable": _variable,
    "braced_variable": _variable,
    "logical_expression": _binary,
    "comparison_expression": _binary,
    "additive_expression": _binary,
    "format_expression": _binary,
    "expression_with_unary_operator": _unary,
    "cast_expression": _cast,
    "array_literal_expression": _commas,
    "array_expression": _array,
    "parenthesized_expression": _group,
    "sub_expression": _group,
    "hash_literal_expression": _hash,
    "script_block_expression": _script_block,
    "member_access": _member,
    "element_access": _element,
    "invokation_expression": _method,
    "verbatim_string_characters": _verbatim,
    "expandable_string_literal": _expandable,
    "generic_token": lambda node: constant(text(node)),
    "decimal_integer_literal": _number,
    "real_literal": lambda node: constant(float(text(node))),
    "hexadecimal_integer_literal": _number,
}
