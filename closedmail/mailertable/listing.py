"""A list as read: its entries, and each line that was not taken with the reason.

Two kinds of lines are not taken. A *bad* line is not understood, counts for the brake `bad_line_limit`, and its
domain, where it can be told, keeps its route or is held. A line *skipped by rule* is understood and not wanted (own
domains, public suffixes, what is not `within`, the catch-all, mailers that run programs or deliver locally): never
counted, and no reason to hold its domain. Where that domain was in force, the list has lost it all the same.
"""

from dataclasses import dataclass, field
from typing import Any

SMARTHOST = ""  # the value of an entry whose list names domains only: the network's smarthost routes it


@dataclass(frozen=True, slots=True)
class SkippedLine:
    """A line that was not taken: its number (from 1), its text and why. `bad` tells the two kinds apart."""

    line: int
    text: str
    reason: str
    bad: bool

    def to_json(self) -> dict[str, Any]:
        """Give the line as the public interface writes it."""
        return {"line": self.line, "text": self.text, "reason": self.reason}


@dataclass(slots=True)
class Listing:
    """A list as read.

    `entries` maps keys to canonical mailertable values (`SMARTHOST` where the format has none). `unclear` has the keys
    whose line is bad and that no other line gives, each with a mark that changes when the line does. `rows` counts the
    lines that are neither blank nor comments, `lines` all.
    """

    entries: dict[str, str] = field(default_factory=dict)
    skipped: list[SkippedLine] = field(default_factory=list)
    unclear: dict[str, str] = field(default_factory=dict)
    rows: int = 0
    lines: int = 0

    @property
    def bad_lines(self) -> int:
        """How many lines were not understood."""
        return sum(skipped.bad for skipped in self.skipped)
