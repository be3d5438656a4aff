"""Read the policy store: the generation in force, for the decision, and for `sync` to compare with."""

import json
from collections.abc import Collection, Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any

import lmdb

from closedmail.core.address import AddressSet
from closedmail.core.domain import DomainSet
from closedmail.core.record import Entry, decode, rule_number
from closedmail.core.rule import strongest_header_from
from closedmail.errors import StoreError
from closedmail.inbound.partner import Match
from closedmail.routes.tls_policy import Row
from closedmail.store.archive import Archived
from closedmail.store.environment import (
    ARCHIVE,
    DETAILS_KEY,
    DOMAINS,
    HISTORY,
    MANIFEST_KEY,
    META,
    RECIPIENT,
    RUN_SYNC,
    SCHEMA_KEY,
    TLS,
    check_schema,
    number_key,
    store_errors,
)
from closedmail.store.manifest import Details, Manifest
from closedmail.store.private_copy import PrivateCopy

_LONGEST_KEY = 254  # a name of 253 characters and a dot: nothing longer was ever stored


class Snapshot:
    """One generation in a read transaction; a `decision.Rulebook`, and `difference.Previous`.

    Records are read in place, none is loaded ahead. There is nothing `standing` that the store does not know. Use it as
    a context manager, or `close()` it.
    """

    standing: Collection[str] = ()

    def __init__(self, environment: lmdb.Environment, path: Path) -> None:
        """Begin reading. Raises StoreError when there is no generation, or none that this program can read."""
        self._path = path
        with store_errors(path):
            self._meta = environment.open_db(META, create=False)
            with environment.begin() as txn:  # before all else: another schema may lack a database
                check_schema(path, txn.get(SCHEMA_KEY, db=self._meta))
            self._domains = environment.open_db(DOMAINS, create=False)
            self._tls = environment.open_db(TLS, create=False)
            self._history = environment.open_db(HISTORY, create=False)
            self._archive = environment.open_db(ARCHIVE, create=False)
            self._txn = environment.begin(buffers=True)
        try:
            self._load()
        except StoreError:
            self.close()
            raise

    def _load(self) -> None:
        with store_errors(self._path):
            schema = self._txn.get(SCHEMA_KEY, db=self._meta)
            check_schema(self._path, None if schema is None else bytes(schema))
            data = self._txn.get(MANIFEST_KEY, db=self._meta)
        try:
            manifest = Manifest.from_json(bytes(data or b""))
        except (TypeError, ValueError, KeyError, AttributeError, RecursionError) as error:
            raise StoreError(f"{self._path}: the policy store is broken ({error})", RUN_SYNC) from None
        self.manifest = manifest
        # Plain attributes, since every decision reads them.
        self.generation = manifest.generation
        self.exempt_sasl = manifest.exempt_sasl
        self.rewriting = manifest.rewriting
        self.own = DomainSet(manifest.own_domains)
        self.trusted = AddressSet(manifest.trusted_clients)
        self.rules = manifest.rules
        self.guards = manifest.closed
        self.header_from = strongest_header_from(manifest.rules)
        self._guards = DomainSet(manifest.closed)

    @property
    def networks(self) -> tuple[str, ...]:
        """The names of the networks by number."""
        return tuple(item.name for item in self.manifest.lists)

    def get(self, key: str) -> Match | None:
        """Find the partner with exactly this key, as the decision needs it."""
        data = self._find(key)
        if data is None:
            return None
        try:
            rule = self.rules[rule_number(data)]
            return Match(key, rule, decode(data).value if rule.inbound.allow_route_hosts else "")
        except (IndexError, ValueError):
            raise StoreError(f"{self._path}: the record of {key} is broken; move the store away and sync") from None

    def closed(self, name: str) -> Match | None:
        """Find the closed domain that covers a name."""
        domain = self._guards.covering(name)
        return None if domain is None else Match(domain, self.rules[self.manifest.closed[domain]])

    def entry(self, key: str) -> Entry | None:
        """Read the whole record of exactly this key."""
        data = self._find(key)
        return None if data is None else decode(data)

    def _find(self, key: str) -> memoryview | None:
        if not key or len(key) > _LONGEST_KEY:
            return None
        try:
            found: memoryview | None = self._txn.get(key.encode(), db=self._domains)
        except lmdb.Error:
            with store_errors(self._path):  # it costs as much as the look-up, and is only needed here
                raise
        return found

    def records(self) -> Iterator[tuple[str, Entry]]:
        """Read all records, in the order of their keys."""
        with store_errors(self._path), self._txn.cursor(db=self._domains) as cursor:
            for key, data in cursor:
                yield str(key, "ascii"), decode(data)

    @property
    def partners(self) -> int:
        """The number of records: partners, held ones too."""
        with store_errors(self._path):
            return int(self._txn.stat(self._domains)["entries"])

    def tls_rows(self) -> Iterator[tuple[str, Row]]:
        """Read all rows of the TLS policy tables by name, those that only stay for a time included."""
        parse = lru_cache(maxsize=1024)(Row.parse)  # nearly all are the same
        with store_errors(self._path), self._txn.cursor(db=self._tls) as cursor:
            for key, data in cursor:
                if bytes(key[: len(RECIPIENT)]) != RECIPIENT:
                    yield str(key, "ascii"), parse(str(data, "ascii"))

    def staying_recipients(self) -> Iterator[tuple[str, Row]]:
        """Read the rows of Sendmail's TLS demands that only stay for a time, by name."""
        with store_errors(self._path), self._txn.cursor(db=self._tls) as cursor:
            for key, data in cursor.iternext() if cursor.set_range(RECIPIENT) else ():
                if bytes(key[: len(RECIPIENT)]) != RECIPIENT:
                    return
                yield str(key[len(RECIPIENT) :], "ascii"), Row.parse(str(data, "ascii"))

    def staying_recipient(self, name: str) -> Row | None:
        """Read the row of one name among them."""
        data = self._txn.get(RECIPIENT + name.encode(), db=self._tls)
        return None if data is None else Row.parse(str(data, "ascii"))

    def tls_row(self, name: str) -> Row | None:
        """Read one row of the TLS policy tables by its name (`tls_policy.row_name`)."""
        data = self._txn.get(name.encode(), db=self._tls)
        return None if data is None else Row.parse(str(data, "ascii"))

    def details(self, network: str) -> Details:
        """Read what `sync` reported of a network ("": of partners without one)."""
        with store_errors(self._path):
            data = self._txn.get(DETAILS_KEY + network.encode(), db=self._meta)
            return Details() if data is None else Details.from_json(bytes(data))

    def history(self) -> list[tuple[int, dict[str, Any]]]:
        """List the generations kept, newest first: number, and the line written when it was published."""
        with store_errors(self._path), self._txn.cursor(db=self._history) as cursor:
            return [(int(bytes(key)), json.loads(bytes(line))) for key, line in cursor.iterprev()]

    def archived(self, generation: int) -> Archived | None:
        """Read the archived form of a generation; None where it is not kept. Raises StoreError."""
        with store_errors(self._path):
            data = self._txn.get(number_key(generation), db=self._archive)
        try:
            return None if data is None else Archived.from_bytes(bytes(data))
        except (TypeError, ValueError, KeyError) as error:
            raise StoreError(f"{self._path}: generation {generation} is broken ({error})") from None

    def close(self) -> None:
        """End the read transaction."""
        self._txn.abort()

    def __enter__(self) -> "Snapshot":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class StoreReader:
    """The store as all but `sync` see it: a copy of what is in force, renewed when that has changed."""

    def __init__(self, path: Path, closedmail: str = "closedmail") -> None:
        """Remember where the store is; nothing is read yet.

        `closedmail` is the program with its --config, as errors name it.
        """
        self._path, self._closedmail = path, closedmail
        self._copy: PrivateCopy | None = None
        self._snapshot: Snapshot | StoreError | None = None

    def current(self) -> Snapshot:
        """Return the generation in force at this moment. Raises StoreError."""
        try:
            return self._current()
        except StoreError as error:
            error.closedmail = self._closedmail
            raise

    def _current(self) -> Snapshot:
        if self._copy is None or self._snapshot is None or not self._copy.is_current():
            self.close()
            self._copy = PrivateCopy(self._path)
            try:
                self._snapshot = Snapshot(self._copy.environment, self._path)
            except StoreError as error:
                self._snapshot = error  # an unreadable store is not copied again before it has changed
        if isinstance(self._snapshot, StoreError):
            raise StoreError(self._snapshot.fault, self._snapshot.remedy)
        return self._snapshot

    def close(self) -> None:
        """Close the copy; `current` makes another one."""
        if isinstance(self._snapshot, Snapshot):
            self._snapshot.close()
        self._snapshot = None
        if self._copy is not None:
            self._copy.close()
            self._copy = None

    def __enter__(self) -> "StoreReader":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
