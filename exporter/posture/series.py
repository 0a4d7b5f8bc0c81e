"""A judgement as series: counts, worst outcomes, scores and ages; never a label per object."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping

from collectors.base import Unread
from collectors.metric import Families
from exporter.posture import metrics
from exporter.posture.domain.evaluate import Score
from exporter.posture.domain.facts import Facts
from exporter.posture.domain.finding import Outcome
from exporter.posture.evaluation import PostureEvaluation, worst_by_control
from exporter.posture.registry import Registry
from exporter.posture.waivers import EvaluatedFinding, WaiverState

RESIDENCY, OURSELVES = "P35", "P50"
EXPIRING_SECONDS = 14 * 86400
TENANTS_SHOWN = 500
Seen = set[tuple[str, str]]
"""Tenant and severity of what was shown before, so that a failure that ended goes on as 0."""


def project_series(evaluation: PostureEvaluation, project: str, seen: Seen) -> Families:
    """Everything about one project, or about what is of none."""
    families = Families()
    judged = evaluation.of(project)
    for control, evaluated in worst_by_control(judged).items():
        families.set(metrics.CONTROL, (control, evaluated.finding.severity.value, evaluated.status), 1)
    for key, count in sorted(counted(judged).items()):
        families.set(metrics.FINDINGS, key, count)
    score = evaluation.by_project.get(project)
    if score is not None:
        if score.ratio is not None:
            families.set(metrics.SCORE, (), float(score.ratio))
        if score.known is not None:
            families.set(metrics.KNOWN, (), float(score.known))
    tenants = _tenants(judged)
    seen.update(tenants)
    for key in sorted(seen)[:TENANTS_SHOWN]:
        families.set(metrics.TENANT_FINDINGS, key, tenants.get(key, 0))
    for tenant, ratio in _tenant_scores(evaluation, project):
        families.set(metrics.TENANT_SCORE, (tenant,), ratio)
    _residency(families, evaluation, project)
    _passwords(families, evaluation, project)
    return families


def counted(judged: Iterable[EvaluatedFinding]) -> Counter[tuple[str, str]]:
    """By severity and status; what holds, what does not apply and what is manual is in no count."""
    found: Counter[tuple[str, str]] = Counter()
    for evaluated in judged:
        severity = evaluated.finding.severity.value
        if evaluated.finding.outcome is Outcome.FAIL:
            found[severity, "waived" if evaluated.waived else "fail"] += evaluated.finding.count
            if evaluated.expired:
                found[severity, "expired"] += evaluated.finding.count
        elif evaluated.finding.outcome in (Outcome.ERROR, Outcome.UNKNOWN):
            found[severity, evaluated.finding.outcome.value] += 1
    return found


def _tenants(judged: Iterable[EvaluatedFinding]) -> Counter[tuple[str, str]]:
    found: Counter[tuple[str, str]] = Counter()
    for evaluated in judged:
        if evaluated.open and evaluated.finding.tenant:
            found[evaluated.finding.tenant, evaluated.finding.severity.value] += evaluated.finding.count
    return found


def _tenant_scores(evaluation: PostureEvaluation, project: str) -> Iterator[tuple[str, float]]:
    scored: list[tuple[str, Score]] = [
        (tenant, score) for (owner, tenant), score in evaluation.by_tenant.items() if owner == project
    ]
    for tenant, score in sorted(scored)[:TENANTS_SHOWN]:
        if score.ratio is not None:
            yield tenant, float(score.ratio)


def _residency(families: Families, evaluation: PostureEvaluation, project: str) -> None:
    region = next(
        (project_facts.region for project_facts in evaluation.gathered.facts.projects if project_facts.id == project),
        "",
    )
    outcomes = {
        evaluated.finding.outcome
        for evaluated in evaluation.of(project)
        if evaluated.finding.control == RESIDENCY and evaluated.finding.object_id == project
    }
    if region and Outcome.FAIL in outcomes:
        families.set(metrics.RESIDENCY, (region,), 0)
    elif region and Outcome.PASS in outcomes:
        families.set(metrics.RESIDENCY, (region,), 1)


def _passwords(families: Families, evaluation: PostureEvaluation, project: str) -> None:
    for branch in evaluation.gathered.facts.branches:
        if branch.project_id != project or isinstance(branch.roles, Unread):
            continue
        changed = [
            role.updated_at
            for role in branch.roles
            if role.updated_at is not None and not role.no_login and not role.protected
        ]
        if changed:
            families.set(metrics.PASSWORD_AGE, (branch.id,), max(0.0, evaluation.at - min(changed)))


def excess(evaluation: PostureEvaluation) -> dict[tuple[str, str], list[str]]:
    """By branch, what our own role has too much; empty where it was looked at and is well."""
    found: dict[tuple[str, str], list[str]] = {}
    for evaluated in evaluation.verdict.judged:
        if evaluated.finding.control != OURSELVES or evaluated.finding.outcome not in (Outcome.PASS, Outcome.FAIL):
            continue
        parts = evaluated.finding.object_id.split("/", 2)
        told = found.setdefault((parts[0], parts[1] if len(parts) > 1 else ""), [])
        if evaluated.finding.outcome is Outcome.FAIL:
            told.append(evaluated.finding.evidence)
    return found


def account_series(
    evaluation: PostureEvaluation, registry: Registry, sources: Mapping[str, bool]
) -> Families:  # fmt: skip
    """What is of no project: keys, waivers, how old everything is."""
    families = Families()
    facts, now = evaluation.gathered.facts, evaluation.at
    for kind, at in sorted(_oldest_keys(facts).items()):
        families.set(metrics.KEY_AGE, (kind,), max(0.0, now - at))
    for tenant, at in sorted(_oldest_tenant_keys(facts, registry).items())[:TENANTS_SHOWN]:
        families.set(metrics.TENANT_KEY_AGE, (tenant,), max(0.0, now - at))
    states = Counter({state.value: 0 for state in WaiverState} | {"expiring": 0})
    for waiver, standing, _ in evaluation.verdict.waivers:
        states[standing.value] += 1
        states["expiring"] += standing is not WaiverState.EXPIRED and waiver.expires_at - now <= EXPIRING_SECONDS
    for state, count in sorted(states.items()):
        families.set(metrics.WAIVERS, (state,), count)
    for source, at in sorted(evaluation.gathered.ages.items()):
        families.set(metrics.FACTS_AGE, (source,), max(0.0, now - at))
    for source, up in sorted(sources.items()):
        families.set(metrics.SOURCE_UP, (source,), int(up))
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
