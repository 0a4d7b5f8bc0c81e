"""Drift of all branches: compares what was read with what it should be, and makes series and pages of it.

A comparison is done again only when one of its two sides, or the rules, moved. It runs in a thread: a large database is
140,000 objects on either side.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from collectors.base import Observation, Status, Target
from collectors.metric import Families, Scope
from collectors.neon.inventory import Inventory
from collectors.neon.models import Branch, Project
from exporter.compute.drift import Drift, IgnoreRule, TenantDrift, compare, compare_tenants
from exporter.compute.tenants import TenantRules
from exporter.drift import metrics, pages
from exporter.drift.baselines import Baseline, Baselines, GitFiles
from exporter.drift.histories import Histories
from exporter.drift.prints import Approval, Held, PrintKey, Prints
from exporter.drift.rider import DriftRider, Scan
from exporter.drift.tenants import tenant_schemas
from exporter.serving.details import Details
from exporter.settings.drift import DriftSettings
from exporter.settings.dsn import matches
from exporter.state import State

NAME = "drift"
INTERVAL = 3600.0
Names = tuple[Project, Mapping[str, Branch]]


@dataclass(frozen=True, slots=True)
class Finding:
    """What was found of one database."""

    baseline: Baseline
    drift: Drift
    tenants: TenantDrift | None
    since: float | None


class DriftService:
    """Lives on the event loop; `look` is called after every round."""

    def __init__(
        self,
        settings: DriftSettings,
        *,
        prints: Prints,
        rider: DriftRider,
        rules: TenantRules,
        state: State,
        details: Details,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._settings = settings
        self._prints = prints
        self._rider = rider
        self._rules = rules
        self._state = state
        self._details = details
        self._clock = clock
        self._baselines = Baselines(settings, prints, GitFiles())
        self._histories = Histories(settings)
        self._ignore = tuple(
            IgnoreRule(each.reason, each.kind, each.schema_, each.identity, each.expires_at) for each in settings.ignore
        )
        self._found: dict[PrintKey, tuple[object, Finding]] = {}
        self._kinds: dict[PrintKey, set[tuple[str, str]]] = {}
        self._shown: set[Target] = set()
        self._pages: dict[str, object] = {}

    async def look(self, inventory: Inventory) -> None:
        """Compare what moved, and show it."""
        if not self._settings.enabled:
            return
        held = await self._rider.load()
        places = _places(inventory)
        known = {key: each for key, each in held.items() if (key.project_id, key.branch_id) in places}
        now = self._clock()
        approvals, since = await asyncio.to_thread(lambda: (self._prints.approvals(), self._prints.since()))
        by_branch: dict[tuple[str, str], dict[PrintKey, Finding]] = {}
        for key in sorted(known):
            project, branches = places[key.project_id, key.branch_id]
            baseline = self._baselines.of(key, project, branches, known, approvals)
            found = await self._finding(key, known[key], baseline, places, now=now, since=since.get(key))
            by_branch.setdefault((key.project_id, key.branch_id), {})[key] = found
        self._rider.moved.clear()
        self._show(by_branch, known, places, now)

    async def _finding(
        self, key: PrintKey, held: Held, baseline: Baseline, places: Mapping[tuple[str, str], Names], *, now: float,
        since: tuple[str, float] | None,
    ) -> Finding:  # fmt: skip
        in_force = tuple(rule for rule in self._ignore if rule.expires is None or now < rule.expires)
        mark = (held.digest, baseline.policy, baseline.digest, baseline.why, in_force)
        kept = self._found.get(key)
        if kept is not None and kept[0] == mark:
            return kept[1]
        names = places[key.project_id, key.branch_id]
        drift, tenants = await asyncio.to_thread(self._compare, key, held, baseline, names, now)
        began = None
        if drift.changes:
            began = since[1] if since is not None and since[0] == baseline.policy else now
        if (since[1] if since else None) != began:
            await asyncio.to_thread(self._prints.mark, key, baseline.policy, began)
        found = Finding(baseline, drift, tenants, began)
        self._found[key] = (mark, found)
        return found

    def _compare(
        self, key: PrintKey, held: Held, baseline: Baseline, names: Names, now: float
    ) -> tuple[Drift, TenantDrift | None]:
        project, branches = names
        schemas = tenant_schemas(self._rules, project, branches[key.branch_id], key.datname, held.digests)
        current = None
        if baseline.digest == held.digest:
            drift = Drift()
        elif not baseline.digest:
            drift = Drift(comparable=False, why=baseline.why)
        else:
            current, other = self._prints.read(key), self._baselines.fingerprint(baseline)
            if current is None or other is None:
                drift = Drift(comparable=False, why="a fingerprint is gone from the store")
            else:
                drift = compare(other, current, self._ignore, now)
        if len(schemas) < 2:
            return drift, None
        current = current or self._prints.read(key)
        if current is None:
            return drift, None
        template = next(
            (each.schema_ for each in self._settings.templates
             if matches(each.project, project.id, project.name) and matches(each.database, key.datname)),
            None,
        )  # fmt: skip
        return drift, compare_tenants(current, schemas, template=template, ignore=self._ignore, now=now)

    def _show(
        self,
        by_branch: Mapping[tuple[str, str], Mapping[PrintKey, Finding]],
        held: Mapping[PrintKey, Held],
        places: Mapping[tuple[str, str], Names],
        now: float,
    ) -> None:
        shown: set[Target] = set()
        told: dict[str, object] = {}
        for (project_id, branch_id), findings in by_branch.items():
            project, branches = places[project_id, branch_id]
            branch = branches[branch_id]
            target = Target(Scope.BRANCH, (project_id, branch_id), f"{project.name}/{branch.name}")
            families = Families()
            for key, found in findings.items():
                self._fill(families, key, held[key], found)
            histories = self._histories.fill(families, findings, self._rider.migrations, project)
            self._state.put(
                Observation(NAME, target, Status.OK, now, families=families, rows=len(findings)),
                interval=INTERVAL, forever=True,
            )  # fmt: skip
            shown.add(target)
            page = _page(target.name, findings, held, histories, self._rider.scans)
            told[f"{project_id}/{branch_id}"] = page[0]
            told[f"{project_id}/{branch_id}.md"] = page[1]
        for gone in self._shown - shown:
            self._state.put(Observation(NAME, gone, Status.OK, now), interval=INTERVAL, forever=True)
        self._shown = shown
        if told != self._pages:
            self._pages = told
            self._details.replace(NAME, {**told, "": _summary(by_branch, places)})

    def _fill(self, families: Families, key: PrintKey, held: Held, found: Finding) -> None:
        datname, policy = key.datname, found.baseline.policy
        families.set(metrics.INFO, (datname, held.digest[:12]), 1)
        families.set(metrics.SCANNED, (datname,), held.taken_at)
        scan = self._rider.scans.get(key)
        if scan is not None and scan.status is not Status.OK:
            families.set(metrics.STALE, (datname, scan.status.value), 1)
        if policy != "none" and not found.drift.comparable:
            families.set(metrics.UNCOMPARED, (datname, policy), 1)
        elif policy != "none":
            families.set(metrics.DETECTED, (datname, policy), 1 if found.drift.changes else 0)
            families.set(metrics.IGNORED, (datname,), found.drift.ignored)
            if found.since is not None:
                families.set(metrics.SINCE, (datname, policy), found.since)
        counts = found.drift.counts()
        seen = self._kinds.setdefault(key, set())
        seen |= counts.keys()
        for kind, change in seen:
            families.set(metrics.OBJECTS, (datname, kind, change), counts.get((kind, change), 0))
        if found.tenants is not None:
            families.set(metrics.TENANTS, (datname, "alike"), found.tenants.alike)
            families.set(metrics.TENANTS, (datname, "deviating"), len(found.tenants.deviating))
            for tenant, changes in list(found.tenants.deviating.items())[:200]:
                for change in sorted({each.change for each in changes}):
                    count = sum(each.change == change for each in changes)
                    families.set(metrics.TENANT_OBJECTS, (datname, tenant, change), count)


def _places(inventory: Inventory) -> dict[tuple[str, str], Names]:
    by_project: dict[str, dict[str, Branch]] = {}
    for branch in inventory.branches.values():
        by_project.setdefault(branch.project_id, {})[branch.id] = branch
    return {
        (project_id, branch_id): (inventory.projects[project_id], branches)
        for project_id, branches in by_project.items()
        if project_id in inventory.projects
        for branch_id in branches
    }


def _page(
    name: str,
    findings: Mapping[PrintKey, Finding],
    held: Mapping[PrintKey, Held],
    histories: Mapping[PrintKey, object],
    scans: Mapping[PrintKey, Scan],
) -> tuple[dict[str, object], str]:
    databases: dict[str, dict[str, object]] = {}
    parts: dict[str, str] = {}
    for key, found in findings.items():
        scan = scans.get(key)
        base = found.baseline
        databases[key.datname] = {
            "fingerprint": held[key].digest,
            "taken_at": held[key].taken_at,
            "stale": scan is not None and scan.status is not Status.OK,
            "baseline": {"policy": base.policy, "name": base.name, "fingerprint": base.digest},
            "since": found.since,
            **pages.drift_as_dict(found.drift),
            **({"tenants": pages.tenants_as_dict(found.tenants)} if found.tenants else {}),
            **({"migrations": histories[key]} if key in histories else {}),
        }
        against = f"against {base.policy} {base.name}".rstrip()
        text = pages.markdown(f"Database {key.datname}, {against}", found.drift)
        if found.tenants is not None:
            text += "\n" + pages.tenants_markdown("Tenants", found.tenants)
        parts[key.datname] = text
    return {"branch": name, "databases": databases}, pages.page_markdown(name, databases, parts)


def _summary(
    by_branch: Mapping[tuple[str, str], Mapping[PrintKey, Finding]], places: Mapping[tuple[str, str], Names]
) -> dict[str, object]:
    def rows() -> Iterable[dict[str, object]]:
        for (project_id, branch_id), findings in by_branch.items():
            project, branches = places[project_id, branch_id]
            yield {
                "project_id": project_id,
                "branch_id": branch_id,
                "name": f"{project.name}/{branches[branch_id].name}",
                "drifted": [key.datname for key, found in findings.items() if found.drift.changes],
                "uncompared": [key.datname for key, found in findings.items() if not found.drift.comparable],
                "page": f"/api/v1/drift/{project_id}/{branch_id}",
            }

    return {"branches": list(rows())}


def approval(found: Approval) -> str:
    """Who approved, when and why, for a person."""
    return f"{found.by} on {pages.instant(found.at)}: {found.reason}"
