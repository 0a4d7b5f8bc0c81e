"""A large fleet in this process: the twin's control plane without sockets, and one generation of the agent on it."""

from __future__ import annotations

import asyncio
import gc
import json
import shutil
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from email.utils import formatdate
from pathlib import Path

import httpx
import pytest

from collectors.neon.client import NeonClient
from collectors.neon.inventory import Inventory, refresh
from collectors.postgres.domain.security import DatabaseFacts, Extension, ServerFacts
from collectors.postgres.domain.settings import Setting, SettingsFacts
from collectors.postgres.evidence import CLIENT_ACTIVE, Evidence, Holder
from collectors.wake.state import WakeState
from exporter.app import generation as composition
from exporter.app.features import FEATURES, SCHEMAS
from exporter.app.generation import Generation, Resources, start_generation
from exporter.app.settings import Settings
from exporter.core.api_pages import ApiPages
from exporter.core.clock import AgentClock
from exporter.core.parts import Parts
from exporter.core.selfmetrics import SelfMetrics
from exporter.core.state import State
from exporter.demo import large
from exporter.demo.answers import Answers
from exporter.demo.api import PREFIX, TwinApiSettings
from exporter.demo.large import LargeUsage, LargeWorld
from exporter.demo.lastactive import LastActive
from exporter.demo.plane import Plane
from exporter.demo.request import ApiError, Key, Request
from exporter.posture.store import FactKey, PostureStore
from exporter.sampling.computes import DatabaseRef, computes
from exporter.sampling.fingerprint_store import FingerprintStore
from exporter.serving.overview import OverviewSources
from exporter.serving.publisher import Publisher
from exporter.serving.snapshot import SnapshotBuilder
from exporter.storage.store import Store
from tests.exporter.sampling.domain.test_schema_comparison import ORDERS, made
from tests.fix_twin import MovableClock

NOW = 1_793_664_000.0
"""2026-11-03: what costs time is the number of projects, not how much of a month is over."""
API = f"http://large.test{PREFIX}"


class LargePlane(httpx.AsyncBaseTransport):
    """Answers a client as the twin does over HTTP; the answers are made in worker threads, as by another process."""

    def __init__(self, world: LargeWorld) -> None:
        settings = TwinApiSettings()
        self._world = world
        self._plane = Plane(world, LargeUsage(world), Answers(world, settings), LastActive(world), {})
        self.cpu = 0.0
        """Seconds of CPU that the answers took: those are not the agent's."""

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        status, body, cpu = await asyncio.to_thread(self._answer, request.url.raw_path.decode().removeprefix(PREFIX))
        self.cpu += cpu
        headers = {"Date": formatdate(self._world.now(), usegmt=True), "Content-Type": "application/json"}
        return httpx.Response(status, headers=headers, content=body)

    def _answer(self, target: str) -> tuple[int, bytes, float]:
        began = time.thread_time()
        try:
            status, body = 200, self._plane.answer(Request.parse(target, Key("org")))
        except ApiError as problem:
            status, body = problem.status, {"request_id": "", "code": problem.code, "message": problem.message}
        return status, json.dumps(body).encode(), time.thread_time() - began


@dataclass
class FleetAgent:
    """One generation of the agent over a large world, with something of every kind known about it."""

    plane: LargePlane
    clock: MovableClock
    resources: Resources
    generation: Generation
    publisher: Publisher
    inventory: Inventory

    async def publish(self) -> None:
        await self.publisher.publish(
            OverviewSources(
                inventory=self.inventory,
                plans=dict(self.generation.visitor.plans),
                wake_states=self.resources.wake_states.all(),
                notes=tuple(self.generation.notes()),
                next_round=self.clock.now,
            )
        )

    def later(self, seconds: float) -> None:
        """Time passes, and the control plane is read again: everything is due, nothing has changed."""
        self.clock.forward(seconds)
        now = self.clock.now
        self.inventory = replace(self.inventory, taken_at=now, server_now=now)
        self.generation.control_plane.known.inventory = self.inventory


def client_of(plane: LargePlane) -> NeonClient:
    """Without a pace of its own: what is measured is the agent."""
    pace = {"requests_per_minute": 60_000_000, "burst": 1_000_000, "consumption_per_minute": 60_000_000}
    return NeonClient(API, lambda: "twin-org-key", transport=plane, **pace)


@dataclass(frozen=True)
class LargeFleet:
    """A world as it was read, and a store as an earlier agent would have left it; every agent on it begins anew."""

    plane: LargePlane
    inventory: Inventory
    clock: MovableClock
    store: Path

    @classmethod
    async def read(cls, projects: int, branches: int, folder: Path, monkeypatch: pytest.MonkeyPatch) -> LargeFleet:
        """Read ``large:PROJECTSxBRANCHES``, which was made yesterday, by the client of the agent."""
        clock = MovableClock(NOW)
        monkeypatch.setattr(large, "ORIGIN", int(NOW) - 86400)
        plane = LargePlane(LargeWorld.parse(f"large:{projects}x{branches}", clock))
        client = client_of(plane)
        try:
            inventory = await refresh(client, None, clock=clock)
        finally:
            await client.aclose()
        path = folder / "before.db"
        with closing(Store.open(path, SCHEMAS)) as store:
            _populate(store, inventory, clock.now)
        return cls(plane, inventory, clock, path)

    @contextmanager
    def agent(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FleetAgent]:
        """An agent with every feature on, at its start."""
        monkeypatch.setattr(composition, "neon_client", lambda *_: client_of(self.plane))
        folder.mkdir(parents=True)
        shutil.copy(self.store, folder / "neonmeter.db")
        settings = Settings.model_validate(
            {
                "neon": {"api_url": API, "api_key": "twin-org-key"},
                "storage": {"path": str(folder / "neonmeter.db")},
                "recovery": {"drills": str(folder / "drills")},
                "posture": {"profiles": [{"project": "*", "branch": "main", "profile": "production"}]},
            }
        )
        metrics, state, clock = SelfMetrics(), State(), AgentClock(self.clock, self.clock)
        resources = Resources.open(settings, state, metrics, ApiPages(), Parts(state, metrics, clock), clock=clock)
        try:
            generation = start_generation(settings, resources)
            assert generation.runs.keys() == {feature.name for feature in FEATURES}
            generation.control_plane.known.inventory = self.inventory
            publisher = Publisher(SnapshotBuilder(), state, metrics, clock=clock, monotonic=clock)
            yield FleetAgent(self.plane, self.clock, resources, generation, publisher, self.inventory)
        finally:
            resources.close()


def _populate(store: Store, inventory: Inventory, now: float) -> None:
    """What visits and scans leave behind: one database in every default branch, and the same in one of its copies."""
    fingerprints, found = FingerprintStore(store), made(ORDERS)
    facts: dict[FactKey, tuple[float, object]] = {}
    for branch in inventory.branches.values():
        if not branch.default and not branch.name.endswith("-1"):
            continue
        key = DatabaseRef(branch.project_id, branch.id, "app")
        fingerprints.write(key, found)
        where = f"{branch.project_id}/{branch.id}"
        plpgsql = Extension("plpgsql", "1.0", "1.0", "pg_catalog")
        facts[FactKey("database", f"{where}/app")] = (now, DatabaseFacts(*key, checks={}, extensions=(plpgsql,)))
        facts[FactKey("server", where)] = (now, ServerFacts(branch.project_id, branch.id, version_num=180001))
    PostureStore(store).write(facts)


async def visit_all(here: FleetAgent) -> None:
    """Every feature takes in what a visit of every compute that is awake would bring."""
    now = here.clock.now
    evidence = Evidence(now - 600, now, 3, 5.0, (Holder(CLIENT_ACTIVE, "app", "web", "app", 1, now - 5),))
    settings = SettingsFacts({"work_mem": Setting("4MB", "d", "kB", "integer", changed=True)})
    for compute in computes(here.inventory):
        if compute.facts.current_state != "active":
            continue
        state = WakeState(compute.endpoint.id, now - 60, now - 60)
        for run in here.generation.runs.values():
            await run.on_evidence(compute, evidence, state, state, now)
            for kind, take in run.subscriptions.items():
                if kind is SettingsFacts:
                    await here.resources.writer.run(lambda take=take, one=compute: take(one, settings, now))


def settle_memory() -> None:
    """What exists now is no garbage, and not searched for any while something is measured."""
    gc.collect()
    gc.freeze()
