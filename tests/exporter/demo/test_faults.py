"""Faults on demand: each one as a real client meets it, put by a method or over the control surface."""

from __future__ import annotations

import time
from typing import Any

import httpx
import pytest

from exporter.demo.api import TwinApiSettings
from exporter.demo.faults import Fault, FaultError, Faults
from tests.fix_twin import Twin, TwinMaker


def get(twin: Twin, path: str = "/projects", **params: Any) -> httpx.Response:
    with httpx.Client(verify=False, timeout=60) as client:
        return client.get(twin.url + path, params=params, headers={"Authorization": f"Bearer {twin.key}"})


def test_a_status_happens_as_often_as_asked(twin_api: Twin) -> None:
    twin_api.api.faults.put(Fault("status", route="/projects", status=429, retry_after="7", count=2))
    answers = [get(twin_api) for _ in range(3)]
    assert [answer.status_code for answer in answers] == [429, 429, 200]
    assert answers[0].headers["Retry-After"] == "7"
    assert set(answers[0].json()) == {"code", "message", "request_id"}


def test_without_retry_after_there_is_no_header(twin_api: Twin) -> None:
    twin_api.api.faults.put({"kind": "status", "status": 503})
    assert get(twin_api).status_code == 503
    assert "Retry-After" not in get(twin_api).headers


def test_a_fault_keeps_to_its_route(twin_api: Twin) -> None:
    project = next(iter(twin_api.world.projects))
    twin_api.api.faults.put(Fault("status", route="/projects/{project_id}/branches", status=500))
    assert get(twin_api).status_code == 200
    assert get(twin_api, f"/projects/{project}/branches").status_code == 500
    twin_api.api.faults.clear()
    twin_api.api.faults.put(Fault("status", route=f"/projects/{project}*", status=500))
    assert get(twin_api).status_code == 200
    assert get(twin_api, f"/projects/{project}/endpoints").status_code == 500


def test_garbage_and_truncated_are_whole_answers_that_are_no_json(twin_api: Twin) -> None:
    for kind in ("garbage", "truncated"):
        twin_api.api.faults.put({"kind": kind, "count": 1})
        answer = get(twin_api)
        assert answer.status_code == 200
        with pytest.raises(ValueError):
            answer.json()
    assert get(twin_api).json()["projects"]


@pytest.mark.parametrize("kind", ["drop", "cut"])
def test_a_broken_connection_is_broken(twin_api: Twin, kind: str) -> None:
    twin_api.api.faults.put({"kind": kind, "count": 1})
    with pytest.raises(httpx.RemoteProtocolError):
        get(twin_api)
    assert get(twin_api).status_code == 200


def test_a_repeated_cursor_is_repeated(twin_api: Twin) -> None:
    twin_api.api.faults.put({"kind": "repeat_cursor"})
    first = get(twin_api, limit=1).json()["pagination"]["cursor"]
    second = get(twin_api, limit=1, cursor=first).json()
    assert second["projects"]
    assert second["pagination"]["cursor"] == first
    project = next(iter(twin_api.world.projects))
    first = get(twin_api, f"/projects/{project}/branches", limit=1).json()["pagination"]["next"]
    assert get(twin_api, f"/projects/{project}/branches", limit=1, cursor=first).json()["pagination"]["next"] == first


def test_partial_lists_name_what_is_missing(twin_api: Twin) -> None:
    hidden, left = sorted(twin_api.world.projects)
    twin_api.api.faults.put({"kind": "unavailable", "project_ids": [hidden]})
    answer = get(twin_api).json()
    assert answer["unavailable_project_ids"] == [hidden]
    assert [entry["id"] for entry in answer["projects"]] == [left]


def test_a_slow_list_is_partial_at_its_timeout(twin_api: Twin) -> None:
    twin_api.api.faults.put(Fault("latency", seconds=60))
    answer = get(twin_api, timeout=100).json()
    first, second = sorted(twin_api.world.projects)
    assert [entry["id"] for entry in answer["projects"]] == [first]
    assert answer["unavailable_project_ids"] == [second]
    twin_api.api.faults.clear()
    twin_api.api.faults.put(Fault("latency", seconds=0.01))
    assert len(get(twin_api, timeout=30000).json()["projects"]) == 2


def test_latency_delays_and_the_stop_does_not_wait_for_it(make_twin: TwinMaker) -> None:
    twin = make_twin()
    twin.api.faults.put(Fault("latency", seconds=0.3, count=1))
    began = time.monotonic()
    assert get(twin).status_code == 200
    assert time.monotonic() - began >= 0.3
    twin.api.faults.put(Fault("latency", seconds=60))
    with pytest.raises(httpx.ReadTimeout), httpx.Client(verify=False, timeout=httpx.Timeout(60, read=0.2)) as client:
        client.get(f"{twin.url}/projects")
    began = time.monotonic()
    twin.api.stop()
    assert time.monotonic() - began < 30, "half of the latency, and much more than it needs"


def test_chance_follows_the_seed() -> None:
    def draw(seed: int) -> list[bool]:
        faults = Faults(seed)
        faults.put(Fault("status", probability=0.3))
        return [bool(faults.fire("/projects", "/projects")) for _ in range(200)]

    assert draw(1) == draw(1)
    assert draw(1) != draw(2)
    assert 30 < sum(draw(1)) < 90


@pytest.mark.parametrize(
    "wrong",
    [{}, {"kind": "meteor"}, {"kind": "status", "stauts": 500}, {"kind": "status", "status": "many"}],
)
def test_a_misspelt_fault_is_refused(twin_api: Twin, wrong: dict[str, Any]) -> None:
    with pytest.raises(FaultError):
        twin_api.api.faults.put(wrong)
    answer = httpx.post(f"{twin_api.api.origin}/_twin/faults", json=wrong)
    assert answer.status_code == 400
    assert answer.json()["error"]
    assert twin_api.api.faults.listing() == []


def test_the_control_surface_bends_and_shows_all(make_twin: TwinMaker) -> None:
    heard: list[Any] = []
    twin = make_twin(TwinApiSettings(extra={"touch": lambda body: heard.append(dict(body)) or {"touched": True}}))
    here = f"{twin.api.origin}/_twin"
    assert httpx.post(f"{here}/faults", json={"kind": "status", "status": 500, "count": 1}).status_code == 200
    assert get(twin).status_code == 500
    assert httpx.post(f"{here}/last_active", json={"follow": "lagging", "lag_seconds": 30}).status_code == 200
    assert httpx.post(f"{here}/last_active", json={"follow": "sideways"}).status_code == 400
    assert httpx.post(f"{here}/skew", json={"skew_seconds": 9}).status_code == 200
    assert httpx.post(f"{here}/touch", json={"branch": "main"}).json() == {"touched": True}
    assert heard == [{"branch": "main"}]
    state = httpx.get(f"{here}/state").json()
    assert (state["follow"], state["lag_seconds"], state["skew_seconds"]) == ("lagging", 30, 9)
    assert state["faults"][0]["happened"] == 1
    assert state["requests"] == [{"method": "GET", "route": "/projects", "status": 500, "count": 1}]
    assert state["non_get"] == 0  # the control surface is not the API
    assert httpx.delete(f"{here}/faults").json()["faults"] == []
    assert httpx.get(f"{here}/nothing").status_code == 404
    assert httpx.post(f"{here}/faults", content=b"[]").status_code == 400
