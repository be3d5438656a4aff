"""What is kept for `status` of the rows that a run saw."""

from pathlib import Path

import pytest

from closedmail.maps.own_rows import OwnRow, OwnRows
from closedmail.maps.own_rows_file import OWN_ROWS, keep_own_rows, read_own_rows

ONE = OwnRow("a.example", "a.example", "hash:/a", "smtp:[192.0.2.1]", "ndb:[192.0.2.2]")
OTHER = OwnRow("b.example", "b.example", "ldap:/b", "smtp:[192.0.2.1]", "ndb:[192.0.2.2]")


@pytest.mark.parametrize(
    ("before", "found", "after"),
    [
        ((), OwnRows(), None),
        ((), OwnRows((ONE,)), (ONE,)),
        ((ONE, OTHER), OwnRows((ONE,)), (ONE,)),
        ((ONE, OTHER), OwnRows(), ()),
        # A table that can't be read for a time is not taken for an empty one.
        ((ONE, OTHER), OwnRows((ONE,), (("ldap:/b", "no answer"),)), (ONE, OTHER)),
        ((OTHER,), OwnRows((OTHER,), (("ldap:/b", "no answer"),)), (OTHER,)),
        ((), OwnRows((), (("ldap:/b", "no answer"),)), None),
    ],
)
def test_rows(tmp_path: Path, before: tuple[OwnRow, ...], found: OwnRows, after: tuple[OwnRow, ...] | None) -> None:
    keep_own_rows(tmp_path, OwnRows(before))
    keep_own_rows(tmp_path, found)
    assert (tmp_path / OWN_ROWS).exists() is (after is not None)
    assert read_own_rows(tmp_path) == OwnRows(after or ())


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"rows": [{}], "unread": []}', '{"rows": 1, "unread": []}'])
def test_a_broken_file(tmp_path: Path, text: str) -> None:
    (tmp_path / OWN_ROWS).write_text(text)
    assert read_own_rows(tmp_path) == OwnRows()
