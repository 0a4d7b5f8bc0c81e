"""Findings told to people and programs: a project as JSON and as Markdown, fails first, with what ends them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime

from exporter.posture.catalogue import Catalogue, Control
from exporter.posture.domain.finding import Outcome
from exporter.posture.domain.score import Score
from exporter.posture.evaluation import Judgement
from exporter.posture.waivers import Judged, Waiver

MOST = 500
"""Findings on a page; the report has all."""
_ORDER = ("fail", "waived", "error", "unknown", "manual", "pass", "not_applicable")


def ordered(judged: Iterable[Judged]) -> list[Judged]:
    """What needs action first: by status, severity, control and object."""
    return sorted(
        judged,
        key=lambda each: (
            _ORDER.index(each.status), each.finding.severity.rank, each.finding.control, each.finding.object_id,
            each.finding.evidence,
        ),
    )  # fmt: skip


def as_dict(each: Judged, judgement: Judgement, control: Control | None) -> dict[str, object]:
    """One finding for JSON."""
    finding = each.finding
    told: dict[str, object] = {
        "control": finding.control,
        "title": control.title if control else "",
        "status": each.status,
        "severity": finding.severity.value,
        "object": finding.object_id,
        "name": judgement.path(finding.object_id),
        "tenant": finding.tenant or None,
        "evidence": finding.evidence,
        "count": finding.count,
        "cache_key": finding.cache_key,
    }
    if finding.outcome is Outcome.FAIL:
        told["since"] = each.since
        told["remedy"] = remedy_dict(control) if control else {}
    if each.waiver is not None:
        told["waiver"] = {**waiver_dict(each.waiver), "expired": each.expired}
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


def project_page(judgement: Judgement, project: str, catalogue: Catalogue) -> dict[str, object]:
    """A project for JSON."""
    judged = ordered(judgement.of(project))
    tenants = {
        tenant: score_dict(score)
        for (owner, tenant), score in sorted(judgement.by_tenant.items())
        if owner == project
    }  # fmt: skip
    told = [each for each in judged if each.status not in ("pass", "not_applicable")]
    return {
        "project_id": project,
        "name": judgement.gathered.names.get(project, project),
        "as_of": judgement.at,
        **score_dict(judgement.by_project.get(project)),
        "findings": [as_dict(each, judgement, catalogue.controls.get(each.finding.control)) for each in told[:MOST]],
        "more": max(0, len(told) - MOST),
        "tenants": tenants,
    }


def project_markdown(judgement: Judgement, project: str, catalogue: Catalogue) -> str:
    """A project as a comment."""
    name = judgement.gathered.names.get(project, project)
    judged = ordered(judgement.of(project))
    lines = [f"# Posture of {name}", "", *summary(judgement.by_project.get(project)), ""]
    fails = [each for each in judged if each.open]
    lines += _table("Fails", fails, judgement, catalogue)
    lines += _table("Waived", [each for each in judged if each.waived], judgement, catalogue)
    lines += _table("Not known", [each for each in judged if each.status in ("error", "unknown")], judgement, catalogue)
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


def _table(title: str, judged: Sequence[Judged], judgement: Judgement, catalogue: Catalogue) -> list[str]:
    if not judged:
        return []
    lines = [f"## {title}", "", "| | control | object | evidence | remedy |", "|---|---|---|---|---|"]
    for each in judged[:100]:
        control = catalogue.controls.get(each.finding.control)
        remedy = control.remedy.text if control and each.finding.outcome is Outcome.FAIL else ""
        if each.waiver is not None:
            who = f"{each.waiver.approver}: {each.waiver.reason}"
            remedy = f"waiver EXPIRED {each.waiver.expires} ({who}). {remedy}" if each.expired else (
                f"waived until {each.waiver.expires} by {who}"
            )  # fmt: skip
        lines.append(
            f"| {each.finding.severity.value} | {each.finding.control} {control.title if control else ''} | "
            f"`{cell(judgement.path(each.finding.object_id))}` | {cell(each.finding.evidence)} | {cell(remedy)} |"
        )
    if len(judged) > 100:
        lines.append(f"| | | and {len(judged) - 100} more | | |")
    return [*lines, ""]


def cell(text: str) -> str:
    """Text in a Markdown table: one line, and no bar that would end the cell."""
    return " ".join(text.replace("|", "\\|").replace("`", "'").replace("<", "&lt;").split())


def index_page(judgement: Judgement, projects: Iterable[str]) -> dict[str, object]:
    """/api/v1/posture: where to look."""
    return {
        "as_of": judgement.at,
        "projects": [
            {
                "project_id": project,
                "name": judgement.gathered.names.get(project, project),
                **score_dict(judgement.by_project.get(project)),
                "page": f"/api/v1/posture/{project}",
            }
            for project in projects
        ],
        "waivers": [
            {"control": waiver.control, **waiver_dict(waiver), "state": standing.value, "findings": count}
            for waiver, standing, count in judgement.verdict.waivers
        ],
        "facts_read_at": dict(sorted(judgement.gathered.ages.items())),
    }


def tenants_page(judgement: Judgement) -> dict[str, object]:
    """/api/v1/posture/tenants: each tenant's open failures over all projects."""
    found: dict[str, dict[str, int]] = {}
    for each in judgement.verdict.judged:
        if each.finding.tenant:
            counts = found.setdefault(each.finding.tenant, {})
            if each.open:
                severity = each.finding.severity.value
                counts[severity] = counts.get(severity, 0) + each.finding.count
    return {"tenants": dict(sorted(found.items()))}


def instant(at: float) -> str:
    """A time for a person, in UTC."""
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%d %H:%M UTC")


Pages = Mapping[str, object]
