"""Tell what programs make of characters that no name has, and of those that these tables may not know yet."""

import unicodedata

# Invisible (Default_Ignorable_Code_Point), beside all of category Cf. Some are not assigned: nobody knows who will see
# them.
_UNSEEN = frozenset("\u034f\u115f\u1160\u17b4\u17b5\u2065\u3164\uffa0").union(map(chr, range(0xFFF0, 0xFFF9)))
_UNSEEN_PLANE = range(0xE0000, 0xE1000)
# Letters since Unicode 16 and 17, which Python or idna may not have: outlined A to Z and 0 to 9, and a raised S.
_NEW_LETTERS = str.maketrans(
    {
        **{0x1CCD6 + at: chr(ord("a") + at) for at in range(26)},
        **{0x1CCF0 + at: chr(ord("0") + at) for at in range(10)},
        0xA7F1: "s",
    }
)
_FIRST_NEW = "\ua7f1"


def is_unseen(char: str) -> bool:
    """Check whether a character is invisible to somebody."""
    return char in _UNSEEN or ord(char) in _UNSEEN_PLANE or unicodedata.category(char) == "Cf"


def with_new_letters(text: str) -> str:
    """Map letters as newer tables than the installed ones do (UTS 46)."""
    return text.translate(_NEW_LETTERS) if max(text, default="") >= _FIRST_NEW else text
