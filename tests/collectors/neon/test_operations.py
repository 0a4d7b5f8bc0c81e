"""Wakes and suspends: each counted once, whenever it ends, however often it is listed, across restarts."""

from __future__ import annotations

import json
from typing import Any

import httpx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from collectors.base import Status
from collectors.neon import operations
from collectors.neon.models import Operation
from collectors.neon.operations import (
    FAILED,
    LAST_WAKE,
    METRICS,
    SUSPENDS,
    WAKE_TIME,
    WAKES,
    OperationCounts,
    observe,
    read_operations,
    wake_history,
)
from tests.collectors.neon.control_plane import NOW, ControlPlane, stamp

KEY = ("br", "ep")


def operation(
    number: int, at: float, action: str = "start_compute", status: str = "finished", **more: Any
) -> Operation:
    fields = {"branch_id": "br", "endpoint_id": "ep", "total_duration_ms": 500, **more}
    return Operation.model_validate(
        {"id": f"op-{number}", "project_id": "p", "action": action, "status": status, "created_at": stamp(at), **fields}
    )


def test_history_is_finished_wakes_and_suspends_in_order() -> None:
    events = wake_history([
        operation(3, NOW + 30, "suspend_compute"),
        operation(1, NOW),
        operation(2, NOW + 10, status="running"),
        operation(4, NOW + 40, status="failed"),
        operation(5, NOW + 50, "apply_config"),
        operation(6, NOW + 60, endpoint_id=None),
        operation(7, NOW + 70, "start_reserved_compute"),
    ])  # fmt: skip
    assert [(event.kind, event.at - NOW, event.seconds) for event in events] == [
        ("wake", 0, 0.5),
        ("suspend", 30, 0.5),
        ("wake", 70, 0.5),
    ]


def test_each_is_counted_once_when_it_ends() -> None:
    counts = OperationCounts("p", since=NOW)
    first = [operation(0, NOW - 1), operation(1, NOW + 1), operation(2, NOW + 2, status="running")]
    assert [event.at for event in counts.absorb(first)] == [NOW + 1]
    assert counts.families().get(WAKES) == {KEY: 1}, "what was before `since` is not ours, what runs is not over"
    listed = [operation(2, NOW + 2), operation(3, NOW + 3, "suspend_compute"), operation(4, NOW + 4, status="error")]
    assert [event.kind for event in counts.absorb(listed)] == ["wake", "suspend"]
    assert counts.absorb(listed) == []
    families = counts.families()
    assert families.get(WAKES) == {KEY: 2} and families.get(SUSPENDS) == {KEY: 1}
    assert families.get(WAKE_TIME) == {KEY: 1.0} and families.get(LAST_WAKE) == {KEY: NOW + 2}
    assert families.get(FAILED) == {("start_compute",): 1}


def test_the_window_moves_on_but_not_past_what_still_runs() -> None:
    counts = OperationCounts("p", since=NOW)
    counts.absorb([operation(1, NOW + 10, status="running"), operation(2, NOW + 1000)])
    assert counts.since == NOW + 10 and set(counts.counted) == {"op-2"} and counts.unfinished == 1
    counts.absorb([operation(1, NOW + 10), operation(2, NOW + 1000)])
    assert counts.unfinished == 0
    assert counts.since == NOW + 880, "two minutes are read again, for what shows late"
    assert set(counts.counted) == {"op-2"}, "ids that can no longer be listed are forgotten"
    assert [event.at for event in counts.absorb([operation(2, NOW + 1000), operation(3, NOW + 990)])] == [NOW + 990]


moments = st.lists(st.tuples(st.integers(0, 900), st.integers(0, 400), st.booleans()), max_size=30)


@settings(max_examples=60, deadline=None)
@given(ops=moments, looks=st.lists(st.integers(0, 1300), max_size=8), restart=st.booleans())
def test_any_sequence_of_looks_counts_every_operation_once(
    ops: list[tuple[int, int, bool]], looks: list[int], restart: bool
) -> None:
    counts = OperationCounts("p", since=NOW)
    for look in [*sorted(looks), 2000]:
        listed = [
            operation(n, NOW + at, "start_compute" if wake else "suspend_compute",
                      "finished" if at + lasts <= look else "running")
            for n, (at, lasts, wake) in enumerate(ops) if at <= look and NOW + at >= counts.since
        ]  # fmt: skip
        counts.absorb(listed)
        if restart:
            counts = OperationCounts.from_dict(json.loads(json.dumps(counts.as_dict())))
    families = counts.families()
    assert families.get(WAKES).get(KEY, 0) == sum(wake for _, _, wake in ops)
    assert families.get(SUSPENDS).get(KEY, 0) == sum(not wake for _, _, wake in ops)


@pytest.mark.parametrize(
    "saved", [{}, {"project_id": "p"}, {"project_id": "p", "since": 1, "counts": {}, "counted": {}}]
)
def test_a_broken_save_is_refused(saved: dict[str, object]) -> None:
    with pytest.raises(ValueError, match="saved operation counts"):
        OperationCounts.from_dict(saved)


def test_observation() -> None:
    counts = OperationCounts("p", since=NOW)
    counts.absorb([operation(1, NOW + 1)])
    observation = observe(counts, NOW + 5, "shop")
    assert (observation.status, observation.target.key, observation.at) == (Status.OK, "project:p", NOW + 5)
    assert {metric for metric, _ in observation.families.items()} <= set(METRICS)


async def pages(listed: list[list[Operation]], since: float) -> tuple[list[str], int]:
    plane = ControlPlane()

    def answer(request: httpx.Request) -> httpx.Response:
        number = int(request.url.params.get("cursor", "0"))
        page = listed[number] if number < len(listed) else []
        rows = [
            {
                "id": op.id,
                "project_id": "p",
                "action": op.action,
                "status": op.status,
                "created_at": stamp(op.created_at or 0),
            }
            for op in page
        ]
        return httpx.Response(200, json={"operations": rows, "pagination": {"cursor": str(number + 1)}})

    plane.faults = [answer]
    async with plane.client() as client:
        found = await read_operations(client, "p", since)
    return [op.id for op in found], len(plane.requests)


async def test_paging_stops_where_it_reaches_back_far_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(operations, "PAGE", 2)
    newest_first = [[operation(9, NOW + 9), operation(8, NOW + 8)], [operation(7, NOW + 7), operation(6, NOW + 6)],
                    [operation(5, NOW + 5), operation(4, NOW + 4)], []]  # fmt: skip
    assert await pages(newest_first, NOW + 7) == (["op-7", "op-8", "op-9"], 2)
    assert await pages(newest_first, NOW) == (["op-4", "op-5", "op-6", "op-7", "op-8", "op-9"], 4)


async def test_a_list_in_the_other_order_is_read_to_its_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(operations, "PAGE", 2)
    oldest_first = [[operation(1, NOW + 1), operation(2, NOW + 2)], [operation(3, NOW + 3), operation(4, NOW + 4)], []]
    assert await pages(oldest_first, NOW + 3) == (["op-3", "op-4"], 3)
