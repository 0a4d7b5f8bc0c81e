"""A judgement for people with SQL: the tables behind the views of ``posture.sql`` are rewritten in one transaction."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, date, datetime
from decimal import Decimal
from fractions import Fraction
from typing import TYPE_CHECKING

from exporter.posture.catalogue import Catalogue
from exporter.posture.evaluation import PostureEvaluation, worst_by_control
from exporter.posture.registry import ACCOUNT

if TYPE_CHECKING:
    from exporter.storage.ledger.postgres_link import Cursor, PostgresConnection

PUBLISH_SECONDS = 3600.0
_PLACES = 6


class PosturePublisher:
    """Writes at most once an hour. One caller at a time."""

    def __init__(self, link: PostgresConnection) -> None:
        self._link = link
        self._at = 0.0

    def publish(self, evaluation: PostureEvaluation, catalogue: Catalogue) -> None:
        """Write it, when an hour is over since the last time.

        Raises:
            StoreError: the database cannot be used.
        """
        if evaluation.at < self._at + PUBLISH_SECONDS:
            return
        self._link.write(lambda cursor: write(cursor, evaluation, catalogue))
        self._at = evaluation.at


def write(cursor: Cursor, evaluation: PostureEvaluation, catalogue: Catalogue) -> int:
    """Replace everything but the history; answers how many findings were written."""
    cursor.execute("DELETE FROM posture_state")
    cursor.execute("INSERT INTO posture_state (computed_at) VALUES (%s)", (_instant(evaluation.at),))
    _copy(cursor, "posture_control", lambda: _controls(catalogue))
    _copy(cursor, "posture_clause", lambda: _clauses(catalogue))
    _copy(cursor, "posture_status", lambda: _statuses(evaluation))
    _copy(cursor, "posture_finding", lambda: _findings(evaluation))
    today = datetime.fromtimestamp(evaluation.at, UTC).date()
    cursor.execute("DELETE FROM posture_score_day WHERE day = %s", (today,))
    with cursor.copy("COPY posture_score_day FROM STDIN") as copy:
        for row in _scores(evaluation, today):
            copy.write_row(row)
    names = evaluation.gathered.names | {ACCOUNT: "whole account"}
    cursor.execute(
        "INSERT INTO name SELECT * FROM unnest(%s::text[], %s::text[]) "
        "ON CONFLICT (id) DO UPDATE SET name = excluded.name WHERE name.name <> excluded.name",
        (list(names), list(names.values())),
    )
    return sum(1 for _ in _findings(evaluation))


Rows = Iterator[tuple[object, ...]]


def _copy(cursor: Cursor, table: str, rows: Callable[[], Rows]) -> None:
    cursor.execute(f"DELETE FROM {table}".encode())
    with cursor.copy(f"COPY {table} FROM STDIN".encode()) as copy:
        for row in rows():
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
        for control, evaluated in worst_by_control(evaluation.of(project)).items():
            yield (project, control, evaluated.finding.severity.value, evaluated.status)


def _findings(evaluation: PostureEvaluation) -> Rows:
    """What neither holds nor is beside the point; COPY takes a NUL in no text."""
    for evaluated in evaluation.verdict.judged:
        if evaluated.status in ("pass", "not_applicable"):
            continue
        finding, waiver = evaluated.finding, evaluated.waiver
        yield (
            evaluation.project_of(finding),
            finding.control,
            finding.severity.value,
            evaluated.status,
            finding.object_id,
            evaluation.path(finding.object_id),
            finding.tenant or None,
            finding.count,
            finding.evidence.replace("\x00", ""),
            finding.cache_key,
            None if evaluated.since is None else _instant(evaluated.since),
            *(
                (waiver.reason, waiver.approver, date.fromisoformat(waiver.expires), evaluated.expired)
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
