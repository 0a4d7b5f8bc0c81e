"""One database against its baseline, and its tenants against each other. Shared by the agent and the commands."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from collectors.neon.inventory import Inventory
from collectors.neon.models import Branch, Project
from exporter.drift.approvals import Approval, Approvals
from exporter.drift.baselines import Baseline, Baselines
from exporter.drift.settings import DriftSettings
from exporter.drift.tenants import tenant_schemas
from exporter.sampling.computes import DatabaseRef
from exporter.sampling.domain.schema_comparison import Drift, IgnoreRule, TenantDrift, compare, compare_tenants
from exporter.sampling.fingerprint_store import FingerprintStore, FingerprintSummary
from exporter.settings.dsn import matches
from exporter.tenancy.domain.rules import TenantRules


@dataclass(frozen=True, slots=True)
class BranchContext:
    """A branch, its project, and all branches of it by id."""

    project: Project
    branch: Branch
    branches: Mapping[str, Branch]

    @property
    def name(self) -> str:
        """``project/branch``, as a person says it."""
        return f"{self.project.name}/{self.branch.name}"


class Comparer:
    """Compares by the settings. Reads bodies from the store: call it off the event loop."""

    def __init__(
        self, settings: DriftSettings, fingerprints: FingerprintStore, approvals: Approvals, rules: TenantRules
    ) -> None:
        self._settings = settings
        self._fingerprints = fingerprints
        self._approvals = approvals
        self._rules = rules
        self._baselines = Baselines(settings, fingerprints, approvals)
        self.ignore = rules_of_settings(settings)

    def approvals(self) -> dict[DatabaseRef, Approval]:
        """Everything that was approved, as the files are now."""
        return self._approvals.all()

    def baseline(
        self,
        key: DatabaseRef,
        place: BranchContext,
        held: Mapping[DatabaseRef, FingerprintSummary],
        approvals: Mapping[DatabaseRef, Approval],
    ) -> Baseline:
        """What a database is measured by."""
        return self._baselines.of(key, place.project, place.branches, held, approvals)

    def compare(
        self, key: DatabaseRef, held: FingerprintSummary, baseline: Baseline, place: BranchContext, now: float
    ) -> tuple[Drift, TenantDrift | None]:
        """The database against its baseline; its tenants against each other, when there are two at least."""
        current = None
        if baseline.digest == held.digest:
            drift = Drift()
        elif not baseline.digest:
            drift = Drift(comparable=False, why=baseline.why)
        else:
            current, other = self._fingerprints.read(key), self._baselines.fingerprint(baseline)
            if current is None or other is None:
                drift = Drift(comparable=False, why="a fingerprint is gone from the store")
            else:
                drift = compare(other, current, self.ignore, now)
        schemas = tenant_schemas(self._rules, place.project, place.branch, key.datname, held.digests)
        if len(schemas) < 2:
            return drift, None
        current = current or self._fingerprints.read(key)
        if current is None:
            return drift, None
        template = self._template(key, place.project)
        return drift, compare_tenants(current, schemas, template=template, ignore=self.ignore, now=now)

    def _template(self, key: DatabaseRef, project: Project) -> str | None:
        for template in self._settings.templates:
            if matches(template.project, project.id, project.name) and matches(template.database, key.datname):
                return template.schema_
        return None


def rules_of_settings(settings: DriftSettings) -> tuple[IgnoreRule, ...]:
    """What ``drift.ignore`` says."""
    return tuple(
        IgnoreRule(ignore.reason, ignore.kind, ignore.schema_, ignore.identity, ignore.expires_at)
        for ignore in settings.ignore
    )


def places(inventory: Inventory) -> dict[tuple[str, str], BranchContext]:
    """Every branch by (project id, branch id)."""
    by_project: dict[str, dict[str, Branch]] = {}
    for branch in inventory.branches.values():
        by_project.setdefault(branch.project_id, {})[branch.id] = branch
    return {
        (project_id, branch_id): BranchContext(inventory.projects[project_id], branch, branches)
        for project_id, branches in by_project.items()
        if project_id in inventory.projects
        for branch_id, branch in branches.items()
    }
