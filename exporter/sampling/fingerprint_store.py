"""The last fingerprint of every database, on the disk: a branch that sleeps is compared by what it was when awake.

Bodies are large (5 MB for 10,000 tables, a tenth of it compressed), so only their digests are kept in memory.
"""

from __future__ import annotations

import zlib
from collections.abc import Mapping
from dataclasses import dataclass

from collectors.postgres.database.fingerprint import Fingerprint
from exporter.sampling.computes import DatabaseRef
from exporter.storage.store import Store

DRIFT_SCHEMA: tuple[str, ...] = (
    """
    CREATE TABLE drift_print (
        project_id TEXT NOT NULL, branch_id TEXT NOT NULL, datname TEXT NOT NULL,
        pg_major INTEGER NOT NULL, digest TEXT NOT NULL, taken_at REAL NOT NULL, body BLOB NOT NULL,
        PRIMARY KEY (project_id, branch_id, datname)
    ) STRICT;
    CREATE TABLE drift_since (
        project_id TEXT NOT NULL, branch_id TEXT NOT NULL, datname TEXT NOT NULL, baseline TEXT NOT NULL,
        since REAL NOT NULL, PRIMARY KEY (project_id, branch_id, datname)
    ) STRICT, WITHOUT ROWID;
    """,
    """
    CREATE TABLE drift_history (
        project_id TEXT NOT NULL, branch_id TEXT NOT NULL, datname TEXT NOT NULL, taken_at REAL NOT NULL,
        body TEXT NOT NULL, PRIMARY KEY (project_id, branch_id, datname)
    ) STRICT, WITHOUT ROWID;
    CREATE TABLE drift_settings (
        project_id TEXT NOT NULL, branch_id TEXT NOT NULL, endpoint_id TEXT NOT NULL, taken_at REAL NOT NULL,
        body TEXT NOT NULL, PRIMARY KEY (project_id, branch_id, endpoint_id)
    ) STRICT, WITHOUT ROWID;
    """,
)
"""The room ``drift`` of the store."""


@dataclass(frozen=True, slots=True)
class FingerprintSummary:
    """What is kept in memory of a fingerprint."""

    pg_major: int
    digest: str
    taken_at: float
    digests: Mapping[str, str]
    """By schema: what the server is told that we know (``Fingerprint.digests``)."""
    extensions: Mapping[str, str]
    """Version by name."""


class FingerprintStore:
    """Fingerprints, and since when there is drift, in the agent's store (room ``drift``)."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def held(self) -> dict[DatabaseRef, FingerprintSummary]:
        """Everything that is known, without bodies' objects. Reads every body once: for the start."""
        with self._store.snapshot() as cursor:
            rows = cursor.execute("SELECT project_id, branch_id, datname, taken_at, body FROM drift_print").fetchall()
        return {DatabaseRef(*row[:3]): held_of(_unpacked(row[4], row[3])) for row in rows}

    def read(self, key: DatabaseRef) -> Fingerprint | None:
        """The last fingerprint of one database.

        Raises:
            StoreError: the file is damaged.
        """
        with self._store.snapshot() as cursor:
            query = "SELECT body, taken_at FROM drift_print WHERE (project_id, branch_id, datname) = (?, ?, ?)"
            row = cursor.execute(query, key).fetchone()
        return None if row is None else _unpacked(*row)

    def write(self, key: DatabaseRef, found: Fingerprint) -> FingerprintSummary:
        """Replace the last fingerprint; of an unchanged one only the time is written."""
        with self._store.transaction() as cursor:
            query = "SELECT digest FROM drift_print WHERE (project_id, branch_id, datname) = (?, ?, ?)"
            before = cursor.execute(query, key).fetchone()
            mark = found.digest + found.relative
            if before is not None and before[0] == mark:
                cursor.execute(
                    "UPDATE drift_print SET taken_at = ? WHERE (project_id, branch_id, datname) = (?, ?, ?)",
                    (found.taken_at, *key),
                )
            else:
                cursor.execute(
                    "INSERT OR REPLACE INTO drift_print VALUES (?, ?, ?, ?, ?, ?, ?)",
                    (*key, found.pg_major, mark, found.taken_at, _packed(found)),
                )
        return held_of(found)

    def forget(self, branches: frozenset[tuple[str, str]]) -> None:
        """Drop everything of branches that are no more: only the given (project, branch) stay."""
        with self._store.transaction() as cursor:
            for table in ("drift_print", "drift_since", "drift_history", "drift_settings"):
                rows = cursor.execute(f"SELECT DISTINCT project_id, branch_id FROM {table}").fetchall()
                gone = [row for row in rows if tuple(row) not in branches]
                cursor.executemany(f"DELETE FROM {table} WHERE (project_id, branch_id) = (?, ?)", gone)

    def since(self) -> dict[DatabaseRef, tuple[str, float]]:
        """Against which baseline, and since when, each database has drifted."""
        with self._store.snapshot() as cursor:
            rows = cursor.execute("SELECT project_id, branch_id, datname, baseline, since FROM drift_since").fetchall()
        return {DatabaseRef(*row[:3]): (row[3], row[4]) for row in rows}

    def mark(self, key: DatabaseRef, baseline: str, since: float | None) -> None:
        """Remember since when it has drifted; None: it has not."""
        with self._store.transaction() as cursor:
            cursor.execute("DELETE FROM drift_since WHERE (project_id, branch_id, datname) = (?, ?, ?)", key)
            if since is not None:
                cursor.execute("INSERT INTO drift_since VALUES (?, ?, ?, ?, ?)", (*key, baseline, since))


def held_of(found: Fingerprint) -> FingerprintSummary:
    """What memory keeps of it."""
    extensions = {
        key.identity: row.definition.partition(" in ")[0]
        for key, row in found.objects.items()
        if key.kind == "extension"
    }
    return FingerprintSummary(found.pg_major, found.digest, found.taken_at, found.digests(), extensions)


def _packed(found: Fingerprint) -> bytes:
    return zlib.compress(found.to_json().encode(), 6)


def _unpacked(body: bytes, taken_at: float) -> Fingerprint:
    return Fingerprint.from_json(zlib.decompress(body).decode(), taken_at=taken_at)
