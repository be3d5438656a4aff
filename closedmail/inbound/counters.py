"""Count verdicts about partners, by network, partner, verdict and reason, in bounded memory."""

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import NamedTuple

# Series that are counted by the partner's name. One takes about 200 bytes, all of them 6 MB, whether the lists have a
# thousand partners or a million. Others are counted without the name. Anybody can provoke refusals in the
# name of every partner of a list; a quarter is left for mail that was proven, which only partners can send.
MOST_NAMED = 32_768
LEFT_FOR_PROVEN = 8_192

ALONE = "-"  # in place of a network's name, for a partner without one


class Series(NamedTuple):
    """The labels of one count. `network` is ALONE and `partner` "" (the others) where there is none to name."""

    network: str
    partner: str
    verdict: str
    reason: str


@dataclass(slots=True)
class NetworkCounts:
    """One network's mails by verdict: of all, of each partner, and of partners beyond those that are named."""

    total: Counter[str]
    partners: dict[str, Counter[str]]
    others: Counter[str]


class Counters:
    """Counts since a time (Unix seconds)."""

    __slots__ = ("_counts", "named", "since")

    def __init__(self, since: int, counts: Iterable[tuple[Series, int]] = ()) -> None:
        """Begin with these counts."""
        self.since = since
        self.named = 0
        self._counts: dict[tuple[str, str, str, str], int] = {}
        for series, number in counts:
            known = self._name(series)
            self._counts[known] = self._counts.get(known, 0) + number

    def count(self, series: tuple[str, str, str, str]) -> None:
        """Count one mail. On the path of every decision, hence a plain tuple in the order of Series."""
        counts = self._counts
        if series not in counts:
            series = self._name(series)
        counts[series] = counts.get(series, 0) + 1

    def _name(self, series: tuple[str, str, str, str]) -> tuple[str, str, str, str]:
        """Return the series itself where it may be named, else that of the others."""
        network, partner, verdict, reason = series
        if not partner or series in self._counts:
            return series
        if self.named < (MOST_NAMED if reason == "ok" else MOST_NAMED - LEFT_FOR_PROVEN):
            self.named += 1
            return series
        return network, "", verdict, reason

    def __iter__(self) -> Iterator[tuple[Series, int]]:
        """Yield all series that have been counted."""
        return ((Series(*series), number) for series, number in self._counts.items())

    @property
    def mails(self) -> int:
        """The number of mails counted."""
        return sum(self._counts.values())

    def copy(self) -> "Counters":
        """Copy the counts as they are now, for another thread."""
        copied = Counters(self.since)
        copied.named, copied._counts = self.named, self._counts.copy()
        return copied

    def networks(self) -> dict[str, NetworkCounts]:
        """Sum the counts by network, partner and verdict, sorted."""
        found: dict[str, NetworkCounts] = {}
        for series, number in sorted(self):
            network = found.setdefault(series.network, NetworkCounts(Counter(), {}, Counter()))
            network.total[series.verdict] += number
            of = network.partners.setdefault(series.partner, Counter()) if series.partner else network.others
            of[series.verdict] += number
        return found
