"""What each database's migration tools and each compute's settings were when last read: for branches that sleep.

The stored histories are also how a roll-back is found where the tool only deletes a row: by what was there before.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from collectors.base import Status
from collectors.postgres.domain.migrations import History, Lock, Migration, MigrationFacts
from collectors.postgres.domain.settings import Setting, SettingsFacts
from exporter.sampling.computes import Compute, DatabaseRef
from exporter.storage.store import Store
from exporter.storage.tables import Table

KEEPS_NO_RECORD = frozenset({"liquibase", "typeorm", "django", "rails", "knex", "drizzle", "atlas"})
"""Tools that delete the row of what they roll back, and have one row for each migration that is applied."""
Vanished = Mapping[tuple[str, str], int]
"""By tool and schema: applied migrations that were gone at a later look."""


@dataclass(frozen=True, slots=True)
class StoredHistories:
    """The histories of one database as last read, ``taken_at`` in unix seconds."""

    facts: MigrationFacts
    taken_at: float
    vanished: Vanished = field(default_factory=dict)


def onto(before: StoredHistories | None, facts: MigrationFacts, taken_at: float) -> StoredHistories:
    """The histories now, and how many migrations have vanished since the first look."""
    if before is None:
        return StoredHistories(facts, taken_at)
    vanished = dict(before.vanished)
    known = {(history.tool, history.schema): history for history in before.facts.histories}
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


ComputeIds = tuple[str, str, str]
"""Project, branch and endpoint."""


@dataclass(frozen=True, slots=True)
class StoredSettings:
    """The settings and roles of one compute as last read, ``taken_at`` in unix seconds."""

    facts: SettingsFacts
    taken_at: float


def _histories_json(stored: StoredHistories) -> str:
    """Histories that are alike share their rows: a thousand tenants have one list, not a thousand."""
    facts = stored.facts
    body = {
        "rows": {f"{history.tool}/{history.digest}": history.migrations for history in facts.histories},
        "histories": [
            [history.tool, history.schema, history.table, history.digest, history.rolled_back, history.status.value]
            for history in facts.histories
        ],
        "locks": [[lock.tool, lock.schema, lock.seconds, lock.by] for lock in facts.locks],
        "vanished": [[*place, count] for place, count in stored.vanished.items()],
    }
    return json.dumps(body, ensure_ascii=False)


def _histories(datname: str, taken_at: float, body: Mapping[str, Any]) -> StoredHistories:
    rows = {name: tuple(Migration(*row) for row in migrations) for name, migrations in body["rows"].items()}
    histories = tuple(
        History(tool, schema, table, rows.get(f"{tool}/{digest}", ()), digest, int(rolled_back), Status(status))
        for tool, schema, table, digest, rolled_back, status in body["histories"]
    )
    locks = tuple(Lock(*lock) for lock in body["locks"])
    vanished = {(tool, schema): int(count) for tool, schema, count in body["vanished"]}
    return StoredHistories(MigrationFacts(datname, histories, locks), taken_at, vanished)


def _settings_json(stored: StoredSettings) -> str:
    return json.dumps({"settings": stored.facts.settings, "roles": stored.facts.roles}, ensure_ascii=False)


def _settings(taken_at: float, body: Mapping[str, Any]) -> StoredSettings:
    settings = {name: Setting(*row) for name, row in body["settings"].items()}
    return StoredSettings(SettingsFacts(settings, body["roles"]), taken_at)


_HISTORIES: Final[Table[DatabaseRef, StoredHistories]] = Table(
    "drift_history",
    ("project_id", "branch_id", "datname"),
    ("taken_at", "body"),
    lambda stored: (stored.taken_at, _histories_json(stored)),
    lambda key, taken_at, body: _histories(key.datname, taken_at, json.loads(body)),
    DatabaseRef,
)
_SETTINGS: Final[Table[ComputeIds, StoredSettings]] = Table(
    "drift_settings",
    ("project_id", "branch_id", "endpoint_id"),
    ("taken_at", "body"),
    lambda stored: (stored.taken_at, _settings_json(stored)),
    lambda _, taken_at, body: _settings(taken_at, json.loads(body)),
    lambda *ids: ids,
)


class HistoryStore:
    """Migration histories by database. Every call works on the disk.

    Raises:
        StoreError: from every method: the disk is full or the file damaged; then nothing has changed.
    """

    def __init__(self, store: Store) -> None:
        """Use a store that was opened with ``DRIFT_SCHEMA``."""
        self._store = store

    def all(self) -> dict[DatabaseRef, StoredHistories]:
        """Everything that is known."""
        return _HISTORIES.all(self._store)

    def write(self, key: DatabaseRef, histories: StoredHistories) -> None:
        """Replace what is known of one database."""
        _HISTORIES.put(self._store, [(key, histories)])

    def forget(self, keys: Iterable[tuple[str, ...]]) -> None:
        """Drop what is known of databases, or of all databases of branches (project id, branch id)."""
        _HISTORIES.delete(self._store, keys)


class SettingsStore:
    """Settings and roles by compute, in memory and on the disk. Every call works on the disk.

    Raises:
        StoreError: from every method: the disk is full or the file damaged; then nothing has changed.
    """

    def __init__(self, store: Store) -> None:
        """Use a store that was opened with ``DRIFT_SCHEMA``."""
        self._store = store
        self._known: Mapping[ComputeIds, StoredSettings] | None = None
        store.mirrored(self._forget)

    def _forget(self) -> None:
        self._known = None

    def all(self) -> Mapping[ComputeIds, StoredSettings]:
        """Everything that is known."""
        if self._known is None:
            self._known = _SETTINGS.all(self._store)
        return self._known

    def take(self, compute: Compute, facts: SettingsFacts, at: float) -> None:
        """Take in what was read of a compute at ``at`` (unix seconds); written only when something is new."""
        ids = (compute.place.project_id, compute.place.branch_id, compute.endpoint.id)
        before = self.all().get(ids)
        if before is None or before.facts != facts:
            stored = StoredSettings(facts, at)
            _SETTINGS.put(self._store, [(ids, stored)])
            # A new mapping: a reader of the old one in another thread sees a whole one.
            self._known = {**self.all(), ids: stored}

    def forget(self, branches: Collection[tuple[str, str]]) -> None:
        """Drop what is known of the computes of branches, by project and branch id."""
        _SETTINGS.delete(self._store, branches)
        self._known = {ids: stored for ids, stored in self.all().items() if ids[:2] not in branches}
