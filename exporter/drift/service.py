"""Shows drift: evaluates all branches after every round, and makes series and pages of what changed."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import replace

from collectors.base import Observation, Status, Target
from collectors.metric import Scope
from collectors.neon.inventory import Inventory
from collectors.postgres.database import migrations
from exporter.core.api_pages import ApiPages
from exporter.core.state import Batch, State
from exporter.drift import pages
from exporter.drift.baselines import BranchKey
from exporter.drift.evaluation import BranchDrift, DatabaseDrift, Evaluator, Known
from exporter.drift.scanner import DriftScanner
from exporter.drift.series import BranchSeries
from exporter.drift.store import SettingsStore
from exporter.sampling.computes import computes
from exporter.sampling.fingerprint_store import FingerprintStore

NAME = "drift"
INTERVAL = 3600.0
_log = logging.getLogger("neonmeter.drift")


class DriftService:
    """Lives on the event loop; what grows with the fleet runs in a thread. A large database is 140,000 objects."""

    def __init__(
        self,
        evaluator: Evaluator,
        *,
        fingerprints: FingerprintStore,
        settings: SettingsStore,
        scanner: DriftScanner,
        state: State,
        api_pages: ApiPages,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._evaluator = evaluator
        self._fingerprints = fingerprints
        self._settings = settings
        self._scanner = scanner
        self._state = state
        self._api_pages = api_pages
        self._clock = clock
        self._series = BranchSeries()
        self._shown: dict[BranchKey, tuple[object, ...]] = {}
        """What each branch was shown by: while it is equal, its series and its page stay."""
        self._pages: dict[BranchKey, dict[str, object]] = {}
        self._problem = ""

    async def look(self, inventory: Inventory) -> None:
        """Evaluate every branch of a fresh inventory, and show it.

        Raises:
            StoreError: the disk is full or the file damaged.
        """
        await self._forget_gone(inventory)
        fingerprints, histories = dict(await self._scanner.load()), dict(self._scanner.histories)
        scans, now = dict(self._scanner.scans), self._clock()

        def make() -> Batch:
            settings, since = self._settings.all(), self._fingerprints.since()
            known = Known(fingerprints, histories, settings, since, scans)
            found = self._evaluator.evaluate(inventory, known, now)
            return self._made({ids: self._dated(branch, known, now) for ids, branch in found.items()}, inventory, now)

        batch = await asyncio.to_thread(make)
        problem = self._evaluator.desired.problem
        if problem != self._problem:
            self._problem = problem
            _log.warning("%s", problem or "drift.desired: understood again")
        self._state.show_batch(NAME, batch)

    async def _forget_gone(self, inventory: Inventory) -> None:
        """Drop what was stored of deleted branches; not while Neon could not list all, nor of excluded projects."""
        if not inventory.projects or inventory.unknown_project_ids:
            return
        fingerprints, histories = list(await self._scanner.load()), list(self._scanner.histories)

        def find() -> set[BranchKey]:
            stored = {key.branch for key in (*fingerprints, *histories)}
            stored |= {ids[:2] for ids in self._settings.all()}
            stored -= {(branch.project_id, branch.id) for branch in inventory.branches.values()}
            return {ids for ids in stored if ids[0] not in inventory.excluded_project_ids}

        gone = await asyncio.to_thread(find)
        if gone:
            await self._scanner.forget(gone)
            await asyncio.to_thread(self._settings.forget, gone)

    def _dated(self, branch: BranchDrift, known: Known, now: float) -> BranchDrift:
        """The branch with the times since when it differs, which are remembered across restarts."""
        return replace(branch, databases=tuple(self._dated_database(found, known, now) for found in branch.databases))

    def _dated_database(self, found: DatabaseDrift, known: Known, now: float) -> DatabaseDrift:
        since = (now if found.since is None else found.since) if found.drift.changes else None
        if since != known.since.get(found.key, ("", None))[1]:
            self._fingerprints.mark(found.key, found.baseline.policy, since)
        return found if since == found.since else replace(found, since=since)

    def _made(self, branches: Mapping[BranchKey, BranchDrift], inventory: Inventory, now: float) -> Batch:
        """The pages of what changed are shown, its series answered; in a worker thread, one call at a time."""
        in_force, ignore = self._evaluator.in_force(now), self._evaluator.ignore
        changed: list[Observation] = []
        unchanged = [(migrations.NAME, compute.target) for compute in computes(inventory)]  # The scanner shows these.
        for ids, branch in branches.items():
            target = Target(Scope.BRANCH, ids, branch.name)
            if self._shown.get(ids) == (branch, in_force):
                unchanged.append((NAME, target))
                continue
            families = self._series.families(ids, branch)
            changed.append(Observation(NAME, target, Status.OK, now, families=families, rows=len(branch.databases)))
            self._pages[ids] = {
                "": pages.branch_json(branch, ignore, now),
                ".md": pages.branch_markdown(branch, ignore, now),
            }
        if changed or self._shown.keys() != branches.keys():
            self._pages = {ids: self._pages[ids] for ids in branches}
            paths = {
                f"{'/'.join(ids)}{end}": page for ids, by_end in self._pages.items() for end, page in by_end.items()
            }
            self._api_pages.replace(NAME, {**paths, "": pages.summary_json(branches)})
        self._shown = {ids: (branch, in_force) for ids, branch in branches.items()}
        return Batch.of(changed, interval=INTERVAL, forever=True, unchanged=unchanged)
