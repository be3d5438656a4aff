"""Writing the policy store: one write transaction a generation, and nothing visible before `commit`."""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import lmdb

from closedmail.core.record import Entry, encode
from closedmail.core.tls_policy import Row
from closedmail.store.environment import (
    DETAILS_KEY,
    DOMAINS,
    HISTORY,
    MANIFEST_KEY,
    META,
    SCHEMA,
    SCHEMA_KEY,
    TLS,
    store_errors,
)
from closedmail.store.manifest import Details, Manifest


class StoreWriter:
    """A write transaction. Use it as a context manager: what is not committed is gone at its end."""

    def __init__(self, environment: lmdb.Environment, path: Path) -> None:
        """Begin the transaction. Raises StoreError."""
        self._path = path
        with store_errors(path):
            environment.reader_check()  # what readers held that were killed
            self._txn = environment.begin(write=True)
            # In the same transaction: databases without a manifest would be no generation, and a dry run makes none.
            self._meta, self._domains, self._tls, self._history = (
                environment.open_db(name, txn=self._txn) for name in (META, DOMAINS, TLS, HISTORY)
            )

    def put_domains(self, entries: Iterable[tuple[str, Entry]]) -> None:
        """Replace all domains; `entries` are in the order of their keys."""
        self._replace(self._domains, ((key.encode(), encode(entry)) for key, entry in entries))

    def put_tls_rows(self, rows: Iterable[tuple[str, Row]]) -> None:
        """Replace the TLS policy table; `rows` are in the order of their nexthops."""
        self._replace(self._tls, ((nexthop.encode(), str(row).encode()) for nexthop, row in rows))

    def _replace(self, database: Any, pairs: Iterable[tuple[bytes, bytes]]) -> None:
        with store_errors(self._path):
            self._txn.drop(database, delete=False)
            with self._txn.cursor(db=database) as cursor:
                cursor.putmulti(pairs, append=True)

    def put_manifest(self, manifest: Manifest) -> None:
        """Replace the manifest."""
        with store_errors(self._path):
            self._txn.put(SCHEMA_KEY, b"%d" % SCHEMA, db=self._meta)
            self._txn.put(MANIFEST_KEY, manifest.to_json(), db=self._meta)

    def put_details(self, network: str, details: Details) -> None:
        """Replace what is to be said of a network."""
        with store_errors(self._path):
            self._txn.put(DETAILS_KEY + network.encode(), details.to_json(), db=self._meta)

    def put_history(self, generation: int, line: dict[str, Any]) -> None:
        """Add a generation's line to the history."""
        with store_errors(self._path):
            self._txn.put(b"%012d" % generation, json.dumps(line, separators=(",", ":")).encode(), db=self._history)

    def commit(self) -> None:
        """Put the generation in force. Raises StoreError, and then nothing has changed."""
        with store_errors(self._path):
            self._txn.commit()

    def __enter__(self) -> "StoreWriter":
        return self

    def __exit__(self, *_: object) -> None:
        self._txn.abort()  # does nothing after a commit
