"""Polling of the control plane: inventory and operations. What was known stays known while Neon does not answer.

Neither wakes a compute. What they find goes to the state; why they failed goes where a person and an alert see it.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field, replace
from functools import partial

from collectors.base import Status, Target
from collectors.metric import Scope
from collectors.neon import inventory, operations
from collectors.neon.client import NeonClient
from collectors.neon.errors import NeonError
from collectors.neon.inventory import Inventory
from collectors.neon.operations import OperationCounts
from collectors.neon.snapshots import Snapshots
from exporter.core import selfmetrics
from exporter.core.clock import TRIFLE_SECONDS, AgentClock
from exporter.core.feeds import Feeds
from exporter.core.state import Batch, State
from exporter.sampling.computes import computes
from exporter.sampling.domain.sharding import ALONE, Shard
from exporter.settings import CoreSettings
from exporter.storage.store import StoreError
from exporter.storage.tables import KeyValueStore
from exporter.storage.writer import WriterThread


@dataclass(slots=True)
class ControlPlaneFacts:
    """What is known of the control plane. Survives a reload that changes nothing about the Neon API."""

    inventory: Inventory | None = None
    unfinished: set[str] = field(default_factory=set)
    """Projects with an operation that still ran when it was read."""
    names: dict[str, str] = field(default_factory=dict)
    snapshots: Snapshots = field(default_factory=dict)
    operations_of: dict[str, object] = field(default_factory=dict)
    """By project, the state in which its operations were last read."""


class ControlPlanePoller:
    """Reads Neon. Lives on the event loop; the disk's work is done on the disk's thread."""

    def __init__(
        self,
        settings: CoreSettings,
        *,
        client: NeonClient,
        state: State,
        key_values: KeyValueStore,
        metrics: selfmetrics.SelfMetrics,
        disk: WriterThread,
        clock: AgentClock,
        shard: Shard = ALONE,
    ) -> None:
        """``shard`` is the part of the account that is read here."""
        self._settings = settings
        self._shard = shard
        self._client = client
        self._state = state
        self._key_values = key_values
        self._metrics = metrics
        self._disk = disk
        self._clock = clock
        self._feeds = Feeds(state, clock)
        self.known = ControlPlaneFacts()

    async def look(self) -> Inventory | None:
        """Refresh the inventory; None when Neon did not answer (the old one stays known, and its age shows)."""
        neon, pace = self._settings.neon, self._settings.intervals.inventory_seconds
        began = self._clock()
        try:
            found = await inventory.refresh(
                self._client,
                self.known.inventory,
                org_id=neon.org_id,
                include=neon.include,
                exclude=neon.exclude,
                owns=self._shard.owns,
                clock=self._clock,
            )
        except NeonError as problem:
            self._feeds.failed("api", problem, pace, note="inventory")
            return None
        moved = self._clock.settle(found.skew)
        if moved < -TRIFLE_SECONDS:
            self._state.date_back(-moved)
        began, found = began + moved, replace(found, skew=found.skew - moved, taken_at=found.taken_at + moved)
        batch = await asyncio.to_thread(_made, found, pace, account=self._shard.owns_account)
        self.known.inventory = found
        self._feeds.note("inventory", found.notes)
        self._metrics.set(selfmetrics.INVENTORY_LAST, found.taken_at)
        self._metrics.set(selfmetrics.CLOCK_SKEW, found.skew - self._clock.off)
        self._state.exclude(found.excluded_project_ids)
        self._metrics.set(selfmetrics.SHARD_PROJECTS, len(found.projects))
        self._metrics.set(selfmetrics.LISTED_PROJECTS, len(found.listed))
        self._metrics.set(selfmetrics.REREAD, found.reread_seconds)
        self._state.show_batch(inventory.NAME, batch)
        await self._retire_operations(found)
        self._feeds.put("api", Status.OK, began, pace)
        try:
            await self._remember_names(found)
        except StoreError as problem:
            self._feeds.note("names", (f"names of projects and branches are not stored: {problem}",))
        else:
            self._feeds.note("names", ())
        return found

    async def _remember_names(self, found: Inventory) -> None:
        """Store names and regions, so that commands and reports can tell them without asking Neon."""
        before = self.known.names

        def write() -> dict[str, str]:
            names = {project.id: project.name for project in found.of_account.projects.values()}
            names |= {branch.id: branch.name for branch in found.branches.values()}
            names |= {org.id: org.name for org in found.organizations if org.name}
            if names == before:
                return before
            regions = {project.id: project.region_id for project in found.projects.values()}
            self._key_values.write("regions", "all", regions)
            self._key_values.write("names", "all", names)
            return names

        self.known.names = await self._disk.run(write)

    async def read_operations(self) -> None:
        """Count wakes and suspends of the projects in which something moved since they were last read."""
        found = self.known.inventory
        if found is None:
            return
        pace = self._settings.intervals.operations_seconds
        moved = [
            project_id
            for project_id, holding in found.holdings.items()
            if self.known.operations_of.get(project_id) is not holding.families
            or (project_id in self.known.unfinished and project_id not in found.unknown_project_ids)
        ]
        for project_id in moved:
            holding = found.holdings[project_id]
            saved = await self._disk.run(partial(self._key_values.read, "operations", project_id))
            now = self._clock() + found.skew
            counts = OperationCounts.from_dict(saved) if saved else OperationCounts(project_id, since=now)
            try:
                counts.absorb(await operations.read_operations(self._client, project_id, counts.since))
            except NeonError as problem:
                self._feeds.failed("operations", problem, pace)
                return
            stored = counts.as_dict()
            await self._disk.run(partial(self._key_values.write, "operations", project_id, stored))
            observation = operations.observe(counts, self._clock(), holding.project.name)
            self._state.show(operations.NAME, [observation], interval=pace, forever=True, complete=False)
            self.known.operations_of[project_id] = holding.families
            (self.known.unfinished.add if counts.unfinished else self.known.unfinished.discard)(project_id)
        self._feeds.put("operations", Status.OK, self._clock(), pace)

    async def _retire_operations(self, found: Inventory) -> None:
        """Let go of the counts of projects that are gone."""

        def present() -> list[tuple[str, Target]]:
            return [(operations.NAME, Target(Scope.PROJECT, (project_id,))) for project_id in found.projects]

        pace = self._settings.intervals.operations_seconds
        await self._state.show_made(operations.NAME, tuple, interval=pace, unchanged=present)

    def notes(self) -> tuple[str, ...]:
        """All degradations, a sentence each."""
        return self._feeds.notes()


def _made(found: Inventory, pace: float, *, account: bool) -> Batch:
    """The series of an inventory; its computes are made on the way, for all that will ask for them."""
    computes(found)
    return Batch.of(inventory.observe(found, account=account), interval=pace)
