"""Quote any text for PowerShell.

In single quotes nothing is expanded, and a quote is written twice; but PowerShell takes the typographic quotes U+2018
to U+201B for single quotes as well (CharExtensions.IsSingleQuote in its source), and Windows PowerShell 5.1 reads a
script without a byte order mark in the machine's code page. So all that is not printable ASCII is spelled by number.
"""

import re
from collections.abc import Iterable, Iterator

_PLAIN = re.compile(r"[ -~]+")


def quoted(text: str) -> str:
    """Write an expression for this text.

    Raises ValueError for control characters and lone surrogates, which no name or text of a generation has.
    """
    if _PLAIN.fullmatch(text):
        return _part(text)
    if any(ord(char) < 0x20 or 0x7F <= ord(char) < 0xA0 or 0xD800 <= ord(char) < 0xE000 for char in text):
        raise ValueError(f"{text!r} has a control character")
    parts = [_part(part) for part in re.findall(r"[ -~]+|[^ -~]", text)] or ["''"]
    if not parts[0].startswith("'"):
        parts.insert(0, "''")  # so that + joins texts
    return parts[0] if len(parts) == 1 else f"({' + '.join(parts)})"


def _part(text: str) -> str:
    if _PLAIN.fullmatch(text):
        return "'" + text.replace("'", "''") + "'"
    return f"[char]::ConvertFromUtf32(0x{ord(text):04X})"


def array(name: str, items: Iterable[str]) -> Iterator[str]:
    """Yield lines that set a variable to an array of texts."""
    yield f"${name} = @("
    yield from (f"    {quoted(item)}" for item in items)  # in @( ) each line is an element
    yield ")"
