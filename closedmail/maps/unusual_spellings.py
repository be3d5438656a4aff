"""Refuse recipients whose domain is spelled so that Postfix would look up one name, and ask the DNS for another.

Postfix looks a recipient's domain up as it is spelled, case folded, and asks the DNS for what UTS 46 makes of it
(resolve.c, midna_domain.c). Where the two differ (a decomposed umlaut, a soft hyphen, full-width letters, an
ideographic full stop, A- and U-labels mixed) no row can be found, and the mail would leave by the public MX. This table
answers for these spellings: a `regexp:` table in transport_maps is asked for the whole address, before any domain.

The expressions are those of data/recipients_unusual, which scripts/unusual_spellings.py makes. They depend on Unicode
alone, not on the generation, so that there is no moment at which they guard less.
"""

import re
from functools import cache
from importlib import resources

TABLE = "recipients_unusual"  # its file in map_dir
REFUSAL = (
    "error:5.1.3 The domain of this address is spelled in an unusual way: type it anew, or write its labels as xn--..."
)
# The domain has a character beyond ASCII; all others cost one expression.
_NOT_ASCII = rb"[^ -~][^@]*$"
# Spellings to try: one for each kind of expression, and all the right ones.
UNUSUAL = ("k\u00adln.example", "ko\u0308ln.example", "\uff4boeln.example", "koeln\u3002example", "k\u00f6ln.xn--p1ai")
USUAL = ("koeln.example", "k\u00f6ln.example", "K\u00d6LN.example", "stra\u00dfe.example", "xn--kln-sna.example")


def unusual_table() -> bytes:
    """Render the rules of the table, for regexp_table(5)."""
    rules = (b"/" + expression + b"[^@]*$/ " + REFUSAL.encode() + b"\n" for expression in _expressions())
    return b"if /" + _NOT_ASCII + b"/\n" + b"".join(rules) + b"endif\n"


def is_unusual(domain: str) -> bool:
    """Check whether the table refuses a domain; `domain` is as it stands in the recipient, behind the last `@`."""
    asked = b"@" + domain.encode("utf-8", "surrogateescape")
    return not domain.isascii() and any(pattern.search(asked) for pattern in _patterns())


@cache
def _expressions() -> tuple[bytes, ...]:
    data = resources.files("closedmail").joinpath("data/recipients_unusual").read_text(encoding="ascii")
    return tuple(line.encode("ascii").decode("unicode_escape").encode("latin-1") for line in data.splitlines())


@cache
def _patterns() -> tuple[re.Pattern[bytes], ...]:
    return tuple(re.compile(expression, re.IGNORECASE) for expression in _expressions())
