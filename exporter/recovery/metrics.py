"""The metrics of recovery: what could be restored now, what is promised, and what drills have proved."""

from __future__ import annotations

from typing import Final

from collectors.metric import Kind, Metric, Scope, Unit

_MANY: Final = 1000


def _gauge(name: str, unit: Unit, text: str, *labels: str, worse: str = "") -> Metric:
    return Metric(name, Kind.GAUGE, unit, Scope.PROJECT, text, labels, worse=worse, max_series=_MANY)


WINDOW = _gauge(
    "neon_pitr_window_seconds", Unit.SECONDS,
    "How far back the branch can be restored now: Neon's window, or its own age while that is less. Default, protected "
    "and root branches, those with a target and those that were drilled.", "branch_id", worse="down",
)  # fmt: skip
EARLIEST = _gauge(
    "neon_pitr_earliest_restorable_timestamp_seconds", Unit.TIMESTAMP,
    "The earliest instant that the branch can be restored to: what is older lives in snapshots and off-site copies.",
    "branch_id", worse="up",
)  # fmt: skip
SNAPSHOTS = _gauge(
    "neon_branch_snapshots", Unit.NONE,
    "Snapshots of the branch that exist now; absent where Neon does not tell the list.", "branch_id", worse="down",
)  # fmt: skip
SNAPSHOT_AGE = _gauge(
    "neon_snapshot_age_seconds", Unit.SECONDS,
    "Age of the branch's newest snapshot: what restoring it would lose. Absent without one.", "branch_id", worse="up",
)  # fmt: skip
OFFSITE_AGE = _gauge(
    "neon_offsite_backup_age_seconds", Unit.SECONDS,
    "Age of the newest copy of the project outside its region: what losing the region would lose.", worse="up",
)  # fmt: skip
RTO_TARGET = _gauge(
    "neon_drill_rto_target_seconds", Unit.SECONDS, "Longest time to restored data that is promised (recovery.targets).",
    "branch_id", "kind",
)  # fmt: skip
RPO_TARGET = _gauge(
    "neon_drill_rpo_target_seconds", Unit.SECONDS,
    "Most time whose writes may be lost, as promised (recovery.targets).",
    "branch_id", "kind",
)  # fmt: skip
LAST_SUCCESS = _gauge(
    "neon_drill_last_success_timestamp_seconds", Unit.TIMESTAMP,
    "When a drill last proved that the branch can be restored; absent when none ever did.",
    "branch_id", "kind", worse="down",
)  # fmt: skip
LAST_DURATION = _gauge(
    "neon_drill_last_duration_seconds", Unit.SECONDS,
    "RTO that the last successful drill measured: from asking Neon for the branch to data that was checked.",
    "branch_id", "kind", worse="up",
)  # fmt: skip
LAST_RPO = _gauge(
    "neon_drill_last_rpo_seconds", Unit.SECONDS,
    "RPO that the last successful drill measured: from the newest data it found to the instant it went back to; absent "
    "when it had no heartbeat and no marker to tell by.", "branch_id", "kind", worse="up",
)  # fmt: skip
LAST_RESULT = _gauge(
    "neon_drill_last_result", Unit.NONE,
    "1 when the last drill that ended proved what it should, 0 when it failed or was interrupted.",
    "branch_id", "kind", worse="down",
)  # fmt: skip
LEFT = _gauge(
    "neon_drill_branches_left", Unit.NONE,
    "Branches of drills that exist in the project: for long: one was killed, and `neonmeter drill list` removes it.",
    worse="up",
)  # fmt: skip
METRICS: Final = (
    WINDOW, EARLIEST, SNAPSHOTS, SNAPSHOT_AGE, OFFSITE_AGE,
    RTO_TARGET, RPO_TARGET, LAST_SUCCESS, LAST_DURATION, LAST_RPO, LAST_RESULT, LEFT,
)  # fmt: skip
