"""The metrics of recovery, and what fills them: what could be restored now, what is promised, what drills proved."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Protocol, TypeVar

from collectors.base import Observation, Status, Target
from collectors.metric import Families, Kind, Metric, Scope, Unit
from collectors.neon.inventory import Inventory
from collectors.neon.models import Branch, Project
from collectors.neon.snapshots import Snapshots
from exporter.recovery.journal import OK, Drill, began_at
from exporter.settings.dsn import matches
from exporter.settings.recovery import BranchScoped, RecoverySettings, RecoveryTarget

NAME = "recovery"
PITR = "pitr"
"""The kind of drill that there is: a restore to an instant of the past."""
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
    "Snapshots of the branch that exist now; absent where Neon does not list them.", "branch_id", worse="down",
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
    "neon_drill_rto_target_seconds", Unit.SECONDS, "Recovery time objective (recovery.targets).",
    "branch_id", "kind",
)  # fmt: skip
RPO_TARGET = _gauge(
    "neon_drill_rpo_target_seconds", Unit.SECONDS,
    "Recovery point objective: time whose writes may be lost (recovery.targets).",
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
    "1 when the last drill that ended succeeded, 0 when it failed or was interrupted.",
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


class NamedBranch(Protocol):
    """A branch by its ids and names."""

    @property
    def project_id(self) -> str:
        """Id of the project."""

    @property
    def project_name(self) -> str:
        """Its name."""

    @property
    def branch_id(self) -> str:
        """Id of the branch."""

    @property
    def branch_name(self) -> str:
        """Its name."""


Setting = TypeVar("Setting", bound=BranchScoped)


def of_spot(settings: Iterable[Setting], branch_ref: NamedBranch) -> list[Setting]:
    """The settings that are for this branch, in their order."""
    return [
        setting
        for setting in settings
        if matches(setting.project, branch_ref.project_id, branch_ref.project_name)
        and matches(setting.branch, branch_ref.branch_id, branch_ref.branch_name)
    ]


def target_of(settings: RecoverySettings, branch_ref: NamedBranch) -> RecoveryTarget | None:
    """What is promised for a branch; the first match wins."""
    return next(iter(of_spot(settings.targets, branch_ref)), None)


def earliest_restorable(now: float, retention: float, *known_since: float | None) -> float:
    """The earliest instant (unix seconds) that Neon can go back to, given the window and when the branch began.

    ``known_since`` are its creation and its last reset: what was before belongs to another history.
    """
    return max([now - retention, *(value for value in known_since if value is not None)])


@dataclass(frozen=True, slots=True)
class BranchNames:
    """A branch by ids and names."""

    project_id: str
    project_name: str
    branch_id: str
    branch_name: str


@dataclass(frozen=True, slots=True)
class RecoveryFacts:
    """What is known beside the inventory. Instants in unix seconds."""

    snapshots: Snapshots
    drills: Sequence[Drill]
    offsite: Mapping[str, float]
    """When the newest off-site copy was taken, by project."""


def observe(settings: RecoverySettings, inventory: Inventory, known: RecoveryFacts, now: float) -> list[Observation]:
    """One observation a project; ``now`` is Neon's clock, for ages, and stamps nothing."""
    drills: dict[tuple[str, str], list[Drill]] = {}
    for drill in known.drills:
        drills.setdefault((drill.project_id, drill.branch_id), []).append(drill)
    by_project: dict[str, list[Branch]] = {}
    for branch in inventory.branches.values():
        by_project.setdefault(branch.project_id, []).append(branch)
    found = []
    taken: dict[tuple[str, str], list[float]] = {}
    for project_id, listed in known.snapshots.items():
        for snapshot in listed or ():
            if snapshot.created_at:
                taken.setdefault((project_id, snapshot.source_branch_id), []).append(snapshot.created_at)
    branch_series = _Series(settings, known, now, taken)
    for project in inventory.projects.values():
        families = Families()
        for branch in sorted(by_project.get(project.id, ()), key=lambda branch: branch.id):
            branch_series.add(families, project, branch, drills.get((project.id, branch.id), []))
        copies = [branch for branch in by_project.get(project.id, ()) if began_at(branch.name) is not None]
        families.set(LEFT, (), len(copies))
        if project.id in known.offsite:
            families.set(OFFSITE_AGE, (), max(0.0, now - known.offsite[project.id]))
        target = Target(Scope.PROJECT, (project.id,), project.name)
        found.append(Observation(NAME, target, Status.OK, inventory.taken_at, families=families, rows=len(families)))
    return found


@dataclass(frozen=True, slots=True)
class _Series:
    settings: RecoverySettings
    known: RecoveryFacts
    now: float
    taken: Mapping[tuple[str, str], Sequence[float]]
    """When the snapshots of each branch were taken."""

    def add(self, families: Families, project: Project, branch: Branch, drills: list[Drill]) -> None:
        branch_ref = BranchNames(project.id, project.name, branch.id, branch.name)
        target = target_of(self.settings, branch_ref) if began_at(branch.name) is None else None
        if not (branch.default or branch.protected or not branch.parent_id or target or drills):
            return
        if project.history_retention_seconds is not None:
            window = project.history_retention_seconds
            since = earliest_restorable(self.now, window, branch.created_at, branch.last_reset_at)
            families.set(EARLIEST, (branch.id,), since)
            families.set(WINDOW, (branch.id,), max(0.0, self.now - since))
        self._snapshots(families, branch)
        if target is not None:
            families.set(RTO_TARGET, (branch.id, PITR), target.rto_seconds)
            families.set(RPO_TARGET, (branch.id, PITR), target.rpo_seconds)
        _drills(families, branch.id, [drill for drill in drills if drill.result])

    def _snapshots(self, families: Families, branch: Branch) -> None:
        if self.known.snapshots.get(branch.project_id) is None:
            return
        taken = self.taken.get((branch.project_id, branch.id), ())
        families.set(SNAPSHOTS, (branch.id,), len(taken))
        if taken:
            families.set(SNAPSHOT_AGE, (branch.id,), max(0.0, self.now - max(taken)))


def _drills(families: Families, branch_id: str, ended: list[Drill]) -> None:
    for kind in sorted({drill.kind for drill in ended}):
        of_kind = [drill for drill in ended if drill.kind == kind]
        last = max(of_kind, key=lambda drill: drill.ended_at)
        families.set(LAST_RESULT, (branch_id, kind), int(last.result == OK))
        good = max((drill for drill in of_kind if drill.result == OK), key=lambda drill: drill.ended_at, default=None)
        if good is None:
            continue
        families.set(LAST_SUCCESS, (branch_id, kind), good.ended_at)
        if good.rto_seconds is not None:
            families.set(LAST_DURATION, (branch_id, kind), good.rto_seconds)
        if good.rpo_seconds is not None:
            families.set(LAST_RPO, (branch_id, kind), good.rpo_seconds)
