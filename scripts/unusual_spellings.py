"""Write closedmail/data/recipients_unusual: the expressions that find a domain which isn't spelled as its U-label.

Run it again when a newer `idna` knows a newer Unicode: .venv/bin/python scripts/unusual_spellings.py

Postfix maps a recipient's domain by UTS 46 before it asks the DNS (midna_domain.c), but looks transport rows up by the
spelling as it is, case folded. So a spelling is unusual where mapping does more than folding: it has a character that
UTS 46 maps otherwise or ignores, a sequence that NFC would compose or reorder, or an A-label beside a U-label. No
U-label has any of these (RFC 5891 4.2.1, RFC 5892 2.1 and 2.9), so that no domain that is spelled right is found.
"""

import unicodedata
from collections.abc import Iterable
from pathlib import Path

import idna

DATA = Path(__file__).parents[1] / "closedmail/data/recipients_unusual"

# Default_Ignorable_Code_Point (DerivedCoreProperties.txt), but for the two joiners, which some scripts need. UTS 46
# disallowed some of them before Unicode 16, and ignores them since.
_IGNORABLE = (
    *((0xAD, 0xAD), (0x34F, 0x34F), (0x61C, 0x61C), (0x115F, 0x1160), (0x17B4, 0x17B5), (0x180B, 0x180F)),
    *((0x200B, 0x200B), (0x200E, 0x200F), (0x202A, 0x202E), (0x2060, 0x206F), (0x3164, 0x3164), (0xFE00, 0xFE0F)),
    *((0xFEFF, 0xFEFF), (0xFFA0, 0xFFA0), (0xFFF0, 0xFFF8), (0x1BCA0, 0x1BCA3), (0x1D173, 0x1D17A)),
    (0xE0000, 0xE0FFF),
)
# Where to look: neither the ideographs and syllables that map to themselves, nor the empty planes.
_BLOCKS = ((0x80, 0x3400), (0x4DC0, 0x4E00), (0xA000, 0xAC00), (0xF900, 0x20000), (0x2F800, 0x2FA20))
# Conjoining jamo, of which NFC makes syllables: no U-label has one (RFC 5892 2.9, OldHangulJamo).
_JAMO = ((0x1100, 0x11FF), (0xA960, 0xA97C), (0xD7B0, 0xD7FB))


def mapped(char: str) -> str | None:
    """Return what UTS 46 makes of a character, None for one that it disallows (which Postfix itself refuses)."""
    try:
        return idna.uts46_remap(char, std3_rules=False, transitional=False)
    except idna.IDNAError:
        return None


def expressions() -> list[bytes]:
    """Make the expressions (POSIX, extended), in bytes: Postfix matches in the C locale."""
    found = {chr(code) for low, high in (*_IGNORABLE, *_JAMO) for code in range(low, high + 1)}
    marks: dict[int, set[str]] = {}  # by their combining class
    first: dict[str, set[str]] = {}  # what composes with a character behind it
    ends: dict[str, set[str]] = {}  # characters that become the key, or something that ends with it
    for char in (chr(code) for start, end in _BLOCKS for code in range(start, end)):
        if kind := unicodedata.combining(char):
            marks.setdefault(kind, set()).add(char)
        parts = unicodedata.decomposition(char).split()
        if len(parts) == 2 and not parts[0].startswith("<") and unicodedata.normalize("NFC", char) == char:
            one, two = (chr(int(part, 16)) for part in parts)
            first.setdefault(two, set()).add(one)
        instead = mapped(char)
        if instead is None or instead == char:
            continue
        if instead.casefold() != char.casefold():
            found.add(char)
        else:
            ends.setdefault(instead[-1], set()).add(char)
    composed = []
    for two, ones in sorted(first.items()):
        ones = ones.union(*(ends.get(one, ()) for one in ones))
        # Marks of a lower class between them don't keep two characters from composing.
        between = _below(marks, unicodedata.combining(two))
        composed.append(_any_of(ones) + (_any_of(between) + b"*" if between else b"") + _any_of({two}))
    disordered = []
    for kind, seconds in sorted(marks.items()):
        higher = set().union(*(chars for other, chars in marks.items() if other > kind))
        if higher:
            disordered.append(_any_of(higher) + _any_of(seconds))
    return [b"[@.]xn--", _any_of(found), *composed, b"(" + b"|".join(disordered) + b")"]


def _below(marks: dict[int, set[str]], kind: int) -> set[str]:
    return set().union(*(chars for other, chars in marks.items() if other < kind))


def _any_of(chars: Iterable[str]) -> bytes:
    # Regular expressions of Postfix ignore the case of ASCII, and of nothing else.
    return _expression({char.lower().encode() if char.isascii() else char.encode() for char in chars})


def _expression(strings: set[bytes]) -> bytes:
    """Make one expression of strings of bytes, none of which begins with another one."""
    rests: dict[int, set[bytes]] = {}
    for string in strings:
        rests.setdefault(string[0], set()).add(string[1:])
    firsts: dict[frozenset[bytes], list[int]] = {}
    for byte, rest in rests.items():
        firsts.setdefault(frozenset(rest), []).append(byte)
    parts = sorted(
        _bracket(sorted(bytes_)) + (_expression(set(rest)) if rest != {b""} else b"") for rest, bytes_ in firsts.items()
    )
    return parts[0] if len(parts) == 1 else b"(" + b"|".join(parts) + b")"


def _bracket(members: list[int]) -> bytes:
    ranges: list[list[int]] = []
    for byte in members:
        if ranges and ranges[-1][1] == byte - 1:
            ranges[-1][1] = byte
        else:
            ranges.append([byte, byte])
    if len(members) == 1:
        return bytes(members)
    return (
        b"["
        + b"".join(bytes((a,)) if a == b else bytes((a, b)) if b == a + 1 else bytes((a, 0x2D, b)) for a, b in ranges)
        + b"]"
    )


def main() -> None:
    """Write the file: a line for each expression, bytes beyond ASCII as \\xNN."""
    lines = ("".join(chr(byte) if byte < 0x80 else f"\\x{byte:02x}" for byte in each) for each in expressions())
    DATA.write_text("".join(f"{line}\n" for line in lines), encoding="ascii")


if __name__ == "__main__":
    main()
