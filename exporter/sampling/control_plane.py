"""Polling of the control plane: inventory and operations. What was known stays known while Neon does not answer.

Neither wakes a compute. What they find goes to the state; why they failed goes where a person and an alert see it.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from functools import partial

from collectors.base import Status, Target
from collectors.metric import Scope
from collectors.neon import inventory, operations
from collectors.neon.client import NeonClient
from collectors.neon.errors import NeonError
from collectors.neon.holdings import NAME, UNREAD, merged, observe, observe_counts
from collectors.neon.inventory import Inventory
from collectors.neon.operations import OperationCounts
from collectors.neon.snapshots import Snapshots
from exporter.core import selfmetrics
from exporter.core.clock import TRIFLE_SECONDS, AgentClock
from exporter.core.feeds import Feeds
from exporter.core.state import MINIMUM_HOLD_SECONDS, Batch, State
from exporter.sampling.computes import computes
from exporter.sampling.domain.sharding import ALONE, Shard
from exporter.sampling.inventory_store import InventoryStore
from exporter.settings import CoreSettings
from exporter.storage.store import StoreError
from exporter.storage.tables import KeyValueStore
from exporter.storage.writer import WriterThread

REQUESTS_A_PROJECT = 2
OPERATIONS_AT_ONCE = 50
"""Projects whose counts of operations are stored and shown together."""
_log = logging.getLogger("neonmeter.neon")


@dataclass(slots=True)
class ControlPlaneFacts:
    """What is known of the control plane. Survives a reload that changes nothing about the Neon API."""

    inventory: Inventory | None = None
    unfinished: set[str] = field(default_factory=set)
    """Projects with an operation that still ran when it was read."""
    names: dict[str, dict[str, object]] = field(default_factory=dict)
    """By id of the project or the organisation, the names on the disk of it and of what is in it."""
    snapshots: Snapshots = field(default_factory=dict)
    operations: dict[str, dict[str, object]] = field(default_factory=dict)
    """By project, the counts of its operations as they are on the disk (`OperationCounts.as_dict`)."""
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
        inventories: InventoryStore,
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
        self._inventories = inventories
        self._metrics = metrics
        self._disk = disk
        self._clock = clock
        self._feeds = Feeds(state, clock)
        self.known = ControlPlaneFacts()

    async def recall(self) -> Inventory | None:
        """Show what was known before our start, with its age; None when nothing was, or all of it is known already.

        Raises:
            StoreError: the file is damaged.
        """
        if self.known.inventory is not None:
            return None
        neon, now = self._settings.neon, self._clock()

        def takes(project_id: str, name: str) -> bool:
            chosen = inventory.selected(project_id, name, neon.include, neon.exclude)
            return chosen and self._shard.owns(project_id)

        found = await self._disk.run(lambda: self._inventories.load(neon.org_id, takes, now))
        await self._load_operations()
        if found is None:
            return None
        self.known.inventory = found
        self._metrics.set(selfmetrics.INVENTORY_LAST, found.taken_at)
        self._state.exclude(found.excluded_project_ids)
        batch, counts = await asyncio.to_thread(self._recalled, found, now)
        self._state.show_batch(NAME, batch)
        self._state.show_batch(operations.NAME, counts)
        _log.info("%d projects are known from before the start; Neon is being read", len(found.projects))
        return found

    def _recalled(self, found: Inventory, now: float) -> tuple[Batch, Batch]:
        """The series of projects and of their operations, held for twice as long as Neon may take to be read."""
        computes(found)
        oldest = min((holding.read_at for holding in found.holdings.values()), default=now)
        pace = max(self._settings.intervals.inventory_seconds, MINIMUM_HOLD_SECONDS / 2, self._reading_seconds())
        counts = (
            replace(
                operations.observe(OperationCounts.from_dict(saved), found.taken_at, holding.project.name),
                status=Status.NO_DATA,
                error=UNREAD,
            )
            for key, holding in found.holdings.items()
            if (saved := self.known.operations.get(key)) is not None
        )
        return Batch.of(observe(found, account=self._shard.owns_account), interval=pace + (now - oldest) / 2), Batch.of(
            counts, interval=self._settings.intervals.operations_seconds, forever=True
        )

    def _reading_seconds(self) -> float:
        """What it may take to read every project once."""
        projects = 0 if self.known.inventory is None else len(self.known.inventory.projects)
        return 60 * REQUESTS_A_PROJECT * projects / self._settings.neon.requests_per_minute

    async def look(self, on_part: inventory.OnPart | None = None) -> Inventory | None:
        """Refresh the inventory; None when Neon did not answer (the old one stays known, and its age shows).

        Projects are shown as they are read; then ``on_part`` gets those of each part.
        """
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
                on_part=partial(self._take, on_part),
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
        self._state.show_batch(NAME, batch)
        await self._retire_operations(found)
        self._feeds.put("api", Status.OK, began, pace)
        await self._store(found)
        return found

    async def _take(self, on_part: inventory.OnPart | None, part: Inventory) -> None:
        """Show and store the projects that were just read, and hand them on."""
        pace = self._settings.intervals.inventory_seconds
        self._metrics.set(selfmetrics.CLOCK_SKEW, part.skew - self._clock.off)
        self._state.exclude(part.excluded_project_ids)
        self._state.show_batch(NAME, await asyncio.to_thread(_made, part, pace, account=False), complete=False)
        known = self.known.inventory = await asyncio.to_thread(merged, self.known.inventory, part)
        counts = observe_counts(known, account=self._shard.owns_account)
        self._state.put(counts, interval=pace + self._reading_seconds())
        await self._store(known)
        if on_part is not None:
            await on_part(part)

    async def _store(self, found: Inventory) -> None:
        """Write down what is known, for the next start and for commands; a disk that refuses costs nothing else."""
        try:
            await self._disk.run(lambda: self._inventories.save(found), patient=True)
            if found.complete:
                await self._remember_names(found)
        except StoreError as problem:
            self._feeds.note("names", (f"names of projects and branches are not stored: {problem}",))
        else:
            self._feeds.note("names", ())

    @property
    def progress(self) -> str:
        """How far the first reading since our start is, as a sentence; empty once it is done."""
        found = self.known.inventory
        if found is None or (found.complete and not found.recalled):
            return ""
        known = found.projects.keys() | found.unknown_project_ids
        left = len(found.unread_project_ids | found.unknown_project_ids)
        taken = datetime.fromtimestamp(found.taken_at, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
        return f"{len(known) - left} of {len(known)} projects were read since the start; the others are as of {taken}"

    async def _remember_names(self, found: Inventory) -> None:
        """Store names and regions, so that commands and reports can tell them without asking Neon."""

        def store() -> dict[str, dict[str, object]]:
            known = self.known.names or self._key_values.read_all("names")
            names = _names(found)
            changed = {key: value for key, value in names.items() if known.get(key) != value}
            gone = known.keys() - names.keys()  # Among them those of all projects in one, as they were stored once.
            if changed or gone:
                regions = {
                    key: {key: found.projects[key].region_id} for key in changed if key in found.projects
                }  # fmt: skip
                self._key_values.write_all("regions", regions, gone=gone)
                self._key_values.write_all("names", changed, gone=gone)
            return names

        self.known.names = await self._disk.run(store)

    async def read_operations(self) -> None:
        """Count wakes and suspends of the projects in which something moved since they were last read."""
        found = self.known.inventory
        if found is None:
            return
        pace = self._settings.intervals.operations_seconds
        moved = [
            project_id
            for project_id, holding in found.holdings.items()
            if (
                self.known.operations_of.get(project_id) is not holding.families
                and project_id not in found.unread_project_ids
            )
            or (project_id in self.known.unfinished and project_id not in found.unknown_project_ids)
        ]
        await self._load_operations()
        read: list[OperationCounts] = []
        try:
            for project_id in moved:
                saved = self.known.operations.get(project_id)
                now = self._clock() + found.skew
                counts = OperationCounts.from_dict(saved) if saved else OperationCounts(project_id, since=now)
                counts.absorb(await operations.read_operations(self._client, project_id, counts.since))
                read.append(counts)
                if len(read) >= OPERATIONS_AT_ONCE:
                    await self._take_operations(found, read)
                    read = []
        except NeonError as problem:
            self._feeds.failed("operations", problem, pace)
        else:
            self._feeds.put("operations", Status.OK, self._clock(), pace)
        await self._take_operations(found, read)

    async def _load_operations(self) -> None:
        if not self.known.operations:
            self.known.operations = await self._disk.run(partial(self._key_values.read_all, "operations"))

    async def _take_operations(self, found: Inventory, read: Sequence[OperationCounts]) -> None:
        """Store the counts of some projects; only then show them, because no counter may go back."""
        stored = {counts.project_id: counts.as_dict() for counts in read}
        if stored:
            await self._disk.run(partial(self._key_values.write_all, "operations", stored))
            self.known.operations |= stored
        at, shown = self._clock(), []
        for counts in read:
            holding = found.holdings[counts.project_id]
            shown.append(operations.observe(counts, at, holding.project.name))
            self.known.operations_of[counts.project_id] = holding.families
            (self.known.unfinished.add if counts.unfinished else self.known.unfinished.discard)(counts.project_id)
        pace = self._settings.intervals.operations_seconds
        self._state.show(operations.NAME, shown, interval=pace, forever=True, complete=False)

    async def _retire_operations(self, found: Inventory) -> None:
        """Let go of the counts of projects that are gone."""

        def present() -> list[tuple[str, Target]]:
            return [(operations.NAME, Target(Scope.PROJECT, (project_id,))) for project_id in found.projects]

        pace = self._settings.intervals.operations_seconds
        await self._state.show_made(operations.NAME, tuple, interval=pace, unchanged=present)

    def notes(self) -> tuple[str, ...]:
        """All degradations, a sentence each."""
        progress = self.progress
        return (*((f"inventory: {progress}",) if progress else ()), *self._feeds.notes())


def _made(found: Inventory, pace: float, *, account: bool) -> Batch:
    """The series of an inventory; its computes are made on the way, for all that will ask for them."""
    computes(found)
    return Batch.of(observe(found, account=account), interval=pace)


def _names(found: Inventory) -> dict[str, dict[str, object]]:
    """By id of the project or the organisation, the names of it and of its branches."""
    names: dict[str, dict[str, object]] = {
        key: {key: holding.project.name, **{branch.id: branch.name for branch in holding.branches}}
        for key, holding in found.holdings.items()
    }
    for key, project in found.of_account.projects.items():
        names.setdefault(key, {key: project.name})
    names |= {org.id: {org.id: org.name} for org in found.organizations if org.name}
    return names
