"""Consumption: both levels, chunks, plan changes, what is left out, and what a plan or a key does not allow."""

from __future__ import annotations

from typing import Any

import httpx
import pytest

from collectors.base import Status
from collectors.neon.consumption import Consumption, UsageRow, read_consumption
from collectors.neon.errors import NeonError
from exporter.pricing.domain.components import USAGE_METRICS
from tests.collectors.neon.control_plane import NOW, ControlPlane, refuse, stamp

HOUR = 3600
START = NOW - NOW % HOUR
CU, ROOT = "compute_unit_seconds", "root_branch_bytes_month"
BASE = "/consumption_history/v2"


def frame(start: int, **values: Any) -> dict[str, Any]:
    metrics = [{"metric_name": name, "value": value} for name, value in values.items()]
    return {"timeframe_start": stamp(start), "timeframe_end": stamp(start + HOUR), "metrics": metrics}


def period(plan: str, *frames: dict[str, Any], period_id: str = "p1") -> dict[str, Any]:
    return {"period_id": period_id, "period_plan": plan, "period_start": stamp(START - 86400), "consumption": frames}


class Meter:
    """Answers both levels from what it is given, and remembers the questions."""

    def __init__(self, plane: ControlPlane) -> None:
        self.projects: dict[str, list[dict[str, Any]]] = {}
        self.branches: dict[tuple[str, str], list[dict[str, Any]]] = {}
        self.asked: list[tuple[str, dict[str, str]]] = []
        plane.faults.append(self.answer)

    def answer(self, request: httpx.Request) -> httpx.Response | None:
        path = request.url.path.removeprefix(f"/api/v2{BASE}")
        if path not in ("/projects", "/branches"):
            return None
        asked = dict(request.url.params)
        self.asked.append((path[1:], asked))
        wanted = asked.get("project_ids", "").split(",") if asked.get("project_ids") else list(self.projects)
        if path == "/projects":
            found = [{"project_id": key, "periods": self.projects[key]} for key in wanted if key in self.projects]
            return httpx.Response(200, json={"projects": found})
        rows = [
            {"project_id": project, "branch_id": branch, "periods": periods}
            for (project, branch), periods in self.branches.items()
            if project in wanted
        ]
        return httpx.Response(200, json={"branches": rows})


@pytest.fixture
def plane() -> ControlPlane:
    return ControlPlane()


@pytest.fixture
def meter(plane: ControlPlane) -> Meter:
    return Meter(plane)


async def read(plane: ControlPlane, ids: list[str], org_id: str = "org-one") -> Consumption:
    async with plane.client() as client:
        return await read_consumption(client, org_id, ids, START - 2 * HOUR, START, "hourly", metrics=USAGE_METRICS)


async def test_both_levels(plane: ControlPlane, meter: Meter) -> None:
    meter.projects = {"a": [period("scale_v3", frame(START, **{CU: 100, ROOT: 5, "extra_branches_month": 2}))]}
    meter.branches = {("a", "br-1"): [period("scale_v3", frame(START, **{CU: 60, "new_metric": 1}))]}
    found = await read(plane, ["a"])
    assert (found.status, found.notes, found.branches, found.requests) == (Status.OK, (), True, 2)
    assert set(found.rows) == {
        UsageRow("a", "", "scale_v3", START, "hourly", CU, 100),
        UsageRow("a", "", "scale_v3", START, "hourly", ROOT, 5),
        UsageRow("a", "", "scale_v3", START, "hourly", "extra_branches_month", 2),
        UsageRow("a", "br-1", "scale_v3", START, "hourly", CU, 60),
    }
    # Branches first: what grows between the two is then the project's, never more than Neon stated for it.
    (branch_level, branch_asked), (level, asked) = meter.asked
    assert (branch_level, level) == ("branches", "projects")
    assert asked == {
        "org_id": "org-one", "from": stamp(START - 2 * HOUR), "to": stamp(START), "granularity": "hourly",
        "metrics": ",".join(USAGE_METRICS["projects"]), "limit": "100", "project_ids": "a",
    }  # fmt: skip
    assert branch_asked["metrics"] == ",".join(USAGE_METRICS["branches"]) and branch_asked["limit"] == "1000"


async def test_ids_go_in_hundreds(plane: ControlPlane, meter: Meter) -> None:
    ids = [f"p{number}" for number in range(250)]
    meter.projects = {name: [period("scale_v3", frame(START, **{CU: 1}))] for name in ids}
    found = await read(plane, ids)
    assert sorted({row.project_id for row in found.rows}) == sorted(ids)
    chunks = [asked["project_ids"].split(",") for level, asked in meter.asked if level == "projects"]
    assert [len(chunk) for chunk in chunks] == [100, 100, 50]
    assert len(meter.asked) == 6


async def test_no_ids_is_the_whole_organisation_without_branches(plane: ControlPlane, meter: Meter) -> None:
    meter.projects = {"a": [period("scale_v3", frame(START, **{CU: 1}))]}
    found = await read(plane, [])
    assert len(found.rows) == 1 and not found.branches
    assert [level for level, _ in meter.asked] == ["projects"] and "project_ids" not in meter.asked[0][1]


async def test_a_change_of_plan_splits_and_a_change_of_period_does_not(plane: ControlPlane, meter: Meter) -> None:
    meter.projects = {
        "a": [
            period("launch_v3", frame(START, **{CU: 10}), period_id="p1"),
            period("scale_v3", frame(START, **{CU: 20}), period_id="p2"),
            period("scale_v3", frame(START, **{CU: 5}), period_id="p3"),
        ]
    }
    found = await read(plane, ["a"])
    assert {row.plan: row.value for row in found.rows} == {"launch_v3": 10, "scale_v3": 25}
    assert [(billing_period.period_id, billing_period.plan) for billing_period in found.periods] == [
        ("p1", "launch_v3"),
        ("p2", "scale_v3"),
        ("p3", "scale_v3"),
    ]
    assert found.periods[0].start == START - 86400 and found.periods[0].end is None


async def test_an_item_sent_twice_counts_once(plane: ControlPlane, meter: Meter) -> None:
    body = {"project_id": "a", "periods": [period("scale_v3", frame(START, **{CU: 7}))]}
    plane.faults = [
        lambda request: (
            httpx.Response(200, json={"projects": [body] * 100, "pagination": {"cursor": "same"}})
            if request.url.path.endswith("/v2/projects")
            else httpx.Response(200, json={"branches": []})
        )
    ]
    found = await read(plane, ["a"])
    assert [row.value for row in found.rows] == [7]
    assert found.status is Status.TRUNCATED and "repeats itself" in found.notes[0]


async def test_zero_is_left_out_and_stays_out(plane: ControlPlane, meter: Meter) -> None:
    meter.projects = {"a": [period("scale_v3", frame(START), frame(START - HOUR, **{CU: 1}))], "b": []}
    assert [(row.start, row.value) for row in (await read(plane, ["a", "b"])).rows] == [(START - HOUR, 1)]


async def test_a_bad_part_costs_only_itself(plane: ControlPlane, meter: Meter) -> None:
    broken = frame(START, **{CU: 1, ROOT: "many"})
    broken["metrics"].append(5)
    meter.projects = {"a": [period("scale_v3", broken, {"timeframe_start": 3}), {"consumption": 7}]}
    found = await read(plane, ["a"])
    assert [(row.metric, row.value) for row in found.rows] == [(CU, 1)]
    assert found.status is Status.TRUNCATED and "4 items" in found.notes[0]


@pytest.mark.parametrize(
    ("code", "status", "text"),
    [
        (403, Status.UNSUPPORTED, "Free has none"),
        (404, Status.NO_PRIVILEGE, "org_id"),
        (406, Status.UNSUPPORTED, "168 h"),
    ],
)
async def test_what_is_not_allowed_is_told(plane: ControlPlane, code: int, status: Status, text: str) -> None:
    plane.faults = [refuse(BASE, code)]
    found = await read(plane, ["a"])
    assert (found.rows, found.status) == ((), status) and text in found.notes[0]
    assert len(plane.requests) == 2 and len(found.notes) == 1


async def test_branches_alone_may_be_refused(plane: ControlPlane, meter: Meter) -> None:
    plane.faults.insert(0, refuse(f"{BASE}/branches", 403))
    meter.projects = {"a": [period("scale_v3", frame(START, **{CU: 1}))]}
    found = await read(plane, ["a"])
    assert found.status is Status.OK and len(found.rows) == 1 and not found.branches
    assert "no consumption of branches" in found.notes[0]


async def test_without_an_organisation_nothing_is_asked(plane: ControlPlane, meter: Meter) -> None:
    found = await read(plane, ["a"], org_id="")
    assert found.status is Status.NO_PRIVILEGE and "neon.org_id" in found.notes[0] and not plane.requests


async def test_an_api_that_is_down_is_an_error(plane: ControlPlane) -> None:
    plane.faults = [refuse(BASE, 503)]
    with pytest.raises(NeonError) as caught:
        await read(plane, ["a"])
    assert caught.value.status is Status.UNREACHABLE
