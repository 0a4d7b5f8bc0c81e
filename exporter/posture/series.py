"""A judgement as series: counts, worst outcomes, scores and ages; never a label per object."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping

from collectors.metric import Families
from exporter.posture import metrics
from exporter.posture.domain.facts import Facts
from exporter.posture.domain.finding import Outcome, Unread
from exporter.posture.domain.score import Score
from exporter.posture.evaluation import Judgement, worst_by_control
from exporter.posture.registry import Registry
from exporter.posture.waivers import Judged, Standing

RESIDENCY, OURSELVES = "P35", "P50"
EXPIRING_SECONDS = 14 * 86400
TENANTS_SHOWN = 500
Seen = set[tuple[str, str]]
"""Tenant and severity of what was shown before, so that a failure that ended goes on as 0."""


def project_series(judgement: Judgement, project: str, seen: Seen) -> Families:
    """Everything about one project, or about what is of none."""
    families = Families()
    judged = judgement.of(project)
    for control, each in worst_by_control(judged).items():
        families.set(metrics.CONTROL, (control, each.finding.severity.value, each.status), 1)
    for key, count in sorted(counted(judged).items()):
        families.set(metrics.FINDINGS, key, count)
    score = judgement.by_project.get(project)
    if score is not None:
        if score.ratio is not None:
            families.set(metrics.SCORE, (), float(score.ratio))
        if score.known is not None:
            families.set(metrics.KNOWN, (), float(score.known))
    tenants = _tenants(judged)
    seen.update(tenants)
    for key in sorted(seen)[:TENANTS_SHOWN]:
        families.set(metrics.TENANT_FINDINGS, key, tenants.get(key, 0))
    for tenant, ratio in _tenant_scores(judgement, project):
        families.set(metrics.TENANT_SCORE, (tenant,), ratio)
    _residency(families, judgement, project)
    _passwords(families, judgement, project)
    return families


def counted(judged: Iterable[Judged]) -> Counter[tuple[str, str]]:
    """By severity and status; what holds, what does not apply and what is manual is in no count."""
    found: Counter[tuple[str, str]] = Counter()
    for each in judged:
        severity = each.finding.severity.value
        if each.finding.outcome is Outcome.FAIL:
            found[severity, "waived" if each.waived else "fail"] += each.finding.count
            if each.expired:
                found[severity, "expired"] += each.finding.count
        elif each.finding.outcome in (Outcome.ERROR, Outcome.UNKNOWN):
            found[severity, each.finding.outcome.value] += 1
    return found


def _tenants(judged: Iterable[Judged]) -> Counter[tuple[str, str]]:
    found: Counter[tuple[str, str]] = Counter()
    for each in judged:
        if each.open and each.finding.tenant:
            found[each.finding.tenant, each.finding.severity.value] += each.finding.count
    return found


def _tenant_scores(judgement: Judgement, project: str) -> Iterator[tuple[str, float]]:
    scored: list[tuple[str, Score]] = [
        (tenant, score) for (owner, tenant), score in judgement.by_tenant.items() if owner == project
    ]
    for tenant, score in sorted(scored)[:TENANTS_SHOWN]:
        if score.ratio is not None:
            yield tenant, float(score.ratio)


def _residency(families: Families, judgement: Judgement, project: str) -> None:
    region = next((each.region for each in judgement.gathered.facts.projects if each.id == project), "")
    outcomes = {
        each.finding.outcome
        for each in judgement.of(project)
        if each.finding.control == RESIDENCY and each.finding.object_id == project
    }
    if region and Outcome.FAIL in outcomes:
        families.set(metrics.RESIDENCY, (region,), 0)
    elif region and Outcome.PASS in outcomes:
        families.set(metrics.RESIDENCY, (region,), 1)


def _passwords(families: Families, judgement: Judgement, project: str) -> None:
    for branch in judgement.gathered.facts.branches:
        if branch.project_id != project or isinstance(branch.roles, Unread):
            continue
        changed = [
            each.updated_at
            for each in branch.roles
            if each.updated_at is not None and not each.no_login and not each.protected
        ]
        if changed:
            families.set(metrics.PASSWORD_AGE, (branch.id,), max(0.0, judgement.at - min(changed)))


def excess(judgement: Judgement) -> dict[tuple[str, str], list[str]]:
    """By branch, what our own role has too much; empty where it was looked at and is well."""
    found: dict[tuple[str, str], list[str]] = {}
    for each in judgement.verdict.judged:
        if each.finding.control != OURSELVES or each.finding.outcome not in (Outcome.PASS, Outcome.FAIL):
            continue
        parts = each.finding.object_id.split("/", 2)
        told = found.setdefault((parts[0], parts[1] if len(parts) > 1 else ""), [])
        if each.finding.outcome is Outcome.FAIL:
            told.append(each.finding.evidence)
    return found


def account_series(
    judgement: Judgement, registry: Registry, sources: Mapping[str, bool]
) -> Families:  # fmt: skip
    """What is of no project: keys, waivers, how old everything is."""
    families = Families()
    facts, now = judgement.gathered.facts, judgement.at
    for kind, at in sorted(_oldest_keys(facts).items()):
        families.set(metrics.KEY_AGE, (kind,), max(0.0, now - at))
    for tenant, at in sorted(_oldest_tenant_keys(facts, registry).items())[:TENANTS_SHOWN]:
        families.set(metrics.TENANT_KEY_AGE, (tenant,), max(0.0, now - at))
    states = Counter({state.value: 0 for state in Standing} | {"expiring": 0})
    for waiver, standing, _ in judgement.verdict.waivers:
        states[standing.value] += 1
        states["expiring"] += standing is not Standing.EXPIRED and waiver.expires_at - now <= EXPIRING_SECONDS
    for state, count in sorted(states.items()):
        families.set(metrics.WAIVERS, (state,), count)
    for source, at in sorted(judgement.gathered.ages.items()):
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
