"""Decode common names as MTAs write them on one line: `+20` is a blank (xtext of RFC 3461 section 4)."""

import re

_XTEXT = re.compile(rb"\+([0-9A-Fa-f]{2})")


def decode_xtext(text: str) -> str:
    """Decode a common name; bytes that are not UTF-8 become U+FFFD."""
    if "+" not in text:
        return text
    encoded = text.encode("utf-8", "surrogateescape")
    return _XTEXT.sub(lambda found: bytes.fromhex(found[1].decode()), encoded).decode("utf-8", "replace")
