"""The grammar of Sendmail's mailertable: a line becomes an entry, or a reason why not; nothing is half-used.

Sources: cf/README of Sendmail, "MAILERTABLE" (keys, `mailer:host`), cf/m4/proto.m4 (MailerToTriple: `error:` forms,
`mailer:user@host`), makemap(8) (comments, the first of two equal keys stands), sendmail's deliver.c (`:` between hosts
tried in order, `,` between hosts of equal preference) and parseaddr.c (a value is split into tokens, so that blanks
around `:` and `,` mean nothing). There are no ports in a mailertable: `[192.0.2.1]:2525` names a second host, "2525".
"""

import re
from dataclasses import dataclass
from functools import lru_cache
from ipaddress import IPv4Address, IPv6Address, ip_address

from closedmail.core.domain import MAX_NAME, DomainError, parse_key, parse_name
from closedmail.core.host import looks_like_address
from closedmail.mailertable.error_mailer import Refusal, parse_refusal
from closedmail.mailertable.mailers import LOCAL_MAILERS, ROUTING_MAILERS
from closedmail.mailertable.makemap_limits import MAX_LINE

_MAILER = re.compile(r"[A-Za-z][A-Za-z0-9_-]*|\*file\*|\*include\*")
# What almost every line of a list looks like, so that it costs one match. A last label of digits is no domain. The
# label is domain.LABEL_PATTERN in both cases of letters, spelled so that nothing is ever tried twice.
_LABEL = r"[A-Za-z0-9_][A-Za-z0-9_-]{0,62}+(?<!-)"
_COMMON = re.compile(rf"(\.?(?:{_LABEL}\.)*+(?!\d+\s){_LABEL})[ \t]++([!-~]++)[ \t]*+\r?\n?".encode())
_OCTET = r"(?:25[0-5]|2[0-4]\d|1\d\d|[1-9]?\d)"
_IPV4_LITERAL = re.compile(rf"\[{_OCTET}(?:\.{_OCTET}){{3}}\]", re.ASCII)
# Most values are spelled in the one way already, and need not be taken apart.
_CANONICAL = re.compile(rf"(?:{'|'.join(sorted(ROUTING_MAILERS))}):{_IPV4_LITERAL.pattern}", re.ASCII)
_SPACE = re.compile(r"\s")
_SOMETHING = re.compile(r'[^\s:"]')
_BLANK = " \t"


class MailertableError(ValueError):
    """A line or value is not understood; the message is the reason, in a few words."""


class LocalMailerError(MailertableError):
    """The value runs a program or delivers locally, which a list may never ask for."""


@dataclass(frozen=True, slots=True)
class Host:
    """One host of a route. `name` is an A-label name or an address; `mx` is true if its MX records count."""

    name: str
    mx: bool

    @property
    def is_address(self) -> bool:
        """Whether it is an address literal."""
        return not self.mx and looks_like_address(self.name)

    def __str__(self) -> str:
        if self.mx:
            return self.name
        return f"[IPv6:{self.name}]" if ":" in self.name else f"[{self.name}]"


@dataclass(frozen=True, slots=True)
class Route:
    """`mailer:host…`: groups are tried in order, hosts of one group are of equal preference."""

    mailer: str
    groups: tuple[tuple[Host, ...], ...]

    @property
    def hosts(self) -> tuple[Host, ...]:
        """All hosts in the order in which they stand."""
        return tuple(host for group in self.groups for host in group)

    def __str__(self) -> str:
        return self.mailer + ":" + ":".join(",".join(map(str, group)) for group in self.groups)


@lru_cache(maxsize=1 << 16)
def parse_value(text: str) -> Route | Refusal:
    """Parse the right-hand side of a line, without white space around it.

    Raises LocalMailerError for mailers that run programs or deliver locally, MailertableError for all else that is
    not understood completely.
    """
    mailer, colon, rest = text.partition(":")
    mailer = mailer.rstrip(_BLANK).lower()
    if not colon or not _MAILER.fullmatch(mailer):
        raise MailertableError("the value is not mailer:host")
    if mailer in LOCAL_MAILERS:
        raise LocalMailerError(f"mailer {mailer!r} runs a program or delivers locally: never taken from a list")
    if mailer == "error":
        if not _SOMETHING.search(rest):
            raise MailertableError("nothing after error: says whether mail is refused or waits")
        return parse_refusal(rest)
    if mailer not in ROUTING_MAILERS:
        raise MailertableError(f"unknown mailer {mailer!r} (known: {', '.join(sorted(ROUTING_MAILERS))}, error)")
    if _SPACE.search(rest):
        rest = _without_blanks_around(_without_blanks_around(rest, ":"), ",")
    if not rest:
        raise MailertableError("no host after the mailer")
    if _SPACE.search(rest):
        raise MailertableError("white space or text after the host")
    if "%" in rest:
        raise MailertableError("'%' parts of the address can't stand in a route, Postfix has no such thing")
    if "@" in rest:
        raise MailertableError("a route may not change the recipient (user@host)")
    return Route(mailer, tuple(tuple(map(_parse_host, _split(group, ","))) for group in _split(rest, ":")))


def split_line(raw: bytes) -> tuple[str, str] | None:
    """Split a line of a list, with or without its line end, into (first field, rest); None if blank or a comment.

    The rest is "" where there is none. Raises MailertableError for lines whose fields can't be told.
    """
    if raw.endswith(b"\n"):
        raw = raw[:-2] if raw.endswith(b"\r\n") else raw[:-1]
    if raw.startswith(b"#") or not raw.strip(b" \t\r"):
        return None
    if len(raw) > MAX_LINE:
        raise MailertableError(f"the line is longer than {MAX_LINE} bytes, which makemap would break apart")
    try:
        line = raw.decode("utf-8")
    except UnicodeDecodeError:
        raise MailertableError("the line is not UTF-8") from None
    if any((ord(char) < 32 and char != "\t") or char == "\x7f" for char in line):
        raise MailertableError("the line has a control character")
    if line[0] in " \t":
        raise MailertableError("the line begins with white space, which makemap refuses")
    key, _, value = line.replace("\t", " ").partition(" ")
    return key, value.strip(" ")


@lru_cache(maxsize=1 << 16)
def canonical(text: str) -> str:
    """Spell a value in its one way. Raises like `parse_value`."""
    return text if _CANONICAL.fullmatch(text) else str(parse_value(text))


def parse_line(raw: bytes) -> tuple[str, str] | None:
    """Parse a line of a list into (key, canonical value); None if blank or a comment. Raises MailertableError."""
    common = _COMMON.fullmatch(raw)
    if common and len(raw) <= MAX_NAME:  # shorter than the longest name: its length needs no check of its own
        key, value = common.groups()
        return key.decode("ascii").lower(), canonical(value.decode("ascii"))
    fields = split_line(raw)
    if fields is None:
        return None
    name, rest = fields
    if not rest:
        raise MailertableError("the value is missing")
    try:
        return parse_key(name), canonical(rest)
    except DomainError as error:
        raise MailertableError(f"the first field is not a domain: {error}") from None


def told_domain(raw: bytes) -> str | None:
    """Find the key that a bad line is about; None where nobody can know.

    It can when the first field is a domain name and the second begins with a mailer name and `:`, or with `[`. A
    mailer name is a known one; any other word counts only before `:[`, so that a slip like `esntp:[192.0.2.1]` holds
    its domain and a sentence like "gmail.example is: down" holds nobody.
    """
    fields = raw.decode("utf-8", "replace").split(None, 1)
    if len(fields) < 2 or fields[0].startswith("#"):
        return None
    try:
        key = parse_key(fields[0].removesuffix("."))
    except DomainError:
        return None
    value = fields[1]
    if value.startswith("["):
        return key
    mailer, colon, rest = value.partition(":")
    known = mailer.rstrip(_BLANK).lower() in ROUTING_MAILERS | LOCAL_MAILERS | {"error", "discard"}
    told = colon and (known or (rest.startswith("[") and _MAILER.fullmatch(mailer)))
    return key if told else None


def _without_blanks_around(text: str, separator: str) -> str:
    return separator.join(part.strip(_BLANK) for part in text.split(separator))


def _split(text: str, separator: str) -> list[str]:
    """Split at a separator that stands outside of brackets."""
    if separator not in text:
        return [text]
    parts, depth, start = [], 0, 0
    for at, char in enumerate(text):
        if char == "[":
            depth += 1
        elif char == "]":
            depth -= 1
        elif char == separator and depth == 0:
            parts.append(text[start:at])
            start = at + 1
    parts.append(text[start:])
    return parts


def _parse_host(text: str) -> Host:
    if _IPV4_LITERAL.fullmatch(text):  # most hosts of most lists
        return Host(text[1:-1], mx=False)
    if not text:
        raise MailertableError("an empty host")
    if text.startswith("["):
        inner = text[1:-1]
        if not text.endswith("]") or "[" in inner or "]" in inner:
            raise MailertableError(f"brackets don't match in {text!r}")
        prefixed = inner[:5].lower() == "ipv6:"
        if prefixed or ":" in inner:
            return Host(str(_address(inner[5:] if prefixed else inner, IPv6Address)), mx=False)
        if looks_like_address(inner):
            return Host(str(_address(inner, IPv4Address)), mx=False)
        return Host(_name(inner), mx=False)
    if text.isascii() and text.isdigit():
        raise MailertableError(f"{text!r} looks like a port, and a mailertable has none: it would be a second host")
    try:
        ip_address(text)
    except ValueError:
        return Host(_name(text), mx=True)
    raise MailertableError(f"the address {text!r} needs brackets")


def _address(text: str, kind: type[IPv4Address] | type[IPv6Address]) -> IPv4Address | IPv6Address:
    try:
        address = kind(text)
    except ValueError:
        raise MailertableError(f"{text!r} is not an address") from None
    if isinstance(address, IPv6Address) and address.scope_id:
        raise MailertableError(f"{text!r}: an address with a zone is no route")
    return address


def _name(text: str) -> str:
    try:
        return parse_name(text.removesuffix("."))
    except DomainError as error:
        raise MailertableError(f"{text!r} is not a host: {error}") from None
