"""The mailer `error` of a mailertable: what mail is refused, or put off, with.

Sources: cf/m4/proto.m4 of Sendmail (MailerToTriple: the forms of `error:`), parseaddr.c (words that stand for exit
codes).
"""

import re
from dataclasses import dataclass

from closedmail.words import smtp_text

# sysexits words after `error:` (parseaddr.c) and the DSN that sendmail's sysexits.c gives them.
_ERROR_WORDS = {
    "usage": "5.0.0",
    "dataerr": "5.6.0",
    "noinput": "5.3.0",
    "nouser": "5.1.1",
    "nohost": "5.1.2",
    "unavailable": "5.0.0",
    "software": "5.3.0",
    "oserr": "5.0.0",
    "osfile": "5.0.0",
    "cantcreat": "5.0.0",
    "ioerr": "5.0.0",
    "tempfail": "4.0.0",
    "protocol": "5.5.0",
    "noperm": "5.0.0",
    "config": "5.3.5",
}

_DSN = re.compile(r"([45])\.[0-9]{1,3}\.[0-9]{1,3}")
_SMTP_CODE = re.compile(r"([45])[0-9][0-9](?:[ -]|$)")


@dataclass(frozen=True, slots=True)
class Refusal:
    """`error:…`: mail is refused (DSN class 5) or deferred (class 4) with a text."""

    dsn: str
    text: str

    @property
    def temporary(self) -> bool:
        """Whether the sender is to try again."""
        return self.dsn.startswith("4")

    def __str__(self) -> str:
        return f"error:{self.dsn}:{self.text}"


def parse_refusal(rest: str) -> Refusal:
    """Parse what stands after `error:`, which is anything but nothing."""
    head, colon, text = rest.partition(":")
    head = head.strip()
    if colon and _DSN.fullmatch(head):
        dsn, text = head, _bare_text(text)
    elif colon and head.lower() in _ERROR_WORDS:
        dsn, text = _ERROR_WORDS[head.lower()], _bare_text(text)
    else:
        code = _SMTP_CODE.match(rest.strip().strip('"').strip())
        dsn, text = "4.0.0" if code and code[1] == "4" else "5.0.0", _bare_text(rest)
        inner, _, after = text.partition(" ")
        if code and _DSN.fullmatch(inner):
            dsn, text = inner, _bare_text(after)
    return Refusal(dsn, smtp_text(text) or ("try again later" if dsn.startswith("4") else "address refused"))


def _bare_text(text: str) -> str:
    """Take the quotes and SMTP codes around a text away. Repeated ones go too: what is left has to parse to itself."""
    while True:
        bare = text.strip().strip('"').strip()
        if _SMTP_CODE.match(bare):
            bare = bare[3:].lstrip(" -")
        if bare == text:
            return text
        text = bare
