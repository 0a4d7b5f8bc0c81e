"""The last fingerprint of every database, on the disk: a branch that sleeps is compared by its last one.

Bodies are large (5 MB for 10,000 tables, a tenth of it compressed), so only their digests stay in memory.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Final

from collectors.postgres.domain.fingerprint import Fingerprint
from exporter.sampling.computes import DatabaseRef
from exporter.storage.store import Store
from exporter.storage.tables import Table, packed, unpacked

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
"""The part ``drift`` of the store. Each entry is one released migration."""


@dataclass(frozen=True, slots=True)
class FingerprintSummary:
    """The part of a fingerprint that stays in memory."""

    pg_major: int
    digest: str
    taken_at: float
    digests: Mapping[str, str]
    """By schema, as the next scan sends them to the server (``Fingerprint.digests``)."""
    extensions: Mapping[str, str]
    """Version by name."""


_FINGERPRINTS: Final[Table[DatabaseRef, Fingerprint]] = Table(
    "drift_print",
    ("project_id", "branch_id", "datname"),
    ("pg_major", "digest", "taken_at", "body"),
    lambda found: (found.pg_major, _digests(found), found.taken_at, packed(found.to_json())),
    lambda _, pg_major, digests, taken_at, body: Fingerprint.from_json(unpacked(body), taken_at=taken_at),  # noqa: ARG005
    DatabaseRef,
)
_SINCE: Final[Table[DatabaseRef, tuple[str, float]]] = Table(
    "drift_since",
    ("project_id", "branch_id", "datname"),
    ("baseline", "since"),
    lambda drift: drift,
    lambda _, baseline, since: (baseline, since),
    DatabaseRef,
)


class FingerprintStore:
    """Fingerprints, and since when there is drift. Every call works on the disk.

    Raises:
        StoreError: from every method: the disk is full or the file damaged; then nothing has changed.
    """

    def __init__(self, store: Store) -> None:
        """Use a store that was opened with ``DRIFT_SCHEMA``."""
        self._store = store

    def summaries(self) -> dict[DatabaseRef, FingerprintSummary]:
        """Everything that is known, without the objects. Reads every body once: for the start."""
        return {key: summary_of(found) for key, found in _FINGERPRINTS.items(self._store)}

    def read(self, key: DatabaseRef) -> Fingerprint | None:
        """The last fingerprint of one database."""
        return _FINGERPRINTS.get(self._store, key)

    def of_branch(self, project_id: str, branch_id: str) -> dict[str, Fingerprint]:
        """The last fingerprints of the databases of one branch, by database name."""
        found = _FINGERPRINTS.all(self._store, project_id, branch_id)
        return {key.datname: fingerprint for key, fingerprint in found.items()}

    def write(self, key: DatabaseRef, found: Fingerprint) -> FingerprintSummary:
        """Replace the last fingerprint; of an unchanged one only the time is written."""
        with self._store.transaction() as cursor:
            statement = (
                "UPDATE drift_print SET taken_at = ? WHERE (project_id, branch_id, datname, digest) = (?, ?, ?, ?)"
            )
            if not cursor.execute(statement, (found.taken_at, *key, _digests(found))).rowcount:
                _FINGERPRINTS.put(cursor, [(key, found)])
        return summary_of(found)

    def forget(self, keys: Collection[tuple[str, ...]]) -> None:
        """Drop fingerprints and times of databases, or of all databases of branches (project id, branch id)."""
        with self._store.transaction() as cursor:
            _FINGERPRINTS.delete(cursor, keys)
            _SINCE.delete(cursor, keys)

    def since(self) -> dict[DatabaseRef, tuple[str, float]]:
        """Against which baseline, and since when (unix seconds), each database has drifted."""
        return _SINCE.all(self._store)

    def mark(self, key: DatabaseRef, baseline: str, since: float | None) -> None:
        """Remember since when it has drifted; None: it has not."""
        if since is None:
            _SINCE.delete(self._store, [key])
        else:
            _SINCE.put(self._store, [(key, (baseline, since))])


def summary_of(found: Fingerprint) -> FingerprintSummary:
    """What stays in memory of it."""
    extensions = {
        key.identity: row.definition.partition(" in ")[0]
        for key, row in found.objects.items()
        if key.kind == "extension"
    }
    return FingerprintSummary(found.pg_major, found.digest, found.taken_at, found.digests(), extensions)


def _digests(found: Fingerprint) -> str:
    return found.digest + found.relative
