"""The drills' ledger as facts of posture: when a restore was last proved, and what it took (control P66)."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping, Sequence

from collectors.base import Status
from collectors.neon.inventory import Inventory
from exporter.posture.domain.facts_platform import DrillFacts
from exporter.posture.domain.finding import Unread
from exporter.posture.fact_cache import Shelf
from exporter.posture.sources import Outcome
from exporter.recovery.journal import OK, Book, BookError, Drill, path_of
from exporter.settings import Settings
from exporter.settings.dsn import matches


def drill_facts(drills: Iterable[Drill], wanted: Iterable[str]) -> Mapping[str, DrillFacts]:
    """By ``project/kind``: of every project that was drilled, and of those ``wanted`` that never were."""
    found: dict[tuple[str, str], list[Drill]] = {(project, "pitr"): [] for project in wanted}
    for drill in drills:
        if drill.result:
            found.setdefault((drill.project_id, drill.kind), []).append(drill)
    return {f"{project}/{kind}": _facts(project, kind, mine) for (project, kind), mine in sorted(found.items())}


def _facts(project: str, kind: str, drills: Sequence[Drill]) -> DrillFacts:
    ended = sorted(drills, key=lambda each: each.ended_at)
    good = next((each for each in reversed(ended) if each.result == OK), None)
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

    def __init__(self, settings: Settings) -> None:
        self._targets = settings.recovery.targets
        self._book = Book(path_of(settings))

    async def read(self, inventory: Inventory, shelf: Shelf, now: float) -> Outcome:
        """Every project with a target must have been drilled; without any target, every project."""
        wanted = [
            project.id
            for project in inventory.projects.values()
            if not self._targets or any(matches(each.project, project.id, project.name) for each in self._targets)
        ]
        try:
            facts = drill_facts(await asyncio.to_thread(self._book.drills), wanted)
        except BookError as problem:
            unread = Unread(Status.NO_PRIVILEGE, str(problem))
            await shelf.put("drill", {f"{each}/pitr": DrillFacts(each, last_success_at=unread) for each in wanted}, now)
            return Outcome(Status.NO_DATA, str(problem))
        await shelf.put("drill", facts, now)
        return Outcome()
