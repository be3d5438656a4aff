"""Write one line and one count for each mail and verdict about a partner, however often an MTA asks about it."""

import re
from collections.abc import Callable
from typing import Protocol

from closedmail.inbound.counters import ALONE
from closedmail.inbound.decision import Verdict
from closedmail.words import ascii_text

# Instances remembered at the least, to tell a repeated question from a new mail; twice as many at the most, since half
# of them are forgotten at a time. With verdict and partner about 300 bytes each, as an instance of Postfix has some 20,
# and at most 3 MB. Postfix asks about one mail within seconds, so that this bounds memory and no mail is mistaken.
_REMEMBERED = 2048

_WORD = "[A-Za-z0-9.:_-]{1,255}"
_PLAIN = re.compile(_WORD).fullmatch
_ALL_PLAIN = re.compile(f"{_WORD} {_WORD} {_WORD}").fullmatch


class Counting(Protocol):
    """Counters, or what leads to them."""

    def count(self, series: tuple[str, str, str, str]) -> None:
        """Count one mail, by network, partner, verdict and reason."""


class VerdictLog:
    """The writer of the lines, which also counts in `counters`."""

    def __init__(self, write: Callable[[str], object], counters: Counting) -> None:
        """Remember no mail yet. `write` takes a finished line, newline included."""
        self._counters = counters
        self._write = write
        self._seen: set[tuple[str, str, str]] = set()
        self._seen_before: set[tuple[str, str, str]] = set()

    def note(self, verdict: Verdict, instance: str, client: str, generation: int, more: str = "") -> None:
        """Log and count a verdict about a partner; others are not our business. `more` is appended to the line."""
        match = verdict.match
        if match is None:
            return
        outcome, reason, _, _, domain, _, _ = verdict
        key, rule, _ = match
        mark = (instance, outcome, key)
        if instance and self._is_repeated(mark):
            return
        network = rule.network or ALONE
        self._counters.count((network, key, outcome, reason))
        if not _ALL_PLAIN(f"{domain} {client} {instance}"):  # nearly always they are, and one look costs less
            domain, client, instance = _word(domain), _word(client), _word(instance)
        self._write(
            f"network={network} partner={key} verdict={outcome} reason={reason} "
            f"domain={domain} client={client} instance={instance} generation={generation}{more}\n"
        )

    def _is_repeated(self, mark: tuple[str, str, str]) -> bool:
        seen = self._seen
        if mark in seen or mark in self._seen_before:
            return True
        seen.add(mark)
        if len(seen) >= _REMEMBERED:
            self._seen_before, self._seen = seen, set()
        return False


def _word(text: str) -> str:
    """Make a value that can neither end its field nor its line, of bounded length."""
    if _PLAIN(text):
        return text
    shown = ascii_text(text[:255]).replace(" ", "?").replace('"', "?")
    return shown or "-"
