"""The models against Neon's own OpenAPI document: a field that Neon renames is noticed here, not in production."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml
from pydantic import BaseModel

from collectors.neon import models
from collectors.neon.operations import START, SUSPEND
from exporter.pricing.domain.components import USAGE_METRICS

DOCUMENT = (
    Path(__file__).parents[2] / "npm/node_modules/@neondatabase/api-client/public-v2-for-users.gen.yaml"
)  # fmt: skip

# Which schemas of the document a model reads; a field must be in one of them (a project's detail and its row differ).
SCHEMAS: dict[type, tuple[str, ...]] = {
    models.Organization: ("Organization",),
    models.KeyDetails: ("AuthDetailsResponse",),
    models.AllowedIps: ("AllowedIps",),
    models.ProjectSettings: ("ProjectSettingsData",),
    models.ProjectQuota: ("ProjectQuota",),
    models.Owner: ("ProjectOwnerData",),
    models.Project: ("ProjectListItem", "Project"),
    models.Branch: ("Branch",),
    models.EndpointSettings: ("EndpointSettingsData",),
    models.Endpoint: ("Endpoint",),
    models.Operation: ("Operation",),
    models.MetricValue: ("ConsumptionMetricValue",),
    models.Timeframe: ("ConsumptionHistoryPerTimeframeV2",),
    models.Period: ("ConsumptionHistoryPerPeriodV2",),
    models.UsageHistory: ("ConsumptionHistoryPerProjectV2", "ConsumptionHistoryPerBranchV2"),
    models.ErrorAnswer: ("GeneralError",),
    models.ProjectAnswer: ("ProjectResponse",),
}
PAGES: dict[type[BaseModel], tuple[str, str]] = {
    models.ProjectPage: ("ProjectsResponse", "/projects"),
    models.BranchPage: ("BranchesResponse", "/projects/{project_id}/branches"),
    models.EndpointPage: ("EndpointsResponse", "/projects/{project_id}/endpoints"),
    models.OperationPage: ("OperationsResponse", "/projects/{project_id}/operations"),
    models.OrganizationPage: ("OrganizationsResponse", "/users/me/organizations"),
    models.ProjectUsagePage: ("ConsumptionHistoryPerProjectV2Response", "/consumption_history/v2/projects"),
    models.BranchUsagePage: ("ConsumptionHistoryPerBranchV2Response", "/consumption_history/v2/branches"),
}
ITEMS: dict[type[BaseModel], type[BaseModel]] = {
    models.ProjectPage: models.Project,
    models.BranchPage: models.Branch,
    models.EndpointPage: models.Endpoint,
}


@pytest.fixture(scope="module")
def document() -> dict[str, Any]:
    if not DOCUMENT.exists():
        pytest.skip("Neon's OpenAPI document is not installed (npm ci in tests/npm)")
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    found: dict[str, Any] = yaml.load(DOCUMENT.read_text(), Loader=loader)
    return found


def properties(document: dict[str, Any], name: str) -> set[str]:
    schema = document["components"]["schemas"][name]
    found = set(schema.get("properties", ()))
    for part in schema.get("allOf", ()):
        if "$ref" in part:
            found |= properties(document, part["$ref"].rsplit("/", 1)[1])
        found |= set(part.get("properties", ()))
    return found


def all_models() -> Iterator[type]:
    for value in vars(models).values():
        ours = isinstance(value, type) and value.__module__ == models.__name__ and "[" not in value.__name__
        if ours and (issubclass(value, models.Model) or is_dataclass(value)):
            yield value


def names_of(model: type) -> set[str]:
    """The fields that we read; the leaves that come by the hundred thousand are dataclasses."""
    if issubclass(model, BaseModel):
        return set(model.model_fields)
    return {field.name for field in fields(model)}


def test_every_model_is_compared() -> None:
    left_out = {models.Model, models.Page, models.Cursor}
    assert set(all_models()) - left_out == SCHEMAS.keys() | PAGES.keys()


@pytest.mark.parametrize("model", SCHEMAS, ids=lambda model: model.__name__)
def test_every_field_we_read_exists(document: dict[str, Any], model: type) -> None:
    known = set[str]().union(*(properties(document, name) for name in SCHEMAS[model]))
    assert names_of(model) <= known


@pytest.mark.parametrize("model", PAGES, ids=lambda model: model.__name__)
def test_every_list_has_its_name(document: dict[str, Any], model: type[BaseModel]) -> None:
    schema, path = PAGES[model]
    assert model.model_fields["items"].validation_alias in properties(document, schema)
    assert "get" in document["paths"][path]


def test_both_kinds_of_cursor(document: dict[str, Any]) -> None:
    assert "cursor" in properties(document, "Pagination") and "next" in properties(document, "CursorPagination")
    assert "unavailable_project_ids" in properties(document, "ProjectsResponse")


def test_operations_and_metrics_by_their_names(document: dict[str, Any]) -> None:
    schemas, paths = document["components"]["schemas"], document["paths"]
    assert {START, SUSPEND, "start_reserved_compute"} <= set(schemas["OperationAction"]["enum"])
    for path, names in USAGE_METRICS.items():
        parameters = paths[f"/consumption_history/v2/{path}"]["get"]["parameters"]
        text = next(parameter["description"] for parameter in parameters if parameter["name"] == "metrics")
        assert all(f"`{name}`" in text for name in names)


@pytest.mark.parametrize("model", ITEMS, ids=lambda model: model.__name__)
def test_neons_own_examples_parse(document: dict[str, Any], model: type[BaseModel]) -> None:
    _, path = PAGES[model]
    answer = document["paths"][path]["get"]["responses"]
    answer = answer.get(200) or answer["200"]
    example = answer["content"]["application/json"]["example"]
    page: Any = model.model_validate_json(json.dumps(example))
    raw = example[model.model_fields["items"].validation_alias]  # type: ignore[index]
    assert len(page.items) == len(raw) > 0 and None not in page.items
    for item, source in zip(page.items, raw, strict=True):
        assert item.id == source["id"]
        for name, value in source.items():
            read = getattr(item, name, None)
            if isinstance(value, str) and name.endswith(("_at", "last_active")) and name in type(item).model_fields:
                assert isinstance(read, float), name
            elif name in type(item).model_fields and not isinstance(value, dict):
                assert read == value, name


def test_nothing_has_room_for_a_password() -> None:
    for model in all_models():
        assert not [name for name in names_of(model) if "password" in name and name not in (
            "store_passwords", "passwordless_access")]  # fmt: skip
    answer = (
        b'{"endpoints":[{"id":"e","project_id":"p","branch_id":"b","host":"h","password":"hush"}],"password":"hush"}'
    )
    assert "hush" not in repr(models.EndpointPage.model_validate_json(answer))


def test_what_is_new_or_odd_does_not_break() -> None:
    endpoint = {"id": "e", "project_id": "p", "branch_id": "b", "host": "h", "current_state": "hibernating", "new": {}}
    odd = {**endpoint, "last_active": "0001-01-01T00:00:00Z", "pending_state": None, "disabled": None, "settings": None}
    page = models.EndpointPage.model_validate_json(json.dumps({"endpoints": [endpoint, odd, 7, None, {"id": "x"}]}))
    good = [entry for entry in page.items if entry is not None]
    assert [entry.current_state for entry in good] == ["hibernating", "hibernating"]
    assert good[1].last_active is None and good[1].disabled is False and good[1].pg_settings == {}
    assert page.items[2:] == (None, None, None)


@pytest.mark.parametrize("host", ["h x", "h'x", "h\nx", "user@h", "h/x", "h?x=1", "", "h,evil", "h%x"])
def test_a_host_is_only_a_host(host: str) -> None:
    body = {"endpoints": [{"id": "e", "project_id": "p", "branch_id": "b", "host": host}]}
    assert models.EndpointPage.model_validate_json(json.dumps(body)).items == (None,)


@pytest.mark.parametrize(
    ("timeout", "max_cu", "expected"),
    [(0, 2, 300), (60, 2, 60), (-1, 2, float("inf")), (300, 16, 300), (300, 16.25, float("inf"))],
)
def test_effective_suspend_timeout(timeout: int, max_cu: float, expected: float) -> None:
    endpoint = models.Endpoint(
        id="e",
        project_id="p",
        branch_id="b",
        host="h",
        suspend_timeout_seconds=timeout,
        autoscaling_limit_max_cu=max_cu,
    )
    assert endpoint.effective_suspend_seconds == expected
