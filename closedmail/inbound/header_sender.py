"""Find the domains of a message's author: all that anybody may read in its `From:` and `Sender:`.

A header that follows RFC 5322 to the letter (section 3.4, without its obsolete forms) has exactly the addresses that
the grammar gives it: text in a quoted display name or in a comment is no address. In anything else programs see
different addresses, and all of them count: whatever follows an `@`, wherever it stands, with and without comments,
quotes, blanks and control characters, before and after encoded words are decoded, as UTF-8 and as Latin-1, and what
Python's own `email` package reads. The cost is bounded; what is beyond the bounds raises `HeaderError`.
"""

import re
import unicodedata
from collections.abc import Iterable, Iterator
from email.utils import getaddresses

from closedmail.core.model import Rewriting
from closedmail.inbound.encoded_words import decode_words
from closedmail.inbound.sender import SenderError, queued_domains

MAX_BYTES = 256 * 1024  # of all these headers of a message; Postfix takes 100 KiB of each (header_size_limit)
MAX_FIELDS = 64
_MAX_DOMAINS = 256
_LONGEST_FOR_EMAIL = 4096  # characters: email.utils takes quadratic time for some texts
# Of what follows an `@`, so much is looked at from its beginning and from its end; a domain has 253 characters.
_LONGEST_RUN = 512

# The grammar. Characters beyond Latin, Greek and so on up to CJK ideographs are left to the lax reading (full-width
# forms, invisible ones); so is a backslash, which not every program understands.
_ATOM = r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~\xa1-\u02af\u0370-\u1fff\u2c00-\ud7ff-]"
_DOTTED = rf"{_ATOM}++(?:\.{_ATOM}++)*+"
_QUOTED = r'"[^"\\\x00-\x08\x0a-\x1f\x7f]*+"'
_SPACE = r"(?:[ \t]|\([^()\\\x00-\x08\x0a-\x1f\x7f]*+\))"
_NAME = rf"(?:{_ATOM}|{_QUOTED})(?:{_ATOM}|\.|{_QUOTED}|{_SPACE})*+"
_ADDRESS = rf"(?:{_DOTTED}|{_QUOTED})@({_DOTTED})"
_MAILBOX = re.compile(rf"{_SPACE}*+(?:(?:{_NAME})?<{_ADDRESS}>|{_ADDRESS}){_SPACE}*+(?:,|\Z)")
_FOLD = re.compile(r"\r?\n(?=[ \t])")
_AT = re.compile(r"[@\uff20\ufe6b]")
_RUN = re.compile(r"[ \t]*([^\s@\uff20\ufe6b<>(),;:\"\\\[\]]+)")
_INNER_COMMENT = re.compile(r"\((?:\\.|[^()\\])*+\)", re.DOTALL)
_COMMENT_DEPTH = 8
_UNSEEN = re.compile(r"[\x00-\x20\x7f-\xa0]+")
_QUOTES = re.compile(r"[\"\\]")


class HeaderError(ValueError):
    """These headers are beyond what can be judged; no honest message has the like."""


def header_domains(values: Iterable[bytes], rewriting: Rewriting) -> tuple[str, ...]:
    """Find the domains in the values of `From:` and `Sender:`, as A-labels; () where there are none.

    `values` are as they came, without the name of the header, folded or not. Raises HeaderError.
    """
    found: dict[str, None] = {}
    fields = size = 0
    for value in values:
        fields, size = fields + 1, size + len(value)
        if fields > MAX_FIELDS or size > MAX_BYTES:
            raise HeaderError(f"more than {MAX_FIELDS} From: and Sender: headers, or {MAX_BYTES} bytes of them")
        for text in _texts(value):
            for address in _addresses(text):
                found[address] = None
                if len(found) > _MAX_DOMAINS:
                    raise HeaderError(f"more than {_MAX_DOMAINS} domains in From: and Sender:")
    return tuple(dict.fromkeys(name for address in found for name in _names(address, rewriting)))


def _names(address: str, rewriting: Rewriting) -> tuple[str, ...]:
    try:
        return queued_domains(address, rewriting)
    except SenderError:
        return ()  # longer than any address; its parts have been looked up


def _texts(value: bytes) -> Iterator[str]:
    """Yield the texts that the bytes may be, unfolded, before and after encoded words are decoded."""
    for text in _charsets(value):
        unfolded = _FOLD.sub("", text).strip(" \t\r\n")
        yield unfolded
        decoded = decode_words(unfolded)
        if decoded != unfolded:
            yield decoded


def _charsets(value: bytes) -> tuple[str, ...]:
    try:
        return (value.decode(),)
    except UnicodeDecodeError:
        return value.decode("latin-1"), value.decode("utf-8", "ignore"), value.decode("utf-8", "replace")


def _addresses(text: str) -> Iterable[str]:
    """Find the addresses of a text; of their local parts only what decides about the domain."""
    strict = _strictly(text)
    return _laxly(text) if strict is None else strict


def _strictly(text: str) -> list[str] | None:
    """Parse a list of mailboxes by the grammar; None where the text is none."""
    found: list[str] = []
    at = 0
    while at < len(text) or not found:
        mailbox = _MAILBOX.match(text, at)
        if not mailbox:
            return None
        found.append(f"x@{mailbox[1] or mailbox[2]}")
        at = mailbox.end()
    return None if text.endswith(",") else found


def _laxly(text: str) -> Iterator[str]:
    """Find all that may be an address to somebody."""
    seen = False
    for reading in dict.fromkeys(_readings(text)):
        for at in _AT.finditer(reading):
            seen = True
            run = _RUN.match(reading, at.end())
            if run:
                name = run[1].strip(".")
                yield f"x@{name[:_LONGEST_RUN]}"
                if len(name) > _LONGEST_RUN:
                    yield f"x@{name[-_LONGEST_RUN:]}"
    if not seen:
        # A bare word is completed, or not, as an envelope sender is.
        yield _QUOTES.sub("", _UNSEEN.sub("", text.rpartition("<")[2].partition(">")[0]))[:_LONGEST_RUN]
    elif len(text) <= _LONGEST_FOR_EMAIL:
        yield from _as_python_reads(text)


def _as_python_reads(text: str) -> Iterator[str]:
    try:
        pairs = getaddresses([text])
    except Exception:  # RecursionError, and whatever else a hostile text causes in it
        return
    for _, address in pairs:
        domain = address.rpartition("@")[2].strip()
        if domain and "@" in address:
            yield f"x@{domain[:_LONGEST_RUN]}"


def _readings(text: str) -> Iterator[str]:
    """Yield the text with and without what programs leave out: comments, quotes, blanks, control characters."""
    bare = text
    for _ in range(_COMMENT_DEPTH):
        shorter = _INNER_COMMENT.sub("", bare)
        if shorter == bare:
            break
        bare = shorter
    for reading in (text, bare, unicodedata.normalize("NFKC", text)):
        yield reading
        unquoted = _QUOTES.sub("", reading)
        yield unquoted
        yield _UNSEEN.sub("", unquoted)
        yield _UNSEEN.sub(" ", unquoted)
