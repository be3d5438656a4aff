"""Run scripts on tree-sitter's parse tree. See README.md for what is interpreted, and what is not."""

from typing import Any

from support.powershell import expressions  # noqa: F401 - it says how to translate them
from support.powershell.runtime import Runtime, Scope, ShouldProcess
from support.powershell.statements import parameters as parameters_of
from support.powershell.translate import statement
from support.powershell.tree import parse


class Shell(Runtime):
    """Runs scripts."""

    def run(self, script: str, *, what_if: bool = False, **parameters: Any) -> None:
        """Run a script with parameters. Raises PowerShellError."""
        root = parse(script)
        scope = Scope(self)
        scope.variables = {"whatifpreference": what_if, "null": None, "true": True, "false": False}
        scope.variables["pscmdlet"] = ShouldProcess(self, what_if)
        given = {key.lower(): value for key, value in parameters.items()}
        for block in (child for child in root.children if child.type == "param_block"):
            for name, default in parameters_of(block):
                scope.variables[name] = given.pop(name) if name in given else default(scope)
        assert not given, given
        for child in root.children:
            if child.type not in ("param_block", "comment"):
                statement(child)(scope)
