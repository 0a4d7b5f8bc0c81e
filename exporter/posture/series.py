"""The metrics of posture, and an evaluation as series: counts, worst outcomes, scores and ages.

No object is ever a label.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping

from collectors.base import Unread
from collectors.metric import Families, Kind, Metric, Scope, Unit
from exporter.posture.domain.facts import Facts
from exporter.posture.domain.finding import Outcome
from exporter.posture.evaluation import PostureEvaluation, worst_by_control
from exporter.posture.registry import Registry
from exporter.posture.waivers import FindingState, WaiverState

CONTROL = Metric(
    "neon_posture_control_status", Kind.GAUGE, Unit.NONE, Scope.PROJECT,
    "1 for each control, by its worst outcome in the project (pass, fail, waived, error, unknown, manual, "
    "not_applicable). What could not be read is error or unknown, never pass. __account__ is what is of no project.",
    ("control", "severity", "status"), max_series=200,
)  # fmt: skip
FINDINGS = Metric(
    "neon_posture_findings", Kind.GAUGE, Unit.NONE, Scope.PROJECT,
    "Objects that fail a control, by severity: fail (no waiver), waived, expired (its waiver is over; "
    "these are in fail too); and what ended as error or unknown. Which ones: /api/v1/posture/PROJECT.",
    ("severity", "status"), worse="up", max_series=40,
)  # fmt: skip
SCORE = Metric(
    "neon_posture_score_ratio", Kind.GAUGE, Unit.RATIO, Scope.PROJECT,
    "Weight of the controls that hold over those that could be evaluated and are not waived; absent when none could.",
    worse="down", max_series=1,
)  # fmt: skip
KNOWN = Metric(
    "neon_posture_known_ratio", Kind.GAUGE, Unit.RATIO, Scope.PROJECT,
    "Weight of the controls that could be evaluated over those that apply; where it is low, a good score means little.",
    worse="down", max_series=1,
)  # fmt: skip
TENANT_FINDINGS = Metric(
    "neon_tenant_posture_findings", Kind.GAUGE, Unit.NONE, Scope.PROJECT,
    "Open failures that put a tenant's data at risk. Only tenants that have, or had, some.",
    ("tenant", "severity"), worse="up", max_series=600,
)  # fmt: skip
TENANT_SCORE = Metric(
    "neon_tenant_posture_score_ratio", Kind.GAUGE, Unit.RATIO, Scope.PROJECT,
    "As neon_posture_score_ratio, over the controls of whole databases and what is said of this tenant. Only tenants "
    "that something was said of.",
    ("tenant",), worse="down", max_series=600,
)  # fmt: skip
RESIDENCY = Metric(
    "neon_project_residency_ok", Kind.GAUGE, Unit.NONE, Scope.PROJECT,
    "1 when the project's region is on the list where data may lie (posture.allow.regions), 0 when it is not; absent "
    "when the place of the region is not known.",
    ("region",), worse="down", max_series=1,
)  # fmt: skip
PASSWORD_AGE = Metric(
    "neon_role_password_age_seconds", Kind.GAUGE, Unit.SECONDS, Scope.PROJECT,
    "The oldest password of a role that may log in, by branch: since Neon's API says that the role was last changed, "
    "which is the nearest there is.",
    ("branch_id",), worse="up", max_series=500,
)  # fmt: skip
EXCESS = Metric(
    "neonmeter_excess_privilege", Kind.GAUGE, Unit.NONE, Scope.BRANCH,
    "1 where neonmeter's own role may do more than it needs (superuser, neon_superuser, BYPASSRLS, reading tables): "
    "make it one by docs/permissions.sql. 0 where it was looked at and is well.",
    worse="up", max_series=1,
)  # fmt: skip
KEY_AGE = Metric(
    "neon_api_key_age_seconds", Kind.GAUGE, Unit.SECONDS, Scope.AGENT,
    "The oldest API key by what it opens: organization, project, personal.",
    ("kind",), worse="up", max_series=3,
)  # fmt: skip
TENANT_KEY_AGE = Metric(
    "neon_tenant_key_age_seconds", Kind.GAUGE, Unit.SECONDS, Scope.AGENT,
    "Since a tenant's encryption key was last rotated, the oldest of its key stores.",
    ("tenant",), worse="up", max_series=600,
)  # fmt: skip
WAIVERS = Metric(
    "neon_posture_waivers", Kind.GAUGE, Unit.NONE, Scope.AGENT,
    "Entries of posture.waivers: active, expiring (within 14 days, in active too), expired, unused (nothing fails that "
    "they speak of).",
    ("state",), worse="up", max_series=4,
)  # fmt: skip
FACTS_AGE = Metric(
    "neon_posture_facts_age_seconds", Kind.GAUGE, Unit.SECONDS, Scope.AGENT,
    "Age of the oldest facts of a source in use; a sleeping database is not read, and its facts age.",
    ("source",), worse="up", max_series=20,
)  # fmt: skip
SOURCE_UP = Metric(
    "neon_posture_source_up", Kind.GAUGE, Unit.NONE, Scope.AGENT,
    "Whether the last reading of a source other than the databases (api, vault, s3, tls, pooler) succeeded.",
    ("source",), worse="down", max_series=20,
)  # fmt: skip
METRICS = (
    CONTROL, FINDINGS, SCORE, KNOWN, TENANT_FINDINGS, TENANT_SCORE, RESIDENCY, PASSWORD_AGE, EXCESS, KEY_AGE,
    TENANT_KEY_AGE, WAIVERS, FACTS_AGE, SOURCE_UP,
)  # fmt: skip

RESIDENCY_CONTROL, OWN_ROLE_CONTROL = "P35", "P50"
EXPIRING_SECONDS = 14 * 86400
TENANTS_SHOWN = 500
TenantSeverities = set[tuple[str, str]]
"""Tenant and severity of what was shown before, so that a failure that ended goes on as 0."""


def project_series(evaluation: PostureEvaluation, project: str, shown_before: TenantSeverities) -> Families:
    """Everything about one project, or about what is of none."""
    families = Families()
    states = evaluation.of(project)
    for control, state in worst_by_control(states).items():
        families.set(CONTROL, (control, state.finding.severity.value, state.status), 1)
    for key, count in sorted(counted(states).items()):
        families.set(FINDINGS, key, count)
    score = evaluation.by_project.get(project)
    if score is not None:
        if score.ratio is not None:
            families.set(SCORE, (), float(score.ratio))
        if score.known is not None:
            families.set(KNOWN, (), float(score.known))
    tenants = _tenants(states)
    shown_before.update(tenants)
    for key in sorted(shown_before)[:TENANTS_SHOWN]:
        families.set(TENANT_FINDINGS, key, tenants.get(key, 0))
    for tenant, ratio in _tenant_scores(evaluation, project):
        families.set(TENANT_SCORE, (tenant,), ratio)
    _residency(families, evaluation, project)
    _passwords(families, evaluation, project)
    return families


def counted(states: Iterable[FindingState]) -> Counter[tuple[str, str]]:
    """By severity and status; what holds, what does not apply and what is manual is in no count."""
    found: Counter[tuple[str, str]] = Counter()
    for state in states:
        severity = state.finding.severity.value
        if state.finding.outcome is Outcome.FAIL:
            found[severity, "waived" if state.waived else "fail"] += state.finding.count
            if state.expired:
                found[severity, "expired"] += state.finding.count
        elif state.finding.outcome in (Outcome.ERROR, Outcome.UNKNOWN):
            found[severity, state.finding.outcome.value] += 1
    return found


def _tenants(states: Iterable[FindingState]) -> Counter[tuple[str, str]]:
    found: Counter[tuple[str, str]] = Counter()
    for state in states:
        if state.open and state.finding.tenant:
            found[state.finding.tenant, state.finding.severity.value] += state.finding.count
    return found


def _tenant_scores(evaluation: PostureEvaluation, project: str) -> Iterator[tuple[str, float]]:
    scored = evaluation.by_tenant.get(project, {})
    for tenant, score in list(scored.items())[:TENANTS_SHOWN]:
        if score.ratio is not None:
            yield tenant, float(score.ratio)


def _residency(families: Families, evaluation: PostureEvaluation, project: str) -> None:
    known = evaluation.gathered.facts.project_by_id.get(project)
    region = known.region if known is not None else ""
    outcomes = {
        state.finding.outcome
        for state in evaluation.of(project)
        if state.finding.control == RESIDENCY_CONTROL and state.finding.object_id == project
    }
    if region and Outcome.FAIL in outcomes:
        families.set(RESIDENCY, (region,), 0)
    elif region and Outcome.PASS in outcomes:
        families.set(RESIDENCY, (region,), 1)


def _passwords(families: Families, evaluation: PostureEvaluation, project: str) -> None:
    for branch in evaluation.gathered.facts.branches_by_project.get(project, ()):
        if isinstance(branch.roles, Unread):
            continue
        changed = [
            role.updated_at
            for role in branch.roles
            if role.updated_at is not None and not role.no_login and not role.protected
        ]
        if changed:
            families.set(PASSWORD_AGE, (branch.id,), max(0.0, evaluation.at - min(changed)))


def excess(evaluation: PostureEvaluation) -> dict[tuple[str, str], list[str]]:
    """By branch, what our own role has too much; empty where it was looked at and is well."""
    found: dict[tuple[str, str], list[str]] = {}
    for state in evaluation.verdict.states:
        if state.finding.control != OWN_ROLE_CONTROL or state.finding.outcome not in (
            Outcome.PASS,
            Outcome.FAIL,
        ):
            continue
        parts = state.finding.object_id.split("/", 2)
        evidence = found.setdefault((parts[0], parts[1] if len(parts) > 1 else ""), [])
        if state.finding.outcome is Outcome.FAIL:
            evidence.append(state.finding.evidence)
    return found


def account_series(
    evaluation: PostureEvaluation, registry: Registry, sources: Mapping[str, bool]
) -> Families:  # fmt: skip
    """What is of no project: keys, waivers, how old everything is."""
    families = Families()
    facts, now = evaluation.gathered.facts, evaluation.at
    for kind, at in sorted(_oldest_keys(facts).items()):
        families.set(KEY_AGE, (kind,), max(0.0, now - at))
    for tenant, at in sorted(_oldest_tenant_keys(facts, registry).items())[:TENANTS_SHOWN]:
        families.set(TENANT_KEY_AGE, (tenant,), max(0.0, now - at))
    states = Counter({state.value: 0 for state in WaiverState} | {"expiring": 0})
    for waiver, waiver_state, _ in evaluation.verdict.waivers:
        states[waiver_state.value] += 1
        states["expiring"] += waiver_state is not WaiverState.EXPIRED and waiver.expires_at - now <= EXPIRING_SECONDS
    for state, count in sorted(states.items()):
        families.set(WAIVERS, (state,), count)
    for source, at in sorted(evaluation.gathered.ages.items()):
        families.set(FACTS_AGE, (source,), max(0.0, now - at))
    for source, up in sorted(sources.items()):
        families.set(SOURCE_UP, (source,), int(up))
    return families


def _oldest_keys(facts: Facts) -> dict[str, float]:
    found: dict[str, float] = {}
    for organization in facts.organizations:
        if isinstance(organization.keys, Unread):
            continue
        for key in organization.keys:
            kind = "personal" if key.personal else "project" if key.project_id else "organization"
            if key.created_at is not None:
                found[kind] = min(key.created_at, found.get(kind, key.created_at))
    return found


def _oldest_tenant_keys(facts: Facts, registry: Registry) -> dict[str, float]:
    found: dict[str, float] = {}
    for vault in facts.vaults:
        if isinstance(vault.keys, Unread):
            continue
        for key in vault.keys:
            if isinstance(key, Unread) or key.rotated_at is None:
                continue
            tenant = registry.of_key(key.name)
            if tenant:
                found[tenant] = min(key.rotated_at, found.get(tenant, key.rotated_at))
    return found
