"""Parse the Public Suffix List: names under which strangers register, so that no list may route or enforce them.

Only the ICANN section counts: the private section holds companies' own names, which a network may well list. Grammar
of the file: https://github.com/publicsuffix/list/wiki/Format (one rule a line, `//` comments, `*.` wildcards, `!`
exceptions).
"""

import re
from contextlib import suppress

from closedmail.core.domain import DomainError, parse_name

_BEGIN, _END = "===BEGIN ICANN DOMAINS===", "===END ICANN DOMAINS==="

# A rule ends at the first white space.
_PLAIN = re.compile(r"^([a-z0-9.-]+)(?!\S)", re.MULTILINE)
_OTHER = re.compile(r"^(?!//|[a-z0-9.-]+(?!\S))(!|\*\.|)(\S+)", re.MULTILINE)


class PublicSuffixes:
    """A parsed Public Suffix List; `name in suffixes` is true if the name is itself a public suffix.

    A single label always is one (the list's own default rule `*`).
    """

    __slots__ = ("_exceptions", "_others", "_parents", "_rules")

    def __init__(self, text: str) -> None:
        """Parse the file's text. Raises ValueError when it has no ICANN section, which means it is not the list."""
        _, begin, rest = text.partition(_BEGIN)
        section, end, _ = rest.partition(_END)
        if not begin or not end:
            raise ValueError("not a Public Suffix List: it has no ICANN section")
        self._rules: set[str] = set(_PLAIN.findall(section))
        self._parents: set[str] = set()
        self._exceptions: set[str] = set()
        # U-labels among them take longer than all the rest, and few lists have a name that could be one.
        self._others: list[tuple[str, str]] = []
        for mark, rule in _OTHER.findall(section):
            if rule.isascii():
                self._add(mark, rule)
            else:
                self._others.append((mark, rule))

    def _add(self, mark: str, rule: str) -> None:
        target = {"!": self._exceptions, "*.": self._parents}.get(mark, self._rules)
        with suppress(DomainError):  # a rule that is no host name can't equal one either
            target.add(parse_name(rule))

    def __contains__(self, name: str) -> bool:
        if self._others and "xn--" in name:
            for mark, rule in self._others:
                self._add(mark, rule)
            self._others = []
        parent = name.partition(".")[2]
        if not parent or name in self._rules:
            return True
        return parent in self._parents and name not in self._exceptions
