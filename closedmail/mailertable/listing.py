"""A list as read: its entries, and each line that was not taken with the reason.

Two kinds of lines are not taken. A *bad* line is not understood, counts for the brake `bad_line_limit`, and its
domain, where it can be told, keeps its route or is held. A line *skipped by rule* is understood and not wanted (own
domains, public suffixes, what is not `within`, the catch-all, mailers that run programs or deliver locally): never
counted, and no reason to hold its domain.
"""

from collections.abc import Collection
from dataclasses import dataclass, field, replace
from typing import Any

from closedmail.core.domain import DomainSet
from closedmail.core.suffixes import PublicSuffixes
from closedmail.mailertable.route_hosts import RouteFaults

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


class KeyBounds:
    """Keys that a list may speak about: `x` stands for x itself, `.x` for all below it and for the key `.x`."""

    __slots__ = ("_below", "_keys")

    def __init__(self, keys: Collection[str]) -> None:
        self._keys = frozenset(keys)
        self._below = tuple(key for key in self._keys if key.startswith("."))

    def __contains__(self, key: str) -> bool:
        return key in self._keys or key.endswith(self._below)


@dataclass(frozen=True, slots=True)
class Admission:
    """The keys that a list may have, and where it may route.

    `own` are the gateway's own domains, `admitted` the keys that have a `[partner]` table, which admits them. `within`
    are the bounds of one network's list, None for none.
    """

    own: DomainSet
    suffixes: PublicSuffixes
    admitted: frozenset[str] = frozenset()
    within: KeyBounds | None = None
    route_faults: RouteFaults = field(default_factory=RouteFaults)

    def of_list(self, within: Collection[str]) -> "Admission":
        """Give the admission of one network's list, by its `within`; () for no bounds."""
        return replace(self, within=KeyBounds(within)) if within else self

    def why_not(self, key: str) -> str | None:
        """Return the rule by which a key is not taken, or None."""
        reason = self.never(key)
        if reason is None and self.within is not None and key not in self.within:
            return "outside of what may be taken from this list (within)"
        return reason

    def never(self, key: str) -> str | None:
        """Return the rule by which a key is taken from no list, and let go where it was in force; or None.

        What is merely not `within` is lost instead, and held: to name its bounds lets nobody's mail go.
        """
        if key in self.admitted:
            return None
        if self.own.covers(key):
            return "an own domain is never taken from a list"
        if key.removeprefix(".") in self.suffixes:
            return "a public suffix is never taken from a list (a [partner] table admits it)"
        return None


@dataclass(slots=True)
class Listing:
    """A list as read.

    `entries` maps keys to canonical mailertable values (`SMARTHOST` where the format has none). `unclear` has the keys
    whose line is bad and that no other line gives, each with a mark that changes when the line does; `ruled_out` the
    keys that were skipped by rule and are let go. `rows` counts the lines that are neither blank nor comments, `lines`
    all.
    """

    entries: dict[str, str] = field(default_factory=dict)
    skipped: list[SkippedLine] = field(default_factory=list)
    unclear: dict[str, str] = field(default_factory=dict)
    ruled_out: set[str] = field(default_factory=set)
    rows: int = 0
    lines: int = 0

    @property
    def bad_lines(self) -> int:
        """How many lines were not understood."""
        return sum(skipped.bad for skipped in self.skipped)
