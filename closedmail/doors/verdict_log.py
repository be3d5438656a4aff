"""One line and one count for each mail and verdict about a partner, however often an MTA asks about that mail."""

import re
from collections import Counter
from collections.abc import Callable

from closedmail.core.decision import Verdict

# Instances remembered, to tell a repeated question from a new mail. About 100 bytes each; Postfix asks about one mail
# within seconds, so that this bounds memory and not what is told apart.
_REMEMBERED = 4096

Key = tuple[str, str, str]
_PLAIN = re.compile(r"[A-Za-z0-9.:_-]{1,255}").fullmatch


class VerdictLog:
    """`counts` are by network ("-": partner that stands alone), partner and verdict."""

    def __init__(self, write: Callable[[str], object]) -> None:
        """`write` takes a finished line, newline included."""
        self._write = write
        self._seen: dict[tuple[str, str, str], None] = {}
        self.counts: Counter[Key] = Counter()

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
        network = match.rule.network or "-"
        self.counts[network, match.key, verdict.outcome] += 1
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
