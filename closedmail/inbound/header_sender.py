"""Find the domains of a message's author: all that anybody may read in its `From:` and `Sender:`.

A header that follows RFC 5322 to the letter (section 3.4, without its obsolete forms) has exactly the addresses that
the grammar gives it: text in a quoted display name or in a comment is no address. In anything else programs see
different addresses, and all of them count: whatever follows an `@`, wherever it stands, with and without comments,
quotes, blanks and control characters, with and without each of the marks that some program drops within an address,
before and after encoded words are decoded, as UTF-8 and as Latin-1, and what Python's own `email` package reads. One
budget bounds the cost of a message; what is beyond it raises `HeaderError`.
"""

import re
import unicodedata
from collections.abc import Iterable, Iterator
from email.utils import getaddresses

from closedmail.core.model import Rewriting
from closedmail.inbound.comments import without_comments
from closedmail.inbound.encoded_words import decode_words
from closedmail.inbound.reading_budget import ReadingBudget, TooMuchToRead
from closedmail.inbound.sender import SenderError, queued_domains

MAX_BYTES = 64 * 1024  # of all these headers of a message; Postfix takes 100 KiB of each (header_size_limit)
MAX_FIELDS = 64
_MAX_DOMAINS = 256
_LONGEST_FOR_EMAIL = 4096  # characters: email.utils takes quadratic time for some texts
_LONGEST_TO_COMPOSE = 1024  # characters: so does unicodedata.normalize() for many accents
# Of a text without any `@`, so much may be a word that is completed.
_LONGEST_WORD = 512
# What a message may cost. So many characters of a text, of a reading (in ASCII or not), and of what is normalised cost
# one unit, as do one bracket and one `@`.
_BUDGET = 30_000
_CHARACTERS, _READ_ASCII, _READ_OTHERS, _NORMALISED = 4, 100, 20, 4

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
_UNSEEN = re.compile(r"[\x00-\x20\x7f-\xa0]+")
_QUOTES = re.compile(r"[\"\\]")
_ESCAPED = re.compile(r"\\.", re.DOTALL)
# Within an address Thunderbird drops a bracket without its partner, and what a backslash takes along; other programs
# drop these, and join the pieces.
_DROPPED = ("(", ")", "<>", "<", ">", ":", ";", ",", "[", "]")
_ALL_DROPPED = str.maketrans("", "", "".join(_DROPPED))


class HeaderError(ValueError):
    """These headers are beyond what can be judged; no honest message has the like."""


def header_domains(values: Iterable[bytes], rewriting: Rewriting) -> tuple[str, ...]:
    """Find the domains in the values of `From:` and `Sender:`, as A-labels; () where there are none.

    `values` are as they came, without the name of the header, folded or not. Raises HeaderError.
    """
    found: dict[str, None] = {}
    fields = size = 0
    budget = ReadingBudget(_BUDGET)
    try:
        for value in values:
            fields, size = fields + 1, size + len(value)
            if fields > MAX_FIELDS or size > MAX_BYTES:
                raise HeaderError(f"more than {MAX_FIELDS} From: and Sender: headers, or {MAX_BYTES} bytes of them")
            for text in _texts(value, budget):
                for address in _addresses(text, budget):
                    found[address] = None
                    if len(found) > _MAX_DOMAINS:
                        raise HeaderError(f"more than {_MAX_DOMAINS} domains in From: and Sender:")
        return tuple(dict.fromkeys(name for address in found for name in _names(address, rewriting, budget)))
    except TooMuchToRead as error:
        raise HeaderError(f"From: and Sender: are no honest ones: {error}") from None


def _names(address: str, rewriting: Rewriting, budget: ReadingBudget) -> tuple[str, ...]:
    try:
        return queued_domains(address, rewriting, budget)
    except SenderError:
        return ()  # longer than any address; its parts have been looked up


def _texts(value: bytes, budget: ReadingBudget) -> Iterator[str]:
    """Yield the texts that the bytes may be, unfolded, before and after encoded words are decoded."""
    for text in _charsets(value, budget):
        unfolded = _FOLD.sub("", text).strip(" \t\r\n")
        yield unfolded
        decoded = decode_words(unfolded, budget)
        if decoded != unfolded:
            yield decoded


def _charsets(value: bytes, budget: ReadingBudget) -> tuple[str, ...]:
    budget.spend(len(value) // _CHARACTERS)
    try:
        return (value.decode(),)
    except UnicodeDecodeError:
        return value.decode("latin-1"), value.decode("utf-8", "ignore"), value.decode("utf-8", "replace")


def _addresses(text: str, budget: ReadingBudget) -> Iterable[str]:
    """Find the addresses of a text; of their local parts only what decides about the domain."""
    budget.spend(len(text) // _CHARACTERS)
    strict = _strictly(text)
    return _laxly(text, budget) if strict is None else strict


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


def _laxly(text: str, budget: ReadingBudget) -> Iterator[str]:
    """Find all that may be an address to somebody."""
    seen = False
    for reading in dict.fromkeys(_readings(text, budget)):
        for at in _AT.finditer(reading):
            seen = True
            run = _RUN.match(reading, at.end())
            budget.spend(1 + (len(run[0]) if run else 0) // _READ_ASCII)
            if run:
                yield f"x@{run[1].strip('.')}"
    if not seen:
        # A bare word is completed, or not, as an envelope sender is.
        yield _QUOTES.sub("", _UNSEEN.sub("", text.rpartition("<")[2].partition(">")[0]))[:_LONGEST_WORD]
    elif len(text) <= _LONGEST_FOR_EMAIL:
        budget.spend(2 * len(text))
        yield from _as_python_reads(text)


def _as_python_reads(text: str) -> Iterator[str]:
    try:
        pairs = getaddresses([text])
    except Exception:  # RecursionError, and whatever else a hostile text causes in it
        return
    for _, address in pairs:
        domain = address.rpartition("@")[2].strip()
        if domain and "@" in address:
            yield f"x@{domain}"


def _readings(text: str, budget: ReadingBudget) -> Iterator[str]:
    """Yield the text with and without what programs leave out: comments, quotes, blanks, control characters, marks."""
    budget.spend(text.count("(") + (0 if text.isascii() else len(text) // _NORMALISED))
    for each in dict.fromkeys((text, without_comments(text), _compatible(text))):
        a_unit = _READ_ASCII if each.isascii() else _READ_OTHERS
        for reading in _without_marks(each):
            budget.spend(len(reading) // a_unit)
            yield reading


def _without_marks(text: str) -> Iterator[str]:
    yield text
    unquoted = _QUOTES.sub("", text)
    yield unquoted
    yield _UNSEEN.sub(" ", unquoted)
    bare = _UNSEEN.sub("", unquoted)
    yield bare
    if "\\" in text:
        yield _ESCAPED.sub("", text)
    for mark in _DROPPED:
        if mark in bare:
            yield bare.replace(mark, "")
    yield bare.translate(_ALL_DROPPED)


def _compatible(text: str) -> str:
    """Normalise a text to NFKC; a long one character by character, so that nothing in it is composed."""
    if text.isascii():
        return text
    if len(text) <= _LONGEST_TO_COMPOSE:
        return unicodedata.normalize("NFKC", text)
    return "".join(unicodedata.normalize("NFKC", char) for char in text)
