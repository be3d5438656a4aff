"""Write the policy store: one write transaction a generation, and nothing visible before `commit`."""

import json
from collections.abc import Iterable, Mapping
from heapq import merge
from pathlib import Path
from typing import Any

import lmdb

from closedmail.core.record import Entry, encode
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
    SCHEMA,
    SCHEMA_KEY,
    TLS,
    number_key,
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
            self._meta, self._domains, self._tls, self._history, self._archive = (
                environment.open_db(name, txn=self._txn) for name in (META, DOMAINS, TLS, HISTORY, ARCHIVE)
            )

    def put_domains(self, entries: Iterable[tuple[str, Entry]]) -> None:
        """Replace all domains; `entries` are in the order of their keys."""
        self._replace(self._domains, ((key.encode(), encode(entry)) for key, entry in entries))

    def put_tls_rows(self, rows: Iterable[tuple[str, Row]], recipients: Mapping[str, Row] | None = None) -> None:
        """Replace the TLS policy tables; `rows` are in the order of their names (`tls_policy.row_name`).

        `recipients` are Sendmail's rows that only stay for a time, by name; all others follow from the domains.
        """
        staying = sorted((RECIPIENT + name.encode(), str(row).encode()) for name, row in (recipients or {}).items())
        self._replace(self._tls, merge(staying, ((name.encode(), str(row).encode()) for name, row in rows)))

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
        """Replace what `sync` reports of a network."""
        with store_errors(self._path):
            self._txn.put(DETAILS_KEY + network.encode(), details.to_json(), db=self._meta)

    def put_history(self, generation: int, line: dict[str, Any]) -> None:
        """Add a generation's line to the history."""
        with store_errors(self._path):
            self._txn.put(number_key(generation), json.dumps(line, separators=(",", ":")).encode(), db=self._history)

    def put_archived(self, generation: int, archived: Archived) -> None:
        """Keep what the generation can be made of again."""
        with store_errors(self._path):
            self._txn.put(number_key(generation), archived.to_bytes(), db=self._archive)

    def forget_generations(self, keep: int) -> None:
        """Keep the newest generations only, so many of them."""
        with store_errors(self._path):
            for database in (self._history, self._archive):
                with self._txn.cursor(db=database) as cursor:
                    numbers = [bytes(key) for key in cursor.iternext(values=False)]
                for number in numbers[:-keep]:
                    self._txn.delete(number, db=database)

    def commit(self) -> None:
        """Put the generation in force. Raises StoreError, and then nothing has changed."""
        with store_errors(self._path):
            self._txn.commit()

    def __enter__(self) -> "StoreWriter":
        return self

    def __exit__(self, *_: object) -> None:
        self._txn.abort()  # does nothing after a commit
