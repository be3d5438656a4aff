"""Decode encoded words (RFC 2047) as lax software does: anywhere in a header, also where the RFC allows none."""

import codecs
import re
from email.errors import HeaderParseError
from email.header import decode_header

# The text may hold a single "?", which some readers take; how far is bounded, for its cost.
_WORD = re.compile(r"=\?([^?\s]{1,64})\?([bBqQ])\?([^?]*+|(?:[^?]|\?(?!=)){0,400}+)\?=")
_BETWEEN = re.compile(r"(\?=)\s+(=\?)")
# One encoded word may give another one to those who decode twice.
_NESTED = 3
# No charsets of text, and slow for long ones.
_NOT_CHARSETS = frozenset(("punycode", "idna"))


def decode_words(text: str) -> str:
    """Decode the encoded words of a text, repeatedly while there are any; return other texts as they are."""
    for _ in range(_NESTED):
        if "=?" not in text:
            break
        before, text = text, _WORD.sub(_decoded, _BETWEEN.sub(r"\1\2", text))
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
    """Decode bytes in a charset, in Latin-1 where there is no such charset."""
    try:
        if codecs.lookup(charset).name in _NOT_CHARSETS:
            raise LookupError(charset)  # noqa: TRY301
        return raw.decode(charset, "replace")
    except (LookupError, ValueError):
        return raw.decode("latin-1")
