"""Recovery as a feature: restore windows, snapshots and the results of drills as series. It only reads.

The drills themselves are run by `neonmeter drill`; their journal is read again when it changed. Nothing here asks Neon.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable, Mapping, Sequence

from collectors.base import Status, Unread
from collectors.neon.inventory import Inventory
from collectors.neon.snapshots import Snapshots
from collectors.platforms.domain.security import DrillFacts
from exporter.core.state import State
from exporter.feature.feature import Feature, FeatureRun, MetricGroup
from exporter.feature.ports import OffsiteCopies, RestoreDrills, SnapshotList
from exporter.feature.services import Services
from exporter.recovery import series
from exporter.recovery.journal import OK, Drill, DrillJournal, JournalError, path_of
from exporter.recovery.series import NAME, RecoveryFacts, observe
from exporter.settings import CoreSettings
from exporter.settings.dsn import matches
from exporter.settings.recovery import RecoverySettings

INTERVAL = 60.0
_log = logging.getLogger("neonmeter.recovery")


class RecoveryRun(FeatureRun):
    """Lives on the event loop."""

    def __init__(
        self,
        settings: RecoverySettings,
        journal: DrillJournal,
        state: State,
        *,
        snapshots: Callable[[], Snapshots] = dict,
        offsite: Callable[[], Mapping[str, float]] = dict,
    ) -> None:
        """``offsite`` answers when the newest off-site copy of each project was taken (unix seconds)."""
        self._settings = settings
        self._journal = journal
        self._state = state
        self._snapshots = snapshots
        self._offsite = offsite
        self._mark: tuple[int, int] | None = None
        self._drills: tuple[Drill, ...] = ()
        self._problem = ""

    async def on_inventory(self, inventory: Inventory) -> None:
        """Show what can be restored, and what was proved."""
        await asyncio.to_thread(self._read)
        known = RecoveryFacts(self._snapshots(), self._drills, self._offsite())
        now = inventory.server_now or inventory.taken_at
        await self._state.show_made(NAME, lambda: observe(self._settings, inventory, known, now), interval=INTERVAL)

    def _read(self) -> None:
        try:
            stat = self._journal.path.stat()
            mark = (stat.st_mtime_ns, stat.st_size)
            if mark != self._mark:
                self._drills = self._journal.drills()
                self._mark = mark
            problem = ""
        except FileNotFoundError:
            self._drills, self._mark, problem = (), None, ""
        except (OSError, JournalError) as wrong:
            problem = str(wrong)
        if problem and problem != self._problem:
            _log.error("%s", problem)
        self._problem = problem


class DrillHistory:
    """Answers `RestoreDrills` from the drills' journal."""

    def __init__(self, settings: CoreSettings) -> None:
        self._targets = settings.recovery.targets
        self._journal = DrillJournal(path_of(settings))

    def drill_facts(self, projects: Iterable[tuple[str, str]]) -> Mapping[str, DrillFacts]:
        """By ``project/kind``: of every project that was drilled, and of those that must be and never were.

        Every project (id and name) with a target must have been drilled; without any target, every project.
        """
        wanted = [
            id_ for id_, name in projects
            if not self._targets or any(matches(target.project, id_, name) for target in self._targets)
        ]  # fmt: skip
        try:
            return drill_facts(self._journal.drills(), wanted)
        except JournalError as problem:
            unread = Unread(Status.NO_PRIVILEGE, str(problem))
            return {f"{id_}/{series.PITR}": DrillFacts(id_, last_success_at=unread) for id_ in wanted}


def drill_facts(drills: Iterable[Drill], wanted: Iterable[str]) -> Mapping[str, DrillFacts]:
    """By ``project/kind``: of every project that was drilled, and of those ``wanted`` that never were."""
    found: dict[tuple[str, str], list[Drill]] = {(project, series.PITR): [] for project in wanted}
    for drill in drills:
        if drill.result:
            found.setdefault((drill.project_id, drill.kind), []).append(drill)
    return {
        f"{project}/{kind}": _facts(project, kind, of_project) for (project, kind), of_project in sorted(found.items())
    }


def _facts(project: str, kind: str, drills: Sequence[Drill]) -> DrillFacts:
    ended = sorted(drills, key=lambda drill: drill.ended_at)
    good = next((drill for drill in reversed(ended) if drill.result == OK), None)
    return DrillFacts(
        project,
        kind,
        good.ended_at if good else None,
        good.rto_seconds if good else None,
        good.rpo_seconds if good else None,
        ended[-1].result if ended else "",
    )


class RecoveryFeature(Feature[CoreSettings]):
    """Declares what recovery brings.

    Its commands are declared by `exporter.commands` alone: they write at Neon, and whatever this module imports the
    running agent could reach.
    """

    name = NAME
    metrics = (
        MetricGroup(
            "Recovery",
            "Neon API: projects, branches, snapshots; the drills' ledger (`neonmeter drill`); the settings",
            series.METRICS,
        ),
    )

    def start(self, services: Services, settings: CoreSettings) -> RecoveryRun | None:
        """Begin a generation; opens no connection and reads no file."""
        if not settings.recovery.enabled:
            return None
        services.provide(RestoreDrills, DrillHistory(settings))

        def snapshots() -> Snapshots:
            answer = services.find(SnapshotList)
            return {} if answer is None else answer.snapshots()

        def offsite() -> Mapping[str, float]:
            answer = services.find(OffsiteCopies)
            return {} if answer is None else answer.newest_copies()

        journal = DrillJournal(path_of(settings))
        return RecoveryRun(settings.recovery, journal, services.state, snapshots=snapshots, offsite=offsite)
