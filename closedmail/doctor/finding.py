"""A finding: what is wrong with a gateway, and the commands that mend it."""

from dataclasses import dataclass
from typing import Any, Literal

Severity = Literal["error", "warning"]


@dataclass(frozen=True, slots=True)
class Finding:
    """`id` is stable, for scripts; `text` is a sentence; `fix` are shell commands, in their order, () where none can.

    An `error` lets mail leak, be lost or pass unchecked; a `warning` is what will, or may. With `by_hand` the commands
    may cost what an administrator wants to keep: `setup --yes` leaves them alone.
    """

    id: str
    severity: Severity
    text: str
    fix: tuple[str, ...] = ()
    by_hand: bool = False

    def to_json(self) -> dict[str, Any]:
        """The object of the public interface."""
        return {"id": self.id, "severity": self.severity, "text": self.text, "fix": list(self.fix)}
