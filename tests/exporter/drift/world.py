"""A service of drift over a real store, without servers: two branches of one project, fed by hand."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from collectors.base import Reading, Status
from collectors.metric import Families
from collectors.neon.inventory import Inventory
from collectors.neon.models import Branch, Endpoint, Project
from collectors.postgres.database.fingerprint import NAME
from collectors.postgres.database.migrations import NAME as MIGRATIONS
from collectors.postgres.domain.fingerprint import FingerprintDelta
from collectors.postgres.domain.migrations import History, MigrationFacts
from collectors.postgres.domain.settings import SettingsFacts
from exporter.core.api_pages import ApiPages
from exporter.core.state import State
from exporter.drift.baselines import Approvals
from exporter.drift.evaluation import Evaluator
from exporter.drift.scanner import DriftScanner
from exporter.drift.service import DriftService
from exporter.drift.settings import DriftSettings
from exporter.drift.store import HistoryStore, SettingsStore
from exporter.sampling.computes import Compute, DatabaseRef, computes
from exporter.sampling.fingerprint_store import DRIFT_SCHEMA, FingerprintStore
from exporter.storage.store import Store
from exporter.storage.writer import WriterThread
from exporter.tenancy.domain.rules import TenantRule, TenantRules
from tests.exporter.sampling.domain.test_schema_comparison import Objects, made

MAIN, CHILD = DatabaseRef("p1", "br-main", "app"), DatabaseRef("p1", "br-child", "app")


def inventory(**project: Any) -> Inventory:
    """One project with main and its child, a compute each."""
    shop = Project.model_validate({"id": "p1", "name": "shop", **project})
    branches = [
        Branch.model_validate({"id": "br-main", "project_id": "p1", "name": "main", "default": True}),
        Branch.model_validate({"id": "br-child", "project_id": "p1", "name": "child", "parent_id": "br-main"}),
    ]
    endpoints = [
        Endpoint.model_validate(
            {"id": f"ep-{branch.name}", "project_id": "p1", "branch_id": branch.id, "host": "h.example",
             "type": "read_write", "autoscaling_limit_max_cu": 2}
        )
        for branch in branches
    ]  # fmt: skip
    return Inventory(
        "org",
        "Org",
        "",
        {"p1": shop},
        {branch.id: branch for branch in branches},
        {endpoint.id: endpoint for endpoint in endpoints},
        frozenset(),
        (),
        0.0,
        0.0,
        0.0,
        0,
    )


@dataclass
class World:
    """One life of the agent's drift."""

    store: Store
    folder: Path
    settings: DriftSettings
    now: float = 1000.0
    details: ApiPages = field(default_factory=ApiPages)

    def __post_init__(self) -> None:
        self.disk = WriterThread()
        self.state = State()
        self.fingerprints = FingerprintStore(self.store)
        self.approvals = Approvals(self.folder / "approved")
        rules = TenantRules([TenantRule(schema="t_(?P<tenant>.+)")])
        self.server_settings = SettingsStore(self.store)
        self.scanner = DriftScanner(
            self.fingerprints, HistoryStore(self.store), self.disk, self.state, clock=lambda: self.now
        )  # fmt: skip
        self.service = DriftService(
            Evaluator(self.settings, self.fingerprints, self.approvals, rules),
            fingerprints=self.fingerprints,
            settings=self.server_settings,
            scanner=self.scanner,
            state=self.state,
            api_pages=self.details,
            clock=lambda: self.now,
        )
        self.inventory = inventory()

    def compute(self, key: DatabaseRef) -> Compute:
        return next(entry for entry in computes(self.inventory) if entry.place.branch_id == key.branch_id)

    async def read(self, key: DatabaseRef, objects: Objects) -> None:
        """A scan that read a fingerprint."""
        found = made(objects)
        delta = FingerprintDelta(18, key.datname, self.now, found.schemas, found.objects, 0.02)
        await self.scanner.take(self.compute(key), key.datname, {NAME: Reading(Families(), 1, delta)}, {})

    async def missed(self, key: DatabaseRef, status: Status, why: str) -> None:
        """A scan that read none."""
        await self.scanner.take(self.compute(key), key.datname, {}, {NAME: (status, why)})

    async def migrated(self, key: DatabaseRef, *histories: History) -> None:
        """A scan that read histories."""
        facts = MigrationFacts(key.datname, histories, ())
        await self.scanner.take(self.compute(key), key.datname, {MIGRATIONS: Reading(Families(), 1, facts)}, {})
        await self.scanner.finish(self.compute(key), [key.datname], Status.OK, "", 0.1)

    def told(self, key: DatabaseRef, facts: SettingsFacts) -> None:
        self.server_settings.take(self.compute(key), facts, self.now)

    async def look(self) -> None:
        await self.service.look(self.inventory)

    def series(self, name: str, collector: str = "drift") -> dict[tuple[str, ...], float]:
        """By branch id and labels."""
        return {
            (target.labels[1], *labels): float(value)
            for found, target, entry in self.state.entries()
            if found == collector
            for metric, row in entry.last.families.items()
            if metric.name == name
            for labels, value in row.items()
        }

    def page(self, key: DatabaseRef) -> dict[str, Any]:
        detail = self.details.get(f"/api/v1/drift/{key.project_id}/{key.branch_id}")
        assert detail is not None
        found: dict[str, Any] = json.loads(detail.body)
        return found

    def markdown(self, key: DatabaseRef) -> str:
        detail = self.details.get(f"/api/v1/drift/{key.project_id}/{key.branch_id}.md")
        assert detail is not None
        return detail.body.decode()


@contextmanager
def world(folder: Path, **settings: Any) -> Iterator[World]:
    store = Store.open(folder / "neonmeter.db", {"drift": DRIFT_SCHEMA})
    made_world = World(store, folder, DriftSettings.model_validate(settings))
    try:
        yield made_world
    finally:
        made_world.disk.close()
        store.close()
