"""From the settings to the plain values that the controls measure by, for the branches that there are."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from collectors.neon.models import Branch, Project
from exporter.posture.domain.finding import Severity
from exporter.posture.domain.policy import DAY, Policy
from exporter.posture.settings import PostureSettings
from exporter.settings.dsn import matches
from exporter.settings.recovery import RecoveryTarget
from exporter.settings.sections import ExpectedSlot

_USUAL = Policy()
_NONE = ("-",)
"""Production branches where there are none: a glob that no ``project/branch`` is like."""


def policy_of(
    settings: PostureSettings,
    *,
    production: tuple[str, ...] = (),
    severities: Mapping[str, Severity] | None = None,
) -> Policy:
    """``production``: ``project/branch`` by ids; empty means that default and protected branches are.

    ``severities``: of each control's failures (`Catalogue.severities`).
    """
    limits, targets = settings.limits, settings.targets
    allow: dict[str, Any] = {name: tuple(globs) for name, globs in settings.allow.model_dump().items()}
    return Policy(
        **allow,
        tenant_columns=tuple(settings.tenant_columns),
        production_branches=production,
        ip_widest=limits.ip_prefix,
        key_age_days=round(limits.api_key_days),
        key_unused_days=round(limits.api_key_unused_days),
        password_age_days=round(limits.password_days),
        role_expires_days=round(limits.role_expires_days),
        role_unused_days=round(limits.role_unused_days),
        branch_idle_days=round(limits.branch_idle_days),
        replica_lag_seconds=limits.replica_lag_seconds,
        transit_key_age_days=round(limits.transit_key_days),
        transit_versions=limits.transit_versions,
        transit_key=settings.vaults[0].key if settings.vaults else _USUAL.transit_key,
        history_seconds=targets.history_seconds,
        snapshot_age_seconds=round(targets.snapshot_hours * 3600),
        snapshot_keep_seconds=round(targets.snapshot_keep_days * DAY),
        offsite_age_seconds=round(min((bucket.max_age_hours for bucket in settings.s3), default=26) * 3600),
        drill_age_days=round(targets.drill_days),
        certificate_days=round(limits.certificate_days),
        encrypted_columns=tuple(settings.encrypted_columns),
        classified_columns=settings.classified_columns,
        server_minors=dict(limits.server_minors),
        pgbouncer_least=limits.pgbouncer,
        severities=severities or {},
    )


def production_branches(
    settings: PostureSettings, projects: Mapping[str, Project], branches: Mapping[str, Branch]
) -> tuple[str, ...]:
    """``project/branch`` by ids of what holds production data, by the profiles and otherwise by protection."""
    if not settings.profiles:
        return ()
    found = []
    for branch in branches.values():
        project = projects.get(branch.project_id)
        if project is not None and _is_production(settings, project, branch):
            found.append(f"{project.id}/{branch.id}")
    return tuple(sorted(found)) or _NONE


def _is_production(settings: PostureSettings, project: Project, branch: Branch) -> bool:
    for profile in settings.profiles:
        if matches(profile.project, project.id, project.name) and matches(profile.branch, branch.id, branch.name):
            return profile.profile == "production"
    return branch.default or branch.protected


def recovery_targets(targets: list[RecoveryTarget], project: Project) -> tuple[int, int] | None:
    """RTO and RPO in seconds that are promised for a project: the strictest of its branches; None: none is."""
    found = [target for target in targets if matches(target.project, project.id, project.name)]
    if not found:
        return None
    return round(min(target.rto_seconds for target in found)), round(min(target.rpo_seconds for target in found))


def expected_slots(slots: list[ExpectedSlot], project: Project, branch: Branch) -> tuple[str, ...]:
    """The slots that one branch must have."""
    return tuple(
        slot.slot
        for slot in slots
        if matches(slot.project, project.id, project.name) and matches(slot.branch, branch.id, branch.name)
    )
