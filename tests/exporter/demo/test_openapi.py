"""Every answer of the twin against Neon's own OpenAPI document, as the npm package ships it."""

from __future__ import annotations

import copy
import re
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
import yaml
from openapi_schema_validator import OAS30Validator, oas30_format_checker

from exporter.demo.api import TwinApi, serve, serve_named
from exporter.demo.meter import Meter
from exporter.demo.world import TwinSnapshot, World
from exporter.demo.worldfile import BUILT_IN, build_world, load
from tests.fix_postgres import NPM
from tests.fix_twin import MovableClock

DOCUMENT = NPM / "@neondatabase" / "api-client" / "public-v2-for-users.gen.yaml"
NOW = 1_795_000_000.0  # 2026-11-18
CONSUMPTION = {"from": "2026-11-16T00:00:00Z", "to": "2026-11-18T12:00:00Z", "granularity": "hourly"}
BRANCH_METRICS = (
    "compute_unit_seconds,root_branch_bytes_month,child_branch_bytes_month,instant_restore_bytes_month,"
    "public_network_transfer_bytes,private_network_transfer_bytes"
)
ROUTES = (
    "/auth",
    "/users/me",
    "/users/me/organizations",
    "/api_keys",
    "/organizations/{org_id}",
    "/organizations/{org_id}/members",
    "/organizations/{org_id}/api_keys",
    "/organizations/{org_id}/billing/spending_limit",
    "/organizations/{org_id}/vpc/vpc_endpoints",
    "/projects",
    "/projects/{project_id}",
    "/projects/{project_id}/branches",
    "/projects/{project_id}/branches/count",
    "/projects/{project_id}/branches/{branch_id}",
    "/projects/{project_id}/branches/{branch_id}/endpoints",
    "/projects/{project_id}/branches/{branch_id}/databases",
    "/projects/{project_id}/branches/{branch_id}/roles",
    "/projects/{project_id}/branches/{branch_id}/backup_schedule",
    "/projects/{project_id}/branches/{branch_id}/masking_rules",
    "/projects/{project_id}/branches/{branch_id}/anonymized_status",
    "/projects/{project_id}/branches/{branch_id}/credentials",
    "/projects/{project_id}/endpoints",
    "/projects/{project_id}/endpoints/{endpoint_id}",
    "/projects/{project_id}/operations",
    "/projects/{project_id}/permissions",
    "/projects/{project_id}/jwks",
    "/projects/{project_id}/vpc_endpoints",
    "/projects/{project_id}/snapshots",
    "/consumption_history/v2/projects",
    "/consumption_history/v2/branches",
    "/regions",
)
CLIENTS: dict[str, httpx.Client] = {}
ONLY_MASKED = "/projects/{project_id}/branches/{branch_id}/anonymized_status"
"""A branch that is not anonymised answers it with 404."""
PERSONAL = ("/users/me", "/users/me/organizations", "/api_keys")


@pytest.fixture(scope="module")
def document() -> dict[str, Any]:
    if not DOCUMENT.is_file():
        pytest.skip("Neon's OpenAPI document is not installed (npm ci in tests/npm)")
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    return yaml.load(DOCUMENT.read_text("utf-8"), loader)


def lively_world(name: str, clock: MovableClock) -> tuple[World, Meter]:
    """A built-in world after two lively days, with one of everything that an answer can hold."""
    clock.now -= 2 * 86400
    world = build_world(load(name), clock)
    meter = Meter(world)
    root = next(twin_branch for twin_branch in world.branches.values() if not twin_branch.parent_id)
    endpoint = next(twin_endpoint for twin_endpoint in world.endpoints.values() if twin_endpoint.branch_id == root.id)
    world.snapshots["snap-1"] = TwinSnapshot("snap-1", root.project_id, root.id, "before", clock(), 1000, clock() + 9)
    world.backup_frequency[root.id] = "daily"
    root.expires_at = clock() + 9 * 86400
    meter.snapshot(root.project_id, "snap-1", clock(), 10**9)
    endpoint.pending_state = "active"
    world.record(endpoint, "start_compute", clock(), 0.4)
    endpoint.current_state, endpoint.pending_state = "active", ""
    endpoint.started_at = endpoint.last_active = clock()
    for branch in world.branches.values():
        meter.wal(branch.id, clock(), 10**8)
        meter.egress(branch.id, clock(), 5 * 10**6)
        meter.egress(branch.id, clock(), 10**6, private=True)
    meter.awake(root.id, clock(), clock() + 86400, 0.25)
    clock.forward(86400)
    endpoint.current_state, endpoint.suspended_at = "idle", clock()
    world.record(endpoint, "suspend_compute", clock(), 0.2)
    meter.plan(clock(), "scale_v3")
    clock.forward(86400)
    return world, meter


@pytest.fixture(scope="module", params=[*BUILT_IN, "large:40x12"])
def api(request: pytest.FixtureRequest) -> Iterator[TwinApi]:
    clock = MovableClock(NOW)
    if request.param in BUILT_IN:
        world, meter = lively_world(request.param, clock)
        running = serve(world, meter)
    else:
        running = serve_named(request.param, clock=clock)
    with running, httpx.Client(timeout=30) as client:
        CLIENTS[running.url] = client
        yield running
        del CLIENTS[running.url]


def fetch(api: TwinApi, path: str, secret: str | None = None, **params: str) -> httpx.Response:
    secret = secret or api.settings.org_key
    headers = {"Authorization": f"Bearer {secret}"}
    return CLIENTS[api.url].get(api.url + path, params=params, headers=headers)


def response_schema(document: dict[str, Any], route: str, status: int) -> dict[str, Any]:
    responses = document["paths"][route]["get"]["responses"]
    found = responses.get(status) or responses.get(str(status)) or responses["default"]
    if "$ref" in found:
        found = document["components"]["responses"][found["$ref"].rpartition("/")[2]]
    return found["content"]["application/json"]["schema"]


def problems(document: dict[str, Any], schema: dict[str, Any], body: Any) -> list[str]:
    """What the document finds wrong, and fields that it does not know."""
    rooted = {**schema, "components": document["components"]}
    validator = OAS30Validator(rooted, format_checker=oas30_format_checker)
    wrong = [f"{iter_error.json_path}: {iter_error.message[:200]}" for iter_error in validator.iter_errors(body)]
    return wrong + list(unknown_fields(document, schema, body, "$"))


def merged(document: dict[str, Any], schema: dict[str, Any]) -> dict[str, Any]:
    """A schema with its references and allOf parts put together, one level deep."""
    if "$ref" in schema:
        return merged(document, document["components"]["schemas"][schema["$ref"].rpartition("/")[2]])
    whole = {**schema, "properties": dict(schema.get("properties", {}))}
    for part in schema.get("allOf", ()):
        inner = merged(document, part)
        whole["properties"].update(inner["properties"])
        whole.setdefault("items", inner.get("items"))
    return whole


def unknown_fields(document: dict[str, Any], schema: dict[str, Any], body: Any, at: str) -> Iterator[str]:
    whole = merged(document, schema)
    if isinstance(body, list) and whole.get("items"):
        for number, entry in enumerate(body):
            yield from unknown_fields(document, whole["items"], entry, f"{at}[{number}]")
    if isinstance(body, dict) and whole["properties"]:
        for name, value in body.items():
            if name in whole["properties"]:
                yield from unknown_fields(document, whole["properties"][name], value, f"{at}.{name}")
            else:
                yield f"{at}.{name}: the document knows no such field"


def paths_of(api: TwinApi, route: str) -> list[str]:
    """The concrete paths of a route: for three projects, and up to five branches or endpoints of each."""
    paths = []
    for project_id in list(api.view.project_ids())[:3]:
        filled = route.replace("{org_id}", api.view.org_id).replace("{project_id}", project_id)
        if "{branch_id}" in filled:
            paths += [filled.replace("{branch_id}", branch.id) for branch in api.view.branches(project_id)[:5]]
        elif "{endpoint_id}" in filled:
            paths += [filled.replace("{endpoint_id}", endpoint.id) for endpoint in api.view.endpoints(project_id)[:5]]
        else:
            paths.append(filled)
    return list(dict.fromkeys(paths))


def params_of(api: TwinApi, route: str) -> dict[str, str]:
    if not route.startswith("/consumption_history"):
        return {}
    more = ",extra_branches_month,snapshot_storage_bytes_month" if route.endswith("projects") else ""
    ids = {} if route.endswith("projects") else {"project_ids": ",".join(api.view.project_ids())}
    return {**CONSUMPTION, "org_id": api.view.org_id, "metrics": BRANCH_METRICS + more, **ids}


@pytest.mark.parametrize("route", ROUTES)
def test_answer_is_valid(api: TwinApi, document: dict[str, Any], route: str) -> None:
    secret = api.settings.personal_key if route in PERSONAL else None
    for path in paths_of(api, route):
        answer = fetch(api, path, secret, **params_of(api, route))
        plain = route == ONLY_MASKED and path.split("/")[-2] not in api.view.security.masking
        expected = 404 if plain else 200
        assert answer.status_code == expected, answer.text
        assert problems(document, response_schema(document, route, expected), answer.json()) == [], path


def test_routes_are_all_checked(api: TwinApi) -> None:
    assert sorted(ROUTES) == sorted(api.plane.routes)


def test_consumption_says_something(api: TwinApi) -> None:
    """The check above would pass on empty lists."""
    for route, key in (
        ("/consumption_history/v2/projects", "projects"),
        ("/consumption_history/v2/branches", "branches"),
    ):
        rows = fetch(api, route, **params_of(api, route)).json()[key]
        said = {
            metric["metric_name"]
            for row in rows
            for period in row["periods"]
            for bucket in period["consumption"]
            for metric in bucket["metrics"]
        }
        assert said == set(params_of(api, route)["metrics"].split(","))


@pytest.mark.parametrize(
    ("path", "secret", "status"),
    [
        ("/projects", "", 401),
        ("/projects", "wrong", 401),
        ("/projects/none-such", None, 404),
        ("/projects?cursor=!!!", None, 400),
        ("/consumption_history/v2/projects?org_id=ORG&metrics=nonsense", None, 400),
    ],
)
def test_errors_are_valid(api: TwinApi, document: dict[str, Any], path: str, secret: str | None, status: int) -> None:
    secret = api.settings.org_key if secret is None else secret
    headers = {"Authorization": f"Bearer {secret}"} if secret else {}
    answer = httpx.get(api.url + path.replace("ORG", api.view.org_id), headers=headers)
    assert answer.status_code == status
    assert problems(document, {"$ref": "#/components/schemas/GeneralError"}, answer.json()) == []
    assert re.fullmatch(r"[0-9a-f-]{36}", answer.json()["request_id"])


def test_the_check_can_fail(api: TwinApi, document: dict[str, Any]) -> None:
    route = "/projects/{project_id}/endpoints"
    body = fetch(api, paths_of(api, route)[0]).json()
    schema = response_schema(document, route, 200)

    def spoilt(name: str, value: Any) -> list[str]:
        other = copy.deepcopy(body)
        if value is None:
            del other["endpoints"][0][name]
        else:
            other["endpoints"][0][name] = value
        return problems(document, schema, other)

    assert any("'host' is a required property" in text for text in spoilt("host", None))
    assert any("is not one of" in text for text in spoilt("current_state", "asleep"))
    assert any("is not a 'date-time'" in text for text in spoilt("created_at", "yesterday"))
    assert any("is not of type" in text for text in spoilt("suspend_timeout_seconds", "60"))
    assert any("no such field" in text for text in spoilt("hots", "typo"))
