"""Decode encoded words (RFC 2047) as lax software does: anywhere in a header, also where the RFC allows none."""

import re
from email.errors import HeaderParseError
from email.header import decode_header
from encodings import normalize_encoding
from encodings.aliases import aliases

from closedmail.inbound.reading_budget import ReadingBudget

# The text may hold a single "?", which some readers take; how far is bounded, for its cost.
_WORD = re.compile(r"=\?([^?\s]{1,64})\?([bBqQ])\?([^?]*+|(?:[^?]|\?(?!=)){0,400}+)\?=")
_BETWEEN = re.compile(r"(\?=)\s+(=\?)")
# One encoded word may give another one to those who decode twice.
_NESTED = 3
# Python's names for charsets that mail may be in, by all names that these have. The table is fixed: Python remembers
# each name that it is asked for, known or not, for ever (codecs.lookup(), before 3.14).
_CODECS = {
    name: codec
    for alias, codec in aliases.items()
    if codec not in ("mbcs", "rot_13") and not codec.endswith("_codec")  # bytes of other things than text
    for name in (alias, codec)
}
_COST_OF_A_WORD = 12


def decode_words(text: str, budget: ReadingBudget) -> str:
    """Decode the encoded words of a text, repeatedly while there are any; return other texts as they are.

    Raises TooMuchToRead.
    """

    def decoded(found: re.Match[str]) -> str:
        budget.spend(_COST_OF_A_WORD + len(found[0]) // 4)
        return _decoded(found)

    for _ in range(_NESTED):
        if "=?" not in text:
            break
        budget.spend(len(text) // 2)
        before, text = text, _WORD.sub(decoded, _BETWEEN.sub(r"\1\2", text))
        if text == before:
            break
    return text


def _decoded(found: re.Match[str]) -> str:
    charset, encoding, encoded = found.groups()
    charset = charset.partition("*")[0]  # a language (RFC 2231 section 5)
    # decode_header() wants the word alone, without blank or "?" in it, and base64 of whole groups.
    if encoding in "qQ":
        encoded = encoded.replace("?", "=3F").replace(" ", "_")
    else:
        encoded = re.sub(r"[^A-Za-z0-9+/]", "", encoded)
        encoded = encoded[: len(encoded) - (len(encoded) % 4 == 1)]
        encoded += "=" * (-len(encoded) % 4)
    try:
        data = decode_header(f"=?{charset}?{encoding}?{encoded}?=")[0][0]
    except (HeaderParseError, ValueError):
        return found[0]
    raw = data if isinstance(data, bytes) else data.encode("utf-8", "replace")
    return _text(raw, charset)


def _text(raw: bytes, charset: str) -> str:
    """Decode bytes in a charset, in Latin-1 where it is none."""
    codec = _CODECS.get(normalize_encoding(charset).lower()) if charset.isascii() else None
    try:
        return raw.decode(codec or "latin-1", "replace")
    except ValueError:
        return raw.decode("latin-1")
