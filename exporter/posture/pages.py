"""Findings as rows, of which the API's pages and every format of the report are made: failures first."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from exporter.documents.formats import markdown_cell
from exporter.posture.catalogue import Catalogue, Control
from exporter.posture.domain.evaluate import Score
from exporter.posture.evaluation import PostureEvaluation
from exporter.posture.waivers import FindingState, Waiver

MOST = 500
"""Findings on a page; the report has all."""
STATUSES = ("fail", "waived", "error", "unknown", "manual", "pass", "not_applicable")
"""What decides a control or a clause, the worst first."""
FAILED = ("fail", "waived")


@dataclass(frozen=True, slots=True)
class Row:
    """One finding with the words of its control and its waiver."""

    control: str
    title: str
    status: str
    severity: str
    project: str
    """Id, or ``__account__``."""
    object: str
    name: str
    """The object with names of project and branch in place of ids."""
    tenant: str
    evidence: str
    count: int
    cache_key: str
    since: float | None = None
    waiver: Waiver | None = None
    expired: bool = False
    """Its waiver is over."""


def ordered(states: Iterable[FindingState]) -> list[FindingState]:
    """What needs action first: by status, severity, control and object."""
    return sorted(
        states,
        key=lambda state: (
            STATUSES.index(state.status), state.finding.severity.rank, state.finding.control, state.finding.object_id,
            state.finding.evidence,
        ),
    )  # fmt: skip


def row_of(state: FindingState, evaluation: PostureEvaluation, control: Control | None) -> Row:
    """A finding as a row."""
    finding = state.finding
    return Row(
        control=finding.control,
        title=control.title if control else finding.control,
        status=state.status,
        severity=finding.severity.value,
        project=evaluation.project_of(finding),
        object=finding.object_id,
        name=evaluation.path(finding.object_id),
        tenant=finding.tenant,
        evidence=finding.evidence,
        count=finding.count,
        cache_key=finding.cache_key,
        since=state.since,
        waiver=state.waiver,
        expired=state.expired,
    )


def finding_dict(row: Row, remedy: Mapping[str, str] | None = None) -> dict[str, object]:
    """One finding for JSON, below its control; ``remedy`` where the control does not stand beside it."""
    fields: dict[str, object] = {
        "status": row.status,
        "severity": row.severity,
        "object": row.object,
        "name": row.name,
        "tenant": row.tenant or None,
        "evidence": row.evidence,
        "count": row.count,
        "cache_key": row.cache_key,
    }
    if row.since is not None:
        fields["since"] = row.since
    if remedy is not None and row.status in FAILED:
        fields["remedy"] = remedy
    if row.waiver is not None:
        fields["waiver"] = {**waiver_dict(row.waiver), "expired": row.expired}
    return fields


def remedy_dict(control: Control) -> dict[str, str]:
    """The remedy of a control: its parts that are not empty."""
    remedy = control.remedy
    fields = {"text": remedy.text, "sql": remedy.sql, "cli": remedy.cli}
    return {name: value for name, value in fields.items() if value}


def waiver_dict(waiver: Waiver) -> dict[str, object]:
    """A waiver: reason, approver, last day and the objects it covers."""
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


def _rows(evaluation: PostureEvaluation, project: str, catalogue: Catalogue) -> list[Row]:
    return [
        row_of(state, evaluation, catalogue.controls.get(state.finding.control))
        for state in ordered(evaluation.of(project))
    ]


def _remedy(row: Row, catalogue: Catalogue) -> dict[str, str]:
    control = catalogue.controls.get(row.control)
    return remedy_dict(control) if control else {}


def project_page(evaluation: PostureEvaluation, project: str, catalogue: Catalogue) -> dict[str, object]:
    """A project for JSON."""
    rows = [row for row in _rows(evaluation, project, catalogue) if row.status not in ("pass", "not_applicable")]
    tenants = {tenant: score_dict(score) for tenant, score in evaluation.by_tenant.get(project, {}).items()}
    return {
        "project_id": project,
        "name": evaluation.gathered.names.get(project, project),
        "as_of": evaluation.at,
        **score_dict(evaluation.by_project.get(project)),
        "findings": [
            {"control": row.control, "title": row.title, **finding_dict(row, _remedy(row, catalogue))}
            for row in rows[:MOST]
        ],
        "more": max(0, len(rows) - MOST),
        "tenants": tenants,
    }


def project_markdown(evaluation: PostureEvaluation, project: str, catalogue: Catalogue) -> str:
    """A project as Markdown."""
    name = evaluation.gathered.names.get(project, project)
    rows = _rows(evaluation, project, catalogue)
    lines = [f"# Posture of {name}", "", *summary(evaluation.by_project.get(project)), ""]
    for title, statuses in (("Fails", ("fail",)), ("Waived", ("waived",)), ("Not known", ("error", "unknown"))):
        lines += _table(title, [row for row in rows if row.status in statuses], catalogue)
    return "\n".join(lines) + "\n"


def summary(score: Score | None) -> Iterable[str]:
    """One sentence of counts and ratios."""
    if score is None:
        yield "Nothing is known yet."
        return
    ratio = "no score" if score.ratio is None else f"score {float(score.ratio):.0%}"
    known = "" if score.known is None else f", {float(score.known):.0%} of what applies is known"
    yield (
        f"**{score.failed} controls fail**, {score.passed} hold, {score.waived} are waived, {score.unknown} are not "
        f"known: {ratio}{known}."
    )


def _table(title: str, rows: Sequence[Row], catalogue: Catalogue) -> list[str]:
    if not rows:
        return []
    lines = [f"## {title}", "", "| | control | object | evidence | remedy |", "|---|---|---|---|---|"]
    for row in rows[:100]:
        remedy = _remedy(row, catalogue).get("text", "") if row.status in FAILED else ""
        if row.waiver is not None:
            who = f"{row.waiver.approver}: {row.waiver.reason}"
            remedy = f"waiver EXPIRED {row.waiver.expires} ({who}). {remedy}" if row.expired else (
                f"waived until {row.waiver.expires} by {who}"
            )  # fmt: skip
        name, evidence = markdown_cell(row.name), markdown_cell(row.evidence)
        lines.append(
            f"| {row.severity} | {row.control} {row.title} | `{name}` | {evidence} | {markdown_cell(remedy)} |"
        )
    if len(rows) > 100:
        lines.append(f"| | | and {len(rows) - 100} more | | |")
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
            {"control": waiver.control, **waiver_dict(waiver), "state": waiver_state.value, "findings": count}
            for waiver, waiver_state, count in evaluation.verdict.waivers
        ],
        "facts_read_at": dict(sorted(evaluation.gathered.ages.items())),
    }


def count_by_tenant(states: Iterable[FindingState], found: dict[str, dict[str, int]]) -> None:
    """Add the open failures of each tenant that something is said of to ``found``, by severity."""
    for state in states:
        if state.finding.tenant:
            counts = found.setdefault(state.finding.tenant, {})
            if state.open:
                severity = state.finding.severity.value
                counts[severity] = counts.get(severity, 0) + state.finding.count


def tenants_page(counts: Mapping[str, Mapping[str, int]]) -> dict[str, object]:
    """/api/v1/posture/tenants: each tenant's open failures over all projects."""
    return {"tenants": dict(sorted(counts.items()))}
