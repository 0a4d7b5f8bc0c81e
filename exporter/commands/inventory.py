"""`neonmeter inventory`: projects, branches and computes as the control plane has them now."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence

from collectors.neon.inventory import Inventory, refresh
from collectors.neon.models import Branch
from exporter.app.settings import Settings, problems_of
from exporter.documents.terminal import counted, seconds, size, table
from exporter.feature.workspace import neon_client
from exporter.settings.tree import SettingsError


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
        _print_inventory(found)


async def _look(settings: Settings) -> Inventory:
    async with neon_client(settings) as client:
        neon = settings.neon
        return await refresh(client, None, org_id=neon.org_id, include=neon.include, exclude=neon.exclude)


def _print_inventory(found: Inventory) -> None:
    plan = f", plan {found.plan}" if found.plan else ""
    counts = (("project", found.projects), ("branch", found.branches), ("compute", found.endpoints))
    told = ", ".join(counted(len(things), name) for name, things in counts)
    print(f"{found.org_name or found.org_id or 'No organisation'}{plan}: {told}")
    by_branch = {endpoint.branch_id: endpoint for endpoint in found.endpoints.values()}
    rows = []
    for project in sorted(found.projects.values(), key=lambda thing: thing.name):
        branches = [branch for branch in found.branches.values() if branch.project_id == project.id]
        for depth, branch in _tree(branches):
            endpoint = by_branch.get(branch.id)
            state = endpoint.pending_state or endpoint.current_state if endpoint else "no compute"
            idle = found.server_now - endpoint.last_active if endpoint and endpoint.last_active else None
            cu = f"{endpoint.autoscaling_limit_min_cu:g}-{endpoint.autoscaling_limit_max_cu:g}" if endpoint else None
            name = "  " * depth + branch.name + (" *" if branch.default else "")
            rows.append((project.name, project.region_id, name, state, seconds(idle), cu, size(branch.logical_size)))
    print(table(("project", "region", "branch", "compute", "last active", "CU", "size"), rows), end="")
    for note in found.notes:
        print(f"note: {note}")


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


def _inventory_json(found: Inventory) -> dict[str, object]:
    def plain(model: object) -> object:
        return model.model_dump(mode="json")  # type: ignore[attr-defined]

    return {
        "org_id": found.org_id,
        "org_name": found.org_name,
        "plan": found.plan,
        "server_now": found.server_now,
        "unknown_project_ids": sorted(found.unknown_project_ids),
        "notes": list(found.notes),
        "projects": [plain(project) for project in found.projects.values()],
        "branches": [plain(branch) for branch in found.branches.values()],
        "endpoints": [plain(endpoint) for endpoint in found.endpoints.values()],
    }
