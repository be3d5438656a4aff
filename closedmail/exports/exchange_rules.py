"""Mail flow rules of Exchange Online: the variant in which only rules lead to the relay's connector.

Limits, from the service's description: 300 rules, 8 KB each, 20 kB of expressions in all; others' rules count, too.
"""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from closedmail.errors import ClosedmailError
from closedmail.exports.buckets import portions
from closedmail.exports.exchange_script import PREFIX, Wanted

CONNECTOR = f"{PREFIX}scoped"
EXACT, BELOW = f"{PREFIX}exact", f"{PREFIX}below"
APPLYING = (
    "Rules: 300 a tenant, 20 kB of expressions in all; those that are not from here count, too. A rule leads the whole "
    "message: other recipients of it may go to the relay, too. New rules are made behind those that are there.",
)
_RULES, _ALL, _EACH = 300, 20_000, 8192
_BESIDE = 24  # what a value costs beside itself
_PORTION = _EACH // 2 - 512  # so that old and new values fit while a rule changes


class Rules(NamedTuple):
    """Rules for domains, and rules for what is below one."""

    exact: Sequence[Wanted]
    patterns: Sequence[Wanted]


def rules(entries: Sequence[str]) -> Rules:
    """Make the rules for entries `d` and `*.d`. Raises ClosedmailError for more than the service takes."""
    exact = [entry for entry in entries if not entry.startswith("*")]
    patterns = [f"{entry[1:].replace('.', chr(92) + '.')}$" for entry in entries if entry.startswith("*")]
    size = sum(map(len, (*exact, *patterns)))
    if size > _ALL:
        raise ClosedmailError(
            f"mail flow rules hold {_ALL} bytes of domains in all, {len(entries)} entries have {size}: "
            "leave --scoped out"
        )
    found = Rules(list(_wanted(EXACT, exact)), list(_wanted(BELOW, patterns)))
    count = len(found.exact) + len(found.patterns)
    if count > _RULES:
        raise ClosedmailError(f"{count} mail flow rules, Exchange Online has {_RULES}: leave --scoped out")
    return found


def _wanted(name: str, values: Sequence[str]) -> Iterator[Wanted]:
    for bits, part in portions(values, _PORTION, lambda value: len(value) + _BESIDE):
        yield Wanted(f"{name}{'-' if bits else ''}{bits}", part, {"RouteMessageOutboundConnector": CONNECTOR})
