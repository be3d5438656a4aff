"""Follow a recipient through Postfix's own tables, and a nexthop through its TLS policies, as Postfix does."""

from collections.abc import Callable, Sequence

from closedmail.core.domain import fold, parents
from closedmail.maps.own_rows import lookup_keys
from closedmail.mta.lookup_chain import LookupChain, is_pattern
from closedmail.mta.own_tables import OwnTables, TableError
from closedmail.routes.nexthop import parse_nexthop
from closedmail.routes.tls_policy import row_name

Found = tuple[str, str, str]  # table, key, value


class RecipientChain:
    """The tables before and behind ours. `unread` gives those that could not be read, with the reason."""

    def __init__(self, chain: LookupChain, tables: OwnTables) -> None:
        """Remember both; nothing is read yet."""
        self._chain, self._tables = chain, tables
        self.unread: dict[str, str] = {}

    @property
    def reads_ours(self) -> bool:
        """Whether Postfix looks into our transport table at all."""
        return bool(self._chain.transport.ours)

    def own_row(self, address: str, canonical: str, ours: str | None) -> Found | None:
        """Find the row that Postfix uses before our row with the key `ours`; None where that is used, or no row.

        `address` is the recipient, `canonical` the same with its domain spelled as our keys are.
        """
        lists, parents_match = self._chain.transport, self._chain.parents_match
        keys = lookup_keys(fold(address), self._chain.delimiter, parents_match=parents_match)
        named = lookup_keys(canonical, self._chain.delimiter, parents_match=parents_match)
        end = named.index(ours) if ours in named else len(keys)
        front, behind = self._ask(lists.front, keys), self._ask(lists.behind, keys)
        for at, key in enumerate(keys[: end + 1]):
            for table, answers in (*front.items(), *(behind.items() if at < end else ())):
                if key in answers:
                    return table, key, answers[key]
        return None

    def delivery(self, value: str, domain: str) -> tuple[str, tuple[str, ...]]:
        """Return the service and nexthops that a row's value means."""
        return self._chain.delivery(value, domain)

    def tls_policy(self, service: str, nexthop: str, ours: Callable[[str], str | None]) -> str:
        """Find the TLS policy under which a service delivers to a nexthop. `ours` gives our row by its name.

        Source: tls_policy_lookup() of smtp_tls_policy.c: `.parent` is asked about for bare names only.
        """
        settings = self._chain.tls_of(service)
        keys = [nexthop, *(f".{parent}" for parent in parents(nexthop))] if _is_name(nexthop) else [nexthop]
        front, behind = self._ask(settings.tables.front, keys), self._ask(settings.tables.behind, keys)
        for key in keys:
            found = [answers[key] for answers in front.values() if key in answers]
            rows = (ours(row_name(table, key)) for table in settings.tables.ours)
            found += [row for row in rows if row is not None]
            found += [answers[key] for answers in behind.values() if key in answers]
            if found:
                return " ".join(found[0].split())
        return settings.level

    def _ask(self, tables: Sequence[str], keys: Sequence[str]) -> dict[str, dict[str, str]]:
        answers = {}
        for table in tables:
            try:
                asked = [key for key in keys if "@" in key or not is_pattern(table)]
                answers[table] = self._tables.ask(table, asked) if asked else {}
            except TableError as error:
                self.unread[table] = str(error)
        return answers


def _is_name(nexthop: str) -> bool:
    try:
        found = parse_nexthop(nexthop)
    except ValueError:
        return False
    return found.mx and not found.port
