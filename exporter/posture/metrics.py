"""The metrics of posture; `posture.series` fills them. Counts and worst outcomes only: no object is ever a label."""

from __future__ import annotations

from collectors.metric import Kind, Metric, Scope, Unit

CONTROL = Metric(
    "neon_posture_control_status", Kind.GAUGE, Unit.NONE, Scope.PROJECT,
    "1 for each control, by its worst outcome in the project (pass, fail, waived, error, unknown, manual, "
    "not_applicable). What could not be read is error or unknown, never pass. __account__ is what is of no project.",
    ("control", "severity", "status"), max_series=200,
)  # fmt: skip
FINDINGS = Metric(
    "neon_posture_findings", Kind.GAUGE, Unit.NONE, Scope.PROJECT,
    "Objects that fail a control, by severity: fail (nobody answers for it), waived, expired (its waiver is over; "
    "these are in fail too); and what ended as error or unknown. Which ones: /api/v1/posture/PROJECT.",
    ("severity", "status"), worse="up", max_series=40,
)  # fmt: skip
SCORE = Metric(
    "neon_posture_score_ratio", Kind.GAUGE, Unit.RATIO, Scope.PROJECT,
    "Weight of the controls that hold, of those that could be judged and are not waived; absent when none could.",
    worse="down", max_series=1,
)  # fmt: skip
KNOWN = Metric(
    "neon_posture_known_ratio", Kind.GAUGE, Unit.RATIO, Scope.PROJECT,
    "Weight of the controls that could be judged, of those that apply: a good score over little that is known is none.",
    worse="down", max_series=1,
)  # fmt: skip
TENANT_FINDINGS = Metric(
    "neon_tenant_posture_findings", Kind.GAUGE, Unit.NONE, Scope.PROJECT,
    "Open failures that put a tenant's data at risk. Only tenants that have, or had, some.",
    ("tenant", "severity"), worse="up", max_series=600,
)  # fmt: skip
TENANT_SCORE = Metric(
    "neon_tenant_posture_score_ratio", Kind.GAUGE, Unit.RATIO, Scope.PROJECT,
    "As neon_posture_score_ratio, over the controls of whole databases and what is said of this tenant. Only tenants "
    "that something was said of.",
    ("tenant",), worse="down", max_series=600,
)  # fmt: skip
RESIDENCY = Metric(
    "neon_project_residency_ok", Kind.GAUGE, Unit.NONE, Scope.PROJECT,
    "1 when the project's region is on the list where data may lie (posture.allow.regions), 0 when it is not; absent "
    "when the place of the region is not known.",
    ("region",), worse="down", max_series=1,
)  # fmt: skip
PASSWORD_AGE = Metric(
    "neon_role_password_age_seconds", Kind.GAUGE, Unit.SECONDS, Scope.PROJECT,
    "The oldest password of a role that may log in, by branch: since Neon's API says that the role was last changed, "
    "which is the nearest there is.",
    ("branch_id",), worse="up", max_series=500,
)  # fmt: skip
EXCESS = Metric(
    "neonmeter_excess_privilege", Kind.GAUGE, Unit.NONE, Scope.BRANCH,
    "1 where neonmeter's own role may do more than it needs (superuser, neon_superuser, BYPASSRLS, reading tables): "
    "make it one by docs/permissions.sql. 0 where it was looked at and is well.",
    worse="up", max_series=1,
)  # fmt: skip
KEY_AGE = Metric(
    "neon_api_key_age_seconds", Kind.GAUGE, Unit.SECONDS, Scope.AGENT,
    "The oldest API key by what it opens: organization, project, personal.",
    ("kind",), worse="up", max_series=3,
)  # fmt: skip
TENANT_KEY_AGE = Metric(
    "neon_tenant_key_age_seconds", Kind.GAUGE, Unit.SECONDS, Scope.AGENT,
    "Since a tenant's encryption key was last rotated, the oldest of its key stores.",
    ("tenant",), worse="up", max_series=600,
)  # fmt: skip
WAIVERS = Metric(
    "neon_posture_waivers", Kind.GAUGE, Unit.NONE, Scope.AGENT,
    "Entries of posture.waivers: active, expiring (within 14 days, in active too), expired, unused (nothing fails that "
    "they speak of).",
    ("state",), worse="up", max_series=4,
)  # fmt: skip
FACTS_AGE = Metric(
    "neon_posture_facts_age_seconds", Kind.GAUGE, Unit.SECONDS, Scope.AGENT,
    "Age of the oldest facts of a source that are still judged by; a database that sleeps is not read, and ages.",
    ("source",), worse="up", max_series=20,
)  # fmt: skip
SOURCE_UP = Metric(
    "neon_posture_source_up", Kind.GAUGE, Unit.NONE, Scope.AGENT,
    "Whether the last look at a source beside the databases (api, vault, s3, tls, pooler) was answered.",
    ("source",), worse="down", max_series=20,
)  # fmt: skip
METRICS = (
    CONTROL, FINDINGS, SCORE, KNOWN, TENANT_FINDINGS, TENANT_SCORE, RESIDENCY, PASSWORD_AGE, EXCESS, KEY_AGE,
    TENANT_KEY_AGE, WAIVERS, FACTS_AGE, SOURCE_UP,
)  # fmt: skip
