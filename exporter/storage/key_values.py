"""Small things to remember across restarts, as JSON by kind and key: what is not worth tables of its own."""

from __future__ import annotations

import json
from collections.abc import Mapping

from exporter.storage.store import Store

NOTEBOOK_SCHEMA: tuple[str, ...] = (
    "CREATE TABLE notebook (kind TEXT NOT NULL, key TEXT NOT NULL, page TEXT NOT NULL, PRIMARY KEY (kind, key)) "
    "STRICT, WITHOUT ROWID",
)


class KeyValueStore:
    """Pages by (kind, key), in the agent's store (room ``notebook``)."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def read(self, kind: str, key: str) -> dict[str, object] | None:
        """One page, or None.

        Raises:
            StoreError: the file is damaged.
        """
        with self._store.snapshot() as cursor:
            row = cursor.execute("SELECT page FROM notebook WHERE kind = ? AND key = ?", (kind, key)).fetchone()
        return None if row is None else json.loads(row[0])

    def write(self, kind: str, key: str, page: Mapping[str, object]) -> None:
        """Replace one page; it is on the disk when this returns.

        Raises:
            StoreError: the disk is full or the file damaged.
        """
        with self._store.transaction() as cursor:
            cursor.execute("INSERT OR REPLACE INTO notebook VALUES (?, ?, ?)", (kind, key, json.dumps(dict(page))))
