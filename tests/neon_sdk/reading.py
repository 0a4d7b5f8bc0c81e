"""What the product reads of Neon's API, taken from its own models: each route, and each field of its answer."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from typing import Any, get_args

from pydantic import AliasChoices, BaseModel

from collectors.neon import account, models, security, snapshots
from collectors.neon.domain.security import ApiKey, BranchFacts, OrganizationFacts, ProjectFacts, sources_of
from tests.neon_sdk.types import Sdk, Shape

_BRANCH = "/projects/{project_id}/branches/{branch_id}"


@dataclasses.dataclass(frozen=True)
class Items:
    """A list of dataclasses: its name in the answer (empty: the answer itself), and what an item is read as."""

    key: str
    kind: type


def _lists(before: str, facts: type) -> Iterator[tuple[str, Items]]:
    hints = security._hints(facts)
    for name, source in sources_of(facts).items():
        kinds = [kind for hint in get_args(hints[name]) for kind in get_args(hint) if dataclasses.is_dataclass(kind)]
        yield f"{before}/{source.route}", Items(source.key, kinds[0])


READ: Mapping[str, type[BaseModel] | Items] = {
    "/auth": models.KeyDetails,
    "/users/me/organizations": models.OrganizationPage,
    "/organizations/{org_id}": models.Organization,
    "/organizations/{org_id}/billing/spending_limit": account.SpendingLimitAnswer,
    "/organizations/{org_id}/api_keys": Items("", ApiKey),
    "/api_keys": Items("", ApiKey),
    "/projects": models.ProjectPage,
    "/projects/{project_id}": models.ProjectAnswer,
    "/projects/{project_id}/branches": models.BranchPage,
    "/projects/{project_id}/endpoints": models.EndpointPage,
    "/projects/{project_id}/operations": models.OperationPage,
    "/projects/{project_id}/snapshots": snapshots.SnapshotPage,
    "/consumption_history/v2/projects": models.ProjectUsagePage,
    "/consumption_history/v2/branches": models.BranchUsagePage,
    f"{_BRANCH}/anonymized_status": security._AnonymizedStatus,
    f"{_BRANCH}/masking_rules": Items("masking_rules", security._MaskingRule),
    f"{_BRANCH}/backup_schedule": Items("schedule", security._Frequency),
    **dict(_lists("/organizations/{org_id}", OrganizationFacts)),
    **dict(_lists("/projects/{project_id}", ProjectFacts)),
    **dict(_lists(_BRANCH, BranchFacts)),
}

NOT_IN_THE_TYPES: Mapping[str, str] = {
    "ApiKey.personal": "not read: the list that a key stands in tells",
}
"""Fields that we read although the newest types do not have them, and why."""


def fields_read(sdk: Sdk) -> dict[str, str]:
    """Every field that the product reads, as ``Model.field``, and where the types have it: a route, or empty.

    Raises:
        KeyError: a route of ours is not in the types.
    """
    found: dict[str, str] = {}
    for route, what in READ.items():
        shape = sdk.answer(route)
        if isinstance(what, Items):
            shape = sdk.resolved(shape.fields.get(what.key, Shape())) if what.key else shape
            pairs = _of_dataclass(sdk, what.kind, sdk.resolved(shape.items or shape))
        else:
            pairs = _of_model(sdk, what, shape)
        for name, there in pairs:
            found[name] = found.get(name) or (route if there else "")
    return found


def _of_model(sdk: Sdk, model: type[BaseModel], shape: Shape) -> Iterator[tuple[str, bool]]:
    for name, info in model.model_fields.items():
        alias = info.validation_alias
        names = [str(choice) for choice in alias.choices] if isinstance(alias, AliasChoices) else [str(alias or name)]
        inner = [shape.fields[one] for one in names if one in shape.fields]
        owner = "Page" if name in models.Page.model_fields and name != "items" else model.__name__
        yield f"{owner}.{'|'.join(names)}", bool(inner)
        for kind in _kinds(info.annotation):
            at = sdk.resolved(inner[0]) if inner else Shape()
            at = sdk.resolved(at.items) if at.items is not None else at
            yield from _of_model(sdk, kind, at) if issubclass(kind, BaseModel) else _of_dataclass(sdk, kind, at)


def _of_dataclass(sdk: Sdk, kind: type, shape: Shape) -> Iterator[tuple[str, bool]]:
    for field in dataclasses.fields(kind):
        at: Shape | None = shape
        for step in field.metadata.get("path", (field.name,)):
            at = None if at is None else sdk.resolved(at).fields.get(step)
        yield f"{kind.__name__}.{field.name}", at is not None


def _kinds(annotation: Any) -> Iterator[type]:
    """The models and dataclasses within a type."""
    if isinstance(annotation, type) and (issubclass(annotation, BaseModel) or dataclasses.is_dataclass(annotation)):
        yield annotation
    for part in get_args(annotation):
        yield from _kinds(part)
