"""The report for programs: JSON with everything, CSV for a spreadsheet, and findings in the shape of OCSF.

OCSF: class 2003 (Compliance Finding) of category 2 (Findings), one JSON object a line.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Mapping
from typing import Any

from exporter.posture.pages import remedy_dict, score_dict, waiver_dict
from exporter.posture.report.report import ControlRow, Report, Row
from exporter.version import __version__

_OCSF_SEVERITY = {"info": 1, "low": 2, "medium": 3, "high": 4, "critical": 5}
_OCSF_COMPLIANCE = {"pass": (1, "Pass"), "fail": (3, "Fail"), "waived": (3, "Fail"), "error": (99, "Error"),
                    "unknown": (0, "Unknown"), "manual": (2, "Warning")}  # fmt: skip
_OCSF_STATE = {"fail": (1, "New"), "waived": (3, "Suppressed"), "error": (1, "New"), "unknown": (1, "New"),
               "manual": (1, "New")}  # fmt: skip


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
        "controls": [_control(each) for each in report.controls],
        "frameworks": {
            each.framework.id: {
                "title": each.framework.title,
                "version": each.framework.version,
                "clauses": [
                    {"id": clause.id, "title": clause.title, "status": clause.status, "controls": dict(clause.controls)}
                    for clause in each.clauses
                ],
            }
            for each in report.frameworks
        },
        "waivers": [
            {"control": waiver.control, **waiver_dict(waiver), "state": standing.value, "findings": count}
            for waiver, standing, count in report.waivers
        ],
        "changes": {
            "since": report.changes.since,
            "new": [each.cache_key for each in report.changes.new],
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
        "findings": [_finding(each) for each in row.rows],
    }


def _finding(row: Row) -> dict[str, Any]:
    told: dict[str, Any] = {
        "status": row.status,
        "severity": row.severity,
        "object": row.object,
        "name": row.name,
        "tenant": row.tenant or None,
        "evidence": row.evidence,
        "count": row.count,
        "cache_key": row.cache_key,
        "since": row.since,
    }
    if row.waiver is not None:
        told["waiver"] = {**waiver_dict(row.waiver), "expired": row.expired}
    return told


def before_of(plain: Mapping[str, Any]) -> tuple[float, dict[str, tuple[str, str, str]]]:
    """The open failures of an earlier report's JSON.

    Raises:
        ValueError: it is no such report.
    """
    if plain.get("format") != "neonmeter-posture-1":
        raise ValueError("is no posture report of this version")
    found: dict[str, tuple[str, str, str]] = {}
    for control in plain["controls"]:
        for each in control["findings"]:
            if each["status"] == "fail":
                found[each["cache_key"]] = (control["id"], each["object"], each["evidence"])
    return float(plain["as_of"]), found


_COLUMNS = (
    "control", "title", "status", "severity", "project", "object", "name", "tenant", "count", "evidence", "remedy",
    "first_seen", "waiver_approver", "waiver_reason", "waiver_expires", "waiver_expired", "clauses",
)  # fmt: skip


def as_csv(report: Report) -> str:
    """One row for each finding; controls that hold have one each, so that a reader sees that they were judged."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\r\n")
    writer.writerow(_COLUMNS)
    for control in report.controls:
        clauses = " ".join(f"{name}:{each}" for name, found in control.clauses.items() for each in found)
        for row in control.rows:
            writer.writerow([_safe(each) for each in _cells(row, control, clauses)])
        if not control.rows:
            ends = ["", "", control.counts[control.status], "", "", "", "", "", "", "", clauses]
            named = [control.control.id, control.control.title, control.status, control.control.severity.value, "", ""]
            writer.writerow([_safe(each) for each in [*named, *ends]])
    return out.getvalue()


def _cells(row: Row, control: ControlRow, clauses: str) -> list[object]:
    waiver = row.waiver
    return [
        row.control, row.title, row.status, row.severity, row.project, row.object, row.name, row.tenant, row.count,
        row.evidence, control.control.remedy.text, "" if row.since is None else round(row.since),
        waiver.approver if waiver else "", waiver.reason if waiver else "", waiver.expires if waiver else "",
        ("yes" if row.expired else "no") if waiver else "", clauses,
    ]  # fmt: skip


def _safe(value: object) -> object:
    """A text that a spreadsheet would run as a formula is kept a text."""
    return f"'{value}" if isinstance(value, str) and value[:1] in ("=", "+", "-", "@", "\t", "\r") else value


def as_ocsf(report: Report) -> str:
    """One Compliance Finding a line."""
    return "".join(
        json.dumps(_ocsf(report, control, row), ensure_ascii=False, sort_keys=True) + "\n"
        for control in report.controls
        for row in control.rows
    )


def _ocsf(report: Report, control: ControlRow, row: Row) -> dict[str, Any]:
    compliance_id, compliance = _OCSF_COMPLIANCE[row.status]
    status_id, status = _OCSF_STATE[row.status]
    severity_id = _OCSF_SEVERITY[row.severity]
    requirements = [f"{name} {each}" for name, clauses in control.clauses.items() for each in clauses]
    first = row.since if row.since is not None else report.at
    told: dict[str, Any] = {
        "activity_id": 1,
        "activity_name": "Create",
        "category_uid": 2,
        "category_name": "Findings",
        "class_uid": 2003,
        "class_name": "Compliance Finding",
        "type_uid": 200301,
        "type_name": "Compliance Finding: Create",
        "time": round(report.at * 1000),
        "severity_id": severity_id,
        "severity": row.severity.capitalize().replace("Info", "Informational"),
        "status_id": status_id,
        "status": status,
        "message": row.evidence,
        "metadata": {
            "version": "1.3.0",
            "product": {"name": "neonmeter", "vendor_name": "neonmeter", "version": __version__},
            "event_code": row.control,
        },
        "finding_info": {
            "uid": row.cache_key,
            "title": f"{row.control} {row.title}",
            "desc": control.control.what,
            "first_seen_time": round(first * 1000),
            "last_seen_time": round(report.at * 1000),
        },
        "compliance": {
            "control": row.control,
            "requirements": requirements,
            "standards": sorted(control.clauses),
            "status_id": compliance_id,
            "status": compliance,
        },
        "remediation": {"desc": control.control.remedy.text},
        "resources": [{"uid": row.object, "name": row.name, "type": "database object", "cloud_partition": "neon"}],
    }
    if row.tenant:
        told["resources"][0]["labels"] = [f"tenant:{row.tenant}"]
    if row.waiver is not None:
        told["comment"] = (
            f"waiver of {row.waiver.approver} until {row.waiver.expires}"
            f"{', expired' if row.expired else ''}: {row.waiver.reason}"
        )
    return told
