"""Reading the policy store: the generation in force, as the decision sees it and as `sync` compares with it."""

import json
import os
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any

import lmdb

from closedmail.core.address import AddressSet
from closedmail.core.decision import Match
from closedmail.core.domain import DomainSet
from closedmail.core.record import Entry, decode, rule_number
from closedmail.core.tls_policy import Row
from closedmail.errors import StoreError
from closedmail.store.archive import Archived
from closedmail.store.environment import (
    ARCHIVE,
    DETAILS_KEY,
    DOMAINS,
    HISTORY,
    MANIFEST_KEY,
    META,
    SCHEMA_KEY,
    TLS,
    check_schema,
    number_key,
    open_environment,
    store_errors,
)
from closedmail.store.manifest import Details, Manifest

_LONGEST_KEY = 254  # a name of 253 characters and a dot: nothing longer was ever stored


class Snapshot:
    """One generation in a read transaction; a `decision.Rulebook`, and `difference.Previous`.

    Records are read where they lie, none is loaded ahead. Use it as a context manager, or `close()` it.
    """

    def __init__(self, environment: lmdb.Environment, path: Path) -> None:
        """Begin reading. Raises StoreError when there is no generation, or none that this program can read."""
        self._path, self._environment = path, environment
        with store_errors(path):
            self._meta = environment.open_db(META, create=False)
            with environment.begin() as txn:  # before all else: another schema may lack a database
                check_schema(path, txn.get(SCHEMA_KEY, db=self._meta))
            self._domains = environment.open_db(DOMAINS, create=False)
            self._tls = environment.open_db(TLS, create=False)
            self._history = environment.open_db(HISTORY, create=False)
            self._archive = environment.open_db(ARCHIVE, create=False)
            self._txn = environment.begin(buffers=True)
        self._id = -1
        try:
            self._load()
        except StoreError:
            self.close()
            raise

    def rest(self) -> None:
        """Read no more until `renew`: a reader that holds on keeps the writer from using old pages again."""
        self._txn.abort()  # LMDB keeps it as a spare: beginning again costs no system call

    def renew(self) -> None:
        """See what is in force now. Raises StoreError."""
        try:
            self._txn.abort()
            self._txn = self._environment.begin(buffers=True)
        except lmdb.Error:
            with store_errors(self._path):
                raise
        if self._txn.id() != self._id:
            self._load()

    def _load(self) -> None:
        with store_errors(self._path):
            schema = self._txn.get(SCHEMA_KEY, db=self._meta)
            check_schema(self._path, None if schema is None else bytes(schema))
            data = self._txn.get(MANIFEST_KEY, db=self._meta)
            number = self._txn.id()
        try:
            manifest = Manifest.from_json(bytes(data or b""))
        except (TypeError, ValueError, KeyError) as error:
            raise StoreError(f"{self._path}: the policy store is broken ({error}); run: closedmail sync") from None
        self.manifest = manifest
        # Plain attributes, since every decision asks for them.
        self.generation = manifest.generation
        self.exempt_sasl = manifest.exempt_sasl
        self.rewriting = manifest.rewriting
        self.own = DomainSet(manifest.own_domains)
        self.trusted = AddressSet(manifest.trusted_clients)
        self._rules = manifest.rules
        self._guards = DomainSet(manifest.closed)
        self._id = number

    @property
    def networks(self) -> tuple[str, ...]:
        """Names of the networks by number."""
        return tuple(item.name for item in self.manifest.lists)

    def get(self, key: str) -> Match | None:
        """The partner with exactly this key, as the decision needs it."""
        data = self._find(key)
        if data is None:
            return None
        try:
            rule = self._rules[rule_number(data)]
            return Match(key, rule, decode(data).value if rule.inbound.allow_route_hosts else "")
        except (IndexError, ValueError):
            raise StoreError(f"{self._path}: the record of {key} is broken; move the store away and sync") from None

    def closed(self, name: str) -> Match | None:
        """The guard that covers a name."""
        domain = self._guards.covering(name)
        return None if domain is None else Match(domain, self._rules[self.manifest.closed[domain]])

    def entry(self, key: str) -> Entry | None:
        """The whole record of exactly this key."""
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
        """All records, in the order of their keys."""
        with store_errors(self._path), self._txn.cursor(db=self._domains) as cursor:
            for key, data in cursor:
                yield str(key, "ascii"), decode(data)

    def tls_rows(self) -> Iterator[tuple[str, Row]]:
        """All rows of the TLS policy table, those that only stay for a time included."""
        parse = lru_cache(maxsize=1024)(Row.parse)  # nearly all are the same
        with store_errors(self._path), self._txn.cursor(db=self._tls) as cursor:
            for key, data in cursor:
                yield str(key, "ascii"), parse(str(data, "ascii"))

    def tls_row(self, nexthop: str) -> Row | None:
        """The TLS policy of one nexthop."""
        data = self._txn.get(nexthop.encode(), db=self._tls)
        return None if data is None else Row.parse(str(data, "ascii"))

    def details(self, network: str) -> Details:
        """What `sync` had to say of a network ("": of partners that stand alone)."""
        with store_errors(self._path):
            data = self._txn.get(DETAILS_KEY + network.encode(), db=self._meta)
        return Details() if data is None else Details.from_json(bytes(data))

    def history(self) -> list[tuple[int, dict[str, Any]]]:
        """The generations kept, newest first: number, and what was written of it when it was published."""
        with store_errors(self._path), self._txn.cursor(db=self._history) as cursor:
            return [(int(bytes(key)), json.loads(bytes(line))) for key, line in cursor.iterprev()]

    def archived(self, generation: int) -> Archived | None:
        """What a generation can be made of again; None where it is not kept. Raises StoreError."""
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
    """The store as a long-running reader sees it: opened when it can be, and again after it was replaced."""

    def __init__(self, path: Path) -> None:
        """Remember where the store is; nothing is opened yet."""
        self._path = path
        self._file = str(path / "data.mdb")
        self._environment: lmdb.Environment | None = None
        self._snapshot: Snapshot | None = None
        self._identity = (0, 0)
        self._size = 0

    def current(self) -> Snapshot:
        """The generation in force at this moment. Raises StoreError; the next call tries afresh."""
        snapshot = self._look()
        try:
            snapshot.renew()
        except StoreError:
            self.close()
            raise
        return snapshot

    def _look(self) -> Snapshot:
        """See whether the file is still the one that is open, and whole."""
        try:
            status = os.stat(self._file)  # noqa: PTH116, on the path of every decision, and Path costs three times as much
        except OSError as error:
            self.close()
            with store_errors(self._path):
                if not isinstance(error, FileNotFoundError):
                    raise
            raise StoreError(f"{self._path}: no generation is in force yet; run: closedmail sync") from None
        snapshot = self._snapshot
        if snapshot is None or (status.st_dev, status.st_ino) != self._identity or status.st_size < self._size:
            return self._open(status.st_dev, status.st_ino)
        self._size = status.st_size
        return snapshot

    def rest(self) -> None:
        """Between two requests; see Snapshot.rest."""
        if self._snapshot is not None:
            self._snapshot.rest()

    def _open(self, device: int, inode: int) -> Snapshot:
        self.close()
        environment = open_environment(self._path, writable=False)
        try:
            self._snapshot = Snapshot(environment, self._path)
        except StoreError:
            environment.close()
            raise
        self._environment = environment
        self._identity = (device, inode)
        with store_errors(self._path):
            self._size = (self._path / "data.mdb").stat().st_size
        return self._snapshot

    def close(self) -> None:
        """Close the store; `current` opens it again."""
        if self._snapshot is not None:
            self._snapshot.close()
            self._snapshot = None
        if self._environment is not None:
            self._environment.close()
            self._environment = None

    def __enter__(self) -> "StoreReader":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
