"""Leave out comments (RFC 5322 section 3.2.2) in linear time, whatever the text is."""

import re

_MARK = re.compile(r"\\.|[()]", re.DOTALL)


def without_comments(text: str) -> str:
    """Remove all comments that are closed, each with those in it; a bracket without its partner stays.

    A backslash takes the next character along within brackets only.
    """
    if "(" not in text:
        return text
    opened: list[int] = []  # for each open bracket, how many pieces stand in front of it
    kept: list[str] = []  # what stays of the text up to `at`
    at = position = 0
    while mark := _MARK.search(text, position):
        position = mark.end()
        if mark[0] == "(":
            kept.append(text[at : mark.start()])
            opened.append(len(kept))
            at = mark.start()
        elif mark[0] == ")" and opened:
            del kept[opened.pop() :]
            at = mark.end()
        elif len(mark[0]) == 2 and not opened:
            position = mark.start() + 1  # what follows the backslash may open a comment
    return "".join(kept) + text[at:]
