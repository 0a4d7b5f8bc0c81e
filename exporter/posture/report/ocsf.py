"""The findings in the shape of OCSF, for a security lake: class 2003 (Compliance Finding), one JSON object a line."""

from __future__ import annotations

import json
from typing import Any

from exporter.posture.pages import Row
from exporter.posture.report.report import ControlRow, Report
from exporter.version import __version__

VERSION = "1.3.0"
_SEVERITY = {"info": (1, "Informational"), "low": (2, "Low"), "medium": (3, "Medium"), "high": (4, "High"),
             "critical": (5, "Critical")}  # fmt: skip
_COMPLIANCE = {"fail": (3, "Fail"), "waived": (3, "Fail"), "error": (99, "Error"), "unknown": (0, "Unknown"),
               "manual": (2, "Warning")}  # fmt: skip
_STATUS = {"waived": (3, "Suppressed")}
_CLASS = {
    "activity_id": 1,
    "activity_name": "Create",
    "category_uid": 2,
    "category_name": "Findings",
    "class_uid": 2003,
    "class_name": "Compliance Finding",
    "type_uid": 200301,
    "type_name": "Compliance Finding: Create",
}


def as_ocsf(report: Report) -> str:
    """One finding a line, by control; times are milliseconds, as OCSF has them."""
    return "".join(
        json.dumps(_finding(report, control, row), ensure_ascii=False, sort_keys=True) + "\n"
        for control in report.controls
        for row in control.rows
    )


def _finding(report: Report, control: ControlRow, row: Row) -> dict[str, Any]:
    severity_id, severity = _SEVERITY[row.severity]
    status_id, status = _STATUS.get(row.status, (1, "New"))
    product = {"name": "neonmeter", "vendor_name": "neonmeter", "version": __version__}
    finding: dict[str, Any] = {
        **_CLASS,
        "time": round(report.at * 1000),
        "severity_id": severity_id,
        "severity": severity,
        "status_id": status_id,
        "status": status,
        "message": row.evidence,
        "metadata": {"version": VERSION, "product": product, "event_code": row.control},
        "finding_info": _info(report, control, row),
        "compliance": _compliance(control, row),
        "remediation": {"desc": control.control.remedy.text},
        "resources": [_resource(row)],
    }
    if row.waiver is not None:
        over = ", expired" if row.expired else ""
        finding["comment"] = f"waiver of {row.waiver.approver} until {row.waiver.expires}{over}: {row.waiver.reason}"
    return finding


def _info(report: Report, control: ControlRow, row: Row) -> dict[str, Any]:
    first = row.since if row.since is not None else report.at
    return {
        "uid": row.cache_key,
        "title": f"{row.control} {row.title}",
        "desc": control.control.what,
        "first_seen_time": round(first * 1000),
        "last_seen_time": round(report.at * 1000),
    }


def _compliance(control: ControlRow, row: Row) -> dict[str, Any]:
    status_id, status = _COMPLIANCE[row.status]
    return {
        "control": row.control,
        "requirements": [f"{name} {clause}" for name, clauses in control.clauses.items() for clause in clauses],
        "standards": sorted(control.clauses),
        "status_id": status_id,
        "status": status,
    }


def _resource(row: Row) -> dict[str, Any]:
    labels = {"labels": [f"tenant:{row.tenant}"]} if row.tenant else {}
    return {"uid": row.object, "name": row.name, "type": "database object", **labels}
