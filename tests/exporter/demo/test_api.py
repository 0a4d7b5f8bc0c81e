"""The control plane's manners: keys, paging, limits, clock, consumption windows, and nothing but GET."""

from __future__ import annotations

from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any

import httpx
import pytest

from exporter.demo.api import ListenError, TwinApiSettings, serve
from exporter.demo.lastactive import Follow
from exporter.demo.world import TwinEndpoint
from tests.fix_twin import Twin, TwinMaker

METRICS = "compute_unit_seconds,root_branch_bytes_month,extra_branches_month"


def get(twin: Twin, path: str, secret: str | None = None, **params: Any) -> httpx.Response:
    headers = {"Authorization": f"Bearer {secret or twin.key}"}
    with httpx.Client(verify=False) as client:
        return client.get(twin.url + path, params=params, headers=headers)


def stamp(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def consumption(twin: Twin, back: float = 3600, ahead: float = 3600, kind: str = "projects", **more: Any) -> Any:
    params = {
        "org_id": twin.world.org_id,
        "from": stamp(twin.clock() - back),
        "to": stamp(twin.clock() + ahead),
        "granularity": "hourly",
        "metrics": METRICS,
        **more,
    }
    return get(twin, f"/consumption_history/v2/{kind}", **params)


def buckets(answer: httpx.Response) -> list[tuple[str, str, str, int]]:
    """(project, start, metric, value)."""
    return [
        (row["project_id"], bucket["timeframe_start"], metric["metric_name"], metric["value"])
        for row in answer.json()["projects"]
        for period in row["periods"]
        for bucket in period["consumption"]
        for metric in bucket["metrics"]
    ]


def endpoint(twin: Twin) -> TwinEndpoint:
    return next(
        twin_endpoint for twin_endpoint in twin.world.endpoints.values() if twin_endpoint.suspend_timeout_seconds == 60
    )


def seen_last_active(twin: Twin) -> float | None:
    one = endpoint(twin)
    text = get(twin, f"/projects/{one.project_id}/endpoints/{one.id}").json()["endpoint"].get("last_active")
    text = None if text == twin.world.era.never else text
    return None if text is None else datetime.fromisoformat(text).timestamp()


@pytest.mark.parametrize("header", [{}, {"Authorization": "Bearer wrong"}, {"Authorization": "Basic twin-org-key"}])
def test_without_a_good_key_nothing_is_told(twin_api: Twin, header: dict[str, str]) -> None:
    answer = httpx.get(f"{twin_api.url}/projects", headers=header)
    assert answer.status_code == 401
    assert set(answer.json()) == {"code", "message", "request_id"}


def test_a_project_key_sees_its_project_alone(twin_api: Twin) -> None:
    secret = twin_api.api.settings.project_key
    listed = get(twin_api, "/projects", secret).json()["projects"]
    assert len(listed) == 1
    mine = listed[0]["id"]
    other = next(project for project in twin_api.world.projects if project != mine)
    assert get(twin_api, f"/projects/{mine}/branches", secret).status_code == 200
    assert get(twin_api, f"/projects/{other}/branches", secret).status_code == 404
    assert get(twin_api, f"/organizations/{twin_api.world.org_id}", secret).status_code == 404
    refused = get(twin_api, "/consumption_history/v2/projects", secret, org_id=twin_api.world.org_id, metrics=METRICS)
    assert refused.status_code == 404
    assert get(twin_api, "/users/me/organizations", secret).status_code == 404, "no person's key"


def test_a_personal_key_must_name_the_organisation(twin_api: Twin) -> None:
    secret = twin_api.api.settings.personal_key
    assert get(twin_api, "/projects", secret).status_code == 400
    assert get(twin_api, "/projects", secret, org_id=twin_api.world.org_id).status_code == 200
    assert get(twin_api, "/users/me", secret).status_code == 200
    assert get(twin_api, "/users/me").status_code == 404


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS"])
def test_anything_but_get_is_refused_and_counted(twin_api: Twin, method: str) -> None:
    get(twin_api, "/projects")
    assert twin_api.api.non_get == 0
    answer = httpx.request(method, f"{twin_api.url}/projects", headers={"Authorization": f"Bearer {twin_api.key}"})
    assert answer.status_code == 405
    assert twin_api.api.non_get == 1


@pytest.mark.parametrize(
    "path",
    ["/nope", "/projects/none", "/projects/P/branches/none", "/projects/P/endpoints/none", "/projects/P/nope"],
)
def test_unknown_things_are_404(twin_api: Twin, path: str) -> None:
    answer = get(twin_api, path.replace("/P/", f"/{next(iter(twin_api.world.projects))}/"))
    assert answer.status_code == 404
    assert answer.json()["message"]


@pytest.mark.parametrize(
    "params",
    [{"limit": "0"}, {"limit": "401"}, {"limit": "ten"}, {"cursor": "%%"}, {"cursor": "eyJ9"}, {"timeout": "1"}],
)
def test_bad_parameters_are_400(twin_api: Twin, params: dict[str, str]) -> None:
    assert get(twin_api, "/projects", **params).status_code == 400


def walk(twin: Twin, path: str, key: str, mark: str, **params: Any) -> tuple[list[str], list[str]]:
    """Every id, and every cursor, until a cursor is absent or repeated."""
    found: list[str] = []
    cursors: list[str] = []
    while True:
        answer = get(twin, path, **params, **({"cursor": cursors[-1]} if cursors else {})).json()
        found += [entry["id"] for entry in answer[key]]
        cursor = answer.get("pagination", {}).get(mark)
        if not cursor or cursor in cursors:
            return found, cursors
        cursors.append(cursor)


def test_paging_gives_each_thing_once(twin_api: Twin) -> None:
    world = twin_api.world
    projects, cursors = walk(twin_api, "/projects", "projects", "cursor", limit=1)
    assert sorted(projects) == sorted(world.projects)
    assert len(cursors) == 2
    for sort_by in ("name", "created_at", "updated_at"):
        for sort_order in ("asc", "desc"):
            for project in world.projects:
                path = f"/projects/{project}/branches"
                found, _ = walk(twin_api, path, "branches", "next", limit=2, sort_by=sort_by, sort_order=sort_order)
                assert sorted(found) == sorted(
                    branch.id for branch in world.branches.values() if branch.project_id == project
                )


def test_branches_are_sorted_as_asked(twin_api: Twin) -> None:
    project = next(iter(twin_api.world.projects))
    for order, backwards in (("asc", False), ("desc", True)):
        answer = get(twin_api, f"/projects/{project}/branches", sort_by="name", sort_order=order).json()
        names = [entry["name"] for entry in answer["branches"]]
        assert names == sorted(names, reverse=backwards)
        assert len(names) == 3
        assert answer["pagination"] == {"sort_by": "name", "sort_order": order}


def test_search_finds_by_name_and_id(twin_api: Twin) -> None:
    assert [entry["name"] for entry in get(twin_api, "/projects", search="SHOP").json()["projects"]] == ["bookshop"]
    assert get(twin_api, "/projects", search="zzz").json()["projects"] == []
    project = next(
        twin_project.id for twin_project in twin_api.world.projects.values() if twin_project.name == "bookshop"
    )
    assert get(twin_api, f"/projects/{project}/branches/count", search="st").json() == {"count": 1}


def test_operations_come_newest_first_in_pages(twin_api: Twin) -> None:
    one = endpoint(twin_api)
    for number in range(25):
        twin_api.world.record(one, "start_compute", twin_api.clock.forward(10 if number % 3 else 0), 0.5)
    found, _ = walk(twin_api, f"/projects/{one.project_id}/operations", "operations", "cursor", limit=7)
    assert len(found) == len(set(found)) == 25
    times = [
        entry["created_at"] for entry in get(twin_api, f"/projects/{one.project_id}/operations").json()["operations"]
    ]
    assert times == sorted(times, reverse=True)


def test_the_date_header_is_the_twins_clock(make_twin: TwinMaker) -> None:
    twin = make_twin(TwinApiSettings(skew_seconds=300), now=1_795_000_000.0)
    answer = get(twin, "/projects")
    assert parsedate_to_datetime(answer.headers["Date"]).timestamp() == 1_795_000_300
    assert answer.json()["projects"][0]["created_at"] == stamp(1_795_000_300)
    twin.api.settings.skew_seconds, twin.api.settings.date_skew_seconds = 0, -300
    answer = get(twin, "/projects")
    assert parsedate_to_datetime(answer.headers["Date"]).timestamp() == 1_794_999_700
    assert answer.json()["projects"][0]["created_at"] == stamp(1_795_000_000)


def test_limits_per_minute_answer_429(make_twin: TwinMaker) -> None:
    twin = make_twin(TwinApiSettings(requests_per_minute=5, consumption_per_minute=2))
    assert [consumption(twin).status_code for _ in range(3)] == [200, 200, 429]
    assert [get(twin, "/projects").status_code for _ in range(4)] == [200, 200, 200, 429]


def test_after_the_stop_nobody_answers_not_even_on_an_open_connection(make_twin: TwinMaker) -> None:
    twin = make_twin()
    with httpx.Client(headers={"Authorization": f"Bearer {twin.key}"}) as client:
        assert client.get(f"{twin.url}/projects").status_code == 200
        twin.api.stop()
        with pytest.raises(httpx.TransportError):
            client.get(f"{twin.url}/projects")


def test_a_stopped_port_can_be_taken_again(make_twin: TwinMaker) -> None:
    twin = make_twin()
    get(twin, "/projects")
    twin.api.stop()
    with serve(twin.world, twin.meter, TwinApiSettings(), twin.api.origin.removeprefix("http://")) as again:
        assert again.url == twin.url
        assert get(twin, "/projects").status_code == 200


@pytest.mark.parametrize("listen", ["0.0.0.0:0", ":0", "127.0.0.1", "127.0.0.1:http", "127.0.0.1:70000"])
def test_only_loopback_is_listened_on(twin_api: Twin, listen: str) -> None:
    with pytest.raises(ListenError):
        serve(twin_api.world, twin_api.meter, TwinApiSettings(), listen)


# last_active as the API sees it


def wake(twin: Twin, at: float) -> TwinEndpoint:
    one = endpoint(twin)
    one.current_state, one.started_at, one.last_active = "active", at, at
    return one


def test_exact_follows_at_once_and_moves_the_project(make_twin: TwinMaker) -> None:
    twin = make_twin()
    assert seen_last_active(twin) is None
    one = wake(twin, twin.clock())
    one.last_active = twin.clock.forward(30)
    assert seen_last_active(twin) == one.last_active
    row = get(twin, f"/projects/{one.project_id}").json()["project"]
    assert row["compute_last_active_at"] == stamp(one.last_active)


def test_lagging_tells_what_was_true_then(make_twin: TwinMaker) -> None:
    twin = make_twin(TwinApiSettings(follow=Follow.LAGGING, lag_seconds=60))
    began = twin.clock()
    one = wake(twin, began)
    twin.api.last_active.observe()
    one.last_active = twin.clock.forward(40)
    assert seen_last_active(twin) == began
    twin.clock.forward(59)
    assert seen_last_active(twin) == began
    twin.clock.forward(1)
    assert seen_last_active(twin) == began + 40


def test_frozen_moves_at_the_suspend(make_twin: TwinMaker) -> None:
    twin = make_twin(TwinApiSettings(follow=Follow.FROZEN))
    one = wake(twin, twin.clock())
    assert seen_last_active(twin) is None
    first = one.last_active = twin.clock.forward(100)
    one.suspended_at, one.current_state = twin.clock.forward(60), "idle"
    assert seen_last_active(twin) == first
    wake(twin, twin.clock.forward(1000))
    one.last_active = twin.clock.forward(50)
    assert seen_last_active(twin) == first


def test_lying_advances_by_itself_while_the_compute_runs(make_twin: TwinMaker) -> None:
    twin = make_twin(TwinApiSettings(follow=Follow.LYING))
    one = wake(twin, twin.clock())
    twin.clock.forward(500)
    assert seen_last_active(twin) == twin.clock()
    one.current_state = "idle"
    assert seen_last_active(twin) == one.last_active


# Consumption


def test_zero_metrics_and_empty_buckets_are_left_out(twin_api: Twin) -> None:
    one = endpoint(twin_api)
    twin_api.meter.awake(one.branch_id, twin_api.clock(), twin_api.clock() + 400, 0.25)
    for branch in twin_api.world.branches:
        twin_api.meter.size(branch, twin_api.clock(), 0)
    twin_api.clock.forward(5 * 3600)
    said = buckets(consumption(twin_api, back=6 * 3600, metrics="compute_unit_seconds"))
    assert said == [(one.project_id, stamp(twin_api.clock() - 5 * 3600), "compute_unit_seconds", 100)]
    rows = consumption(twin_api, metrics="private_network_transfer_bytes").json()["projects"]
    assert [row["periods"] for row in rows] == [[], []]


def test_branches_sum_to_their_project(twin_api: Twin) -> None:
    for number, branch in enumerate(twin_api.world.branches):
        twin_api.meter.awake(branch, twin_api.clock(), twin_api.clock() + 1000 + number, 0.25)
    twin_api.clock.forward(1800)
    for project in twin_api.world.projects:
        whole = consumption(twin_api, project_ids=project, metrics="compute_unit_seconds").json()["projects"]
        parts = consumption(twin_api, kind="branches", project_ids=project, metrics="compute_unit_seconds")
        amount = [
            metric["value"]
            for row in parts.json()["branches"]
            for period in row["periods"]
            for bucket in period["consumption"]
            for metric in bucket["metrics"]
        ]
        assert len(amount) == 3
        assert whole[0]["periods"][0]["consumption"][0]["metrics"][0]["value"] == sum(amount)


@pytest.mark.parametrize(
    ("granularity", "days", "status"),
    [
        ("hourly", 6.9, 200),
        ("hourly", 7.1, 406),
        ("daily", 59, 200),
        ("daily", 62, 406),
        ("monthly", 360, 200),
        ("monthly", 400, 406),
    ],
)
def test_each_granularity_has_its_window(twin_api: Twin, granularity: str, days: float, status: int) -> None:
    answer = consumption(twin_api, back=days * 86400, granularity=granularity)
    assert answer.status_code == status
    assert status == 200 or answer.json()["message"]


@pytest.mark.parametrize(
    ("more", "status"),
    [
        ({"granularity": "weekly"}, 400),
        ({"metrics": ""}, 400),
        ({"metrics": "nonsense"}, 400),
        ({"org_id": ""}, 400),
        ({"org_id": "org-other"}, 404),
        ({"limit": 101}, 400),
        ({"from": "yesterday"}, 400),
        ({"from": "2026-11-01T00:00:00"}, 400),
        ({"kind": "branches"}, 400),
        ({"kind": "branches", "project_ids": "x", "metrics": "extra_branches_month"}, 400),
        ({"kind": "branches", "project_ids": ",".join(f"p{n}" for n in range(101)), "metrics": METRICS}, 400),
        ({"ahead": -86400}, 400),
        ({"back": 0, "ahead": 60}, 400),
    ],
)
def test_wrong_questions_are_refused(twin_api: Twin, more: dict[str, Any], status: int) -> None:
    assert consumption(twin_api, **more).status_code == status


def test_a_free_plan_has_no_history(twin_api: Twin) -> None:
    twin_api.world.plan = "free_v3"
    assert consumption(twin_api).status_code == 403


def test_a_change_of_plan_splits_the_periods(twin_api: Twin) -> None:
    noon = (twin_api.clock() // 86400) * 86400 + 12 * 3600
    twin_api.clock.now = max(twin_api.clock(), noon) + 86400
    changed = twin_api.clock() // 3600 * 3600
    twin_api.meter.plan(changed, "scale_v3")
    twin_api.clock.forward(2 * 3600)
    answer = consumption(
        twin_api, back=3 * 86400, ahead=86400, granularity="daily", metrics="root_branch_bytes_month"
    ).json()
    for row in answer["projects"]:
        first, second = row["periods"]
        assert (first["period_plan"], second["period_plan"]) == ("launch", "scale")
        assert first["period_end"] == second["period_start"] == stamp(changed)
        assert "period_end" not in second
        hourly = consumption(
            twin_api, back=3 * 86400, ahead=3600, metrics="root_branch_bytes_month", project_ids=row["project_id"]
        )
        total = sum(value for _, _, _, value in buckets(hourly))
        daily = [entry["metrics"][0]["value"] for part in (first, second) for entry in part["consumption"]]
        assert abs(sum(daily) - total) <= (24 * 3 + len(daily)) / 2, "each figure is rounded for itself"
