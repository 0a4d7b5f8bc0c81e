"""The report for programs: JSON with everything, and CSV for a spreadsheet."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from exporter.documents.formats import csv_text
from exporter.posture.pages import Row, finding_dict, remedy_dict, score_dict, waiver_dict
from exporter.posture.report.report import ControlRow, Report
from exporter.version import __version__


def as_json(report: Report) -> dict[str, Any]:
    """Everything; what an earlier report is compared by too."""
    return {
        "format": "neonmeter-posture-1",
        "neonmeter": __version__,
        "as_of": report.at,
        "organization": report.organization,
        "scope": report.scope,
        **score_dict(report.score),
        "notes": list(report.notes),
        "projects": [{"id": id_, "name": name, **score_dict(score)} for id_, name, score in report.projects],
        "tenants": [
            {"project": project, "tenant": tenant, **score_dict(score), "open": dict(counts)}
            for project, tenant, score, counts in report.tenants
        ],
        "controls": [_control(row) for row in report.controls],
        "frameworks": {
            framework.framework.id: {
                "title": framework.framework.title,
                "version": framework.framework.version,
                "clauses": [
                    {"id": clause.id, "title": clause.title, "status": clause.status, "controls": dict(clause.controls)}
                    for clause in framework.clauses
                ],
            }
            for framework in report.frameworks
        },
        "waivers": [
            {"control": waiver.control, **waiver_dict(waiver), "state": waiver_state.value, "findings": count}
            for waiver, waiver_state, count in report.waivers
        ],
        "changes": {
            "since": report.changes.since,
            "new": [row.cache_key for row in report.changes.new],
            "resolved": [
                {"control": control, "object": where, "was": was} for control, where, was in report.changes.resolved
            ],
        },
        "facts_read_at": dict(report.ages),
    }


def _control(row: ControlRow) -> dict[str, Any]:
    control = row.control
    return {
        "id": control.id,
        "name": control.name,
        "title": control.title,
        "severity": control.severity.value,
        "status": row.status,
        "counts": {status: count for status, count in row.counts.items() if count},
        "clauses": {name: list(clauses) for name, clauses in row.clauses.items()},
        "remedy": remedy_dict(control),
        "findings": [{**finding_dict(finding), "since": finding.since} for finding in row.rows],
    }


def before_of(plain: Mapping[str, Any]) -> tuple[float, dict[str, tuple[str, str, str]]]:
    """The open failures of an earlier report's JSON.

    Raises:
        ValueError: it is no such report.
    """
    if plain.get("format") != "neonmeter-posture-1":
        raise ValueError("is not a posture report of this version")
    found: dict[str, tuple[str, str, str]] = {}
    for control in plain["controls"]:
        for finding in control["findings"]:
            if finding["status"] == "fail":
                found[finding["cache_key"]] = (control["id"], finding["object"], finding["evidence"])
    return float(plain["as_of"]), found


_COLUMNS = (
    "control", "title", "status", "severity", "project", "object", "name", "tenant", "count", "evidence", "remedy",
    "first_seen", "waiver_approver", "waiver_reason", "waiver_expires", "waiver_expired", "clauses",
)  # fmt: skip


def as_csv(report: Report) -> str:
    """One row for each finding; controls that hold have one each, so that a reader sees that they were evaluated."""
    return csv_text(_COLUMNS, _rows(report), line_end="\r\n")


def _rows(report: Report) -> Iterator[list[object]]:
    for control in report.controls:
        clauses = " ".join(f"{name}:{clause}" for name, found in control.clauses.items() for clause in found)
        for row in control.rows:
            yield _cells(row, control, clauses)
        if not control.rows:
            named = [control.control.id, control.control.title, control.status, control.control.severity.value, "", ""]
            yield [*named, "", "", control.counts[control.status], "", "", "", "", "", "", "", clauses]


def _cells(row: Row, control: ControlRow, clauses: str) -> list[object]:
    waiver = row.waiver
    return [
        row.control, row.title, row.status, row.severity, row.project, row.object, row.name, row.tenant, row.count,
        row.evidence, control.control.remedy.text, "" if row.since is None else round(row.since),
        waiver.approver if waiver else "", waiver.reason if waiver else "", waiver.expires if waiver else "",
        ("yes" if row.expired else "no") if waiver else "", clauses,
    ]  # fmt: skip
