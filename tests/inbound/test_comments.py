"""Comments left out: what brackets and backslashes mean, in linear time."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from closedmail.inbound.comments import without_comments

_INNER = re.compile(r"\((?:\\.|[^()\\])*+\)", re.DOTALL)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", ""),
        ("a(b)c", "ac"),
        ("a(b(c)d)e", "ae"),
        ("a)b(c", "a)b(c"),
        ("a(b(c)d", "a(bd"),
        (r"a(b\)c)d", "ad"),
        (r"a\(b)c", "a\\c"),  # outside of a comment it is no escape
        (r"(\(x)y", "y"),
        ("((((", "(((("),
        ("a(", "a("),
        ("()()", ""),
    ],
)
def test_table(text: str, expected: str) -> None:
    assert without_comments(text) == expected


@given(st.text(st.sampled_from(r"ab(()\) "), max_size=30))
def test_as_removing_the_innermost_again_and_again(text: str) -> None:
    """Where all brackets have partners; else a backslash within a lone one may be read in either way."""
    slowly = text
    while (shorter := _INNER.sub("", slowly)) != slowly:
        slowly = shorter
    if not {"(", ")"} & set(slowly):
        assert without_comments(text) == slowly


def test_work_is_linear() -> None:
    """A regular expression that looks for the inner ones begins anew at each bracket."""
    assert without_comments("\\(" * 200_000) == "\\(" * 200_000
    assert without_comments("(" * 200_000 + ")" * 200_000) == ""
