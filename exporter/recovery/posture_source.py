"""The drills' ledger as facts of posture: when a restore was last proved, and what it took (control P66)."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping, Sequence

from collectors.base import Status, Unread
from collectors.neon.inventory import Inventory
from collectors.platforms.domain.security import DrillFacts
from exporter.posture.fact_cache import FactCache
from exporter.posture.sources import Outcome
from exporter.recovery.journal import OK, Drill, DrillJournal, JournalError, path_of
from exporter.settings import CoreSettings
from exporter.settings.dsn import matches


def drill_facts(drills: Iterable[Drill], wanted: Iterable[str]) -> Mapping[str, DrillFacts]:
    """By ``project/kind``: of every project that was drilled, and of those ``wanted`` that never were."""
    found: dict[tuple[str, str], list[Drill]] = {(project, "pitr"): [] for project in wanted}
    for drill in drills:
        if drill.result:
            found.setdefault((drill.project_id, drill.kind), []).append(drill)
    return {f"{project}/{kind}": _facts(project, kind, mine) for (project, kind), mine in sorted(found.items())}


def _facts(project: str, kind: str, drills: Sequence[Drill]) -> DrillFacts:
    ended = sorted(drills, key=lambda entry: entry.ended_at)
    good = next((drill for drill in reversed(ended) if drill.result == OK), None)
    return DrillFacts(
        project,
        kind,
        good.ended_at if good else None,
        good.rto_seconds if good else None,
        good.rpo_seconds if good else None,
        ended[-1].result if ended else "",
    )


class DrillLedger:
    """A source of posture (``exporter.posture.sources.Source``): reads the file, asks nobody."""

    name = "drill"
    every = 60.0

    def __init__(self, settings: CoreSettings) -> None:
        self._targets = settings.recovery.targets
        self._book = DrillJournal(path_of(settings))

    async def read(self, inventory: Inventory, fact_cache: FactCache, now: float) -> Outcome:
        """Every project with a target must have been drilled; without any target, every project."""
        wanted = [
            project.id
            for project in inventory.projects.values()
            if not self._targets or any(matches(target.project, project.id, project.name) for target in self._targets)
        ]
        try:
            facts = drill_facts(await asyncio.to_thread(self._book.drills), wanted)
        except JournalError as problem:
            unread = Unread(Status.NO_PRIVILEGE, str(problem))
            await fact_cache.put(
                "drill", {f"{text}/pitr": DrillFacts(text, last_success_at=unread) for text in wanted}, now
            )
            return Outcome(Status.NO_DATA, str(problem))
        await fact_cache.put("drill", facts, now)
        return Outcome()
