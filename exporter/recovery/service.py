"""Recovery in the running agent: restore windows, snapshots and the results of drills as series. It only reads.

The drills themselves are run by `neonmeter drill`; their file is read again when it changed. Nothing here asks Neon.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from collectors.base import Observation, Status, Target
from collectors.metric import Families, Scope
from collectors.neon.inventory import Inventory
from collectors.neon.models import Branch, Project
from collectors.neon.snapshots import Snapshot
from exporter.core.state import State
from exporter.recovery import metrics
from exporter.recovery.drill_names import began_at
from exporter.recovery.journal import OK, Drill, DrillJournal, JournalError, path_of
from exporter.recovery.targets import earliest_restorable, target_of
from exporter.settings import CoreSettings
from exporter.settings.recovery import RecoverySettings

NAME = "recovery"
INTERVAL = 60.0
KIND = "pitr"
Snapshots = Mapping[str, Sequence[Snapshot] | None]
"""By project; None where Neon refuses the list."""
_log = logging.getLogger("neonmeter.recovery")


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
    teller = _Teller(settings, known, now)
    for project in inventory.projects.values():
        families = Families()
        for branch in sorted(by_project.get(project.id, ()), key=lambda entry: entry.id):
            teller.branch(families, project, branch, drills.get((project.id, branch.id), []))
        copies = [entry for entry in by_project.get(project.id, ()) if began_at(entry.name) is not None]
        families.set(metrics.LEFT, (), len(copies))
        if project.id in known.offsite:
            families.set(metrics.OFFSITE_AGE, (), max(0.0, now - known.offsite[project.id]))
        target = Target(Scope.PROJECT, (project.id,), project.name)
        found.append(Observation(NAME, target, Status.OK, inventory.taken_at, families=families, rows=len(families)))
    return found


@dataclass(frozen=True, slots=True)
class _Teller:
    settings: RecoverySettings
    known: RecoveryFacts
    now: float

    def branch(self, families: Families, project: Project, branch: Branch, drills: list[Drill]) -> None:
        branch_ref = BranchNames(project.id, project.name, branch.id, branch.name)
        target = target_of(self.settings, branch_ref) if began_at(branch.name) is None else None
        if not (branch.default or branch.protected or not branch.parent_id or target or drills):
            return
        if project.history_retention_seconds is not None:
            window = project.history_retention_seconds
            since = earliest_restorable(self.now, window, branch.created_at, branch.last_reset_at)
            families.set(metrics.EARLIEST, (branch.id,), since)
            families.set(metrics.WINDOW, (branch.id,), max(0.0, self.now - since))
        self._snapshots(families, branch)
        if target is not None:
            families.set(metrics.RTO_TARGET, (branch.id, KIND), target.rto_seconds)
            families.set(metrics.RPO_TARGET, (branch.id, KIND), target.rpo_seconds)
        _drills(families, branch.id, [drill for drill in drills if drill.result])

    def _snapshots(self, families: Families, branch: Branch) -> None:
        listed = self.known.snapshots.get(branch.project_id)
        if listed is None:
            return
        taken = [
            snapshot.created_at for snapshot in listed if snapshot.source_branch_id == branch.id and snapshot.created_at
        ]
        families.set(metrics.SNAPSHOTS, (branch.id,), len(taken))
        if taken:
            families.set(metrics.SNAPSHOT_AGE, (branch.id,), max(0.0, self.now - max(taken)))


def _drills(families: Families, branch_id: str, ended: list[Drill]) -> None:
    for kind in sorted({drill.kind for drill in ended}):
        mine = [drill for drill in ended if drill.kind == kind]
        last = max(mine, key=lambda entry: entry.ended_at)
        families.set(metrics.LAST_RESULT, (branch_id, kind), int(last.result == OK))
        good = max((drill for drill in mine if drill.result == OK), key=lambda entry: entry.ended_at, default=None)
        if good is None:
            continue
        families.set(metrics.LAST_SUCCESS, (branch_id, kind), good.ended_at)
        if good.rto_seconds is not None:
            families.set(metrics.LAST_DURATION, (branch_id, kind), good.rto_seconds)
        if good.rpo_seconds is not None:
            families.set(metrics.LAST_RPO, (branch_id, kind), good.rpo_seconds)


class RecoveryService:
    """Lives on the event loop; `look` is called after every round."""

    def __init__(
        self, settings: CoreSettings, state: State, *, offsite: Callable[[], Mapping[str, float]] = dict[str, float]
    ) -> None:
        """``offsite`` tells when the newest off-site copy of each project was taken."""
        self._settings = settings.recovery
        self._book = DrillJournal(path_of(settings))
        self._state = state
        self._offsite = offsite
        self._mark: tuple[int, int] | None = None
        self._drills: tuple[Drill, ...] = ()
        self._said = ""

    async def look(self, inventory: Inventory, snapshots: Snapshots) -> None:
        """Tell what can be restored, and what was proved."""
        if not self._settings.enabled:
            return
        await asyncio.to_thread(self._read)
        known = RecoveryFacts(snapshots, self._drills, self._offsite())
        now = inventory.server_now or inventory.taken_at
        for observation in observe(self._settings, inventory, known, now):
            self._state.put(observation, interval=INTERVAL)

    def _read(self) -> None:
        try:
            stat = self._book.path.stat()
            mark = (stat.st_mtime_ns, stat.st_size)
            if mark != self._mark:
                self._drills = self._book.drills()
                self._mark = mark
            problem = ""
        except FileNotFoundError:
            self._drills, self._mark, problem = (), None, ""
        except (OSError, JournalError) as wrong:
            problem = str(wrong)
        if problem != self._said:
            self._said = problem
            if problem:
                _log.error("%s", problem)
