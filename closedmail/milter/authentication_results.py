"""Write the trust mark (`Authentication-Results: ID; x-closedmail=pass …`, RFC 8601), and recognise forged ones."""

import re

from closedmail.inbound.comments import without_comments
from closedmail.inbound.encoded_words import decode_words
from closedmail.inbound.reading_budget import ReadingBudget, TooMuchToRead

FIELD = "Authentication-Results"
METHOD = "x-closedmail"

# Of encoded words: a field that has more of them is nobody's honest one.
_BUDGET = 10_000
_NOT_SEEN = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\xa0\xad\"\\]+")
_SPACE = re.compile(r"\s+")
_WORD = re.compile(r"[a-z0-9._-]+")
_NAME = re.compile(r"[A-Za-z0-9._-]{1,255}")


def mark(authserv_id: str, network: str, domain: str) -> str | None:
    """Return the field's value for a mail that was proven; None where a name has characters that would need quotes."""
    if not (_NAME.fullmatch(network) and _NAME.fullmatch(domain)):
        return None
    return f"{authserv_id}; {METHOD}=pass ({network}) smtp.mailfrom={domain}"


def bears_our_mark(value: bytes, authserv_id: str) -> bool:
    """Check whether a field's value may be read as ours, by a strict reader or a lax one.

    That is, whether it has the method, and our id in front of its first semicolon. Comments, quotes, folding, case, a
    version number and encoded words (which SpamAssassin decodes) make no difference, nor does a line that such a word
    brings into the value. What takes too long to decode is taken for ours.
    """
    ours = authserv_id.lower()
    text = value.decode("utf-8", "ignore")
    try:
        texts = (text, decode_words(text, ReadingBudget(_BUDGET)))
    except TooMuchToRead:
        return True
    return any(_is_ours(reading, ours) for each in texts for reading in _readings(each.lower()))


def _is_ours(text: str, ours: str) -> bool:
    if METHOD not in _SPACE.sub("", text):
        return False
    for line in (text, *text.splitlines()):
        head = line.partition(";")[0]
        if any(word.rstrip(".") == ours for word in _WORD.findall(head)):
            return True
        if re.fullmatch(rf"{re.escape(ours)}\.?[0-9]*", _SPACE.sub("", head)):
            return True
    return False


def _readings(text: str) -> tuple[str, str]:
    text = _NOT_SEEN.sub("", text)
    return text, without_comments(text)
