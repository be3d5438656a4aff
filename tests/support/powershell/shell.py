"""A small interpreter for the PowerShell of the Exchange exports, on tree-sitter's parse tree.

What is modelled: variables (dynamic scope, no case), functions without attributes, if, foreach, continue, throw,
pipelines, splatting, hashtables, arrays, member and element access, strings with variables, and the operators that the
scripts use. What a command gives is unrolled, as in PowerShell: nothing is $null, one value is itself. Strict mode is
kept: an unknown variable or property is an error. All else fails the test, so that a script can't use what is not
modelled. Culture, types of numbers and .NET's own methods are not.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import tree_sitter
import tree_sitter_powershell

from support.powershell.values import OPERATORS, PowerShellError, Table, Thing, items, one, plus, text_of, true

Node = tree_sitter.Node
LANGUAGE = tree_sitter.Language(tree_sitter_powershell.language())
Call = Callable[[str, "Table"], list[Any]]
Expression = Callable[["Scope"], Any]  # gives a value
Statement = Callable[["Scope"], list[Any]]  # gives what goes down the pipeline


class _Continue(Exception):
    pass


@dataclass
class Scope:
    """Variables and functions of one call; what is not found is the caller's."""

    shell: "Shell"
    parent: "Scope | None" = None
    variables: dict[str, Any] = field(default_factory=dict)

    def get(self, name: str) -> Any:
        scope: Scope | None = self
        while scope is not None:
            if name in scope.variables:
                return scope.variables[name]
            scope = scope.parent
        raise PowerShellError(f"variable ${name} is not set")


class Shell:
    """Runs scripts. `call` is asked for every command that is not a function or one of the few built in."""

    def __init__(self, call: Call, environment: Mapping[str, str] | None = None) -> None:
        self.call = call
        self.environment = {key.lower(): value for key, value in (environment or {}).items()}
        self.functions: dict[str, tuple[list[str], Statement]] = {}
        self.warnings: list[str] = []
        self.asked: list[tuple[str, str]] = []

    def run(self, script: str, *, what_if: bool = False, **parameters: Any) -> None:
        """Run a script with parameters. Raises PowerShellError."""
        root = parse(script)
        scope = Scope(self)
        scope.variables = {"whatifpreference": what_if, "null": None, "true": True, "false": False}
        scope.variables["pscmdlet"] = _ShouldProcess(self, what_if)
        given = {key.lower(): value for key, value in parameters.items()}
        for block in (child for child in root.children if child.type == "param_block"):
            for name, default in _parameters(block):
                scope.variables[name] = given.pop(name) if name in given else default(scope)
        assert not given, given
        for child in root.children:
            if child.type not in ("param_block", "comment"):
                _statement(child)(scope)


@dataclass
class _ShouldProcess:
    shell: Shell
    what_if: bool

    def shouldprocess(self, target: str, action: str) -> bool:
        self.shell.asked.append((target, action))
        return not self.what_if


def parse(script: str) -> Node:
    """The parse tree. An error in it fails the test."""
    root = tree_sitter.Parser(LANGUAGE).parse(script.replace("\r\n", "\n").encode()).root_node
    assert not root.has_error
    return root


def _text(node: Node) -> str:
    assert node.text is not None
    return node.text.decode()


def _inner(node: Node) -> list[Node]:
    return [
        child for child in node.children if child.type not in ("comment", "empty_statement", "command_argument_sep")
    ]


def _down(node: Node) -> Node:
    """Through nodes that only wrap another one."""
    while len(inner := _inner(node)) == 1 and inner[0].is_named and node.type not in _MEANS:
        node = inner[0]
    return node


def _constant(value: Any) -> Expression:
    def give(scope: Scope) -> Any:
        return value

    return give


# Statements


def _statement(node: Node) -> Statement:
    node = _down(node)
    made = _STATEMENTS.get(node.type)
    if made is not None:
        return made(node)
    value = _expression(node)
    return lambda scope: items(value(scope))


def _block(node: Node) -> Statement:
    parts = [_statement(child) for child in _inner(node) if child.is_named]

    def run(scope: Scope) -> list[Any]:
        return [value for part in parts for value in part(scope)]

    return run


def _function(node: Node) -> Statement:
    name = next(_text(child).lower() for child in node.children if child.type == "function_name")
    text = _text(node)
    if text not in _KNOWN:  # each script has the same ones
        names = [parameter for parameter, _ in _parameters(node)]
        has_body = node.children[-2].type == "script_block"
        _KNOWN[text] = (names, _block(node.children[-2]) if has_body else _constant([]))

    def define(scope: Scope) -> list[Any]:
        scope.shell.functions[name] = _KNOWN[text]
        return []

    return define


_KNOWN: dict[str, tuple[list[str], Statement]] = {}


def _parameters(node: Node) -> Iterator[tuple[str, Expression]]:
    found = [node]
    while found and not any(child.type == "script_parameter" for child in found):
        found = [child for parent in found for child in parent.children if child.type != "script_block"]
    for parameter in (child for child in found if child.type == "script_parameter"):
        name = next(_text(child)[1:].lower() for child in parameter.children if child.type == "variable")
        default = [child.children[-1] for child in parameter.children if child.type == "script_parameter_default"]
        yield name, _expression(default[0]) if default else _constant(None)


def _foreach(node: Node) -> Statement:
    variable = next(child for child in node.children if child.type == "variable")
    values = _expression(next(child for child in node.children if child.type == "pipeline"))
    body = _block(node.children[-1])
    name = _text(variable)[1:].lower()

    def run(scope: Scope) -> list[Any]:
        out: list[Any] = []
        found = values(scope)
        for value in [] if found is None else list(items(found)):
            scope.variables[name] = value
            try:
                out += body(scope)
            except _Continue:
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
        branches.append((_expression(condition), _block(body)))
    otherwise = [_block(child.children[-1]) for child in node.children if child.type == "else_clause"]

    def run(scope: Scope) -> list[Any]:
        for condition, body in branches:
            if true(condition(scope)):
                return body(scope)
        return otherwise[0](scope) if otherwise else []

    return run


def _flow(node: Node) -> Statement:
    word = _text(node.children[0]).lower()
    said = _expression(node.children[1]) if len(node.children) > 1 else None

    def run(scope: Scope) -> list[Any]:
        if word == "throw":
            raise PowerShellError(text_of(said(scope)) if said else "")
        assert word == "continue"
        raise _Continue

    return run


def _assignment(node: Node) -> Statement:
    left, operator, right = _inner(node)
    target = _down(left)
    value = _expression(right)
    added = {"=": False, "+=": True}[_text(operator)]
    old = _expression(target) if added else None
    if target.type == "variable":
        name = _text(target)[1:].lower()

        def assign(scope: Scope) -> list[Any]:
            new = value(scope)
            scope.variables[name] = plus(old(scope), new) if old else new
            return []

        return assign
    assert target.type == "element_access"
    assert not added
    base, key = _expression(target.children[0]), _expression(target.children[2])

    def store(scope: Scope) -> list[Any]:
        new = value(scope)
        table = base(scope)
        assert isinstance(table, Table)
        table[key(scope)] = new
        return []

    return store


def _chain(node: Node) -> Statement:
    first, *rest = [child for child in _inner(node) if child.is_named]
    start = _statement(first)
    commands = [_command(child) for child in rest]

    def run(scope: Scope) -> list[Any]:
        values = start(scope)
        for command in commands:
            values = command(scope, values)
        return values

    return run


def _command(node: Node) -> Callable[[Scope, list[Any]], list[Any]]:
    node = _down(node) if node.type != "command" else node
    name: Expression | None = None
    arguments: list[tuple[str, Expression | None]] = []
    for child in _inner(node):
        if child.type in ("command_name", "command_name_expr"):
            name = _constant(_text(child)) if child.type == "command_name" else _expression(child)
        elif child.type == "command_elements":
            for element in _inner(child):
                if element.type == "command_parameter":
                    arguments.append((_text(element)[1:], None))
                elif arguments and arguments[-1][0] and arguments[-1][1] is None:
                    arguments[-1] = (arguments[-1][0], _expression(element))
                elif _text(element).startswith("@") and _down(element).type == "variable":
                    arguments.append(("@", _expression(element)))
                else:
                    arguments.append(("", _expression(element)))
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


def _alone(node: Node) -> Statement:
    command = _command(node)
    return lambda scope: command(scope, [])


def _invoke(scope: Scope, name: str, named: Table, positional: list[Any], piped: list[Any]) -> list[Any]:
    if name.lower() in scope.shell.functions:
        names, body = scope.shell.functions[name.lower()]
        assert not named
        assert len(positional) <= len(names)
        inside = Scope(scope.shell, scope)
        inside.variables = dict(zip(names, positional + [None] * len(names), strict=False))
        return body(inside)
    builtin = _BUILTINS.get(name.lower())
    if builtin is not None:
        return builtin(scope, named, positional, piped)
    assert not positional, f"{name} with positional parameters"
    assert not piped
    return scope.shell.call(name, named)


def _filter(keep: bool) -> Callable[[Scope, Table, list[Any], list[Any]], list[Any]]:
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
    values: list[str] = sorted(piped, key=str.lower)
    return list(dict.fromkeys(values)) if "unique" in named else values


def _warn(scope: Scope, named: Table, positional: list[Any], piped: list[Any]) -> list[Any]:
    scope.shell.warnings.append(text_of(positional[0]))
    return []


def _nothing(scope: Scope, named: Table, positional: list[Any], piped: list[Any]) -> list[Any]:
    return []


def _join(scope: Scope, named: Table, positional: list[Any], piped: list[Any]) -> list[Any]:
    return ["\\".join(positional)]


_BUILTINS: dict[str, Callable[[Scope, Table, list[Any], list[Any]], list[Any]]] = {
    "where-object": _filter(keep=True),
    "foreach-object": _filter(keep=False),
    "sort-object": _sort,
    "out-null": _nothing,
    "write-warning": _warn,
    "set-strictmode": _nothing,
    "join-path": _join,
}


# Expressions


def _expression(node: Node) -> Expression:
    node = _down(node)
    if node.type in _STATEMENTS:
        statement = _STATEMENTS[node.type](node)
        return lambda scope: one(statement(scope))
    made = _EXPRESSIONS.get(node.type.replace("_argument_", "_"))
    assert made is not None, f"{node.type} is not modelled: {_text(node)[:80]}"
    return made(node)


def _variable(node: Node) -> Expression:
    name = _text(node).lstrip("$@").strip("{}").lower()
    if name.startswith("env:"):
        return lambda scope: scope.shell.environment[name.removeprefix("env:")]
    return lambda scope: scope.get(name)


def _binary(node: Node) -> Expression:
    left_node, operator_node, right_node = _inner(node)
    left, right, operator = _expression(left_node), _expression(right_node), _text(operator_node).lower()
    if operator == "-and":
        return lambda scope: true(left(scope)) and true(right(scope))
    if operator == "-or":
        return lambda scope: true(left(scope)) or true(right(scope))
    work = OPERATORS[operator]
    return lambda scope: work(left(scope), right(scope))


def _unary(node: Node) -> Expression:
    operator, operand = _inner(node)
    value = _expression(operand)
    assert _text(operator).lower() == "-not", _text(node)
    return lambda scope: not true(value(scope))


def _cast(node: Node) -> Expression:
    kind, operand = _inner(node)
    assert _text(kind).lower() == "[string]"
    value = _expression(operand)
    return lambda scope: text_of(value(scope))


def _commas(node: Node) -> Expression:
    parts = [_expression(child) for child in _inner(node) if child.is_named]
    return lambda scope: [part(scope) for part in parts]


def _array(node: Node) -> Expression:
    parts = [_statement(child) for child in _inner(node) if child.is_named]
    return lambda scope: [value for part in parts for value in part(scope)]


def _group(node: Node) -> Expression:
    part = _array(node)
    return lambda scope: one(part(scope))


def _hash(node: Node) -> Expression:
    entries = []
    for body in (child for child in node.children if child.type == "hash_literal_body"):
        for entry in (child for child in body.children if child.type == "hash_entry"):
            key, _, value = [child for child in _inner(entry) if child.type != ";"]
            name = _down(key)
            entries.append(
                (
                    _constant(_text(name)) if name.type == "simple_name" else _expression(name),
                    _expression(value),
                )
            )
    return lambda scope: Table((key(scope), value(scope)) for key, value in entries)


def _script_block(node: Node) -> Expression:
    return _constant(_block(node))


def _name_of(node: Node) -> Expression:
    name = _down(node)
    return _expression(name) if name.type == "variable" else _constant(_text(name))


def _member(node: Node) -> Expression:
    base, name = _expression(node.children[0]), _name_of(node.children[2])

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
    base, key = _expression(node.children[0]), _expression(node.children[2])

    def read(scope: Scope) -> Any:
        table = base(scope)
        assert isinstance(table, Table)
        return table[key(scope)]

    return read


def _method(node: Node) -> Expression:
    base_node, dots, name_node, arguments_node = node.children
    name = _text(name_node).lower()
    arguments = [
        _expression(part)
        for child in arguments_node.children
        if child.type == "argument_expression_list"
        for part in _inner(child)
        if part.is_named
    ]
    if _text(dots) == "::":
        assert (_text(base_node).lower(), name) == ("[char]", "convertfromutf32")
        return lambda scope: chr(arguments[0](scope))
    base = _expression(base_node)

    def call(scope: Scope) -> Any:
        value = base(scope)
        said = [argument(scope) for argument in arguments]
        if isinstance(value, _ShouldProcess):
            return getattr(value, name)(*said)
        if isinstance(value, Table):
            assert name == "containskey"
            return said[0] in value
        assert isinstance(value, str)
        return value.strip("".join(said)) if name == "trim" else {"tolowerinvariant": value.lower}[name]()

    return call


def _verbatim(node: Node) -> Expression:
    return _constant(_text(node)[1:-1].replace("''", "'"))


def _expandable(node: Node) -> Expression:
    raw, start = _text(node), node.start_byte
    parts: list[Expression] = []
    at = 1
    for child in (child for child in node.children if child.is_named):
        literal = raw[at : child.start_byte - start]
        parts += [_constant(literal), _expression(child)]
        at = child.end_byte - start
    end = raw[at:-1]
    assert "`" not in raw
    return lambda scope: "".join(text_of(part(scope)) for part in parts) + end


def _number(node: Node) -> Expression:
    return _constant(int(_text(node), 0))


_STATEMENTS: dict[str, Callable[[Node], Statement]] = {
    "statement_list": _block,
    "function_statement": _function,
    "foreach_statement": _foreach,
    "if_statement": _if,
    "flow_control_statement": _flow,
    "assignment_expression": _assignment,
    "pipeline_chain": _chain,
    "command": _alone,
}
_EXPRESSIONS: dict[str, Callable[[Node], Expression]] = {
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
    "generic_token": lambda node: _constant(_text(node)),
    "decimal_integer_literal": _number,
    "real_literal": lambda node: _constant(float(_text(node))),
    "hexadecimal_integer_literal": _number,
}
# Nodes that mean something even with one child.
_MEANS = {"array_expression", "parenthesized_expression", "sub_expression", "hash_literal_expression", "command"} | {
    *("script_block_expression", "expandable_string_literal", "foreach_statement", "if_statement", "variable"),
}
