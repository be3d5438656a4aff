"""What is wrong, and how bad it is."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Literal

State = Literal["ok", "warning", "critical"]
STATES: tuple[State, ...] = ("ok", "warning", "critical")  # from good to bad


@dataclass(slots=True)
class Findings:
    """Problems in the order in which they were found, each with its severity."""

    found: list[tuple[State, str]] = field(default_factory=list)

    def warn(self, problem: str) -> None:
        """Add a warning."""
        self.found.append(("warning", problem))

    def alarm(self, problem: str) -> None:
        """Add what is critical."""
        self.found.append(("critical", problem))

    @property
    def state(self) -> State:
        """The worst of them."""
        return worst(state for state, _ in self.found)

    @property
    def problems(self) -> list[str]:
        """All of them."""
        return [problem for _, problem in self.found]


def worst(states: Iterable[State]) -> State:
    """The worst state of several."""
    return max(states, key=STATES.index, default="ok")
