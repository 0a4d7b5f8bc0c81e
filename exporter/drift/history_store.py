"""The last migration histories of every database, on the disk: for branches that sleep, and for the commands.

It is also how a roll-back is seen where the tool only deletes a row: by what was there at the look before.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from collectors.base import Status
from collectors.postgres.database.migrations import History, Lock, Migration, MigrationFacts
from exporter.sampling.computes import DatabaseRef
from exporter.storage.store import Store

KEEPS_NO_RECORD = frozenset({"liquibase", "typeorm", "django", "rails", "knex", "drizzle", "atlas"})
"""Tools that delete the row of what they roll back, and keep one row for each migration that is applied."""
Vanished = Mapping[tuple[str, str], int]
"""By tool and schema: applied migrations that were gone at a later look."""


@dataclass(frozen=True, slots=True)
class StoredHistories:
    """What one database told last. ``taken_at`` in unix seconds."""

    facts: MigrationFacts
    taken_at: float
    vanished: Vanished = field(default_factory=dict)


def onto(before: StoredHistories | None, facts: MigrationFacts, taken_at: float) -> StoredHistories:
    """The histories now, and how many migrations have vanished since we look."""
    if before is None:
        return StoredHistories(facts, taken_at)
    vanished = dict(before.vanished)
    known = {(entry.tool, entry.schema): entry for entry in before.facts.histories}
    for history in facts.histories:
        place = (history.tool, history.schema)
        last = known.get(place)
        if last is None or history.tool not in KEEPS_NO_RECORD:
            continue
        if history.status is Status.OK and last.status is Status.OK:
            applied = {migration.id for migration in last.migrations if migration.state == "applied"}
            gone = applied - {migration.id for migration in history.migrations}
            if gone:
                vanished[place] = vanished.get(place, 0) + len(gone)
    return StoredHistories(facts, taken_at, vanished)


class HistoryStore:
    """Histories in the agent's store (room ``drift``)."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def all(self) -> dict[DatabaseRef, StoredHistories]:
        """Everything that is known.

        Raises:
            StoreError: the file is damaged.
        """
        with self._store.snapshot() as cursor:
            rows = cursor.execute("SELECT project_id, branch_id, datname, taken_at, body FROM drift_history").fetchall()
        return {DatabaseRef(*row[:3]): _kept(row[2], row[3], json.loads(row[4])) for row in rows}

    def write(self, key: DatabaseRef, kept: StoredHistories) -> None:
        """Replace what is known of one database.

        Raises:
            StoreError: the disk is full or the file damaged.
        """
        body = json.dumps(_body(kept), ensure_ascii=False)
        with self._store.transaction() as cursor:
            cursor.execute("INSERT OR REPLACE INTO drift_history VALUES (?, ?, ?, ?, ?)", (*key, kept.taken_at, body))

    def forget(self, key: DatabaseRef) -> None:
        """Drop what is known of a database that is gone."""
        with self._store.transaction() as cursor:
            cursor.execute("DELETE FROM drift_history WHERE (project_id, branch_id, datname) = (?, ?, ?)", key)


def _body(kept: StoredHistories) -> dict[str, object]:
    """Histories that are alike share their rows: a thousand tenants have one list, not a thousand."""
    rows = {f"{history.tool}/{history.digest}": history.migrations for history in kept.facts.histories}
    return {
        "rows": rows,
        "histories": [
            [history.tool, history.schema, history.table, history.digest, history.rolled_back, history.status.value]
            for history in kept.facts.histories
        ],
        "locks": [[lock.tool, lock.schema, lock.seconds, lock.by] for lock in kept.facts.locks],
        "vanished": [[*place, count] for place, count in kept.vanished.items()],
    }


def _kept(datname: str, taken_at: float, body: Mapping[str, Any]) -> StoredHistories:
    rows = {name: tuple(Migration(*row) for row in entry) for name, entry in body["rows"].items()}
    histories = tuple(
        History(tool, schema, table, rows.get(f"{tool}/{digest}", ()), digest, int(rolled_back), Status(status))
        for tool, schema, table, digest, rolled_back, status in body["histories"]
    )
    locks = tuple(Lock(*entry) for entry in body["locks"])
    vanished = {(tool, schema): int(count) for tool, schema, count in body["vanished"]}
    return StoredHistories(MigrationFacts(datname, histories, locks), taken_at, vanished)
