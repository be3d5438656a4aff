"""Find filters that send mail to another machine, whatever the transport tables say.

Sources: postconf(5) on content_filter, access(5) and header_checks(5) on FILTER, which both go before the transport
tables. A filter on this machine gives the mail back to a listener here, and then these tables count.
"""

import re
from collections.abc import Iterator

from closedmail.doctor.finding import Finding
from closedmail.doctor.postfix_facts import PostfixFacts, settings_of
from closedmail.mta.postfix_config import is_loopback
from closedmail.mta.restrictions import split_list, table_of, walk

_CONTENT_CHECKS = (
    "header_checks",
    "mime_header_checks",
    "nested_header_checks",
    "body_checks",
    "milter_header_checks",
)
_RESTRICTIONS = tuple(
    f"smtpd_{stage}_restrictions"
    for stage in ("client", "helo", "sender", "relay", "recipient", "data", "end_of_data", "etrn")
)
_FILTER = re.compile(r"(?:^|\s)FILTER\s+(\S+)\s*$", re.IGNORECASE)
_LEAVES = (
    "such mail to partners goes there and not to its route, and without the TLS that its network demands; filter on "
    "this machine, or by a milter (smtpd_milters), or see to it that the filter gives mail back to this Postfix and "
    "that the way there is encrypted"
)


def filter_findings(facts: PostfixFacts) -> Iterator[Finding]:
    """Find content filters on other machines, and rows of tables that name one."""
    postfix = facts.postfix
    entrances = [*postfix.listeners, *(item for item in postfix.services if item.command in ("pickup", "qmqpd"))]
    for setting in settings_of(postfix, entrances, "content_filter"):
        if _leaves(facts, setting.value):
            yield Finding.of("filter-route", f"{setting} = {setting.value}: {_LEAVES}")
    places: dict[str, str] = {}  # of each table the first; mime_header_checks is $header_checks by default
    cleanups = [item for item in postfix.services if item.command == "cleanup"]
    for setting in settings_of(postfix, cleanups, *_CONTENT_CHECKS):
        for table in split_list(setting.value):
            places.setdefault(table, str(setting))
    for setting in settings_of(postfix, postfix.listeners, *_RESTRICTIONS):
        for item in walk(setting.value, postfix.classes):
            if table := table_of(item):
                places.setdefault(table, str(setting))
    for table, place in places.items():
        yield from _row_findings(facts, table, place)


def _row_findings(facts: PostfixFacts, table: str, place: str) -> Iterator[Finding]:
    for key, value in (facts.machine.table(table) or {}).items():
        found = _FILTER.search(f"{key} {value}")
        if found and _leaves(facts, found[1]):
            yield Finding.of("filter-route", f"{table} of {place} has FILTER {found[1]} for {key}: {_LEAVES}")
            return  # one row of a table is enough


def _leaves(facts: PostfixFacts, destination: str) -> bool:
    """Check whether a filter's `transport:nexthop` is on another machine: what smtp(8) and lmtp(8) connect to.

    Without a nexthop it is the recipient's own domain, by its MX.
    """
    name, _, nexthop = destination.partition(":")
    service = facts.postfix.service(name)
    if not service or service.command not in ("smtp", "lmtp"):
        return False  # a program here, by pipe(8) or spawn(8); discard(8); error(8)
    if nexthop.startswith("unix:"):
        return False
    host = nexthop.removeprefix("inet:")
    host = host[1:].partition("]")[0] if host.startswith("[") else host.partition(":")[0]
    return not is_loopback(host.removeprefix("IPv6:").lower())
