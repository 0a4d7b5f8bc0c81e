"""The real client on the twin over HTTP: it reads all there is, takes a bad day well, and never sends but GET."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from collectors.base import Status
from collectors.neon.client import NeonClient
from collectors.neon.consumption import read_consumption
from collectors.neon.inventory import refresh
from collectors.neon.operations import read_operations
from exporter.demo.api import TwinApiSettings, serve_named
from exporter.demo.faults import Fault
from exporter.pricing.domain.components import USAGE_METRICS
from tests.fix_twin import Twin, TwinMaker


async def no_sleep(seconds: float) -> None:
    """Pauses are not what is tested here."""


def client_of(twin: Twin, secret: str = "") -> NeonClient:
    key = secret or twin.key
    return NeonClient(
        twin.url, lambda: key, requests_per_minute=60_000, burst=1000, consumption_per_minute=6000, sleep=no_sleep
    )


@pytest.fixture
async def client(twin_api: Twin) -> AsyncIterator[NeonClient]:
    async with client_of(twin_api) as made:
        yield made


async def test_the_inventory_is_the_world(twin_api: Twin, client: NeonClient) -> None:
    found = await refresh(client, None, clock=twin_api.clock)
    world = twin_api.world
    assert (found.org_id, found.org_name) == (world.org_id, world.org_name)
    assert found.projects.keys() == world.projects.keys()
    assert found.branches.keys() == world.branches.keys()
    assert found.endpoints.keys() == world.endpoints.keys()
    for one in found.endpoints.values():
        there = world.endpoints[one.id]
        assert (one.current_state, one.last_active, one.autoscaling_limit_max_cu) == ("idle", None, there.max_cu)
        assert one.suspend_timeout_seconds == there.suspend_timeout_seconds
    assert {branch.id: branch.parent_id or "" for branch in found.branches.values()} == {
        branch.id: branch.parent_id for branch in world.branches.values()
    }
    assert found.skew == 0
    assert twin_api.api.non_get == 0


async def test_consumption_is_what_the_meter_counted(twin_api: Twin, client: NeonClient) -> None:
    began = twin_api.clock()
    for number, branch in enumerate(twin_api.world.branches):
        twin_api.meter.awake(branch, began, began + 600 + 4 * number, 0.25)
        twin_api.meter.egress(branch, began, 1000 + number)
    twin_api.clock.forward(3 * 3600)
    found = await read_consumption(
        client,
        twin_api.world.org_id,
        sorted(twin_api.world.projects),
        began,
        twin_api.clock() + 3600,
        metrics=USAGE_METRICS,
    )
    assert found.status is Status.OK
    assert found.branches
    seconds = {row.branch_id: row.value for row in found.rows if row.metric == "compute_unit_seconds" and row.branch_id}
    assert seconds == {branch: 150 + number for number, branch in enumerate(twin_api.world.branches)}
    for metric in {row.metric for row in found.rows} - {"extra_branches_month", "snapshot_storage_bytes_month"}:
        rows = [row for row in found.rows if row.metric == metric]
        below, whole = (sum(row.value for row in rows if bool(row.branch_id) is owned) for owned in (True, False))
        rounded = len(rows) / 2 if metric.endswith("_bytes_month") else 0
        assert whole > 0 and abs(below - whole) <= rounded
    extra = [row.value for row in found.rows if row.metric == "extra_branches_month"]
    assert extra == [2] * 6  # two projects of two children, three hours
    assert {row.plan for row in found.rows} == {"launch"}


async def test_operations_are_the_history(twin_api: Twin, client: NeonClient) -> None:
    one = next(iter(twin_api.world.endpoints.values()))
    for number in range(1200):
        action = "suspend_compute" if number % 2 else "start_compute"
        twin_api.world.record(one, action, twin_api.clock.forward(60), 0.5)
    found = await read_operations(client, one.project_id, 0)
    assert [operation.id for operation in found] == [operation.id for operation in twin_api.world.operations]


async def test_a_project_key_degrades(twin_api: Twin) -> None:
    async with client_of(twin_api, twin_api.api.settings.project_key) as client:
        found = await refresh(client, None, clock=twin_api.clock)
        assert len(found.projects) == 1
        projects = sorted(found.projects)
        used = await read_consumption(
            client, twin_api.world.org_id, projects, 0, twin_api.clock(), metrics=USAGE_METRICS
        )
    assert used.status is not Status.OK
    assert used.notes


async def test_a_bad_day_loses_nothing(make_twin: TwinMaker) -> None:
    twin = make_twin(TwinApiSettings(seed=7))
    for fault in (
        Fault("status", status=429, retry_after="1", probability=0.2),
        Fault("drop", probability=0.1),
        Fault("truncated", probability=0.1),
    ):
        twin.api.faults.put(fault)
    async with client_of(twin) as client:
        found = await refresh(client, None, clock=twin.clock)
    assert found.projects.keys() == twin.world.projects.keys()
    assert {status for _, _, status in twin.api.counts} >= {200, 429}
    assert twin.api.non_get == 0


async def test_unavailable_projects_are_unknown_and_not_gone(twin_api: Twin, client: NeonClient) -> None:
    before = await refresh(client, None, clock=twin_api.clock)
    hidden = min(twin_api.world.projects)
    twin_api.api.faults.put({"kind": "unavailable", "project_ids": [hidden]})
    after = await refresh(client, before, clock=twin_api.clock)
    assert hidden in after.unknown_project_ids
    assert hidden in after.projects


async def test_a_large_world_is_read_whole() -> None:
    with serve_named("large:60x20") as api:
        async with NeonClient(
            api.url, lambda: api.settings.org_key, requests_per_minute=60_000, burst=1000, consumption_per_minute=6000
        ) as client:
            found = await refresh(client, None)
        assert len(found.projects) == 60
        assert len(found.branches) == len(found.endpoints) == 1200
        assert found.unknown_project_ids == frozenset()
        assert api.non_get == 0
