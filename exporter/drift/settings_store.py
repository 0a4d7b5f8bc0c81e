"""The last settings and roles of every compute, on the disk: branches that sleep are compared by what they were."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass

from collectors.postgres.cluster.settings import Setting, SettingsFacts
from exporter.storage.store import Store

ComputeIds = tuple[str, str, str]
"""Project, branch and endpoint."""


@dataclass(frozen=True, slots=True)
class StoredSettings:
    """What one compute told last. ``taken_at`` in unix seconds."""

    settings: Mapping[str, Setting]
    roles: Mapping[str, str] | None
    taken_at: float


class SettingsStore:
    """Settings in the agent's store (room ``drift``)."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def all(self) -> dict[ComputeIds, StoredSettings]:
        """Everything that is known.

        Raises:
            StoreError: the file is damaged.
        """
        query = "SELECT project_id, branch_id, endpoint_id, taken_at, body FROM drift_settings"
        with self._store.snapshot() as cursor:
            rows = cursor.execute(query).fetchall()
        return {(row[0], row[1], row[2]): _kept(row[3], json.loads(row[4])) for row in rows}

    def write(self, ids: ComputeIds, facts: SettingsFacts, taken_at: float) -> StoredSettings:
        """Replace what is known of one compute.

        Raises:
            StoreError: the disk is full or the file damaged.
        """
        body = json.dumps({"settings": facts.settings, "roles": facts.roles}, ensure_ascii=False)
        with self._store.transaction() as cursor:
            cursor.execute("INSERT OR REPLACE INTO drift_settings VALUES (?, ?, ?, ?, ?)", (*ids, taken_at, body))
        return StoredSettings(facts.settings, facts.roles, taken_at)


def _kept(taken_at: float, body: Mapping[str, dict[str, list[str]]]) -> StoredSettings:
    settings = {name: Setting(*row) for name, row in body["settings"].items()}  # type: ignore[arg-type]
    return StoredSettings(settings, body["roles"], taken_at)  # type: ignore[arg-type]
