"""What the compliance report says, as plain rows: every format is made of these, so that all say the same."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from fnmatch import fnmatchcase

from exporter.posture.catalogue import Catalogue, Control, Framework
from exporter.posture.domain.evaluate import Score, scores, worst
from exporter.posture.domain.finding import Finding, Outcome
from exporter.posture.evaluation import SEPARATOR, PostureEvaluation
from exporter.posture.pages import STATUSES, Row, ordered, row_of
from exporter.posture.registry import ACCOUNT
from exporter.posture.waivers import FindingState, Waiver, WaiverState

WORDS = {
    "fail": "fails",
    "waived": "waived",
    "error": "not readable",
    "unknown": "not known",
    "manual": "for a person",
    "pass": "holds",
    "not_applicable": "not applicable",
}
"""A status as every format says it."""
ADVICE = "It shows what these controls found; it is evidence for an audit, no legal advice and no certificate."
_SOURCES = {
    "inventory": "Neon API: projects, branches, computes",
    "organization": "Neon API: keys and members",
    "project": "Neon API: permissions and key sets",
    "snapshots": "Neon API: snapshots",
    "branch": "Neon API: roles, schedules, masks",
    "database": "databases (the oldest in use)",
    "server": "roles and settings of servers (the oldest)",
    "vault": "key stores",
    "s3": "off-site copies",
    "tls": "TLS handshakes",
    "pooler": "PgBouncer",
    "drill": "restore drills",
}


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
    """Ids of the clauses that the control serves, by framework."""


@dataclass(frozen=True, slots=True)
class ClauseRow:
    """One clause of a framework, with the worst status of its controls."""

    id: str
    title: str
    status: str
    controls: tuple[tuple[str, str], ...]
    """Id and status."""


@dataclass(frozen=True, slots=True)
class FrameworkRow:
    """One framework with the status of each clause."""

    framework: Framework
    clauses: tuple[ClauseRow, ...]

    def count(self, *statuses: str) -> int:
        """Clauses that stand so."""
        return sum(clause.status in statuses for clause in self.clauses)


@dataclass(frozen=True, slots=True)
class Changes:
    """What is new and what is gone since an earlier state. ``since`` None: there is none to compare with."""

    since: float | None = None
    new: tuple[Row, ...] = ()
    resolved: tuple[tuple[str, str, str], ...] = ()
    """Control, object and what it was."""


@dataclass(frozen=True, slots=True)
class Report:
    """Everything that a format of the report shows."""

    at: float
    company: str
    organization: str
    scope: str
    """Frameworks and projects that the report covers, in words."""
    score: Score
    projects: tuple[tuple[str, str, Score], ...]
    """Id, name and score."""
    tenants: tuple[tuple[str, str, Score, Mapping[str, int]], ...]
    """Project name, tenant, score, and open failures by severity; the worst first."""
    controls: tuple[ControlRow, ...]
    frameworks: tuple[FrameworkRow, ...]
    waivers: tuple[tuple[Waiver, WaiverState, int], ...]
    changes: Changes
    ages: Mapping[str, float] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    """Sentences on what could not be read."""

    def rows(self, *statuses: str) -> list[Row]:
        """All findings that stand so, the worst severity first."""
        return [row for control in self.controls for row in control.rows if row.status in statuses]


def report_of(
    evaluation: PostureEvaluation,
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
    states = [
        state
        for state in ordered(evaluation.verdict.states)
        if state.finding.control in wanted and _in_scope(evaluation, state, project)
    ]
    waived = frozenset(state.finding.cache_key for state in states if state.waived)
    findings = [state.finding for state in states]
    controls = tuple(_controls(catalogue, wanted, states, evaluation, waived))
    by_id = {row.control.id: row.status for row in controls}
    projects = tuple(_projects(evaluation, findings, waived))
    return Report(
        at=evaluation.at,
        company=company,
        organization=organization,
        scope=_scope(catalogue, frameworks, project),
        score=_whole(findings, waived, [score for _, _, score in projects]),
        projects=projects,
        tenants=tuple(_tenants(evaluation, states, waived)),
        controls=controls,
        frameworks=tuple(_framework(catalogue.frameworks[name], by_id) for name in chosen),
        waivers=tuple(waiver for waiver in evaluation.verdict.waivers if waiver[0].control in wanted),
        changes=_changes(states, evaluation, catalogue, before),
        ages=dict(sorted(evaluation.gathered.ages.items())),
        notes=notes,
    )


def _whole(findings: Sequence[Finding], waived: frozenset[str], parts: Sequence[Score]) -> Score:
    """Controls are counted once over everything; the ratio weighs what each project has in order."""
    counted = scores(findings, by=lambda _: "all", waived=waived).get("all", Score())
    return replace(
        counted,
        passed_weight=sum(part.passed_weight for part in parts),
        failed_weight=sum(part.failed_weight for part in parts),
        unknown_weight=sum(part.unknown_weight for part in parts),
    )


def _controls_of(catalogue: Catalogue, frameworks: Sequence[str]) -> frozenset[str]:
    if not frameworks:
        return frozenset(catalogue.controls)
    return frozenset(
        control for name in frameworks for clause in catalogue.frameworks[name].clauses for control in clause.controls
    )


def _in_scope(evaluation: PostureEvaluation, state: FindingState, project: str) -> bool:
    owner = evaluation.project_of(state.finding)
    if project == "*" or owner == ACCOUNT:
        return True
    return any(fnmatchcase(text, project) for text in (owner, evaluation.gathered.names.get(owner, owner)))


def _scope(catalogue: Catalogue, frameworks: Sequence[str], project: str) -> str:
    titles = " and ".join(catalogue.frameworks[name].title for name in frameworks) or "all controls"
    return titles if project == "*" else f"{titles}, projects {project}"


def _controls(
    catalogue: Catalogue,
    wanted: frozenset[str],
    states: Sequence[FindingState],
    evaluation: PostureEvaluation,
    waived: frozenset[str],
) -> Iterator[ControlRow]:
    grouped: dict[str, list[FindingState]] = {}
    for state in states:
        grouped.setdefault(state.finding.control, []).append(state)
    for id_ in sorted(wanted & grouped.keys()):
        control, group = catalogue.controls[id_], grouped[id_]
        decides = worst((state.finding for state in group), waived)
        status = next(state.status for state in group if state.finding is decides)
        counts = {name: 0 for name in STATUSES}  # noqa: C420 - the order is the worst first
        for state in group:
            counts[state.status] += state.finding.count
        rows = tuple(
            row_of(state, evaluation, control) for state in group if state.status not in ("pass", "not_applicable")
        )
        clauses = {name: tuple(clause.id for clause in found) for name, found in catalogue.clauses(id_).items()}
        yield ControlRow(control, status, counts, rows, clauses)


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
    evaluation: PostureEvaluation, findings: Sequence[Finding], waived: frozenset[str]
) -> Iterator[tuple[str, str, Score]]:
    for project, score in scores(findings, by=evaluation.project_of, waived=waived).items():
        yield project, evaluation.gathered.names.get(project, "whole account"), score


def _tenants(
    evaluation: PostureEvaluation, states: Sequence[FindingState], waived: frozenset[str]
) -> Iterator[tuple[str, str, Score, Mapping[str, int]]]:
    counts: dict[str, dict[str, int]] = {}
    for state in states:
        if state.open and state.finding.tenant:
            counted = counts.setdefault(evaluation.tenant_path(state.finding), {})
            severity = state.finding.severity.value
            counted[severity] = counted.get(severity, 0) + state.finding.count
    found = []
    for name, score in scores([state.finding for state in states], by=evaluation.tenant_path, waived=waived).items():
        project, _, tenant = name.partition(SEPARATOR)
        found.append((evaluation.gathered.names.get(project, project), tenant, score, counts.get(name, {})))
    return iter(sorted(found, key=lambda row: (-row[2].failed_weight, row[0], row[1])))


def _changes(
    states: Sequence[FindingState],
    evaluation: PostureEvaluation,
    catalogue: Catalogue,
    before: tuple[float, Mapping[str, tuple[str, str, str]]] | None,
) -> Changes:
    if before is None:
        return Changes()
    since, was = before
    now = {state.finding.cache_key: state for state in states if state.open}
    spoken = {state.finding.cache_key for state in states if state.finding.outcome is Outcome.FAIL}
    controls = {state.finding.control for state in states}
    silent = {state.finding.control for state in states if state.finding.outcome in (Outcome.ERROR, Outcome.UNKNOWN)}
    new = [state for key, state in now.items() if key not in was]
    # What cannot be looked at now is not resolved.
    resolved = sorted(
        failure
        for key, failure in was.items()
        if key not in spoken and failure[0] in controls and failure[0] not in silent
    )  # fmt: skip
    rows = (row_of(state, evaluation, catalogue.controls.get(state.finding.control)) for state in new)
    return Changes(since, tuple(rows), tuple(resolved))


def source_words(source: str) -> str:
    """The words for a source of facts."""
    return _SOURCES.get(source, source)


def days_ago(seconds: float) -> str:
    """An age in seconds as ``5 min ago``, ``3 h ago``, ``4 d ago``."""
    if seconds < 5400:
        return f"{max(0, round(seconds / 60))} min ago"
    return f"{round(seconds / 3600)} h ago" if seconds < 2 * 86400 else f"{round(seconds / 86400)} d ago"
