"""Count the mails that policyd and the milter have judged, for `status`."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from closedmail.daemon.counters_file import MILTER, POLICYD, SavedCounters, read_counters
from closedmail.inbound.counters import ALONE, Counters, NetworkCounts
from closedmail.words import iso, iso_or_none


@dataclass(frozen=True, slots=True)
class Traffic:
    """Counts by network (ALONE: partners without one) between two times (Unix seconds), and by front end."""

    since: int
    until: int
    networks: Mapping[str, NetworkCounts]
    by_front_end: Mapping[str, Counters]

    def to_json(self) -> dict[str, Any]:
        """Make the object of the public interface. `others` are partners beyond those that are counted by name."""
        return {
            "since": iso_or_none(self.since),
            "until": iso_or_none(self.until),
            "networks": {
                name: {"total": item.total, "partners": item.partners, "others": item.others}
                for name, item in self.networks.items()
            },
        }

    def lines(self) -> Iterator[str]:
        """Render one line a network, for people."""
        for name, item in self.networks.items():
            whose = "partners without a network" if name == ALONE else name
            numbers = ", ".join(f"{number} {verdict}" for verdict, number in sorted(item.total.items()))
            yield f"{whose}: mails from {iso(self.since)} to {iso(self.until)}: {numbers}"


def find_traffic(state_dir: Path) -> Traffic | None:
    """Sum up what policyd and the milter saved last."""
    saved = _read_doors(state_dir)
    together = _sum(saved)
    if not together:
        return None
    by_front_end = {front_end: each.counters for front_end, each in saved.items()}
    return Traffic(together.counters.since, together.saved_at, together.counters.networks(), by_front_end)


def find_counters(state_dir: Path) -> SavedCounters | None:
    """Sum up the same, count by count."""
    return _sum(_read_doors(state_dir))


def _read_doors(state_dir: Path) -> dict[str, SavedCounters]:
    files = (("policyd", POLICYD), ("milter", MILTER))
    return {front_end: found for front_end, name in files if (found := _read(state_dir, name))}


def _sum(saved: Mapping[str, SavedCounters]) -> SavedCounters | None:
    if not saved:
        return None
    since = min(each.counters.since for each in saved.values())
    counters = Counters(since, (count for each in saved.values() for count in each.counters))
    return SavedCounters(counters, max(each.saved_at for each in saved.values()))


def _read(state_dir: Path, name: str) -> SavedCounters | None:
    """Read the counters of one. A file that can't be read is for the daemon's log: it is no problem of the gateway."""
    try:
        return read_counters(state_dir, name)
    except (OSError, ValueError):
        return None
