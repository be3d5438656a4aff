"""Parse domain names into keys of one canonical spelling: lower-case A-labels.

A key is `x` (the domain itself) or `.x` (everything below it, never x), as in a Sendmail mailertable. A-labels are
made by UTS 46 non-transitional processing (the `idna` package): Python's own codec follows IDNA 2003 and would turn
grüße into grüsse, which is another domain.
"""

import re
from collections.abc import Iterable, Iterator

import idna

# RFC 1035 2.3.4 and RFC 2181 11: 63 octets a label, 253 characters a name. Underscores occur in real lists.
MAX_NAME = 253
LABEL_PATTERN = r"[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?"
_NAME = re.compile(rf"(?:{LABEL_PATTERN}\.)*{LABEL_PATTERN}")


class DomainError(ValueError):
    """Not a domain name; the message is the reason, in a few words."""


def parse_name(text: str) -> str:
    """Parse a domain name into its canonical spelling: lower-case A-labels, without a trailing dot.

    Takes A-labels, U-labels or a mixture. Raises DomainError for anything that is not a host or domain name,
    addresses among them (no top-level domain is all digits, RFC 3696 section 2).
    """
    name = text.lower() if text.isascii() else _to_ascii(text)
    if len(name) > MAX_NAME:
        raise DomainError(f"the name is longer than {MAX_NAME} characters")
    if not _NAME.fullmatch(name):
        raise DomainError(_why_not(name))
    if name.rpartition(".")[2].isdigit():
        raise DomainError("a domain name does not end in a number")
    return name


def parse_key(text: str) -> str:
    """Parse a key, `x` or `.x`, into its canonical spelling. Raises DomainError."""
    if text.startswith("."):
        return "." + parse_name(text[1:])
    return parse_name(text)


def to_unicode(key: str) -> str | None:
    """Return the spelling of a key (or name) with U-labels, or None where it has none."""
    if "xn--" not in key:
        return None
    try:
        spelled = ".".join(_to_u_label(label) if label.startswith("xn--") else label for label in key.split("."))
    except (idna.IDNAError, UnicodeError):
        return None
    return None if spelled.isascii() else spelled


def fold(name: str) -> str:
    """Fold a name as Postfix does to look it up: full Unicode case folding (casefold(3) in its util library).

    `grüße` and `grüsse` are two domains and one folded key.
    """
    return name.lower() if name.isascii() else name.casefold()


def parents(name: str) -> Iterator[str]:
    """Yield every proper parent of a name, the longest first: a.b.c gives b.c and c."""
    _, dot, rest = name.partition(".")
    while dot:
        yield rest
        _, dot, rest = rest.partition(".")


class DomainSet:
    """A set of domains, each with all domains below it (`own_domains`, `closed_domains`)."""

    __slots__ = ("_below", "names")

    def __init__(self, names: Iterable[str]) -> None:
        self.names = frozenset(names)
        self._below = tuple("." + name for name in self.names)

    def covers(self, key: str) -> bool:
        """Check whether a key, `x` or `.x`, is one of the domains or lies below one."""
        # A suffix key `.x` ends with "." + x, so that it needs no case of its own.
        return key in self.names or key.endswith(self._below)

    def covering(self, name: str) -> str | None:
        """Return the most specific of the domains that is the name or lies above it, or None."""
        if not self.names:
            return None
        if name in self.names:
            return name
        return next((parent for parent in parents(name) if parent in self.names), None)


def _to_ascii(text: str) -> str:
    if "ẞ" in text:
        # UTS 46 maps it to ss, and since Unicode 15.1 to ß: two domains, and which one depends on the installed idna.
        raise DomainError("a capital ẞ may mean ß or ss: write the one that is meant, or the A-label")
    try:
        mapped = idna.uts46_remap(text, std3_rules=False, transitional=False)
        return ".".join(
            label if label.isascii() else idna.alabel(label).decode("ascii") for label in mapped.split(".")
        ).lower()
    except (idna.IDNAError, UnicodeError) as error:
        raise DomainError(f"not a valid internationalised domain name ({error})") from None


def _to_u_label(label: str) -> str:
    """Return the U-label of an A-label, or what mail servers map onto it though IDNA 2008 has no such label.

    UTS 46 is wider: it takes symbols (☃), and leaves the rules for bidirectional and contextual characters to its
    caller; Postfix checks neither (midna_domain.c). Raises IDNAError or UnicodeError where nothing is mapped onto it.
    """
    try:
        return idna.ulabel(label)
    except (idna.IDNAError, UnicodeError):
        spelled = label[4:].encode("ascii").decode("punycode")
        again = "xn--" + spelled.encode("punycode").decode("ascii")
        if again != label or idna.uts46_remap(spelled, std3_rules=False, transitional=False) != spelled:
            raise
        return spelled


def _why_not(name: str) -> str:
    if not name:
        return "the name is empty"
    if name.endswith(".") and _NAME.fullmatch(name[:-1]):
        return "the name ends with a dot"
    for label in name.split("."):
        if not label:
            return "the name has an empty label"
        if len(label) > 63:
            return "a label is longer than 63 characters"
        if not re.fullmatch(LABEL_PATTERN, label):
            return f"{label!r} is not a label of a domain name"
    return "not a domain name"
