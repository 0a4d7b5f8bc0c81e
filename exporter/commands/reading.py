"""The commands that only read: inventory, metrics, cost, healthcheck. Tables for people, JSON for programs."""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from exporter.commands.http_client import ask
from exporter.commands.main import FINDINGS, OK, UPSTREAM, USAGE, load_settings, refuse
from exporter.documents.terminal import counted, seconds, size, table

if TYPE_CHECKING:
    from collections.abc import Sequence

    from collectors.neon.inventory import Inventory
    from collectors.neon.models import Branch
    from exporter.app.settings import Settings
    from exporter.cost.allocation.explain import OwnUse
    from exporter.cost.allocation.rows import CostReport


def inventory_command(options: argparse.Namespace) -> int:
    """Projects, branches and computes as the control plane has them now."""
    from collectors.neon.errors import NeonError
    from exporter.app.preflight import problems_of

    settings = load_settings(options)
    if settings is None:
        return USAGE
    problems = [name for name in problems_of(settings) if name.startswith("neon.")]
    if problems:
        return refuse(*problems)
    try:
        found = asyncio.run(_look(settings))
    except NeonError as problem:
        print(problem.message, file=sys.stderr)
        return UPSTREAM
    if options.json:
        print(json.dumps(_inventory_json(found), indent=2))
    else:
        _print_inventory(found)
    return OK


async def _look(settings: Settings) -> Inventory:
    from collectors.neon.inventory import refresh
    from exporter.feature.workspace import neon_client

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
    for project in sorted(found.projects.values(), key=lambda entry: entry.name):
        branches = [entry for entry in found.branches.values() if entry.project_id == project.id]
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
    for branch in sorted(branches, key=lambda entry: entry.name):
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


def metrics_command(options: argparse.Namespace) -> int:
    """Every metric that there is, with its meaning."""
    from exporter.app.metric_docs import as_json, as_markdown

    print(as_json() if options.format == "json" else as_markdown(), end="")
    return OK


def cost_command(options: argparse.Namespace) -> int:
    """What the ledger says of a month; works beside a running agent."""
    from exporter.cost.allocation.declared_weights import WeightsFileError
    from exporter.pricing.ratecard import RateCardError
    from exporter.storage.store import StoreError

    settings = load_settings(options)
    if settings is None:
        return USAGE
    try:
        at = _month(options.month)
    except ValueError:
        print(f"--month: {options.month} is no month; write YYYY-MM, as 2026-10", file=sys.stderr)
        return USAGE
    if not settings.storage.path.exists():
        return refuse(f"storage.path: {settings.storage.path} is not there yet; `neonmeter run` fills it")
    try:
        report, names, own = _report(settings, at)
    except (StoreError, RateCardError, WeightsFileError) as problem:
        return refuse(*str(problem).splitlines())
    from exporter.cost.closing.declared import declared, extra_lines

    problems = report.problems()
    extra = declared(extra_lines(settings.cost.extra_lines), report.costs)
    if options.json:
        print(json.dumps({**report.as_dict(), **extra.as_dict()}, indent=2))
    else:
        from exporter.cost.allocation.explain import Explanation
        from exporter.cost.allocation.text import summary

        print(Explanation(report, names).text(own) if options.explain else summary(report, names), end="")
        print(extra.text(), end="")
    for entry in problems:
        print(f"does not add up: {entry}", file=sys.stderr)
    return FINDINGS if problems else OK


def _month(text: str | None) -> float:
    if text is None:
        return time.time()
    return datetime.strptime(text, "%Y-%m").replace(tzinfo=UTC).timestamp()


def _report(settings: Settings, at: float) -> tuple[CostReport, dict[str, str], OwnUse]:
    from exporter.app.wiring import SCHEMAS
    from exporter.cost.allocation.explain import OwnUse
    from exporter.cost.allocation.rows import CostReport
    from exporter.cost.workspace import costs_of, names_of
    from exporter.storage.store import Store
    from exporter.tenancy.rules import rules_of

    store = Store.open(settings.storage.path, SCHEMAS, read_only=True)
    try:
        costs = costs_of(settings, store, rules_of(settings))
        added = sum(float(str(state.get("added_seconds", 0))) for state in store.load_wake().values())
        return CostReport(costs.month(at, time.time()), costs.stated(at)), names_of(store), OwnUse(added)
    finally:
        store.close()


def healthcheck_command(options: argparse.Namespace) -> int:
    """Ask the running agent; for containers, without a shell or curl."""
    url = options.url
    if url is None:
        settings = load_settings(options)
        if settings is None:
            return USAGE
        host, port = settings.http.address
        url = f"http://{'127.0.0.1' if host in ('0.0.0.0', '') else host}:{port}"  # noqa: S104  # asked, not bound
    try:
        status, text = ask(f"{url.rstrip('/')}/healthz")
    except OSError as problem:
        print(f"no answer from {url}: {problem}", file=sys.stderr)
        return FINDINGS
    print(text.strip())
    return OK if status == 200 else FINDINGS
