"""One line and one count for each mail and verdict about a partner, however often an MTA asks about that mail."""

import re
from collections.abc import Callable

from closedmail.core.counters import ALONE, Counters
from closedmail.core.decision import Verdict

# Instances remembered, to tell a repeated question from a new mail. With verdict and partner about 300 bytes each, as
# an instance of Postfix has some 20, and at most 3 MB. Postfix asks about one mail within seconds, so that this bounds
# memory and not what is told apart.
_REMEMBERED = 4096

_PLAIN = re.compile(r"[A-Za-z0-9.:_-]{1,255}").fullmatch


class VerdictLog:
    """Writes the lines, and counts in `counters`."""

    def __init__(self, write: Callable[[str], object], counters: Counters) -> None:
        """`write` takes a finished line, newline included."""
        self.counters = counters
        self._write = write
        self._seen: dict[tuple[str, str, str], None] = {}

    def note(self, verdict: Verdict, instance: str, client: str, generation: int) -> None:
        """Log and count a verdict about a partner; others are not our business."""
        match = verdict.match
        if match is None:
            return
        seen = self._seen
        mark = (instance, verdict.outcome, match.key)
        if instance and mark in seen:
            return
        seen[mark] = None
        if len(seen) > _REMEMBERED:
            del seen[next(iter(seen))]  # the oldest
        network = match.rule.network or ALONE
        self.counters.count((network, match.key, verdict.outcome, verdict.reason))
        self._write(
            f"network={network} partner={match.key} verdict={verdict.outcome} reason={verdict.reason} "
            f"domain={_word(verdict.domain)} client={_word(client)} instance={_word(instance)} "
            f"generation={generation}\n"
        )


def _word(text: str) -> str:
    """A value that can neither end its field nor its line, of bounded length."""
    if _PLAIN(text):
        return text
    shown = "".join(char if "!" <= char <= "~" and char != '"' else "?" for char in text[:255])
    return shown or "-"
