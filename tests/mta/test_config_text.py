"""main.cf and master.cf as text: a change is taken back, and nothing else is touched."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from closedmail.mta.config_text import entries, take_back

MAIN = """\
# A comment.

a = 1
b = 2,
# in between
   3

   4
# behind
c = 5
"""
MASTER = """\
# service type
smtp      inet  n - y - - smtpd
submission inet n - y - - smtpd
  -o a=b
# -o c=d
  -o e=f
"""


def test_entries_have_their_continuation_lines() -> None:
    found = list(entries(MAIN))
    assert [key for key, _ in found] == ["", "a", "b", "", "c"]
    assert found[2][1] == "b = 2,\n# in between\n   3\n\n   4\n"
    assert "".join(piece for _, piece in found) == MAIN
    assert [key for key, _ in entries(MASTER, master=True)] == ["", "smtp/inet", "submission/inet"]


@given(st.text(alphabet="ab= #\n\t", max_size=60))
def test_the_pieces_are_the_text(text: str) -> None:
    assert "".join(piece for _, piece in entries(text)) == text


@pytest.mark.parametrize(
    ("before", "after", "current", "wanted", "changed"),
    [
        (MAIN, MAIN.replace("a = 1", "a = 9"), None, MAIN, []),
        (MAIN, MAIN + "d = 6\n", None, MAIN, []),
        (MAIN, MAIN.replace("c = 5\n", ""), None, MAIN, []),
        # Somebody added another one.
        (MAIN, MAIN + "d = 6\n", MAIN + "d = 6\ne = 7\n", MAIN + "e = 7\n", []),
        # Somebody changed what we had changed.
        (MAIN, MAIN.replace("a = 1", "a = 9"), MAIN.replace("a = 1", "a = 8"), MAIN.replace("a = 1", "a = 8"), ["a"]),
        (MAIN, MAIN + "d = 6\n", MAIN + "d = 7\n", MAIN + "d = 7\n", ["d"]),
        # Somebody took it back already.
        (MAIN, MAIN + "d = 6\n", MAIN + "e = 7\n", MAIN + "e = 7\n", []),
        # A value of many lines was made one.
        (MAIN, "# A comment.\n\na = 1\nb = 9\n# behind\nc = 5\n", None, MAIN, []),
        # The same parameter twice, of which postconf leaves one.
        ("a = 1\na = 2\n", "a = 3\n", "x = 1\na = 3\n", "x = 1\na = 1\na = 2\n", []),
        # No newline at the end.
        ("a = 1", "a = 1\nb = 2\n", "a = 1\nb = 2\nc = 3\n", "a = 1\nc = 3\n", []),
        # White space is no change.
        (MAIN, MAIN + "d = 6\n", MAIN + "d  =  6\n", MAIN, []),
    ],
)
def test_a_change_is_taken_back(before: str, after: str, current: str | None, wanted: str, changed: list[str]) -> None:
    taken = take_back(after if current is None else current, before, after)
    assert (taken.text, taken.changed) == (wanted, changed)


NAMES = st.lists(st.tuples(st.sampled_from("abcd"), st.integers(0, 2)), unique_by=lambda pair: pair[0])


@given(NAMES, NAMES, NAMES)
def test_what_others_have_done_stays(before: list[tuple[str, int]], after: list[tuple[str, int]], other: list) -> None:  # type: ignore[type-arg]
    old, new, now = ("".join(f"{name} = {value}\n" for name, value in pairs) for pairs in (before, after, other))
    values = dict(other)
    taken = take_back(now, old, new)
    found = {key: piece for key, piece in entries(taken.text) if key}
    for name in "abcd":
        was, became, is_now = dict(before).get(name), dict(after).get(name), values.get(name)
        wanted = was if was != became and is_now == became else is_now
        assert found.get(name) == (None if wanted is None else f"{name} = {wanted}\n")
        assert (name in taken.changed) is (was != became and is_now not in (was, became))
