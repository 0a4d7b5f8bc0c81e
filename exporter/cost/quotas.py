"""Quotas of projects and allowances of the Free plan: read, forecast and shown.

Only a project that has a quota, or is on the Free plan, costs a request: its counters since the billing period began
stand in its detail alone. Nothing here wakes a compute.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from dataclasses import dataclass

from collectors.base import Observation, Status, Target
from collectors.metric import Families, Kind, Metric, Scope, Unit
from collectors.neon.client import NeonClient
from collectors.neon.errors import NeonError
from collectors.neon.inventory import Inventory
from collectors.neon.models import Branch, Project, ProjectAnswer
from collectors.neon.organizations import by_organization
from exporter.cost.domain.quota import (
    LARGEST,
    PLAN,
    SETTINGS,
    BillingPeriod,
    Quota,
    counted,
    runs_out,
    stored,
    suspended_by,
)
from exporter.pricing.free_plan import FreeLimit, limits_of

COLLECTOR = "quota"
_MANY = 20_000
_LABELS = ("quota", "source")


def _gauge(name: str, text: str, *, unit: Unit = Unit.NONE, worse: str = "") -> Metric:
    return Metric(name, Kind.GAUGE, unit, Scope.PROJECT, text, _LABELS, worse=worse, max_series=_MANY)


LIMIT = _gauge(
    "neon_quota_limit", "Limit of a project in the unit of its name; source is settings (its quota) or plan (Free)."
)
USED = _gauge(
    "neon_quota_used",
    "How much of the limit is used since the billing period began, or now; absent where Neon does not tell.",
    worse="up",
)
RUNS_OUT = _gauge(
    "neon_quota_runs_out_timestamp_seconds",
    "When the limit will be used up at the mean pace of the billing period; absent when not within it.",
    unit=Unit.TIMESTAMP,
    worse="down",
)
SUSPENDS = _gauge(
    "neon_quota_suspended", "Whether the project's computes are suspended because the limit is used up.", worse="up"
)
ORG_PROJECTS = Metric(
    "neon_org_projects_limit", Kind.GAUGE, Unit.NONE, Scope.ORG, "Projects that the Free plan allows.",
)  # fmt: skip
METRICS = (LIMIT, USED, RUNS_OUT, SUSPENDS, ORG_PROJECTS)


@dataclass(frozen=True, slots=True)
class ProjectQuotas:
    """The limits of one project; ``project`` is its detail. ``failed``: why there is none."""

    project: Project
    quotas: tuple[Quota, ...]
    failed: NeonError | None = None

    @property
    def period(self) -> BillingPeriod:
        """The billing period that its counters are of."""
        return period_of(self.project)

    @property
    def suspended(self) -> tuple[Quota, ...]:
        """The quotas that keep its computes suspended."""
        return tuple(suspended_by(self.quotas))


def period_of(project: Project) -> BillingPeriod:
    """The billing period of a project's detail."""
    return BillingPeriod(
        project.consumption_period_start, project.consumption_period_end, project.compute_last_active_at
    )


def quotas_of(project: Project, branches: Sequence[Branch], free: Mapping[str, FreeLimit]) -> tuple[Quota, ...]:
    """Every limit of a project; ``project`` is its detail, ``free`` what its plan allows (empty on paid plans)."""
    own = project.settings.quota if project.settings else None
    limits = [(name, SETTINGS, limit) for name, limit in (own.limits if own else {}).items()]
    limits += [(entry.name, PLAN, entry.limit) for entry in free.values() if entry.scope == "project"]
    return tuple(Quota(name, source, limit, _used(name, project, branches)) for name, source, limit in limits)


def _used(name: str, project: Project, branches: Sequence[Branch]) -> int | None:
    if name == "branches":
        return len(branches)
    if name in (LARGEST, "storage_bytes"):
        sizes = [(branch.logical_size, not branch.parent_id) for branch in branches]
        return stored(sizes, largest=name == LARGEST)
    return counted(getattr(project, name), (getattr(branch, name) for branch in branches), period_of(project))


async def read_quotas(client: NeonClient, inventory: Inventory, now: float) -> AsyncIterator[ProjectQuotas]:
    """The limits of every project that has any; ``now`` is by Neon's clock."""
    for part in by_organization(inventory):
        free = limits_of(part.plan, now)
        for row in part.projects.values():
            if not free and not (row.settings and row.settings.quota and row.settings.quota.limits):
                continue
            branches = [branch for branch in part.branches.values() if branch.project_id == row.id]
            try:
                answer, _ = await client.get(f"/projects/{row.id}", None, ProjectAnswer)
            except NeonError as problem:
                yield ProjectQuotas(row, (), problem)
                if problem.status in (Status.AUTH, Status.RATE_LIMITED):
                    return
                continue
            yield ProjectQuotas(answer.project, quotas_of(answer.project, branches, free))


def observe(found: Iterable[ProjectQuotas], inventory: Inventory, now: float, at: float) -> list[Observation]:
    """One observation for each project with limits, and one for each Free organisation; ``at`` is by our clock."""
    observations = [_of_project(entry, now, at) for entry in found]
    for part in by_organization(inventory):
        limit = limits_of(part.plan, now).get("projects")
        if limit is not None and part.org_id:
            families = Families()
            families.set(ORG_PROJECTS, (), limit.limit)
            target = Target(Scope.ORG, (part.org_id,), part.org_name)
            observations.append(Observation(COLLECTOR, target, Status.OK, at, families=families, rows=1))
    return observations


def _of_project(found: ProjectQuotas, now: float, at: float) -> Observation:
    target = Target(Scope.PROJECT, (found.project.id,), found.project.name)
    if found.failed is not None:
        return Observation(COLLECTOR, target, found.failed.status, at, error=found.failed.message)
    families = Families()
    for quota in found.quotas:
        key = (quota.name, quota.source)
        families.set(LIMIT, key, quota.limit)
        if quota.used is not None:
            families.set(USED, key, quota.used)
        if quota.suspends:
            families.set(SUSPENDS, key, int(quota.reached))
        if (out := runs_out(quota, found.period, now)) is not None:
            families.set(RUNS_OUT, key, out)
    return Observation(COLLECTOR, target, Status.OK, at, families=families, rows=len(found.quotas))
