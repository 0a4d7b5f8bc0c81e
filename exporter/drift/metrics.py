"""The metrics of drift; `drift.series` fills them. Objects are counted by kind: never a label per object."""

from __future__ import annotations

from collectors.metric import Kind, Metric, Scope, Unit

_MANY = 200

OBJECTS = Metric(
    "neon_schema_drift_objects", Kind.GAUGE, Unit.NONE, Scope.BRANCH,
    "Objects that differ from the baseline, by kind and change (added, removed, changed). A kind that differed once "
    "stays as 0; the objects: /api/v1/drift/PROJECT/BRANCH.",
    ("datname", "kind", "change"), worse="up", max_series=_MANY,
)  # fmt: skip
DETECTED = Metric(
    "neon_schema_drift_detected", Kind.GAUGE, Unit.NONE, Scope.BRANCH,
    "1 while the database differs from its baseline (parent, branch, git, approved). Absent without a baseline.",
    ("datname", "baseline"), worse="up", max_series=_MANY,
)  # fmt: skip
SINCE = Metric(
    "neon_schema_drift_since_timestamp_seconds", Kind.GAUGE, Unit.TIMESTAMP, Scope.BRANCH,
    "Since when it has differed from its baseline without interruption.",
    ("datname", "baseline"), max_series=_MANY,
)  # fmt: skip
IGNORED = Metric(
    "neon_schema_drift_ignored_objects", Kind.GAUGE, Unit.NONE, Scope.BRANCH,
    "Differences that drift.ignore says are meant, and that are not counted otherwise.",
    ("datname",), max_series=_MANY,
)  # fmt: skip
UNCOMPARED = Metric(
    "neon_schema_drift_uncompared", Kind.GAUGE, Unit.NONE, Scope.BRANCH,
    "1 where a baseline is wanted and cannot be compared with: not read yet, another major version, no file, nobody "
    "approved.",
    ("datname", "baseline"), worse="up", max_series=_MANY,
)  # fmt: skip
INFO = Metric(
    "neon_schema_fingerprint_info", Kind.GAUGE, Unit.NONE, Scope.BRANCH,
    "Always 1; the first 12 digits of the fingerprint. It changes when, and only when, an object of the schemas does.",
    ("datname", "fingerprint"), max_series=_MANY,
)  # fmt: skip
SCANNED = Metric(
    "neon_schema_scan_timestamp_seconds", Kind.GAUGE, Unit.TIMESTAMP, Scope.BRANCH,
    "When the fingerprint was last read; a branch that sleeps is not read, and keeps what it was.",
    ("datname",), max_series=_MANY,
)  # fmt: skip
STALE = Metric(
    "neon_schema_scan_stale", Kind.GAUGE, Unit.NONE, Scope.BRANCH,
    "1 while the last attempt at the fingerprint did not succeed (a lock, a deadline) and the one before is shown.",
    ("datname", "status"), worse="up", max_series=_MANY,
)  # fmt: skip
DURATION = Metric(
    "neon_schema_scan_duration_seconds", Kind.GAUGE, Unit.SECONDS, Scope.BRANCH,
    "Time that the last successful scan took on the server; absent until one succeeded in this life of the agent.",
    ("datname",), worse="up", max_series=_MANY,
)  # fmt: skip
ERRORS = Metric(
    "neon_schema_scan_errors_total", Kind.COUNTER, Unit.NONE, Scope.BRANCH,
    "Scans without a result, by status, since the agent started; no_data is a table that was locked exclusively.",
    ("datname", "status"), worse="up", max_series=_MANY,
)  # fmt: skip
TENANT_OBJECTS = Metric(
    "neon_tenant_schema_drift_objects", Kind.GAUGE, Unit.NONE, Scope.BRANCH,
    "Objects in which a tenant's schema differs from the template or the majority. Only tenants that deviate.",
    ("datname", "tenant", "change"), worse="up", max_series=600,
)  # fmt: skip
TENANTS = Metric(
    "neon_tenant_schemas", Kind.GAUGE, Unit.NONE, Scope.BRANCH,
    "Schemas of tenants, by state: alike (as the template or the majority), deviating.",
    ("datname", "state"), max_series=_MANY,
)  # fmt: skip
DIVERGENCE = Metric(
    "neon_migrations_divergence", Kind.GAUGE, Unit.NONE, Scope.BRANCH,
    "Migrations that the branch lacks (behind) or has beyond (ahead) the branch it is compared with.",
    ("datname", "tool", "side"), worse="up", max_series=_MANY,
)  # fmt: skip
PENDING = Metric(
    "neon_migrations_pending", Kind.GAUGE, Unit.NONE, Scope.BRANCH,
    "Migrations that git has (drift.manifests) and the most common history of the database lacks.",
    ("datname", "tool"), worse="up",
)  # fmt: skip
MISMATCHED = Metric(
    "neon_migrations_checksum_mismatch", Kind.GAUGE, Unit.NONE, Scope.BRANCH,
    "Applied migrations whose file in git has changed; only tools with a checksum that we can compute.",
    ("datname", "tool"), worse="up",
)  # fmt: skip
OUT_OF_ORDER = Metric(
    "neon_migrations_out_of_order", Kind.GAUGE, Unit.NONE, Scope.BRANCH,
    "Pending migrations although a later one of git is applied.",
    ("datname", "tool"), worse="up",
)  # fmt: skip
UNKNOWN = Metric(
    "neon_migrations_unknown", Kind.GAUGE, Unit.NONE, Scope.BRANCH,
    "Applied migrations that git does not have.",
    ("datname", "tool"), worse="up",
)  # fmt: skip
TENANTS_BEHIND = Metric(
    "neon_migrations_tenants_behind", Kind.GAUGE, Unit.NONE, Scope.BRANCH,
    "Histories (one per tenant schema) that lack a migration which most of the others have.",
    ("datname", "tool"), worse="up",
)  # fmt: skip
SETTINGS_OBJECTS = Metric(
    "neon_settings_drift_objects", Kind.GAUGE, Unit.NONE, Scope.BRANCH,
    "Settings that differ from the parent branch, or from drift.desired: of Postgres (guc), roles, extensions, of "
    "the compute (endpoint) and of the project. A kind that differed once stays as 0.",
    ("baseline", "kind", "change"), worse="up", max_series=30,
)  # fmt: skip
SETTINGS_DETECTED = Metric(
    "neon_settings_drift_detected", Kind.GAUGE, Unit.NONE, Scope.BRANCH,
    "1 while any setting differs from the parent's or from the desired state; absent where there is none.",
    ("baseline",), worse="up", max_series=2,
)  # fmt: skip
SETTINGS_UNVERIFIED = Metric(
    "neon_settings_drift_unverified", Kind.GAUGE, Unit.NONE, Scope.BRANCH,
    "Settings of the desired state that could not be looked at yet: the branch was not read since they are wanted.",
    ("baseline",), worse="up", max_series=2,
)  # fmt: skip
METRICS = (
    OBJECTS, DETECTED, SINCE, IGNORED, UNCOMPARED, INFO, SCANNED, STALE, DURATION, ERRORS,
    TENANT_OBJECTS, TENANTS, DIVERGENCE, PENDING,
    MISMATCHED, OUT_OF_ORDER, UNKNOWN, TENANTS_BEHIND, SETTINGS_OBJECTS, SETTINGS_DETECTED,
    SETTINGS_UNVERIFIED,
)  # fmt: skip
