"""A service of posture over the twin's control plane and a real store, without servers: the world ``posture``."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from collectors.neon.client import NeonClient
from collectors.neon.inventory import Inventory, refresh
from exporter.app.settings import Settings
from exporter.core.api_pages import ApiPages
from exporter.core.state import State
from exporter.demo.api import TwinApi, serve
from exporter.demo.meter import Meter
from exporter.demo.world import World
from exporter.demo.worldfile import build_world, load
from exporter.posture.evaluation import Evaluator, PostureEvaluation
from exporter.posture.fact_cache import FactCache
from exporter.posture.feature import PostureRun
from exporter.posture.report.report import Report, report_of
from exporter.posture.sources import NeonApi, PostureSources
from exporter.posture.store import POSTURE_SCHEMA, PostureStore
from exporter.storage.store import Store
from exporter.storage.writer import WriterThread
from exporter.tenancy.rules import rules_of
from tests.fix_twin import MovableClock

NOW = 1_795_000_000.0
Found = dict[tuple[str, str], set[str]]
"""Statuses by control and the name of the object."""


@dataclass
class Platform:
    """One life of the agent's posture."""

    world: World
    api: TwinApi
    store: Store
    settings: Settings
    clock: MovableClock
    client: NeonClient
    details: ApiPages = field(default_factory=ApiPages)
    inventory: Inventory | None = None

    def __post_init__(self) -> None:
        self.disk = WriterThread()
        self.state = State()
        self.fact_cache = FactCache(PostureStore(self.store), self.disk)
        self.evaluator = Evaluator(self.settings, rules_of(self.settings))
        self.sources = PostureSources(
            (NeonApi(self.client, self.settings.posture.pace.api_seconds),), self.fact_cache, self.clock
        )
        self.service = PostureRun(
            self.evaluator,
            self.sources,
            store=PostureStore(self.store),
            writer=self.disk,
            state=self.state,
            pages=self.details,
            clock=self.clock,
        )

    async def look(self) -> PostureEvaluation:
        """One round: the inventory, what is due, and the judgement."""
        self.inventory = await refresh(self.client, None, clock=self.clock)
        await self.service.before_visits(self.inventory)
        await self.service.read_sources()
        await self.service.on_inventory(self.inventory)
        known, since = dict(await self.sources.fact_cache.load()), PostureStore(self.store).since()
        self.evaluation = self.evaluator.evaluate(self.inventory, known, since, self.clock())
        return self.evaluation

    def found(self) -> Found:
        evaluation = self.evaluation
        told: Found = {}
        for state in evaluation.verdict.states:
            told.setdefault((state.finding.control, evaluation.path(state.finding.object_id)), set()).add(state.status)
        return told

    def series(self, name: str) -> dict[tuple[str, ...], float]:
        """By the labels of target and metric."""
        found: dict[tuple[str, ...], float] = {}
        for _, target, entry in self.state.entries():
            if entry.good is not None:
                for metric, series in entry.good.families.items():
                    if metric.name == name:
                        found |= {(*target.labels, *labels): float(value) for labels, value in series.items()}
        return found

    def page(self, path: str) -> Any:
        detail = self.details.get(f"/api/v1/posture{path}")
        assert detail is not None
        return json.loads(detail.body)

    def report(self, **options: Any) -> Report:
        return report_of(self.evaluation, self.evaluator.catalogue, organization="Posture", **options)

    def id_of(self, project: str) -> str:
        return next(twin_project.id for twin_project in self.world.projects.values() if twin_project.name == project)


async def _no_sleep(seconds: float) -> None:
    """Pauses are not what is tested here."""


@asynccontextmanager
async def platform(folder: Path, *, now: float = NOW, **posture: Any) -> AsyncIterator[Platform]:
    """The world, served, with settings of its own; entered again on the same folder it is the next life."""
    clock = MovableClock(now)
    world = build_world(load("posture"), clock)
    store = Store.open(folder / "neonmeter.db", {"posture": POSTURE_SCHEMA})
    with serve(world, Meter(world, refresh=0.0)) as api:
        settings = Settings(posture=posture)
        client = NeonClient(api.url, lambda: api.settings.org_key, requests_per_minute=60_000, burst=1000,
                            consumption_per_minute=6000, sleep=_no_sleep)  # fmt: skip
        async with client:
            made = Platform(world, api, store, settings, clock, client)
            try:
                yield made
            finally:
                made.disk.close()
                store.close()
