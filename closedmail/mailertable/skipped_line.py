"""A line of a list that was not taken, as the listing, the policy store and the reports have it."""

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class SkippedLine:
    """A line that was not taken: its number (from 1), its text and why.

    `bad` is true for a line that is not understood, false for one that is skipped by rule.
    """

    line: int
    text: str
    reason: str
    bad: bool

    def to_json(self) -> dict[str, Any]:
        """Give the line as the public interface writes it."""
        return {"line": self.line, "text": self.text, "reason": self.reason}
