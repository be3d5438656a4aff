"""Whose a queued sender is: an oracle for tests, without any of closedmail's rules.

What follows the last `@` is the domain, and whose it is say `idna` (IDNA 2008 with UTS 46) and Python's own codec (IDNA
2003): two implementations with tables of their own.
"""

import re
from typing import Literal

import idna

# `.x` is all below x.
PARTNERS = ("koeln.example", "xn--kln-sna.example", "xn--grsse-lva.example", "polizei.nrw.example", ".land.example")

Whose = Literal["partner", "stranger", "nobody"]


def whose(queued: bytes) -> Whose:
    """Whose a queued sender is. "nobody": it has no domain, or one that nobody can have, so that either is right."""
    try:
        text = queued.decode()
    except UnicodeDecodeError:
        return "nobody"
    if not text:
        return "stranger"  # a bounce
    _, at, domain = text.rpartition("@")
    if re.fullmatch(r"\[[0-9A-Fa-fIPv.:]+\]", domain):
        return "stranger"
    if not at or not domain:
        return "nobody"
    domain = domain.removesuffix(".")
    # What UTS 46 makes of a capital sharp s depends on its Unicode version, and with it on idna's.
    names = {name for name in map(_name, {domain.replace("ẞ", "ß"), domain.replace("ẞ", "ss")}) if name}
    if any(map(is_partner, names)):
        return "partner"
    if names:
        return "stranger"
    return "partner" if is_partner(_old_name(domain)) else "nobody"


def _name(domain: str) -> str:
    """The A-labels of a domain that somebody can have, "" where nobody can."""
    if re.fullmatch(r"(?i:(?!xn--)[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?(?:\.|$))+", domain):
        return domain.lower()
    try:
        return idna.encode(domain, uts46=True, std3_rules=True).decode().rstrip(".")
    except (idna.IDNAError, UnicodeError):
        return ""


def _old_name(domain: str) -> str:
    """The A-labels that IDNA 2003 makes, "" where it makes none."""
    try:
        return domain.encode("idna").decode().lower().rstrip(".")
    except UnicodeError:
        return ""


def is_partner(name: str) -> bool:
    return name in PARTNERS or name.endswith(tuple(key for key in PARTNERS if key.startswith(".")))
