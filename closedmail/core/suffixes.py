"""The Public Suffix List: names under which strangers register, so that no list may route or enforce them.

Only the ICANN section counts: the private section holds companies' own names, which a network may well list. Grammar
of the file: https://github.com/publicsuffix/list/wiki/Format (one rule a line, `//` comments, `*.` wildcards, `!`
exceptions).
"""

from closedmail.core.domain import DomainError, parse_name

_BEGIN, _END = "===BEGIN ICANN DOMAINS===", "===END ICANN DOMAINS==="


class PublicSuffixes:
    """A parsed Public Suffix List; `name in suffixes` tells whether a name is itself a public suffix.

    A single label always is one (the list's own default rule `*`).
    """

    __slots__ = ("_exceptions", "_parents", "_rules")

    def __init__(self, text: str) -> None:
        """Parse the file's text. Raises ValueError when it has no ICANN section, which means it is not the list."""
        _, begin, rest = text.partition(_BEGIN)
        section, end, _ = rest.partition(_END)
        if not begin or not end:
            raise ValueError("not a Public Suffix List: it has no ICANN section")
        rules: set[str] = set()
        wildcard_parents: set[str] = set()
        exceptions: set[str] = set()
        for line in section.splitlines():
            rule = line.partition(" ")[0].strip()
            if not rule or rule.startswith("//"):
                continue
            target = rules
            if rule.startswith("!"):
                rule, target = rule[1:], exceptions
            elif rule.startswith("*."):
                rule, target = rule[2:], wildcard_parents
            try:
                target.add(parse_name(rule))
            except DomainError:
                continue  # a rule that is no host name can't equal one either
        self._rules = frozenset(rules)
        self._parents = frozenset(wildcard_parents)
        self._exceptions = frozenset(exceptions)

    def __contains__(self, name: str) -> bool:
        parent = name.partition(".")[2]
        if not parent or name in self._rules:
            return True
        return parent in self._parents and name not in self._exceptions
