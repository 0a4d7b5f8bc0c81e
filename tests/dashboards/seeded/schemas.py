"""Schemas and security: branches that drifted, one whose drift was approved, a failed migration, controls that fail."""

from __future__ import annotations

from tests.dashboards.seeded.exposition import END, Exposition
from tests.dashboards.seeded.places import BRANCHES, HOUR, PROJECTS, Place

DRIFTED = {("bookshop", "staging"): 26 * HOUR, ("analytics", "dev"): 3 * HOUR, ("payments", "staging"): 9 * 86400}
APPROVED_AT = END - int(1.5 * HOUR)
CONTROLS = (
    ("P01", "critical", "fail"), ("P07", "critical", "pass"), ("P12", "high", "fail"), ("P15", "high", "pass"),
    ("P18", "high", "waived"), ("P23", "medium", "fail"), ("P31", "medium", "unknown"), ("P35", "high", "pass"),
    ("P44", "low", "pass"), ("P50", "critical", "pass"), ("P61", "medium", "error"), ("P66", "low", "manual"),
)  # fmt: skip


def put_schemas(out: Exposition) -> None:
    for place in BRANCHES:
        base = {**place.of_branch, "datname": "app"}
        out.put("neon_schema_fingerprint_info", 1, {**base, "fingerprint": f"{place.number:012x}"})
        out.put("neon_schema_scan_timestamp_seconds", END - 600 - 7200 * place.number, base)
        out.put("neon_schema_scan_duration_seconds", 0.08 + 0.03 * place.number, base)
        out.put("neon_schema_scan_errors_total", 0.0001 * (place.number == 3), {**base, "status": "timeout"})
        _put_migrations(out, place, base)
        if place.branch != "main":
            _put_drift(out, (place.project, place.branch), base)
    _put_tenants(out)
    _put_posture(out)


def _put_drift(out: Exposition, which: tuple[str, str], base: dict[str, str]) -> None:
    against = {**base, "baseline": "parent"}
    age = DRIFTED.get(which)
    approved = which == ("bookshop", "preview-142")
    drifted = lambda now: now >= END - age if age else approved and now < APPROVED_AT  # noqa: E731
    out.put("neon_schema_drift_detected", lambda now: float(drifted(now)), against)
    if age:
        out.put("neon_schema_drift_since_timestamp_seconds", lambda now: END - age if drifted(now) else None, against)
    out.put("neon_schema_drift_ignored_objects", 2, base)
    for kind, change, count in (("column", "added", 3), ("index", "added", 1), ("constraint", "changed", 2),
                                ("policy", "removed", 1)):  # fmt: skip
        out.put("neon_schema_drift_objects", lambda now, count=count: count * float(drifted(now)),
                {**base, "kind": kind, "change": change})  # fmt: skip


def _put_migrations(out: Exposition, place: Place, base: dict[str, str]) -> None:
    number, staging, dev = place.number, place.branch == "staging", float(place.branch == "dev")
    tool = {**base, "tool": "flyway" if number % 2 else "alembic"}
    read = {**tool, "endpoint_id": place.endpoint_id}
    failed = float(staging and place.project == "payments")
    schema = {**read, "schema": "public"}
    out.put("neon_migrations_applied", 141 - 3 * staging, schema)
    out.put("neon_migrations_failed", failed, schema)
    out.put("neon_migrations_last_applied_timestamp_seconds", END - 86400 * (1 + number), schema)
    for name, value in {"histories": 3, "histories_deviating": 0, "lock_held": failed, "lock_age_seconds":
                        5400 * failed}.items():  # fmt: skip
        out.put(f"neon_migrations_{name}", value, read)
    for name, value in {"pending": 3 * staging, "checksum_mismatch": 0, "out_of_order": 0, "unknown": dev,
                        "tenants_behind": float(number == 0)}.items():  # fmt: skip
        out.put(f"neon_migrations_{name}", value, tool)
    if place.branch != "main":
        for side, count in (("behind", 3 * staging), ("ahead", dev)):
            out.put("neon_migrations_divergence", count, {**tool, "side": side})


def _put_tenants(out: Exposition) -> None:
    shop = {**BRANCHES[0].of_branch, "datname": "app"}
    for state, count in (("alike", 211), ("deviating", 2)):
        out.put("neon_tenant_schemas", count, {**shop, "state": state})
    for tenant, change, count in (("cedar", "removed", 4), ("birch", "added", 1)):
        out.put("neon_tenant_schema_drift_objects", count, {**shop, "tenant": tenant, "change": change})


def _put_posture(out: Exposition) -> None:
    for place in PROJECTS:
        worst = place.project == "payments"
        for control, severity, status in CONTROLS:
            shown = status if worst or severity != "critical" else "pass"
            out.put("neon_posture_control_status", 1,
                    {**place.of_project, "control": control, "severity": severity, "status": shown})  # fmt: skip
        for severity, status, count in (("critical", "fail", 2 * worst), ("high", "fail", 3), ("high", "waived", 1),
                                        ("medium", "fail", 4), ("medium", "unknown", 1),
                                        ("low", "fail", 0)):  # fmt: skip
            out.put("neon_posture_findings", count, {**place.of_project, "severity": severity, "status": status})
        out.put("neon_posture_score_ratio", 0.64 if worst else 0.93 - 0.02 * place.number, place.of_project)
        out.put("neon_posture_known_ratio", 0.9, place.of_project)
        for tenant in place.tenants:
            out.put("neon_tenant_posture_findings", float(worst), {**place.of_project, "tenant": tenant,
                                                                   "severity": "high"})  # fmt: skip
            out.put("neon_tenant_posture_score_ratio", 0.7 if worst else 0.95, {**place.of_project, "tenant": tenant})
        out.put("neon_project_residency_ok", float(place.project != "wiki"), {**place.of_project,
                                                                              "region": place.region})  # fmt: skip
        out.put("neon_role_password_age_seconds", 86400 * (40 + 120 * worst),
                {**place.of_project, "branch_id": place.branch_id})  # fmt: skip
    for kind, days in (("organization", 61), ("project", 400), ("personal", 12)):
        out.put("neon_api_key_age_seconds", days * 86400, {"kind": kind})
    for tenant, days in (("acme", 50), ("elm", 410)):
        out.put("neon_tenant_key_age_seconds", days * 86400, {"tenant": tenant})
    for state, count in (("active", 3), ("expiring", 1), ("expired", 1), ("unused", 0)):
        out.put("neon_posture_waivers", count, {"state": state})
    for source, age in (("api", 300), ("vault", 900), ("s3", 900), ("tls", 3600), ("database", 40 * 3600)):
        out.put("neon_posture_facts_age_seconds", age, {"source": source})
        if source != "database":
            out.put("neon_posture_source_up", float(source != "s3"), {"source": source})
