"""The series of drift, by branch."""

from __future__ import annotations

from collections.abc import Mapping

from collectors.base import Status
from collectors.metric import Families
from exporter.drift import metrics
from exporter.drift.baselines import BranchKey
from exporter.drift.domain.desired import SettingsDrift
from exporter.drift.evaluation import BranchDrift, DatabaseDrift, Scan
from exporter.drift.migrations import ToolMigrations
from exporter.sampling.computes import DatabaseRef
from exporter.sampling.domain.schema_comparison import TenantDrift

TENANTS_SHOWN = 200


class BranchSeries:
    """Makes the series of branches. A kind of object that differed once goes on as 0, so that it does not vanish."""

    def __init__(self) -> None:
        self._kinds: dict[DatabaseRef, set[tuple[str, str]]] = {}
        self._settings: dict[BranchKey, set[tuple[str, str, str]]] = {}

    def families(self, ids: BranchKey, branch: BranchDrift) -> Families:
        """All series of one branch."""
        families = Families()
        for found in branch.databases:
            self._fill(families, found)
            for migrations in (found.migrations or {}).values():
                _fill_migrations(families, (found.key.datname, migrations.tool), migrations)
        self._fill_settings(families, branch.settings, self._settings.setdefault(ids, set()))
        return families

    def _fill(self, families: Families, found: DatabaseDrift) -> None:
        datname, policy, drift = found.key.datname, found.baseline.policy, found.drift
        families.set(metrics.INFO, (datname, found.fingerprint.digest[:12]), 1)
        families.set(metrics.SCANNED, (datname,), found.fingerprint.taken_at)
        if found.scan is not None:
            _fill_scan(families, datname, found.scan)
        if policy != "none" and not drift.comparable:
            families.set(metrics.UNCOMPARED, (datname, policy), 1)
        elif policy != "none":
            families.set(metrics.DETECTED, (datname, policy), 1 if drift.changes else 0)
            families.set(metrics.IGNORED, (datname,), drift.ignored)
            if found.since is not None:
                families.set(metrics.SINCE, (datname, policy), found.since)
        counts = drift.counts()
        kinds = self._kinds.setdefault(found.key, set())
        kinds.update(counts)
        for kind, change in kinds:
            families.set(metrics.OBJECTS, (datname, kind, change), counts.get((kind, change), 0))
        if found.tenants is not None:
            _fill_tenants(families, datname, found.tenants)

    def _fill_settings(
        self, families: Families, drifts: Mapping[str, SettingsDrift], kinds: set[tuple[str, str, str]]
    ) -> None:
        counts: dict[tuple[str, str, str], int] = {}
        for baseline, drift in drifts.items():
            families.set(metrics.SETTINGS_DETECTED, (baseline,), 1 if drift.changes else 0)
            families.set(metrics.SETTINGS_UNVERIFIED, (baseline,), len(drift.unverified))
            for change in drift.changes:
                key = (baseline, change.kind, change.change)
                counts[key] = counts.get(key, 0) + 1
        kinds.update(counts)
        for key in kinds:
            families.set(metrics.SETTINGS_OBJECTS, key, counts.get(key, 0))


def _fill_scan(families: Families, datname: str, scan: Scan) -> None:
    if scan.status is not Status.OK:
        families.set(metrics.STALE, (datname, scan.status.value), 1)
    if scan.seconds is not None:
        families.set(metrics.DURATION, (datname,), scan.seconds)
    for status, count in scan.failures.items():
        families.set(metrics.ERRORS, (datname, status), count)


def _fill_tenants(families: Families, datname: str, tenants: TenantDrift) -> None:
    families.set(metrics.TENANTS, (datname, "alike"), tenants.alike)
    families.set(metrics.TENANTS, (datname, "deviating"), len(tenants.deviating))
    for tenant, changes in list(tenants.deviating.items())[:TENANTS_SHOWN]:
        for kind in sorted({change.change for change in changes}):
            count = sum(change.change == kind for change in changes)
            families.set(metrics.TENANT_OBJECTS, (datname, tenant, kind), count)


def _fill_migrations(families: Families, labels: tuple[str, str], migrations: ToolMigrations) -> None:
    if migrations.baseline is not None:
        families.set(metrics.DIVERGENCE, (*labels, "behind"), len(migrations.baseline.behind))
        families.set(metrics.DIVERGENCE, (*labels, "ahead"), len(migrations.baseline.ahead))
    if migrations.files is not None:
        families.set(metrics.PENDING, labels, len(migrations.files.pending))
        families.set(metrics.MISMATCHED, labels, len(migrations.files.mismatched))
        families.set(metrics.OUT_OF_ORDER, labels, len(migrations.files.out_of_order))
        families.set(metrics.UNKNOWN, labels, len(migrations.files.unknown))
    if migrations.schemas_behind is not None:
        families.set(metrics.TENANTS_BEHIND, labels, len(migrations.schemas_behind))
