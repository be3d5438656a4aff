"""Translate Postfix's lists of TLS protocols and its cipher grades for OpenSSL.

Source: smtp_tls_mandatory_protocols in postconf(5): names separated by white space, commas or colons, `!` in front
excludes one, and since Postfix 3.6 `>=` and `<=` bound them, by name or by OpenSSL's number (0303).
"""

import re
from collections.abc import Mapping

NAMES = ("SSLv2", "SSLv3", "TLSv1", "TLSv1.1", "TLSv1.2", "TLSv1.3")
VERSIONS = NAMES[2:]  # the older ones no OpenSSL of today speaks
# smtp_tls_mandatory_ciphers in postconf(5); each has its tls_GRADE_cipherlist.
GRADES = ("export", "low", "medium", "high", "null")
_ALIASES = {"0301": "tlsv1", "0302": "tlsv1.1", "0303": "tlsv1.2", "0304": "tlsv1.3", "tlsv1.0": "tlsv1"}
_KNOWN = {name.lower(): at for at, name in enumerate(VERSIONS)}
_OLDER = (*(name.lower() for name in NAMES[:2]), "0300", "0200")


class BadProtocols(ValueError):
    """A list that Postfix would not understand either."""


def allowed_versions(text: str) -> frozenset[str]:
    """Return the versions that a list allows. Raises BadProtocols."""
    lowest, highest = 0, len(VERSIONS) - 1
    excluded: set[int] = set()
    included: set[int] = set()
    for word in filter(None, re.split(r"[\s,:]+", text)):
        operator = re.match(r"!|>=|<=|", word)
        sign = operator[0] if operator else ""
        name = word[len(sign) :].lower()
        if name in _OLDER:
            if sign == "<=":
                highest = -1
            elif not sign:
                included.add(-1)
            continue
        at = _KNOWN.get(_ALIASES.get(name, name))
        if at is None:
            raise BadProtocols(f"unknown TLS protocol {word!r}")
        if sign == ">=":
            lowest = at
        elif sign == "<=":
            highest = at
        else:
            (excluded if sign else included).add(at)
    chosen = set(range(lowest, highest + 1)) - excluded
    if included:
        chosen &= included
    return frozenset(VERSIONS[at] for at in chosen)


def cipher_list(grade: str, grades: Mapping[str, str], excluded: str) -> str:
    """Return OpenSSL's cipher list for a grade, without what is excluded. Raises BadProtocols.

    Ciphers that need no certificate are left out as well: probe is to show the certificate that Postfix would accept.
    """
    chosen = grades.get(grade.lower())
    if chosen is None:
        raise BadProtocols(f"unknown cipher grade {grade!r}")
    out = [f"!{word}" for word in re.split(r"[\s,:]+", excluded) if word]
    return ":".join((chosen, *out, "!aNULL"))
