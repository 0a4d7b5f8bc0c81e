"""Which features in use only a dearer plan has, as far as the API shows them.

Support, the service level, single sign-on and Neon's own metrics export do not show there: a person decides on those.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping

from collectors.neon.inventory import Inventory
from collectors.neon.models import ALWAYS_ON_CU, Project

CHEAPER: Mapping[str, str] = {"scale_v3": "launch_v3"}
"""A plan, and the one that is like it but cheaper."""
LAUNCH_HISTORY_SECONDS = 7 * 86400
"""Launch keeps at most so much history; Scale 30 days."""


def needs_of(inventory: Inventory, private_transfer: Collection[str]) -> tuple[str, ...] | None:
    """Features of Scale that any project of the organisation uses; None when that cannot be told.

    ``private_transfer`` holds the ids of projects with traffic over private networking.
    """
    projects = [entry for key, entry in inventory.projects.items() if key not in inventory.unknown_project_ids]
    if inventory.unknown_project_ids or any(entry.settings is None for entry in projects):
        return None
    found = {feature for project in projects for feature in _of_project(project)}
    if private_transfer:
        found.add("private networking")
    if any(endpoint.autoscaling_limit_max_cu > ALWAYS_ON_CU for endpoint in inventory.endpoints.values()):
        found.add(f"computes over {ALWAYS_ON_CU:g} CU")
    return tuple(sorted(found))


def _of_project(project: Project) -> Iterator[str]:
    settings = project.settings
    if settings is None:
        return
    if (project.history_retention_seconds or 0) > LAUNCH_HISTORY_SECONDS:
        yield "history over 7 days"
    if settings.allowed_ips is not None and settings.allowed_ips.ips:
        yield "IP allow list"
    if settings.block_public_connections or settings.block_vpc_connections:
        yield "private networking"
    if settings.hipaa or project.hipaa_enabled_at is not None:
        yield "HIPAA"
    if settings.audit_log_level not in ("", "base"):
        yield "audit logs"
