"""`neonmeter inventory`: projects, branches and computes as the control plane has them now."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from typing import NamedTuple

from collectors.neon.account import read_recoverable
from collectors.neon.errors import NeonError
from collectors.neon.inventory import Inventory, refresh
from collectors.neon.models import Branch, Endpoint, Project
from collectors.neon.organizations import by_organization, without_organization
from exporter.app.settings import Settings, problems_of
from exporter.documents.terminal import counted, seconds, size, table
from exporter.feature.workspace import neon_client
from exporter.settings.tree import SettingsError

COLUMNS = ("project", "region", "branch", "compute", "last active", "CU", "size")
NOT_ACTIVE = "never"
"""What stands for the last activity of a compute that was never used."""


class Found(NamedTuple):
    """What Neon has: the inventory, and the deleted projects that it could bring back (None: it does not tell)."""

    inventory: Inventory
    recoverable: tuple[Project, ...] | None


def show_inventory(settings: Settings, *, as_json: bool) -> None:
    """Read it from Neon and print it, as a table or as JSON.

    Raises:
        SettingsError: the section ``neon`` cannot work.
        NeonError: Neon did not answer.
    """
    problems = [problem for problem in problems_of(settings) if problem.startswith("neon.")]
    if problems:
        raise SettingsError(problems)
    found = asyncio.run(_look(settings))
    if as_json:
        print(json.dumps(_inventory_json(found), indent=2))
    else:
        print(_inventory_text(found), end="")


async def _look(settings: Settings) -> Found:
    async with neon_client(settings) as client:
        neon = settings.neon
        inventory = await refresh(client, None, org_id=neon.org_id, include=neon.include, exclude=neon.exclude)
        try:
            return Found(inventory, await read_recoverable(client, inventory.account))
        except NeonError:  # It is no part of the inventory: what is there is shown without it.
            return Found(inventory, None)


def _inventory_text(found: Found) -> str:
    """A paragraph for each organisation: its plan, counts and computes; then what is missing."""
    inventory = found.inventory
    parts = by_organization(inventory)
    lines = [text for part in parts for text in (_heading(part), table(COLUMNS, list(_rows(part))))]
    lost = without_organization(inventory)
    if lost:
        lines.append(f"{counted(len(lost), 'project')} of no organisation that is watched: {', '.join(lost)}\n")
    lines += (f"deleted: {_deleted(project)}\n" for project in found.recoverable or ())
    if found.recoverable is None:
        lines.append("note: whether deleted projects can be recovered is unknown: the key may not list them\n")
    lines += (f"note: {note}\n" for note in inventory.notes)
    return "".join(lines)


def _heading(part: Inventory) -> str:
    plan = f", plan {part.plan}" if part.plan else ""
    by = {org.id: org.managed_by for org in part.organizations}.get(part.org_id, "")
    managed = f", managed by {by}" if by not in ("", "console") else ""
    counts = (("project", part.projects), ("branch", part.branches), ("compute", part.endpoints))
    told = ", ".join(counted(len(things), name) for name, things in counts)
    return f"{part.org_name or part.org_id or 'No organisation'}{plan}{managed}: {told}\n"


def _rows(part: Inventory) -> Iterator[tuple[object, ...]]:
    """A row for each compute, the primary first, and one for each branch without a compute."""
    computes: dict[str, list[Endpoint]] = {}
    for endpoint in sorted(part.endpoints.values(), key=lambda thing: (thing.replica, thing.id)):
        computes.setdefault(endpoint.branch_id, []).append(endpoint)
    for project in sorted(part.projects.values(), key=lambda thing: thing.name):
        branches = [branch for branch in part.branches.values() if branch.project_id == project.id]
        for depth, branch in _tree(branches):
            name = "  " * depth + branch.name + (" *" if branch.default else "")
            name += "" if branch.state in ("ready", "") else f" ({branch.state})"
            for cells in [_compute(one, part) for one in computes.get(branch.id, ())] or [("no compute", None, None)]:
                yield project.name, project.region_id, name, *cells, size(branch.logical_size)


def _compute(endpoint: Endpoint, part: Inventory) -> tuple[str, str | None, str | None]:
    """State, time since the last activity, and range of CU of a compute."""
    state = "unknown" if endpoint.project_id in part.unknown_project_ids else endpoint.state or "unknown"
    idle = NOT_ACTIVE if endpoint.last_active is None else seconds(part.server_now - endpoint.last_active)
    flags = f"{' (replica)' if endpoint.replica else ''}{' (disabled)' if endpoint.disabled else ''}"
    return state + flags, idle, f"{endpoint.autoscaling_limit_min_cu:g}-{endpoint.autoscaling_limit_max_cu:g}"


def _deleted(project: Project) -> str:
    until = "until a time that Neon does not tell"
    if project.recoverable_until is not None:
        until = f"until {datetime.fromtimestamp(project.recoverable_until, UTC):%Y-%m-%d %H:%M} UTC"
    return f"{project.name} ({project.id}, {project.region_id}) can be recovered {until}"


def _tree(branches: Sequence[Branch]) -> list[tuple[int, Branch]]:
    """Branches with their depth, children under their parents."""
    children: dict[str, list[Branch]] = {}
    ids = {branch.id for branch in branches}
    for branch in sorted(branches, key=lambda thing: thing.name):
        children.setdefault(branch.parent_id if branch.parent_id in ids else "", []).append(branch)
    found: list[tuple[int, Branch]] = []

    def walk(parent: str, depth: int) -> None:
        for branch in children.get(parent, ()):
            found.append((depth, branch))
            walk(branch.id, depth + 1)

    walk("", 0)
    return found


def _inventory_json(found: Found) -> dict[str, object]:
    def plain(model: object) -> object:
        return model.model_dump(mode="json")  # type: ignore[attr-defined]

    inventory = found.inventory
    return {
        "org_id": inventory.org_id,
        "org_name": inventory.org_name,
        "plan": inventory.plan,
        "organizations": [plain(org) for org in inventory.organizations],
        "server_now": inventory.server_now,
        "unknown_project_ids": sorted(inventory.unknown_project_ids),
        "notes": list(inventory.notes),
        "projects": [plain(project) for project in inventory.projects.values()],
        "recoverable_projects": None if found.recoverable is None else [plain(p) for p in found.recoverable],
        "branches": [plain(branch) for branch in inventory.branches.values()],
        "endpoints": [plain(endpoint) for endpoint in inventory.endpoints.values()],
    }
