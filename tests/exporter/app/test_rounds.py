"""One failure costs one turn of one part: an exception is forced into every job and step of a running agent in turn."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from contextvars import ContextVar
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
from prometheus_client.parser import text_string_to_metric_families

from exporter.app import rounds as app_rounds
from exporter.app.generation import Resources, start_generation
from exporter.app.reload import Reloader
from exporter.app.rounds import Rounds
from exporter.app.settings import Settings
from exporter.core.api_pages import ApiPages
from exporter.core.clock import AgentClock
from exporter.core.parts import Parts
from exporter.core.selfmetrics import SelfMetrics
from exporter.core.state import State
from exporter.demo.api import serve
from exporter.demo.meter import Meter
from exporter.demo.postgres import free_port
from exporter.demo.worldfile import build_world, load
from exporter.posture import feature as posture
from exporter.serving.http import HttpServer
from exporter.serving.publisher import Publisher
from exporter.serving.snapshot import SnapshotBuilder

_INSIDE: ContextVar[tuple[str, ...]] = ContextVar("inside", default=())


class BreakableParts(Parts):
    """Knows which parts there are and which runs within which; raises in one of them."""

    broken = ""

    def __init__(self, *sources: Any) -> None:
        super().__init__(*sources)
        self.within: dict[str, set[str]] = {}
        """By part, all parts that ran around it at some time."""

    async def turn(self, name: str, work: Callable[[], Awaitable[object]]) -> Exception | None:
        async def breakable() -> None:
            if name == self.broken:
                raise ValueError(f"{name} was broken by a test")
            await work()

        return await super().turn(name, breakable)

    @contextmanager
    def guard(self, name: str) -> Iterator[list[Exception]]:
        around = _INSIDE.get()
        self.within.setdefault(name, set()).update(around)
        token = _INSIDE.set((*around, name))
        try:
            with super().guard(name) as failures:
                yield failures
        finally:
            _INSIDE.reset(token)


class Running:
    """An agent in this process, without its signals."""

    def __init__(self, parts: BreakableParts, publisher: Publisher, rounds: Rounds) -> None:
        self.parts, self.publisher, self.rounds = parts, publisher, rounds

    def shown(self, metric: str) -> dict[tuple[str, ...], float]:
        """What /metrics has of the agent's own parts: value by collector and status."""
        text = b"".join(self.publisher.snapshot().plain).decode()
        return {
            (sample.labels["collector"], sample.labels.get("status", "")): sample.value
            for family in text_string_to_metric_families(text)
            if family.name == metric
            for sample in family.samples
            if sample.labels["target"] == "agent:" and sample.labels["collector"].startswith(("job/", "step/"))
        }

    def fresh(self, since: float) -> set[str]:
        """The parts that ended well after an instant."""
        shown = self.shown("neonmeter_collector_last_success_timestamp_seconds")
        return {collector for (collector, _), at in shown.items() if at > since}

    async def until(self, what: Callable[[], bool], why: str) -> None:
        deadline = time.monotonic() + 180
        while not what():
            assert time.monotonic() < deadline, (why, self.shown("neonmeter_collector_status"))
            await asyncio.sleep(0.1)


@asynccontextmanager
async def running(tmp_path: Path) -> AsyncIterator[Running]:
    """An agent before a control plane, with every job at a pace of half a second."""
    world = build_world(load("small"), time.time)
    with serve(world, Meter(world, refresh=0.0)) as plane:
        paces = ("inventory_seconds", "consumption_seconds", "operations_seconds", "publish_seconds")
        limits = {"requests_per_minute": 6000, "burst": 600, "consumption_per_minute": 6000}
        settings = Settings(
            neon={"api_url": plane.url, "api_key": plane.settings.org_key, **limits},
            intervals=dict.fromkeys(paces, 1),
            sampling={"tick_seconds": 1},
            pgbouncer=[
                {"name": "away", "dsn": f"postgresql://u@127.0.0.1:{free_port()}/pgbouncer", "interval_seconds": 1}
            ],
            storage={"path": str(tmp_path / "neonmeter.db")},
        )
        clock, metrics, state = AgentClock(), SelfMetrics(), State()
        parts = BreakableParts(state, metrics, clock)
        publisher = Publisher(SnapshotBuilder(), state, metrics, clock=clock)
        resources = Resources.open(settings, state, metrics, ApiPages(), parts, clock=clock)
        server = cast(HttpServer, SimpleNamespace(connections=0))
        rounds = Rounds(start_generation(settings, resources), publisher, server)
        rounds.start()
        try:
            yield Running(parts, publisher, rounds)
        finally:
            parts.broken = ""
            await rounds.stop()
            resources.close()


@pytest.fixture(autouse=True)
def all_jobs_come_often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(app_rounds, "PINNED_SECONDS", 0.5)
    monkeypatch.setattr(posture, "LOOK_SECONDS", 0.5)
    logging.getLogger("apscheduler").setLevel(logging.CRITICAL)


async def test_what_one_part_raises_costs_no_other_its_turn(tmp_path: Path) -> None:
    async with running(tmp_path) as agent:
        names = await names_of_all(agent)
        for name in ("step/before_visits/awake", "step/inventory", "job/publish"):
            await check_that_only_it_fails(agent, name, names)


@pytest.mark.deep
async def test_no_job_and_no_step_costs_another_its_turn(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    async with running(tmp_path) as agent:
        names = await names_of_all(agent)
        for name in sorted(names):
            await check_that_only_it_fails(agent, name, names)
        tracebacks = [record.exc_info for record in caplog.records if record.exc_info]
        assert len(tracebacks) <= len(names), "one for each part, not one for each turn"


async def names_of_all(agent: Running) -> set[str]:
    """Every job and step that a healthy agent has; what is guarded where it stands is broken by other tests."""
    within, began = agent.parts.within, time.time()
    await agent.until(lambda: "step/spending_limit" in within and agent.fresh(began) >= {*within}, "all is well")
    once = ("step/spending_limit", "step/recall")  # the second at the start only
    names = {name for name in within if not name.startswith(once)}
    assert {"job/round", "job/consumption", "job/posture", "job/pgbouncer:away", "job/publish"} <= names
    assert {"step/visits", "step/before_visits/awake", "step/on_inventory/drift"} <= names
    return names


async def check_that_only_it_fails(agent: Running, name: str, names: set[str]) -> None:
    """Break a part: it shows that, whatever does not run within it goes on, and it comes back."""
    statuses = "neonmeter_collector_status"
    agent.parts.broken = name
    await agent.until(lambda: (name, "bug") in agent.shown(statuses), f"{name} is a bug")
    since = time.time()
    others = {other for other in names if other != name and name not in agent.parts.within[other]}
    await agent.until(lambda: agent.fresh(since) >= others, f"all others go on without {name}")
    rows = {row.key: row.status for row in agent.publisher.targets()}
    assert name == "job/publish" or rows[name] == "bug"
    agent.parts.broken = ""
    await agent.until(lambda: (name, "ok") in agent.shown(statuses), f"{name} is well again")


async def test_a_reload_that_breaks_keeps_the_old_settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with running(tmp_path) as agent:
        config = tmp_path / "neonmeter.yaml"
        settings = agent.rounds.generation.settings
        config.write_text(f"neon: {{api_url: '{settings.neon.api_url}', api_key: key}}\n")
        reloader = Reloader(config, agent.rounds, agent.publisher)

        def boom(*_: object) -> None:
            raise ValueError("boom")

        monkeypatch.setattr(app_rounds, "retire_what_is_off", boom)
        monkeypatch.setattr("exporter.app.reload._fixed", lambda *_: [])
        done, text = await reloader.reload()
        assert not done
        assert "bug in neonmeter" in text
        assert agent.rounds.generation.settings is settings
        await agent.until(lambda: ("job/reload", "bug") in agent.shown("neonmeter_collector_status"), "it is told")
        since = time.time()
        await agent.until(
            lambda: {"job/round", "step/visits", "job/publish"} <= agent.fresh(since), "the old one goes on"
        )
