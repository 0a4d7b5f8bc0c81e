"""An inventory of several organisations in parts, one for each: consumption, plan and cost belong to an organisation.

What has no organisation, or one that is not watched, is in no part. An inventory of one organisation, or of none that
the key shows, is its own only part.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Protocol, TypeVar

from collectors.neon.inventory import Inventory
from collectors.neon.models import Organization, Project


class _OfProject(Protocol):
    @property
    def project_id(self) -> str: ...


Item = TypeVar("Item", bound=_OfProject)


def by_organization(inventory: Inventory) -> tuple[Inventory, ...]:
    """One inventory for each organisation, by id, with its own projects, branches and computes alone."""
    if len(inventory.organizations) < 2:
        return (inventory,)
    return tuple(_part(inventory, org) for org in inventory.organizations)


def without_organization(inventory: Inventory) -> tuple[str, ...]:
    """Ids of the projects that are in no part."""
    parts = by_organization(inventory)
    return tuple(sorted(inventory.projects.keys() - {key for part in parts for key in part.projects}))


def _part(inventory: Inventory, org: Organization) -> Inventory:
    projects = _owned(inventory.projects, org)
    return replace(
        inventory,
        org_id=org.id,
        org_name=org.name,
        plan=org.plan,
        projects=projects,
        branches=_inside(inventory.branches, projects),
        endpoints=_inside(inventory.endpoints, projects),
        unknown_project_ids=inventory.unknown_project_ids & projects.keys(),
        holdings={key: holding for key, holding in inventory.holdings.items() if key in projects},
        account=replace(inventory.account, organizations=(org,), plan=org.plan),
        listed=_owned(inventory.listed, org),
    )


def _owned(projects: Mapping[str, Project], org: Organization) -> dict[str, Project]:
    return {key: project for key, project in projects.items() if project.org_id == org.id}


def _inside(items: Mapping[str, Item], projects: Mapping[str, Project]) -> dict[str, Item]:
    return {key: item for key, item in items.items() if item.project_id in projects}
