"""Mails that policyd and the milter have judged, as `status` shows them."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from closedmail.core.counters import ALONE, Counters, NetworkCounts
from closedmail.doors.counters_file import MILTER, POLICYD, SavedCounters, read_counters
from closedmail.sync.report import iso


@dataclass(frozen=True, slots=True)
class Traffic:
    """Counts by network (ALONE: partners without one) between two times, in Unix seconds."""

    since: int
    until: int
    networks: Mapping[str, NetworkCounts]

    def to_json(self) -> dict[str, Any]:
        """The object of the public interface. `others` are partners beyond those that are counted by name."""
        return {
            "since": iso(self.since),
            "until": iso(self.until),
            "networks": {
                name: {"total": item.total, "partners": item.partners, "others": item.others}
                for name, item in self.networks.items()
            },
        }

    def lines(self) -> Iterator[str]:
        """One line a network, for people."""
        for name, item in self.networks.items():
            whose = "partners without a network" if name == ALONE else name
            numbers = ", ".join(f"{number} {verdict}" for verdict, number in sorted(item.total.items()))
            yield f"{whose}: mails from {iso(self.since)} to {iso(self.until)}: {numbers}"


def find_traffic(state_dir: Path) -> Traffic | None:
    """What both saved last, summed up."""
    saved = find_counters(state_dir)
    return Traffic(saved.counters.since, saved.saved_at, saved.counters.networks()) if saved else None


def find_counters(state_dir: Path) -> SavedCounters | None:
    """The same count by count."""
    saved = [found for name in (POLICYD, MILTER) if (found := _read(state_dir, name))]
    if not saved:
        return None
    since = min(each.counters.since for each in saved)
    counters = Counters(since, (count for each in saved for count in each.counters))
    return SavedCounters(counters, max(each.saved_at for each in saved))


def _read(state_dir: Path, name: str) -> SavedCounters | None:
    """That it can't be read is for the daemon's log: it is no state of the gateway."""
    try:
        return read_counters(state_dir, name)
    except (OSError, ValueError):
        return None
