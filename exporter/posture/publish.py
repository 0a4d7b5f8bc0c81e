"""Posture for people with SQL, in the PostgreSQL ledger: controls, open findings and tenants at risk, as views.

The tables behind them are rewritten in one transaction, at most once an hour; history has one row a day and project.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, date, datetime
from decimal import Decimal
from fractions import Fraction
from typing import TYPE_CHECKING

from exporter.posture.catalogue import Catalogue
from exporter.posture.evaluation import PostureEvaluation, worst_by_control
from exporter.posture.registry import ACCOUNT
from exporter.sampling.domain.sharding import ALONE, Shard

if TYPE_CHECKING:
    from exporter.storage.ledger.postgres_link import Cursor, PostgresConnection

_TABLES = """
CREATE TABLE posture_state (one boolean PRIMARY KEY DEFAULT true CHECK (one), computed_at timestamptz NOT NULL);
CREATE TABLE posture_control (
    id text PRIMARY KEY, name text NOT NULL, title text NOT NULL, severity text NOT NULL, remedy text NOT NULL
);
CREATE TABLE posture_clause (
    framework text NOT NULL, framework_title text NOT NULL, position int NOT NULL, clause text NOT NULL,
    title text NOT NULL, control text NOT NULL, PRIMARY KEY (framework, clause, control)
);
CREATE TABLE posture_status (
    project_id text NOT NULL, control text NOT NULL, severity text NOT NULL, status text NOT NULL,
    PRIMARY KEY (project_id, control)
);
CREATE TABLE posture_finding (
    project_id text NOT NULL, control text NOT NULL, severity text NOT NULL, status text NOT NULL,
    object text NOT NULL, name text NOT NULL, tenant text, count bigint NOT NULL, evidence text NOT NULL,
    cache_key text NOT NULL, since timestamptz, waiver_reason text, waiver_approver text, waiver_expires date,
    waiver_expired boolean
);
CREATE INDEX posture_finding_project ON posture_finding (project_id, status);
CREATE TABLE posture_score_day (
    day date NOT NULL, project_id text NOT NULL, score numeric, known numeric, failed int NOT NULL, passed int NOT NULL,
    waived int NOT NULL, unknown int NOT NULL, PRIMARY KEY (day, project_id)
);
"""
_STATUS = "CASE s.status WHEN 'fail' THEN 0 WHEN 'waived' THEN 1 WHEN 'error' THEN 2 WHEN 'unknown' THEN 3 " \
    "WHEN 'manual' THEN 4 WHEN 'pass' THEN 5 ELSE 6 END"  # fmt: skip
_RISK = "CASE f.severity WHEN 'critical' THEN 10 WHEN 'high' THEN 5 WHEN 'medium' THEN 2 WHEN 'low' THEN 1 ELSE 0 END"
VIEWS = f"""
CREATE VIEW compliance_control_status AS
SELECT s.project_id, p.name AS project, s.control, c.title, s.severity, s.status, c.remedy, m.computed_at
FROM posture_status s JOIN posture_control c ON c.id = s.control CROSS JOIN posture_state m
LEFT JOIN name p ON p.id = s.project_id;
CREATE VIEW compliance_clause_status AS
SELECT k.framework, k.framework_title, k.position, k.clause, k.title,
    (array_agg(s.status ORDER BY {_STATUS}) FILTER (WHERE s.status IS NOT NULL))[1] AS status,
    array_agg(DISTINCT k.control) AS controls,
    array_agg(DISTINCT k.control) FILTER (WHERE s.status = 'fail') AS failing, m.computed_at
FROM posture_clause k CROSS JOIN posture_state m LEFT JOIN posture_status s ON s.control = k.control
GROUP BY k.framework, k.framework_title, k.position, k.clause, k.title, m.computed_at;
CREATE VIEW compliance_waivers AS
SELECT f.project_id, p.name AS project, f.control, f.object, f.name, f.evidence, f.severity, f.waiver_approver,
    f.waiver_reason, f.waiver_expires, f.waiver_expired
FROM posture_finding f LEFT JOIN name p ON p.id = f.project_id WHERE f.waiver_expires IS NOT NULL;
CREATE VIEW risk_open_findings AS
SELECT f.project_id, p.name AS project, f.control, c.title, f.severity, {_RISK} AS weight, f.object, f.name, f.tenant,
    f.count, f.evidence, c.remedy, f.since, coalesce(f.waiver_expired, false) AS waiver_expired, m.computed_at
FROM posture_finding f JOIN posture_control c ON c.id = f.control CROSS JOIN posture_state m
LEFT JOIN name p ON p.id = f.project_id WHERE f.status = 'fail';
CREATE VIEW risk_by_tenant AS
SELECT f.tenant, sum(f.count) AS findings, sum(f.count) FILTER (WHERE f.severity = 'critical') AS critical,
    sum(f.count) FILTER (WHERE f.severity = 'high') AS high, sum(f.count * {_RISK}) AS weight,
    array_agg(DISTINCT f.control) AS controls, min(f.since) AS since
FROM posture_finding f WHERE f.status = 'fail' AND f.tenant IS NOT NULL GROUP BY f.tenant;
CREATE VIEW risk_by_project AS
SELECT f.project_id, p.name AS project, f.severity, sum(f.count) AS findings, count(DISTINCT f.control) AS controls
FROM posture_finding f LEFT JOIN name p ON p.id = f.project_id WHERE f.status = 'fail'
GROUP BY f.project_id, p.name, f.severity;
CREATE VIEW compliance_score_daily AS
SELECT d.*, p.name AS project FROM posture_score_day d LEFT JOIN name p ON p.id = d.project_id;
"""
POSTURE_POSTGRES: tuple[str, ...] = (_TABLES + VIEWS,)
"""The tables of posture in the PostgreSQL ledger. Each entry is one released migration, never edited once released."""
PUBLISH_SECONDS = 3600.0
_PLACES = 6


class PosturePublisher:
    """Writes at most once an hour. One caller at a time."""

    def __init__(self, link: PostgresConnection, shard: Shard = ALONE) -> None:
        """``shard`` writes the rows of its own projects; shard 0 those of the account, too."""
        self._link = link
        self._shard = shard
        self._at = 0.0

    def publish(self, evaluation: PostureEvaluation, catalogue: Catalogue) -> None:
        """Write it, when an hour is over since the last time.

        Raises:
            StoreError: the database cannot be used.
        """
        if not self.due(evaluation.at):
            return
        self._link.write(lambda cursor: write(cursor, evaluation, catalogue, self._owns))
        self._at = evaluation.at

    def due(self, now: float) -> bool:
        """Whether at ``now`` (unix seconds) an hour is over since the last time."""
        return now >= self._at + PUBLISH_SECONDS

    def _owns(self, project: str) -> bool:
        return owns(self._shard, project)


def owns(shard: Shard, project: str) -> bool:
    """Whether a shard answers for a project, or for the account."""
    return shard.owns_account if project == ACCOUNT else shard.owns(project)


def write(
    cursor: Cursor, evaluation: PostureEvaluation, catalogue: Catalogue, owned: Callable[[str], bool] = lambda _: True
) -> None:
    """Replace everything but the history, of the projects that are ``owned``."""
    cursor.execute("DELETE FROM posture_state")
    cursor.execute("INSERT INTO posture_state (computed_at) VALUES (%s)", (_instant(evaluation.at),))
    _copy(cursor, "posture_control", lambda: _controls(catalogue))
    _copy(cursor, "posture_clause", lambda: _clauses(catalogue))
    today = datetime.fromtimestamp(evaluation.at, UTC).date()
    _replace(cursor, "posture_status", 0, _statuses(evaluation), owned)
    _replace(cursor, "posture_finding", 0, _findings(evaluation), owned)
    _replace(cursor, "posture_score_day", 1, _scores(evaluation, today), owned, "day = %s", today)
    names = evaluation.gathered.names | {ACCOUNT: "whole account"}
    cursor.execute(
        "INSERT INTO name SELECT * FROM unnest(%s::text[], %s::text[]) "
        "ON CONFLICT (id) DO UPDATE SET name = excluded.name WHERE name.name <> excluded.name",
        (list(names), list(names.values())),
    )


Rows = Iterator[tuple[object, ...]]


def _copy(cursor: Cursor, table: str, rows: Callable[[], Rows]) -> None:
    cursor.execute(f"DELETE FROM {table}".encode())
    with cursor.copy(f"COPY {table} FROM STDIN".encode()) as copy:
        for row in rows():
            copy.write_row(row)


def _replace(  # noqa: PLR0917 - a table, its column of the project, what is in it now
    cursor: Cursor, table: str, at: int, rows: Rows, owned: Callable[[str], bool], which: str = "true", *values: object
) -> None:
    """Replace the rows of owned projects; column ``at`` of a row names its project."""
    cursor.execute(f"SELECT DISTINCT project_id FROM {table} WHERE {which}".encode(), values)
    old = [project for (project,) in cursor.fetchall() if owned(project)]
    cursor.execute(f"DELETE FROM {table} WHERE {which} AND project_id = ANY (%s)".encode(), (*values, old))
    with cursor.copy(f"COPY {table} FROM STDIN".encode()) as copy:
        for row in rows:
            if owned(str(row[at])):
                copy.write_row(row)


def _controls(catalogue: Catalogue) -> Rows:
    for control in catalogue.controls.values():
        yield (control.id, control.name, control.title, control.severity.value, control.remedy.text)


def _clauses(catalogue: Catalogue) -> Rows:
    for framework in catalogue.frameworks.values():
        for position, clause in enumerate(framework.clauses):
            for control in clause.controls:
                yield (framework.id, framework.title, position, clause.id, clause.title, control)


def _statuses(evaluation: PostureEvaluation) -> Rows:
    for project in sorted({*evaluation.projects, ACCOUNT}):
        for control, state in worst_by_control(evaluation.of(project)).items():
            yield (project, control, state.finding.severity.value, state.status)


def _findings(evaluation: PostureEvaluation) -> Rows:
    """What neither holds nor is beside the point; COPY takes a NUL in no text."""
    for state in evaluation.verdict.states:
        if state.status in ("pass", "not_applicable"):
            continue
        finding, waiver = state.finding, state.waiver
        yield (
            evaluation.project_of(finding),
            finding.control,
            finding.severity.value,
            state.status,
            finding.object_id,
            evaluation.path(finding.object_id),
            finding.tenant or None,
            finding.count,
            finding.evidence.replace("\x00", ""),
            finding.cache_key,
            None if state.since is None else _instant(state.since),
            *(
                (waiver.reason, waiver.approver, date.fromisoformat(waiver.expires), state.expired)
                if waiver
                else (None, None, None, None)
            ),
        )


def _scores(evaluation: PostureEvaluation, day: date) -> Rows:
    for project, score in evaluation.by_project.items():
        ratios = (_decimal(score.ratio), _decimal(score.known))
        yield (day, project, *ratios, score.failed, score.passed, score.waived, score.unknown)


def _decimal(ratio: Fraction | None) -> Decimal | None:
    return None if ratio is None else Decimal(round(ratio * 10**_PLACES)).scaleb(-_PLACES)


def _instant(at: float) -> datetime:
    return datetime.fromtimestamp(at, UTC)
