"""Spell texts for reports: foreign text made printable, sources without secrets, times, numbers with their nouns."""

import re
from datetime import UTC, datetime

LONGEST_QUOTE = 80  # characters
_LONGEST_EXCERPT = 200
_SCHEME = re.compile(r"(?:(?:https?|ftp|file):)?[/\\]*", re.IGNORECASE)
_AUTHORITY_END = re.compile(r"[/\\?#;]")
_PATH_END = re.compile("[?#;]")


def printable(text: str | bytes) -> str:
    r"""Spell a text so that it fits into a line of a terminal, a log, a table or a page.

    What can't be seen is escaped: control characters (C1, U+0085), separators of lines (U+2028), and those that turn
    the text beside them around (U+202E); `str.isprintable()` is false for all of them. Bytes are read as UTF-8; what
    is none is `\xNN`.
    """
    if isinstance(text, bytes):
        text = text.decode("utf-8", "backslashreplace")
    if text.isprintable():
        return text
    return "".join(char if char.isprintable() else char.encode("unicode_escape").decode() for char in text)


def excerpt(text: str | bytes) -> str:
    """Spell the output of a server or a program as part of a message: printable, no longer than a line or two."""
    shown = printable(text)
    return shown if len(shown) <= _LONGEST_EXCERPT else shown[: _LONGEST_EXCERPT - 1] + "…"


def one_line(text: str) -> str:
    """Spell a text of several lines as one: blanks and ends of lines become single spaces, the rest is printable."""
    return printable(" ".join(text.split()))


def quote(text: str) -> str:
    """Spell a text as a TOML string, cut after 80 characters: what was found in a file or a command, or is to be."""
    cut = text if len(text) <= LONGEST_QUOTE else text[: LONGEST_QUOTE - 1] + "…"
    return '"' + "".join(map(_toml_escape, cut)) + '"'


def _toml_escape(char: str) -> str:
    r"""Escape a character for a TOML string (TOML 1.0, "String": it knows no `\xNN`)."""
    if char in '"\\':
        return "\\" + char
    if char.isprintable():
        return char
    named = {"\n": "\\n", "\t": "\\t", "\r": "\\r"}.get(char)
    return named or (f"\\u{ord(char):04x}" if ord(char) < 0x10000 else f"\\U{ord(char):08x}")


def smtp_text(text: str) -> str:
    """Spell a text of an SMTP reply, with `?` for what can't be seen: it gets no longer, and is read back as itself."""
    return text if text.isprintable() else "".join(char if char.isprintable() else "?" for char in text)


def ascii_text(text: str) -> str:
    """Spell a text as every SMTP client takes it (RFC 5321, section 4.2, textstring): printable ASCII, else `?`."""
    return "".join(char if " " <= char <= "~" else "?" for char in text)


def iso(seconds: int) -> str:
    """Spell Unix seconds as the public interface writes times, in UTC."""
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def iso_or_none(seconds: int) -> str | None:
    """Spell Unix seconds as `iso` does; None for 0, which is no time."""
    return iso(seconds) if seconds else None


def counted(number: int, noun: str) -> str:
    """Spell a number with its noun: `1 domain`, `2 domains`."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def public_location(text: str) -> str:
    """Spell where something is fetched from, a path or a URL, without what may be a secret.

    Logs, reports and monitoring have more readers than the configuration file. Left out are user and password, query
    (`?sig=…`), parameters (`;…`) and fragment. Where an "@" further on leaves open where a password ends
    (`https://city:pa/ss@lists.example/`), all that may be of it is left out. An absolute path is spelled as it is.
    """
    if text.startswith("/") and not text.startswith("//"):
        return excerpt(text)
    scheme = _SCHEME.match(text)
    start = scheme.end() if scheme else 0
    end = _AUTHORITY_END.search(text, start)
    authority, tail = (text[start : end.start()], text[end.start() :]) if end else (text[start:], "")
    if "@" in tail:
        # A host without port or user can't hold the begin of a password.
        return excerpt(text[:start] + ("…" if ":" in authority or "@" in authority else f"{authority}/…"))
    path, *secret = _PATH_END.split(tail, maxsplit=1)
    return excerpt(text[:start] + authority.rpartition("@")[2] + path) + ("?…" if secret else "")
