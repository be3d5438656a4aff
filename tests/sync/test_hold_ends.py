"""Which holds end, and what begins anew: two runs that have verified the newest list, an hour or more apart."""

import pytest
from support.core_samples import DAY, NOW

from closedmail.lists.fetch_log import FetchRecord
from closedmail.store.manifest import Manifest
from closedmail.sync.hold_ends import SeenTimes

HOUR = 3600
YEAR = 365 * DAY


def manifest(due: int = 0, published: int = NOW, begun: int = 0, rows: int = 0) -> Manifest:
    holds = {"ndb": due} if due else {}
    return Manifest(1, published, "sync", "", "", (), (), (), holds_due=holds, holds_begun=begun, rows_until=rows)


@pytest.mark.parametrize(
    ("runs", "ends"),
    [
        ([0], None),
        ([0, 60], None),
        ([0, HOUR - 1], None),
        ([0, HOUR], 1),
        ([0, 600, 1200, HOUR], 3),
        ([-1, HOUR], None),  # the first one saw nothing that was due
        ([-1, 0, HOUR], 2),
        ([YEAR, 0], None),  # a clock that jumped once
        ([YEAR, 0, 600, HOUR], 3),
        ([YEAR, -DAY, 0, 600], None),
        ([0, -DAY, HOUR, HOUR + 60], None),
    ],
)
def test_a_hold_ends(runs: list[int], ends: int | None) -> None:
    """Runs by when they are after the hold is due; the number of the one that ends it."""
    record = FetchRecord()
    found = None
    for number, at in enumerate(runs):
        seen = SeenTimes(manifest(NOW), {"ndb": record}, DAY, NOW + at)
        if seen.ends:
            found = number
            break
        seen.note({"ndb": NOW})
    assert found == ends


def test_a_hold_that_came_later_is_seen_for_itself() -> None:
    record = FetchRecord(holds_seen=NOW)
    seen = SeenTimes(manifest(NOW - 60), {"ndb": record}, DAY, NOW + HOUR)
    assert seen.ends == {"ndb": NOW}  # what was due then; what is due since is seen now
    seen.note({"ndb": NOW + 60})
    assert record.holds_seen == NOW + HOUR
    assert SeenTimes(manifest(NOW + 60), {"ndb": record}, DAY, NOW + HOUR + 60).ends == {}
    SeenTimes(manifest(), {"ndb": record}, DAY, NOW + 2 * HOUR).note({})
    assert record.holds_seen == 0


@pytest.mark.parametrize(
    "ahead", [manifest(published=NOW + YEAR), manifest(begun=NOW + YEAR), manifest(rows=NOW + YEAR)]
)
@pytest.mark.parametrize(
    ("runs", "signed", "confirmed", "anew"),
    [
        ([0], True, False, None),
        ([0, HOUR - 1], True, False, None),
        ([0, HOUR], True, False, 0),  # from the first of the two
        ([0, HOUR], False, False, None),
        ([0], False, True, 0),
        ([2 * YEAR, 0, 60], True, False, None),
        ([60, -DAY, HOUR - DAY], True, False, -DAY),
    ],
)
def test_what_is_ahead_of_the_clock(
    ahead: Manifest, runs: list[int], signed: bool, confirmed: bool, anew: int | None
) -> None:
    record = FetchRecord()
    found = None
    for at in runs:
        seen = SeenTimes(ahead, {"ndb": record}, DAY, NOW + at, signed=signed, confirmed=confirmed)
        if seen.anew:
            found = seen.anew - NOW
            break
        seen.note({})
    assert found == anew


@pytest.mark.parametrize("usual", [manifest(), manifest(begun=NOW, rows=NOW + DAY), manifest(published=NOW + 300)])
def test_nothing_ahead(usual: Manifest) -> None:
    record = FetchRecord(ahead_seen=NOW - DAY)
    seen = SeenTimes(usual, {"ndb": record}, DAY, NOW, signed=True, confirmed=True)
    assert (seen.ahead, seen.anew) == (False, 0)
    seen.note({})
    assert record.ahead_seen == 0
