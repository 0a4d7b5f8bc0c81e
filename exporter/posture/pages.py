"""Findings told to people and programs: a project as JSON and as Markdown, fails first, with what ends them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from exporter.documents.formats import markdown_cell
from exporter.posture.catalogue import Catalogue, Control
from exporter.posture.domain.evaluate import Score
from exporter.posture.domain.finding import Outcome
from exporter.posture.evaluation import PostureEvaluation
from exporter.posture.waivers import EvaluatedFinding, Waiver

MOST = 500
"""Findings on a page; the report has all."""
_ORDER = ("fail", "waived", "error", "unknown", "manual", "pass", "not_applicable")


def ordered(judged: Iterable[EvaluatedFinding]) -> list[EvaluatedFinding]:
    """What needs action first: by status, severity, control and object."""
    return sorted(
        judged,
        key=lambda entry: (
            _ORDER.index(entry.status), entry.finding.severity.rank, entry.finding.control, entry.finding.object_id,
            entry.finding.evidence,
        ),
    )  # fmt: skip


def as_dict(evaluated: EvaluatedFinding, evaluation: PostureEvaluation, control: Control | None) -> dict[str, object]:
    """One finding for JSON."""
    finding = evaluated.finding
    told: dict[str, object] = {
        "control": finding.control,
        "title": control.title if control else "",
        "status": evaluated.status,
        "severity": finding.severity.value,
        "object": finding.object_id,
        "name": evaluation.path(finding.object_id),
        "tenant": finding.tenant or None,
        "evidence": finding.evidence,
        "count": finding.count,
        "cache_key": finding.cache_key,
    }
    if finding.outcome is Outcome.FAIL:
        told["since"] = evaluated.since
        told["remedy"] = remedy_dict(control) if control else {}
    if evaluated.waiver is not None:
        told["waiver"] = {**waiver_dict(evaluated.waiver), "expired": evaluated.expired}
    return told


def remedy_dict(control: Control) -> dict[str, str]:
    """What ends a failure."""
    remedy = control.remedy
    told = {"text": remedy.text, "sql": remedy.sql, "cli": remedy.cli}
    return {name: value for name, value in told.items() if value}


def waiver_dict(waiver: Waiver) -> dict[str, object]:
    """Who answers for it, until when."""
    return {"reason": waiver.reason, "approver": waiver.approver, "expires": waiver.expires, "object": waiver.object}


def score_dict(score: Score | None) -> dict[str, object]:
    """Counts of controls, and the two ratios."""
    if score is None:
        return {}
    return {
        "score": None if score.ratio is None else round(float(score.ratio), 4),
        "known": None if score.known is None else round(float(score.known), 4),
        "passed": score.passed,
        "failed": score.failed,
        "waived": score.waived,
        "unknown": score.unknown,
        "not_applicable": score.not_applicable,
        "manual": score.manual,
    }


def project_page(evaluation: PostureEvaluation, project: str, catalogue: Catalogue) -> dict[str, object]:
    """A project for JSON."""
    judged = ordered(evaluation.of(project))
    tenants = {
        tenant: score_dict(score)
        for (owner, tenant), score in sorted(evaluation.by_tenant.items())
        if owner == project
    }  # fmt: skip
    told = [evaluated for evaluated in judged if evaluated.status not in ("pass", "not_applicable")]
    return {
        "project_id": project,
        "name": evaluation.gathered.names.get(project, project),
        "as_of": evaluation.at,
        **score_dict(evaluation.by_project.get(project)),
        "findings": [
            as_dict(evaluated, evaluation, catalogue.controls.get(evaluated.finding.control))
            for evaluated in told[:MOST]
        ],
        "more": max(0, len(told) - MOST),
        "tenants": tenants,
    }


def project_markdown(evaluation: PostureEvaluation, project: str, catalogue: Catalogue) -> str:
    """A project as a comment."""
    name = evaluation.gathered.names.get(project, project)
    judged = ordered(evaluation.of(project))
    lines = [f"# Posture of {name}", "", *summary(evaluation.by_project.get(project)), ""]
    fails = [evaluated for evaluated in judged if evaluated.open]
    lines += _table("Fails", fails, evaluation, catalogue)
    lines += _table("Waived", [evaluated for evaluated in judged if evaluated.waived], evaluation, catalogue)
    lines += _table(
        "Not known",
        [evaluated for evaluated in judged if evaluated.status in ("error", "unknown")],
        evaluation,
        catalogue,
    )
    return "\n".join(lines) + "\n"


def summary(score: Score | None) -> Iterable[str]:
    """One line."""
    if score is None:
        yield "Nothing is known yet."
        return
    ratio = "no score" if score.ratio is None else f"score {float(score.ratio):.0%}"
    known = "" if score.known is None else f", {float(score.known):.0%} of what applies is known"
    yield (
        f"**{score.failed} controls fail**, {score.passed} hold, {score.waived} are waived, {score.unknown} are not "
        f"known: {ratio}{known}."
    )


def _table(
    title: str, judged: Sequence[EvaluatedFinding], evaluation: PostureEvaluation, catalogue: Catalogue
) -> list[str]:
    if not judged:
        return []
    lines = [f"## {title}", "", "| | control | object | evidence | remedy |", "|---|---|---|---|---|"]
    for evaluated in judged[:100]:
        control = catalogue.controls.get(evaluated.finding.control)
        remedy = control.remedy.text if control and evaluated.finding.outcome is Outcome.FAIL else ""
        if evaluated.waiver is not None:
            who = f"{evaluated.waiver.approver}: {evaluated.waiver.reason}"
            remedy = f"waiver EXPIRED {evaluated.waiver.expires} ({who}). {remedy}" if evaluated.expired else (
                f"waived until {evaluated.waiver.expires} by {who}"
            )  # fmt: skip
        finding = evaluated.finding
        name, evidence = markdown_cell(evaluation.path(finding.object_id)), markdown_cell(finding.evidence)
        lines.append(
            f"| {finding.severity.value} | {finding.control} {control.title if control else ''} | "
            f"`{name}` | {evidence} | {markdown_cell(remedy)} |"
        )
    if len(judged) > 100:
        lines.append(f"| | | and {len(judged) - 100} more | | |")
    return [*lines, ""]


def index_page(evaluation: PostureEvaluation, projects: Iterable[str]) -> dict[str, object]:
    """/api/v1/posture: where to look."""
    return {
        "as_of": evaluation.at,
        "projects": [
            {
                "project_id": project,
                "name": evaluation.gathered.names.get(project, project),
                **score_dict(evaluation.by_project.get(project)),
                "page": f"/api/v1/posture/{project}",
            }
            for project in projects
        ],
        "waivers": [
            {"control": waiver.control, **waiver_dict(waiver), "state": standing.value, "findings": count}
            for waiver, standing, count in evaluation.verdict.waivers
        ],
        "facts_read_at": dict(sorted(evaluation.gathered.ages.items())),
    }


def tenants_page(evaluation: PostureEvaluation) -> dict[str, object]:
    """/api/v1/posture/tenants: each tenant's open failures over all projects."""
    found: dict[str, dict[str, int]] = {}
    for evaluated in evaluation.verdict.judged:
        if evaluated.finding.tenant:
            counts = found.setdefault(evaluated.finding.tenant, {})
            if evaluated.open:
                severity = evaluated.finding.severity.value
                counts[severity] = counts.get(severity, 0) + evaluated.finding.count
    return {"tenants": dict(sorted(found.items()))}
