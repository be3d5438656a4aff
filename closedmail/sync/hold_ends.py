"""Decide which holds end, and when those begin anew that a wrong clock has made: by two runs, never by one.

Both runs have just verified the network's newest list, and they are an hour or more apart. So a clock that jumps once
ends nothing and moves nothing, and no hold ends while fetching fails.
"""

from dataclasses import dataclass

from closedmail.lists.fetch_log import FetchRecord
from closedmail.lists.gpg_status import CLOCK_SKEW
from closedmail.store.manifest import Manifest

_APART = 3600  # seconds


@dataclass(frozen=True, slots=True)
class SeenTimes:
    """The times of a generation, as a run sees them that has verified the newest lists of some networks.

    `records` are these networks' entries of the fetch log, by name; `linger_for` is how long TLS rows stay at most.
    `signed` says that one of these lists was signed, at a time that the clock is not before: without that, it may as
    well be set back, and nothing begins anew. `confirmed` says that the administrator vouches for the clock
    (`--force`): times ahead of it begin anew at once.
    """

    manifest: Manifest
    records: dict[str, FetchRecord]
    linger_for: int
    now: int
    signed: bool = False
    confirmed: bool = False

    @property
    def ends(self) -> dict[str, int]:
        """The networks whose holds may end, each with the second at which these have to have been due."""
        return {
            name: record.holds_seen
            for name, record in self.records.items()
            if 0 < self.manifest.holds_due.get(name, 0) <= record.holds_seen <= self.now - _APART
        }

    @property
    def anew(self) -> int:
        """The second at which holds and rows begin anew whose times are ahead of the clock; 0 while they don't."""
        if not self.ahead:
            return 0
        if self.confirmed:
            return self.now
        seen = [record.ahead_seen for record in self.records.values() if 0 < record.ahead_seen <= self.now - _APART]
        return max(seen, default=0) if self.signed else 0

    @property
    def ahead(self) -> bool:
        """Whether the clock was ahead when the generation was made, or is set back."""
        return bool(self.manifest.times_after(self.now + CLOCK_SKEW, self.linger_for))

    def note(self, due: dict[str, int]) -> None:
        """Note in the records what this run has seen; `due` is when each network's first hold is due afterwards."""
        for name, record in self.records.items():
            first = due.get(name, 0)
            if not 0 < first <= self.now:
                record.holds_seen = 0
            elif not first <= record.holds_seen <= self.now:
                record.holds_seen = self.now
            if not self.ahead or self.anew:
                record.ahead_seen = 0
            elif not 0 < record.ahead_seen <= self.now:
                record.ahead_seen = self.now
