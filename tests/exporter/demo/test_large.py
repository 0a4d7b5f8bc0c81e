"""Large worlds: the same each time, consistent with themselves at any moment, and bounded."""

from __future__ import annotations

from collections import Counter

import httpx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from exporter.demo.api import serve_named
from exporter.demo.large import ORIGIN, LargeUsage, LargeWorld, LargeWorldError
from exporter.demo.view import BRANCH_METRICS
from tests.fix_twin import MovableClock

NOW = 1_795_000_123.0
METRICS = "compute_unit_seconds,child_branch_bytes_month,extra_branches_month"


def large(projects: int = 8, branches: int = 30, now: float = NOW, seed: int = 1) -> tuple[LargeWorld, MovableClock]:
    clock = MovableClock(now)
    return LargeWorld(projects, branches, clock, seed), clock


@pytest.mark.parametrize("name", ["large:", "large:0x5", "large:5", "large:-1x3", "large:3x3x3", "large:9999999x1"])
def test_a_malformed_size_is_refused(name: str) -> None:
    with pytest.raises(LargeWorldError, match="large:PROJECTSxBRANCHES"):
        LargeWorld.parse(name, MovableClock())


def test_the_same_arguments_give_the_same_world() -> None:
    one, other, third = large()[0], large()[0], large(seed=2)[0]
    project = one.project_ids()[3]
    assert one.endpoints(project) == other.endpoints(project)
    assert one.branches(project) == other.branches(project)
    assert one.endpoints(project) != third.endpoints(project)


@settings(max_examples=40, deadline=None)
@given(now=st.floats(ORIGIN + 86400, ORIGIN + 900 * 86400), first=st.integers(-30, 0), length=st.integers(1, 30))
def test_branches_sum_to_projects_and_hours_to_any_span(now: float, first: int, length: int) -> None:
    world, _ = large(2, 13, now)
    usage = LargeUsage(world)
    hour = int(now) // 3600 + first
    hours = [(hour + count, hour + count + 1) for count in range(length)]
    for project in world.project_ids():
        parts = [usage.branch(project, twin_branch.id, hours) for twin_branch in world.branches(project)]
        whole = usage.project(project, hours)
        span = usage.project(project, [(hour, hour + length)])[0]
        for metric in BRANCH_METRICS:
            assert [row.get(metric, 0) for row in whole] == [
                sum(branch[number].get(metric, 0) for branch in parts) for number in range(length)
            ]
        for metric in (*BRANCH_METRICS, "extra_branches_month", "snapshot_storage_bytes_month"):
            assert span.get(metric, 0) == sum(row.get(metric, 0) for row in whole)
            assert all(row.get(metric, 0) >= 0 for row in whole)


def test_a_full_hour_of_children_is_one_branch_hour_each() -> None:
    world, _ = large(1, 30)
    hour = int(NOW) // 3600 - 5
    assert LargeUsage(world).project("large-000000", [(hour, hour + 1)])[0]["extra_branches_month"] == 29


def test_storage_is_the_size_of_the_hour() -> None:
    world, clock = large()
    hour = int(clock()) // 3600
    sizes = {twin_branch.id: twin_branch.logical_size for twin_branch in world.branches("large-000005")}
    clock.forward(3600)
    for branch, size in sizes.items():
        used = LargeUsage(world).branch("large-000005", branch, [(hour, hour + 1)])[0]
        assert used.get("root_branch_bytes_month", 0) + used.get("child_branch_bytes_month", 0) == size


def test_consumption_agrees_with_the_operations() -> None:
    """Awake seconds between the last start and suspend of a compute, times its CU, are what its bucket says."""
    world, _ = large()
    usage = LargeUsage(world)
    checked = 0
    for project in world.project_ids():
        cu = {twin_endpoint.id: twin_endpoint.min_cu for twin_endpoint in world.endpoints(project)}
        operations = world.operations(project)
        for branch in world.branches(project):
            mine = [operation for operation in operations if operation.branch_id == branch.id]
            starts = sorted(operation.created_at for operation in mine if operation.action == "start_compute")
            ends = sorted(operation.created_at for operation in mine if operation.action == "suspend_compute")
            hour = int(NOW) // 3600 - 26
            from_, until = hour * 3600, (hour + 24) * 3600
            if len(starts) < 3 or starts[0] > from_:
                continue
            ends = [value for value in ends if value > starts[0]] + [NOW]
            awake = sum(max(0, min(end, until) - max(start, from_)) for start, end in zip(starts, ends, strict=False))
            endpoint = mine[0].endpoint_id
            said = usage.branch(project, branch.id, [(hour, hour + 24)])[0].get("compute_unit_seconds", 0)
            assert said == awake * cu[endpoint]
            checked += 1
    assert checked > 20


def test_computes_are_in_every_state() -> None:
    states: Counter[str] = Counter()
    world, clock = large(20, 50)
    for _ in range(40):
        for project in world.project_ids()[:5]:
            for endpoint in world.endpoints(project):
                states[(endpoint.pending_state and f"->{endpoint.pending_state}") or endpoint.current_state] += 1
                states["disabled"] += endpoint.disabled
                states["never used"] += endpoint.last_active is None
                states["never suspends"] += endpoint.suspend_timeout_seconds == -1
                assert endpoint.last_active is None or endpoint.last_active <= clock()
        clock.forward(61)
    assert {"active", "idle", "init", "->active", "disabled", "never used", "never suspends"} <= set(states)


def test_branches_form_one_tree() -> None:
    world, _ = large()
    branches = {branch.id: branch for branch in world.branches("large-000002")}
    assert [branch.id for branch in branches.values() if not branch.parent_id] == ["br-000002-00000"]
    assert all(branch.parent_id in branches for branch in branches.values() if branch.parent_id)


def test_strangers_are_unknown() -> None:
    world, _ = large()
    for name in ("large-000008", "large-8", "small", "large-00000x"):
        assert world.project(name) is None
        assert world.branches(name) == world.endpoints(name) == world.operations(name) == []
        assert LargeUsage(world).project(name, [(1, 2)]) == [{}]


def test_a_thousand_projects_are_paged_whole() -> None:
    with serve_named("large:1000x50", clock=MovableClock(NOW)) as api, httpx.Client(timeout=60) as client:
        client.headers["Authorization"] = f"Bearer {api.settings.org_key}"
        found: list[str] = []
        cursor = ""
        while True:
            params = {"limit": "400", **({"cursor": cursor} if cursor else {})}
            body = client.get(f"{api.url}/projects", params=params).json()
            found += [entry["id"] for entry in body["projects"]]
            if body["pagination"]["cursor"] == cursor:
                break
            cursor = body["pagination"]["cursor"]
        assert len(found) == len(set(found)) == 1000
        question = {
            "org_id": api.view.org_id,
            "from": "2026-11-18T08:00:00Z",
            "to": "2026-11-18T11:00:00Z",
            "granularity": "hourly",
            "metrics": METRICS,
            "limit": "100",
        }
        rows = client.get(f"{api.url}/consumption_history/v2/projects", params=question).json()["projects"]
        assert len(rows) == 100
        assert all(len(row["periods"][0]["consumption"]) == 3 for row in rows)
