"""What the compliance report says, as plain rows: every format is made of these, so that all say the same."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from fnmatch import fnmatchcase

from exporter.posture.catalogue import Catalogue, Control, Framework
from exporter.posture.domain.finding import Finding, Outcome
from exporter.posture.domain.score import Score, scores, worst
from exporter.posture.evaluation import Judgement
from exporter.posture.pages import ordered
from exporter.posture.registry import ACCOUNT
from exporter.posture.waivers import Judged, Standing, Waiver

STATUSES = ("fail", "waived", "error", "unknown", "manual", "pass", "not_applicable")
"""What decides a control or a clause, the worst first."""


@dataclass(frozen=True, slots=True)
class Row:
    """One finding."""

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


@dataclass(frozen=True, slots=True)
class ControlRow:
    """One control, over everything that the report is about."""

    control: Control
    status: str
    counts: Mapping[str, int]
    """Findings by status."""
    rows: tuple[Row, ...]
    """Those that neither hold nor are beside the point, the worst first."""
    clauses: Mapping[str, tuple[str, ...]]
    """By framework."""


@dataclass(frozen=True, slots=True)
class ClauseRow:
    """One clause of a framework."""

    id: str
    title: str
    status: str
    controls: tuple[tuple[str, str], ...]
    """Id and status."""


@dataclass(frozen=True, slots=True)
class FrameworkRow:
    """One framework."""

    framework: Framework
    clauses: tuple[ClauseRow, ...]

    def count(self, *statuses: str) -> int:
        """Clauses that stand so."""
        return sum(each.status in statuses for each in self.clauses)


@dataclass(frozen=True, slots=True)
class Changes:
    """What is new and what is gone since an earlier state. ``since`` None: there is none to compare with."""

    since: float | None = None
    new: tuple[Row, ...] = ()
    resolved: tuple[tuple[str, str, str], ...] = ()
    """Control, object and what it was."""


@dataclass(frozen=True, slots=True)
class Report:
    """All of it."""

    at: float
    company: str
    organization: str
    scope: str
    """What it is about, in words."""
    score: Score
    projects: tuple[tuple[str, str, Score], ...]
    """Id, name and score."""
    tenants: tuple[tuple[str, str, Score, Mapping[str, int]], ...]
    """Project name, tenant, score, and open failures by severity; the worst first."""
    controls: tuple[ControlRow, ...]
    frameworks: tuple[FrameworkRow, ...]
    waivers: tuple[tuple[Waiver, Standing, int], ...]
    changes: Changes
    ages: Mapping[str, float] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    """What limits this report."""

    def rows(self, *statuses: str) -> list[Row]:
        """All findings that stand so, the worst severity first."""
        return [row for control in self.controls for row in control.rows if row.status in statuses]


def report_of(
    judgement: Judgement,
    catalogue: Catalogue,
    *,
    company: str = "",
    organization: str = "",
    frameworks: Sequence[str] = (),
    project: str = "*",
    before: tuple[float, Mapping[str, tuple[str, str, str]]] | None = None,
    notes: tuple[str, ...] = (),
) -> Report:
    """``frameworks`` empty: all; ``project``: a glob over id or name; ``before``: open failures of an earlier state."""
    chosen = [name for name in catalogue.frameworks if not frameworks or name in frameworks]
    wanted = _controls_of(catalogue, frameworks)
    judged = [
        each
        for each in ordered(judgement.verdict.judged)
        if each.finding.control in wanted and _in_scope(judgement, each, project)
    ]
    waived = frozenset(each.finding.cache_key for each in judged if each.waived)
    findings = [each.finding for each in judged]
    controls = tuple(_controls(catalogue, wanted, judged, judgement, waived))
    by_id = {row.control.id: row.status for row in controls}
    projects = tuple(_projects(judgement, findings, waived))
    return Report(
        at=judgement.at,
        company=company,
        organization=organization,
        scope=_scope(catalogue, frameworks, project),
        score=_whole(findings, waived, [score for _, _, score in projects]),
        projects=projects,
        tenants=tuple(_tenants(judgement, judged, waived)),
        controls=controls,
        frameworks=tuple(_framework(catalogue.frameworks[name], by_id) for name in chosen),
        waivers=tuple(each for each in judgement.verdict.waivers if each[0].control in wanted),
        changes=_changes(judged, judgement, catalogue, before),
        ages=dict(sorted(judgement.gathered.ages.items())),
        notes=notes,
    )


def _whole(findings: Sequence[Finding], waived: frozenset[str], parts: Sequence[Score]) -> Score:
    """Controls are counted once over everything; the ratio weighs what each project has in order."""
    counted = scores(findings, by=lambda _: "all", waived=waived).get("all", Score())
    return replace(
        counted,
        passed_weight=sum(each.passed_weight for each in parts),
        failed_weight=sum(each.failed_weight for each in parts),
        unknown_weight=sum(each.unknown_weight for each in parts),
    )


def _controls_of(catalogue: Catalogue, frameworks: Sequence[str]) -> frozenset[str]:
    if not frameworks:
        return frozenset(catalogue.controls)
    return frozenset(
        control for name in frameworks for clause in catalogue.frameworks[name].clauses for control in clause.controls
    )


def _in_scope(judgement: Judgement, each: Judged, project: str) -> bool:
    owner = judgement.project_of(each.finding)
    if project == "*" or owner == ACCOUNT:
        return True
    return any(fnmatchcase(text, project) for text in (owner, judgement.gathered.names.get(owner, owner)))


def _scope(catalogue: Catalogue, frameworks: Sequence[str], project: str) -> str:
    titles = " and ".join(catalogue.frameworks[name].title for name in frameworks) or "all controls"
    return titles if project == "*" else f"{titles}, projects {project}"


def _controls(
    catalogue: Catalogue, wanted: frozenset[str], judged: Sequence[Judged], judgement: Judgement, waived: frozenset[str]
) -> Iterator[ControlRow]:
    grouped: dict[str, list[Judged]] = {}
    for each in judged:
        grouped.setdefault(each.finding.control, []).append(each)
    for id_ in sorted(wanted & grouped.keys()):
        control, group = catalogue.controls[id_], grouped[id_]
        decides = worst((each.finding for each in group), waived)
        status = next(each.status for each in group if each.finding is decides)
        counts = {name: 0 for name in STATUSES}  # noqa: C420 - the order is the worst first
        for each in group:
            counts[each.status] += each.finding.count
        rows = tuple(
            row_of(each, judgement, control) for each in group if each.status not in ("pass", "not_applicable")
        )
        clauses = {name: tuple(each.id for each in found) for name, found in catalogue.clauses(id_).items()}
        yield ControlRow(control, status, counts, rows, clauses)


def row_of(each: Judged, judgement: Judgement, control: Control | None) -> Row:
    """A finding for the report."""
    finding: Finding = each.finding
    return Row(
        control=finding.control,
        title=control.title if control else finding.control,
        status=each.status,
        severity=finding.severity.value,
        project=judgement.project_of(finding),
        object=finding.object_id,
        name=judgement.path(finding.object_id),
        tenant=finding.tenant,
        evidence=finding.evidence,
        count=finding.count,
        cache_key=finding.cache_key,
        since=each.since,
        waiver=each.waiver,
        expired=each.expired,
    )


def _framework(framework: Framework, by_id: Mapping[str, str]) -> FrameworkRow:
    rows = []
    for clause in framework.clauses:
        controls = tuple((id_, by_id.get(id_, "not_applicable")) for id_ in clause.controls)
        rows.append(ClauseRow(clause.id, clause.title, decided(status for _, status in controls), controls))
    return FrameworkRow(framework, tuple(rows))


def decided(statuses: Iterable[str]) -> str:
    """The worst of several; where some hold and others are beside the point, it holds."""
    return min(statuses, key=STATUSES.index, default="not_applicable")


def _projects(
    judgement: Judgement, findings: Sequence[Finding], waived: frozenset[str]
) -> Iterator[tuple[str, str, Score]]:
    for project, score in scores(findings, by=judgement.project_of, waived=waived).items():
        yield project, judgement.gathered.names.get(project, "whole account"), score


def _tenants(
    judgement: Judgement, judged: Sequence[Judged], waived: frozenset[str]
) -> Iterator[tuple[str, str, Score, Mapping[str, int]]]:
    def by(finding: Finding) -> str:
        return f"{judgement.project_of(finding)}\x1f{finding.tenant}" if finding.tenant else ""

    found = []
    for name, score in scores([each.finding for each in judged], by=by, waived=waived).items():
        project, _, tenant = name.partition("\x1f")
        counts: dict[str, int] = {}
        for each in judged:
            if each.open and each.finding.tenant == tenant and judgement.project_of(each.finding) == project:
                counts[each.finding.severity.value] = counts.get(each.finding.severity.value, 0) + each.finding.count
        found.append((judgement.gathered.names.get(project, project), tenant, score, counts))
    return iter(sorted(found, key=lambda each: (-each[2].failed_weight, each[0], each[1])))


def _changes(
    judged: Sequence[Judged],
    judgement: Judgement,
    catalogue: Catalogue,
    before: tuple[float, Mapping[str, tuple[str, str, str]]] | None,
) -> Changes:
    if before is None:
        return Changes()
    since, was = before
    now = {each.finding.cache_key: each for each in judged if each.open}
    spoken = {each.finding.cache_key for each in judged if each.finding.outcome is Outcome.FAIL}
    controls = {each.finding.control for each in judged}
    silent = {each.finding.control for each in judged if each.finding.outcome in (Outcome.ERROR, Outcome.UNKNOWN)}
    new = [each for key, each in now.items() if key not in was]
    # What cannot be looked at now is not resolved.
    resolved = sorted(
        told
        for key, told in was.items()
        if key not in spoken and told[0] in controls and told[0] not in silent
    )  # fmt: skip
    rows = (row_of(each, judgement, catalogue.controls.get(each.finding.control)) for each in new)
    return Changes(since, tuple(rows), tuple(resolved))
