"""The state of a running script: scopes, functions, warnings, and what `ShouldProcess` was asked."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from support.powershell.values import PowerShellError, Table

Call = Callable[[str, Table], list[Any]]


class Continue(Exception):
    """`continue`, on its way to its loop."""


class Runtime:
    """What all scopes of a run share. `call` is asked for every command that is neither a function nor in `CMDLETS`."""

    def __init__(self, call: Call, environment: Mapping[str, str] | None = None) -> None:
        self.call = call
        self.environment = {key.lower(): value for key, value in (environment or {}).items()}
        self.functions: dict[str, tuple[list[str], Statement]] = {}
        self.warnings: list[str] = []
        self.asked: list[tuple[str, str]] = []


@dataclass
class Scope:
    """Variables and functions of one call; what is not found is the caller's."""

    shell: Runtime
    parent: "Scope | None" = None
    variables: dict[str, Any] = field(default_factory=dict)

    def get(self, name: str) -> Any:
        """Look up a variable. Raises PowerShellError."""
        scope: Scope | None = self
        while scope is not None:
            if name in scope.variables:
                return scope.variables[name]
            scope = scope.parent
        raise PowerShellError(f"variable ${name} is not set")


@dataclass
class ShouldProcess:
    """$PSCmdlet, of which scripts use ShouldProcess alone."""

    shell: Runtime
    what_if: bool

    def shouldprocess(self, target: str, action: str) -> bool:
        self.shell.asked.append((target, action))
        return not self.what_if


Expression = Callable[[Scope], Any]  # gives a value
Statement = Callable[[Scope], list[Any]]  # gives what goes down the pipeline
