"""Run scripts on tree-sitter's parse tree. See README.md for what is interpreted, and what is not."""

from functools import lru_cache
from typing import Any

from support.powershell import expressions  # noqa: F401 - it says how to translate them
from support.powershell.runtime import Expression, Runtime, Scope, ShouldProcess, Statement
from support.powershell.statements import parameters as parameters_of
from support.powershell.translate import statement
from support.powershell.tree import parse


class Shell(Runtime):
    """Runs scripts."""

    def run(self, script: str, *, what_if: bool = False, **parameters: Any) -> None:
        """Run a script with parameters. Raises PowerShellError."""
        declared, statements = _program(script)
        scope = Scope(self)
        scope.variables = {"whatifpreference": what_if, "null": None, "true": True, "false": False}
        scope.variables["pscmdlet"] = ShouldProcess(self, what_if)
        given = {key.lower(): value for key, value in parameters.items()}
        for name, default in declared:
            scope.variables[name] = given.pop(name) if name in given else default(scope)
        assert not given, given
        for run in statements:
            run(scope)


@lru_cache(maxsize=64)  # a script that is cut off runs again and again
def _program(script: str) -> tuple[list[tuple[str, Expression]], list[Statement]]:
    """The parameters of a script with their defaults, and its statements."""
    root = parse(script)
    blocks = [child for child in root.children if child.type == "param_block"]
    return (
        [parameter for block in blocks for parameter in parameters_of(block)],
        [statement(child) for child in root.children if child.type not in ("param_block", "comment")],
    )
