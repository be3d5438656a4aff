"""Read the administrator's own tables with postmap(1): listed where their type allows it, else asked about our keys.

It runs as whoever runs closedmail. What that user can't read is reported, never guessed.
"""

from collections.abc import Collection, Iterable
from pathlib import Path

from closedmail.errors import ClosedmailError
from closedmail.maps.own_rows import OwnRow, OwnRows, keys_to_ask, rows_in_front, shield_keys
from closedmail.maps.postfix_transport import transport_value
from closedmail.maps.protected_keys import ProtectedKeys
from closedmail.mta.lookup_chain import LookupChain, is_pattern
from closedmail.mta.map_types import SUFFIXES
from closedmail.programs import FinishedProgram, ProgramError, run
from closedmail.routes.delivery import CLOSED, delivery_of
from closedmail.routes.tls_policy import row_place
from closedmail.store.snapshot import Snapshot

_TIME_LIMIT = 120  # seconds
_NO_LIST = b"sequence operation is not supported"


class TableError(ClosedmailError):
    """A table can't be read; the message is the reason."""


class OwnTables:
    """The tables of one Postfix, each read once."""

    def __init__(self, config_directory: str) -> None:
        """Remember the directory; nothing is read yet."""
        self._directory = config_directory
        self._listed: dict[str, dict[str, str] | None] = {}

    def rows(self, table: str) -> dict[str, str] | None:
        """List a table; None where its type can't be listed. Raises TableError."""
        if table not in self._listed:
            done = self._postmap("-s", _direct(table))
            if done.status and _NO_LIST not in done.stderr:
                raise TableError(done.error().words)
            self._listed[table] = None if done.status else _pairs(done.stdout)
        return self._listed[table]

    def ask(self, table: str, keys: Iterable[str]) -> dict[str, str]:
        """Look keys up; return those that have a row. Raises TableError."""
        done = self._postmap("-q", "-", _direct(table), stdin="".join(f"{key}\n" for key in keys).encode())
        if done.status and done.stderr.strip():  # 1 without a word is "not found"
            raise TableError(done.error().words)
        return _pairs(done.stdout)

    def keys_of_text(self, table: str) -> list[str]:
        """List the keys of the text beside an indexed table that can't be listed; none where there is none."""
        kind, _, path = _direct(table).partition(":")
        if kind not in SUFFIXES:
            return []
        try:
            text = Path(path).read_text(encoding="utf-8", errors="replace")
        except OSError:
            return []
        return [line.split()[0] for line in text.splitlines() if line.strip() and line[0] not in "# \t"]

    def _postmap(self, *arguments: str, stdin: bytes = b"") -> FinishedProgram:
        command = ("postmap", "-c", self._directory, *arguments)
        try:
            return run(command, time_limit=_TIME_LIMIT, stdin=stdin, package="Postfix", accepted=None)
        except ProgramError as error:
            raise TableError(error.words) from None


def find_own_rows(chain: LookupChain, tables: OwnTables, snapshot: Snapshot) -> OwnRows:
    """Find the rows of the administrator's own tables that stand in front of those of the generation in force."""
    rows: list[OwnRow] = []
    unread: dict[str, str] = {}
    protected = ProtectedKeys(snapshot.own, snapshot.manifest.closed, snapshot.entry)
    for table in (*chain.transport.front, *chain.transport.behind):
        first = table in chain.transport.front
        try:
            for ours, key, value in rows_in_front(
                _routes(tables, table, snapshot), protected.row_key, first=first, parents_match=chain.parents_match
            ):
                rows.append(OwnRow(ours, key, table, value, _our_value(snapshot, ours)))
        except TableError as error:
            unread[table] = str(error)
    for service in {rule.outbound.transport for rule in snapshot.manifest.rules if rule.outbound}:
        lists = chain.tls_of(service).tables
        for table in lists.front:
            try:
                rows += _tls_rows(tables, table, snapshot, lists.ours)
            except TableError as error:
                unread[table] = str(error)
    return OwnRows(tuple(sorted(set(rows))), tuple(unread.items()))


def own_values(chain: LookupChain, tables: OwnTables, domains: Iterable[str]) -> dict[str, str]:
    """Look own domains, and what is below each, up in the administrator's own tables; give the values found, by key.

    Only what Postfix would look for behind our row: `x` and `.x` themselves, `.parent`, `*`. Raises TableError.
    """
    keys = {key: shield_keys(key) for domain in domains for key in (domain, f".{domain}")}
    wanted = dict.fromkeys(one for each in keys.values() for one in each)
    lists = (*chain.transport.front, *chain.transport.behind)
    answers = [tables.ask(table, [key for key in wanted if key == "*" or not is_pattern(table)]) for table in lists]
    found: dict[str, str] = {}
    for key, looked_up in keys.items():
        rows = (answer[one] for one in looked_up for answer in answers if one in answer)
        value = next(rows, None)
        if value is not None:
            found[key] = value
    return found


def _routes(tables: OwnTables, table: str, snapshot: Snapshot) -> list[tuple[str, str]]:
    """Read the rows of a transport table, or ask for those that our keys find in it."""
    listed = tables.rows(table)
    if listed is not None:
        return list(listed.items())
    ours = (key for key, _ in snapshot.records())
    guards = (key for domain in snapshot.manifest.closed for key in (domain, f".{domain}"))
    asked = keys_to_ask((*ours, *guards))
    rows: dict[str, tuple[str, str]] = {}
    for key, value in tables.ask(table, _askable(table, asked)).items():
        rows.setdefault(asked[key], (f"*@{asked[key]}" if "@" in key else key, value))
    keys = tables.keys_of_text(table)
    return [*rows.values(), *(tables.ask(table, keys).items() if keys else ())]


def _tls_rows(tables: OwnTables, table: str, snapshot: Snapshot, ours: Collection[str]) -> list[OwnRow]:
    """Find the rows for nexthops of some of our tables in an own table of TLS policies."""
    places = ((row_place(name), row) for name, row in snapshot.tls_rows())
    wanted = {nexthop: str(row.policy) for (place, nexthop), row in places if place in ours}
    listed = tables.rows(table)
    found = tables.ask(table, wanted) if listed is None else listed
    return [OwnRow(key, key, table, value, wanted[key], "tls") for key, value in found.items() if key in wanted]


def _our_value(snapshot: Snapshot, key: str) -> str:
    entry = snapshot.entry(key)
    outbound = snapshot.manifest.rules[entry.rule].outbound if entry else None
    return transport_value(delivery_of(entry, outbound) if entry else CLOSED) or ""


def _askable(table: str, keys: Iterable[str]) -> list[str]:
    return [key for key in keys if "@" in key or not is_pattern(table)]


def _direct(table: str) -> str:
    """Return the table behind a proxy, which only Postfix's own programs may ask."""
    return table.removeprefix("proxy:")


def _pairs(output: bytes) -> dict[str, str]:
    lines = (line.partition("\t") for line in output.decode("utf-8", "replace").splitlines())
    return {key: value.strip() for key, tab, value in lines if tab}
