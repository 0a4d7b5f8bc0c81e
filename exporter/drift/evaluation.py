"""Drift of branches, evaluated once for all that show it: series, pages under /api/v1/, and commands.

Every database is compared with its baseline, its tenants with each other, its migrations with git and the baseline, and
the settings of its branch with the parent's and the desired state. What did not change is not compared again.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from collectors.base import Status
from collectors.neon.inventory import Inventory
from collectors.neon.models import Branch, Project
from exporter.drift.baselines import Approvals, Baseline, Baselines, BranchContext, BranchKey, branches_of
from exporter.drift.domain.desired import SettingsDrift
from exporter.drift.migrations import MigrationsEvaluator, ToolMigrations
from exporter.drift.settings import DriftSettings
from exporter.drift.settings_drift import SettingsEvaluator, ignore_rules
from exporter.drift.store import ComputeIds, StoredHistories, StoredSettings
from exporter.sampling.computes import DatabaseRef
from exporter.sampling.domain.schema_comparison import Drift, TenantDrift, compare, compare_tenants
from exporter.sampling.fingerprint_store import FingerprintStore, FingerprintSummary
from exporter.settings.dsn import matches
from exporter.tenancy.domain.rules import SHARED, TenantRules


@dataclass(slots=True)
class Scan:
    """The last attempt at the fingerprint of one database. ``at`` in unix seconds."""

    at: float
    status: Status
    error: str = ""
    failures: dict[str, int] = field(default_factory=dict)
    """Failed attempts by status, since the agent started."""
    seconds: float | None = None
    """What the last one that succeeded took on the server."""


@dataclass(frozen=True, slots=True)
class Known:
    """What has been read of all databases and computes."""

    fingerprints: Mapping[DatabaseRef, FingerprintSummary]
    histories: Mapping[DatabaseRef, StoredHistories]
    settings: Mapping[ComputeIds, StoredSettings]
    since: Mapping[DatabaseRef, tuple[str, float]]
    """Against which baseline, and since when (unix seconds), a database has drifted."""
    scans: Mapping[DatabaseRef, Scan] = field(default_factory=dict)
    """Empty for commands: only the agent knows."""


@dataclass(frozen=True, slots=True)
class DatabaseDrift:
    """One database: what it is compared with, and how it differs. Times in unix seconds."""

    key: DatabaseRef
    fingerprint: FingerprintSummary
    baseline: Baseline
    drift: Drift
    tenants: TenantDrift | None
    """None where fewer than two tenants have schemas of their own."""
    migrations: Mapping[str, ToolMigrations] | None
    """By tool; None where no history was ever read."""
    since: float | None
    """Since when it differs; None: it does not, or no agent has compared it yet."""
    scan: Scan | None


@dataclass(frozen=True, slots=True)
class BranchDrift:
    """One branch: its databases by name, and its settings by what they are compared with (desired, parent)."""

    name: str
    """``project/branch``."""
    databases: tuple[DatabaseDrift, ...]
    settings: Mapping[str, SettingsDrift]


class Evaluator:
    """Evaluates by the settings. Reads files and fingerprints: call it off the event loop, one caller at a time."""

    def __init__(
        self, settings: DriftSettings, fingerprints: FingerprintStore, approvals: Approvals, rules: TenantRules
    ) -> None:
        self._settings = settings
        self._fingerprints = fingerprints
        self._approvals = approvals
        self._rules = rules
        self._baselines = Baselines(settings, fingerprints, approvals)
        self._migrations = MigrationsEvaluator(settings)
        self._compared: dict[DatabaseRef, tuple[object, _Comparison]] = {}
        self.desired = SettingsEvaluator(settings)
        self.ignore = ignore_rules(settings)

    def evaluate(
        self, inventory: Inventory, known: Known, now: float, only: BranchKey | None = None
    ) -> dict[BranchKey, BranchDrift]:
        """Every branch that exists and of which anything is known, or one of them, at ``now`` (unix seconds)."""
        branches = branches_of(inventory)
        settings = self.desired.evaluate(branches, inventory, known.settings, known.fingerprints, now)
        summaries = {key: found for key, found in known.fingerprints.items() if key.branch in branches}
        approvals = self._approvals.all()
        databases: dict[BranchKey, list[DatabaseDrift]] = {ids: [] for ids in settings}
        for key in sorted(summaries):
            if only in (None, key.branch):
                context = branches[key.branch]
                baseline = self._baselines.of(key, context, summaries, approvals)
                found = self._database(key, baseline, context, known=known, now=now)
                databases.setdefault(key.branch, []).append(found)
        self._compared = {key: comparison for key, comparison in self._compared.items() if key in summaries}
        return {
            ids: BranchDrift(branches[ids].name, tuple(found), settings.get(ids, {}))
            for ids, found in databases.items()
            if only in (None, ids)
        }

    def in_force(self, now: float) -> tuple[object, ...]:
        """The rules of ``drift.ignore`` that have not expired at ``now`` (unix seconds)."""
        return tuple(rule for rule in self.ignore if rule.expires is None or now < rule.expires)

    def _database(
        self,
        key: DatabaseRef,
        baseline: Baseline,
        context: BranchContext,
        *,
        known: Known,
        now: float,
    ) -> DatabaseDrift:
        summary, histories = known.fingerprints[key], known.histories.get(key)
        others = known.histories.get(baseline.key) if baseline.key else None
        sides = (summary.digest, summary.digests, baseline.policy, baseline.digest, baseline.why, histories, others)
        inputs = (*sides, self.in_force(now))
        cached = self._compared.get(key)
        if cached is not None and cached[0] == inputs:
            comparison = cached[1]
        else:
            drift, tenants = self._compare(key, summary, baseline, context, now)
            migrations = None
            if histories is not None:
                migrations = self._migrations.evaluate(key.datname, histories, others, context.project)
            comparison = _Comparison(drift, tenants, migrations)
            self._compared[key] = (inputs, comparison)
        policy, since = known.since.get(key, ("", None))
        if policy != baseline.policy or not comparison.drift.changes:
            since = None
        scan = known.scans.get(key)
        return DatabaseDrift(
            key, summary, baseline, comparison.drift, comparison.tenants, comparison.migrations, since, scan
        )

    def _compare(
        self, key: DatabaseRef, summary: FingerprintSummary, baseline: Baseline, context: BranchContext, now: float
    ) -> tuple[Drift, TenantDrift | None]:
        current = None
        if baseline.digest == summary.digest:
            drift = Drift()
        elif not baseline.digest:
            drift = Drift(comparable=False, why=baseline.why)
        else:
            current, other = self._fingerprints.read(key), self._baselines.fingerprint(baseline)
            if current is None or other is None:
                drift = Drift(comparable=False, why="a fingerprint is missing from the store")
            else:
                drift = compare(other, current, self.ignore, now)
        schemas = tenant_schemas(self._rules, context.project, context.branch, key.datname, summary.digests)
        if len(schemas) < 2:
            return drift, None
        current = current or self._fingerprints.read(key)
        if current is None:
            return drift, None
        template = self._template(key, context.project)
        return drift, compare_tenants(current, schemas, template=template, ignore=self.ignore, now=now)

    def _template(self, key: DatabaseRef, project: Project) -> str | None:
        for template in self._settings.templates:
            if matches(template.project, project.id, project.name) and matches(template.database, key.datname):
                return template.schema_
        return None


@dataclass(frozen=True, slots=True)
class _Comparison:
    drift: Drift
    tenants: TenantDrift | None
    migrations: Mapping[str, ToolMigrations] | None


def tenant_schemas(
    rules: TenantRules, project: Project, branch: Branch, datname: str, schemas: Iterable[str]
) -> dict[str, str]:
    """Schema by tenant. A tenant with several schemas is there once for each, as ``tenant/schema``.

    Only rules that name the schema count: where a whole database is one tenant's, its schemas are not alike.
    """

    def tenant_of(schema: str) -> str:
        return rules.resolve(
            project=(project.id, project.name), branch=(branch.id, branch.name), database=datname, schema=schema
        )

    whole = tenant_of("")
    by_tenant: dict[str, list[str]] = {}
    for schema in schemas:
        tenant = tenant_of(schema)
        if tenant not in (whole, SHARED) and not tenant.startswith("__"):
            by_tenant.setdefault(tenant, []).append(schema)
    return {
        tenant if len(names) == 1 else f"{tenant}/{name}": name
        for tenant, names in sorted(by_tenant.items())
        for name in sorted(names)
    }
