"""The Neon collectors against the twin's control plane, over real HTTP: kinds of keys, and bad days."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from collectors.base import Status
from collectors.neon.client import NeonClient
from collectors.neon.consumption import read_consumption
from collectors.neon.errors import NeonError
from collectors.neon.inventory import Inventory, refresh
from collectors.neon.operations import read_operations
from exporter.pricing.domain.components import USAGE_METRICS
from tests.fix_twin import Twin, TwinMaker


@asynccontextmanager
async def connected(twin: Twin, key: str = "") -> AsyncIterator[NeonClient]:
    async def no_sleep(seconds: float) -> None:
        return None

    async with NeonClient(twin.url, lambda: key or twin.key, burst=1000, timeout=120, sleep=no_sleep) as client:
        yield client


async def look(twin: Twin, previous: Inventory | None = None, *, key: str = "", **options: Any) -> Inventory:
    async with connected(twin, key) as client:
        return await refresh(client, previous, clock=twin.clock, **options)


async def test_the_small_world(twin_api: Twin) -> None:
    inventory = await look(twin_api)
    assert inventory.org_id == twin_api.world.org_id and inventory.plan
    assert len(inventory.projects) == 2 and len(inventory.branches) == 6 and len(inventory.endpoints) == 5
    assert abs(inventory.skew) < 1 and not inventory.notes
    parents = {branch.parent_id for branch in inventory.branches.values()} - {""}
    assert parents <= inventory.branches.keys()
    assert {endpoint.current_state for endpoint in inventory.endpoints.values()} == {"idle"}
    second = await look(twin_api, inventory)
    assert second.requests == 3, "the list, and the computes of two projects"
    assert twin_api.api.non_get == 0


async def test_a_personal_key_and_a_wrong_key(twin_api: Twin) -> None:
    personal = await look(twin_api, key=twin_api.api.settings.personal_key)
    assert personal.org_id == twin_api.world.org_id and len(personal.projects) == 2
    with pytest.raises(NeonError) as caught:
        await look(twin_api, key="wrong")
    assert caught.value.status is Status.AUTH


async def test_a_project_key(twin_api: Twin) -> None:
    settings = twin_api.api.settings
    inventory = await look(twin_api, key=settings.project_key)
    assert len(inventory.projects) == 1
    async with connected(twin_api, settings.project_key) as client:
        now = twin_api.clock()
        found = await read_consumption(
            client, inventory.org_id, list(inventory.projects), now - 3600, now, metrics=USAGE_METRICS
        )
    assert found.status in (Status.NO_PRIVILEGE, Status.UNSUPPORTED) and "limited to a project" in found.notes[0]


async def test_consumption_and_operations(make_twin: TwinMaker) -> None:
    twin = make_twin(now=time.time() // 3600 * 3600 - 2 * 3600)
    project = next(iter((await look(twin)).projects))
    twin.clock.forward(2 * 3600)
    async with connected(twin) as client:
        inventory = await refresh(client, None, clock=twin.clock)
        now = twin.clock()
        found = await read_consumption(
            client, inventory.org_id, list(inventory.projects), now - 7200, now, metrics=USAGE_METRICS
        )
        operations = await read_operations(client, project, 0)
    assert found.status is Status.OK and found.branches and not found.notes
    storage = {row.branch_id: row.value for row in found.rows if row.metric == "root_branch_bytes_month"}
    assert storage and all(value > 0 for value in storage.values())
    assert all(operation.project_id == project for operation in operations)


@pytest.mark.parametrize(
    "fault",
    [
        {"kind": "status", "status": 429, "retry_after": "1", "count": 2},
        {"kind": "status", "status": 503, "count": 4},
        {"kind": "drop", "count": 3},
        {"kind": "cut", "count": 1},
        {"kind": "garbage", "count": 1},
        {"kind": "truncated", "count": 1},
    ],
    ids=lambda fault: fault["kind"] + str(fault.get("status", "")),
)
async def test_a_bad_moment_is_not_seen(twin_api: Twin, fault: dict[str, Any]) -> None:
    twin_api.api.faults.put(fault)
    inventory = await look(twin_api)
    assert len(inventory.branches) == 6 and not inventory.unknown_project_ids


@pytest.mark.parametrize(
    ("fault", "status"),
    [
        ({"kind": "status", "status": 503}, Status.UNREACHABLE),
        ({"kind": "status", "status": 429}, Status.RATE_LIMITED),
        ({"kind": "drop"}, Status.UNREACHABLE),
        ({"kind": "garbage"}, Status.UNREACHABLE),
        ({"kind": "truncated"}, Status.UNREACHABLE),
        ({"kind": "latency", "seconds": 30}, Status.TIMEOUT),
    ],
    ids=lambda value: value["kind"] + str(value.get("status", "")) if isinstance(value, dict) else "",
)
async def test_a_bad_day_is_one_clear_error(twin_api: Twin, fault: dict[str, Any], status: Status) -> None:
    twin_api.api.faults.put(fault)
    limit = 0.3 if status is Status.TIMEOUT else 60.0

    async def no_sleep(seconds: float) -> None:
        return None

    async with NeonClient(twin_api.url, lambda: twin_api.key, timeout=limit, sleep=no_sleep) as client:
        with pytest.raises(NeonError) as caught:
            await refresh(client, None)
    assert caught.value.status is status and "GET /" in str(caught.value) and twin_api.key not in str(caught.value)


async def test_partial_lists_delete_nothing(twin_api: Twin) -> None:
    first = await look(twin_api)
    gone = min(first.projects)
    twin_api.api.faults.put({"kind": "unavailable", "route": "/projects", "project_ids": [gone]})
    second = await look(twin_api, first)
    assert second.unknown_project_ids == {gone} and second.branches == first.branches


async def test_a_repeated_cursor_ends(twin_api: Twin) -> None:
    first = await look(twin_api)
    twin_api.api.faults.put({"kind": "repeat_cursor", "route": "/projects"})
    second = await look(twin_api, first)
    assert second.projects.keys() == first.projects.keys()
