"""Parse amounts, names and texts that the configuration writes as strings.

A parser takes the text and returns the value in the unit of the model, or raises ValueError with one line that says
what was found, what is allowed and what to write. None of them knows of keys or tables. `locations`, `addresses`
and `credentials` are alike.
"""

import re
import string
from collections.abc import Callable

from closedmail.config.toml_table import Kind
from closedmail.config.wording import one_of
from closedmail.core.host import CONTROL, parse_line
from closedmail.words import quote

_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400}
_BYTES = {"B": 1, "KiB": 1024, "MiB": 1024**2, "GiB": 1024**3}
_CENTURY = 36500 * 86400
REJECT_FIELDS = ("domain", "network", "reason", "client_address", "generation")
MAX_REJECT_TEXT = 400
# Services of master.cf that answer, drop or deliver locally, whatever the nexthop is.
_NO_TRANSPORTS = ("error", "retry", "discard", "local", "virtual", "pipe")

# Control characters, and what else breaks a line of a map, a log or an SMTP reply. Lone surrogates are no text at all.
_CONTROL_BUT_LINE_ENDS = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")


def parse_duration(text: str) -> int:
    """Parse `30s 10m 12h 7d` into seconds; zero is allowed, more than a hundred years is not."""
    found = re.fullmatch(r"([0-9]{1,10})([smhd])", text)
    if not found:
        raise ValueError(f'found {quote(text)}; a duration is a whole number with s, m, h or d, such as "12h"')
    seconds = int(found[1]) * _SECONDS[found[2]]
    if seconds > _CENTURY:
        raise ValueError(f"found {quote(text)}; the longest duration is 36500d")
    return seconds


def parse_positive_duration(text: str) -> int:
    """Parse a duration of a second or more; return seconds."""
    seconds = parse_duration(text)
    if not seconds:
        raise ValueError(f"found {quote(text)}; zero makes no sense here, the shortest is 1s")
    return seconds


def parse_limit(text: str) -> int | None:
    """Parse a duration of a second or more; return seconds, or None for "", no limit."""
    return parse_positive_duration(text) if text else None


def parse_size(text: str) -> int:
    """Parse `64MiB` into bytes, one or more. Units are B, KiB, MiB and GiB."""
    found = re.fullmatch(r"([0-9]{1,12})(B|KiB|MiB|GiB)", text)
    if not found:
        raise ValueError(f'found {quote(text)}; a size is a whole number with B, KiB, MiB or GiB, such as "64MiB"')
    size = int(found[1]) * _BYTES[found[2]]
    if not size:
        raise ValueError(f"found {quote(text)}; zero makes no sense here, the smallest is 1B")
    return size


def parse_share(text: str) -> float:
    """Parse `10%` into a fraction of one, 0% to 100%; decimals are allowed."""
    found = re.fullmatch(r"([0-9]{1,3}(?:\.[0-9]{1,6})?)%", text)
    # Shifting the exponent of the text rounds once, dividing the number by 100 would round twice.
    share = float(f"{found[1]}e-2") if found else None
    if share is None or share > 1:
        raise ValueError(f'found {quote(text)}; a share is written with a percent sign, 0% to 100%, such as "10%"')
    return share


def parse_socket_mode(text: str) -> int:
    """Parse `0660`, octal, into the number that chmod(2) takes."""
    if not re.fullmatch(r"0?[0-7]{3}", text):
        raise ValueError(f'found {quote(text)}; permissions are three octal digits after a 0, such as "0660"')
    return int(text, 8)


def parse_note(text: str) -> str:
    """Parse text for people that may have several lines."""
    if _CONTROL_BUT_LINE_ENDS.search(text):
        raise ValueError(f"found {quote(text)}; control characters are not allowed here, remove them")
    return text


def parse_reject_text(text: str) -> str:
    """Parse a template with the fields of REJECT_FIELDS, "" for the built-in text."""
    fields = one_of(tuple("{" + name + "}" for name in REJECT_FIELDS)).replace('"', "")
    size = len(text.encode("utf-8", "replace"))
    if size > MAX_REJECT_TEXT:
        raise ValueError(f"the text has {size} bytes; allowed are {MAX_REJECT_TEXT}, make it shorter")
    if CONTROL.search(text):
        raise ValueError(f"found {quote(text)}; an SMTP reply has no control characters or line breaks, remove them")
    try:
        parts = list(string.Formatter().parse(text))
    except ValueError:
        raise ValueError(f"found {quote(text)}; a brace is unmatched, write {{{{ or }}}} for a plain brace") from None
    for _, name, spec, conversion in parts:
        if name is not None and name not in REJECT_FIELDS:
            raise ValueError(f"unknown field {quote('{' + name + '}')}; known are {fields}")
        if spec or conversion:
            raise ValueError(f"field {quote(name or '')} has a format or conversion; write the bare name in braces")
    return text


def _pattern(pattern: str, allowed: str, *, empty: bool = False) -> Callable[[str], str]:
    """Make a parser for text of one shape that is kept as it is; `allowed` ends the error message."""
    compiled = re.compile(pattern)

    def parse(text: str) -> str:
        if compiled.fullmatch(text) or (empty and not text):
            return text
        raise ValueError(f"found {quote(text)}; {allowed}")

    return parse


parse_network_name = _pattern(
    r"[A-Za-z0-9][A-Za-z0-9_.-]{0,62}",
    "a network's name has up to 63 of A-Z a-z 0-9 _ . - and begins with a letter or digit, as it names files",
)
parse_group = _pattern(
    r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,63}", 'write the name of a group, such as "postfix", or ""', empty=True
)
parse_authserv_id = _pattern(
    r"[A-Za-z0-9._-]{1,255}", 'write a host name in ASCII, such as "mail.city.example", or ""', empty=True
)
parse_postfix_map_type = _pattern(r"[a-z]+", 'write a type that postmap makes, such as "hash", or ""', empty=True)
parse_sendmail_map_type = _pattern(r"[a-z]+", 'write a type that makemap makes: "hash" or "btree"')
_master_service = _pattern(
    r"[A-Za-z0-9_-]+",
    'write the name of a delivery service of master.cf, such as "smtp" or "closed-smtp", or ""',
    empty=True,
)


def parse_transport(text: str) -> str:
    """Parse the name of a service in master.cf that delivers by SMTP; "" for the network's own."""
    if text.lower() in _NO_TRANSPORTS:
        raise ValueError(f'found {quote(text)}, which does not deliver by SMTP; write "smtp" or a service like it')
    return _master_service(text)


DURATION = Kind(parse_duration, '"1d"')
POSITIVE_DURATION = Kind(parse_positive_duration, '"1d"')
LIMIT = Kind(parse_limit, '"7d"')
SIZE = Kind(parse_size, '"64MiB"')
SHARE = Kind(parse_share, '"10%"')
SOCKET_MODE = Kind(parse_socket_mode, '"0660"')
LINE = Kind(parse_line, '"…"')
NOTE = Kind(parse_note, '"…"')
REJECT_TEXT = Kind(parse_reject_text, '"{domain} must come through {network}"')
GROUP = Kind(parse_group, '"postfix"')
AUTHSERV_ID = Kind(parse_authserv_id, '"mail.city.example"')
POSTFIX_MAP_TYPE = Kind(parse_postfix_map_type, '"hash"')
SENDMAIL_MAP_TYPE = Kind(parse_sendmail_map_type, '"hash"')
TRANSPORT = Kind(parse_transport, '"smtp"')
