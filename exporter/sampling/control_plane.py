"""The control plane's rounds: inventory, consumption, operations. Each keeps what it knows when Neon does not answer.

None of them wakes a compute. What they find goes to the state and to the ledger; why they failed goes where a person
and an alert see it.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

from collectors.base import Observation, Status, Target
from collectors.metric import Scope
from collectors.neon import inventory, operations
from collectors.neon.client import NeonClient
from collectors.neon.errors import NeonError
from collectors.neon.inventory import Inventory
from collectors.neon.operations import OperationCounts
from exporter.core import selfmetrics
from exporter.core.state import State
from exporter.cost.allocation.costs import Costs
from exporter.cost.cost_round import CostRound, InventoryView, Snapshots
from exporter.cost.upkeep import Upkeep
from exporter.cost.usage_import import HOURLY, Backfill, Outcome, Span, UsageImporter, hours_from
from exporter.settings import CoreSettings
from exporter.storage.key_values import KeyValueStore
from exporter.storage.ledger.ledger import DurableLedger
from exporter.storage.store import StoreError
from exporter.storage.writer import WriterThread

HOUR = 3600
GROWING_BUCKETS = 3
"""The newest hourly buckets still grow: they are read again."""
_AGENT = Target(Scope.AGENT, (), "Neon API")
_log = logging.getLogger("neonmeter.neon")


@dataclass(slots=True)
class ControlPlaneFacts:
    """What the control plane told so far."""

    inventory: Inventory | None = None
    notes: dict[str, tuple[str, ...]] = field(default_factory=dict)
    """Degradations for a person, by feed."""
    unfinished: set[str] = field(default_factory=set)
    """Projects with an operation that still ran when it was read."""
    names: dict[str, str] = field(default_factory=dict)
    snapshots: Snapshots = field(default_factory=dict)
    operations_of: dict[str, object] = field(default_factory=dict)
    """By project, the state in which its operations were last read."""


class ControlPlanePoller:
    """Reads Neon. Lives on the event loop; the disk's work is done on the disk's thread, pricing on another."""

    def __init__(
        self,
        settings: CoreSettings,
        *,
        client: NeonClient,
        state: State,
        ledger: DurableLedger,
        costs: Costs,
        money: CostRound,
        key_values: KeyValueStore,
        metrics: selfmetrics.SelfMetrics,
        disk: WriterThread,
        ledger_writer: WriterThread,
        closed: Callable[[int], bool] | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._settings = settings
        self._client = client
        self._state = state
        self._ledger = ledger
        self._money = money
        self._key_values = key_values
        self._metrics = metrics
        self._disk = disk
        self._ledger_writer = ledger_writer
        self._clock = clock
        self._intake = UsageImporter(client, ledger, ledger_writer)
        self._backfill = Backfill(self._intake, key_values, disk)
        self._upkeep = Upkeep(ledger, costs, keep_hourly_days=settings.ledger.keep_hourly_days, closed=closed)
        self.known = ControlPlaneFacts()

    async def look(self) -> Inventory | None:
        """Refresh the inventory; None when Neon did not answer (the old one stays known, and its age shows)."""
        neon, pace = self._settings.neon, self._settings.intervals.inventory_seconds
        began = self._clock()
        try:
            found = await inventory.refresh(
                self._client, self.known.inventory, org_id=neon.org_id, include=neon.include, exclude=neon.exclude
            )  # fmt: skip
        except NeonError as problem:
            self._failed("inventory", problem, pace)
            return None
        self.known.inventory = found
        self._say("inventory", found.notes)
        self._metrics.set(selfmetrics.INVENTORY_LAST, found.taken_at)
        self._metrics.set(selfmetrics.CLOCK_SKEW, found.skew)
        for observation in inventory.observe(found):
            self._state.put(observation, interval=pace)
        self._put_ok("api", began, pace)
        await self._remember_names(found)
        keep = frozenset(
            {f"project:{project}" for project in found.projects}
            | {f"branch:{branch}" for branch in found.branches}
            | {f"endpoint:{endpoint}" for endpoint in found.endpoints}
        )
        self._state.forget(keep, ("project:", "endpoint:"))
        return found

    async def _remember_names(self, found: Inventory) -> None:
        """So that the commands can say names, and the report regions, without asking Neon."""
        names = {project.id: project.name for project in found.projects.values()}
        names |= {branch.id: branch.name for branch in found.branches.values()}
        if found.org_id and found.org_name:
            names[found.org_id] = found.org_name
        if names != self.known.names:
            self.known.names = names
            regions = {project.id: project.region_id for project in found.projects.values()}
            await self._disk.run(lambda: self._key_values.write("regions", "all", regions))
            await self._disk.run(lambda: self._key_values.write("names", "all", names))

    async def consume(self) -> None:
        """Read consumption into the ledger, then price it; what cannot be read stays as old as it is, visibly.

        Raises:
            StoreError: the ledger or the file cannot be used; it has been told, and the next round tries again.
        """
        found = self.known.inventory
        if found is None or not found.org_id:
            return
        began = self._clock()
        try:
            await self._money.read_limit(self._client, self._disk, found.org_id, began)
        except NeonError as problem:
            self._say("spending limit", (problem.message,))
        if await self._fed("consumption", lambda: self._read_consumption(found, began + found.skew)):
            await self.price()
            if await self._fed("backfill", lambda: self._backfill.run(found, began + found.skew)):
                await self.price()

    async def _fed(self, feed: str, read: Callable[[], Awaitable[Outcome | None]]) -> bool:
        """Run one reading into the ledger and tell how it went; False when nothing can have changed."""
        pace, began = self._settings.intervals.consumption_seconds, self._clock()
        try:
            outcome = await read()
        except NeonError as problem:
            self._failed(feed, problem, pace)
            return False
        except StoreError as problem:
            self._put(feed, Status.UNREACHABLE, began, pace, str(problem))
            raise
        if outcome is None:
            return False
        status, notes = outcome
        self._say(feed, notes)
        self._put(feed, status, began, pace, "; ".join(notes))
        return True

    async def _read_consumption(self, found: Inventory, now: float) -> Outcome:
        """Read what may have grown; of a project that is new here, all that Neon still has by the hour (168 h)."""
        page = await self._disk.run(lambda: self._key_values.read("consumption", found.org_id)) or {}
        through = {project: int(str(at)) for project, at in page.items()}
        await self._backfill.note(found, through, now)
        groups: dict[int, list[str]] = {}
        for project in sorted(found.projects):
            start = max(hours_from(now), (through.get(project, 0) // HOUR - GROWING_BUCKETS) * HOUR)
            groups.setdefault(start, []).append(project)
        status, notes = Status.OK, dict[str, None]()
        for start, projects in groups.items():
            told, said = await self._intake.read(found, projects, Span(HOURLY, start, now), now)
            notes.update(dict.fromkeys(said))
            if told not in (Status.OK, Status.TRUNCATED):
                return told, tuple(notes)
            if told is Status.OK:
                through |= dict.fromkeys(projects, int(now))
            else:
                status = Status.TRUNCATED
        if status is Status.OK:
            read_through = {found.org_id: int(now)}
            await self._ledger_writer.run(lambda: self._ledger.put((), read_through=read_through))
            self._metrics.set(selfmetrics.CONSUMPTION_LAST, self._clock())
        await self._disk.run(lambda: self._key_values.write("consumption", found.org_id, through))
        return status, tuple(notes)

    async def price(self) -> None:
        """Work the costs out and show them; then keep the ledger in order.

        Raises:
            StoreError: the ledger cannot be read or written; it has been told.
        """
        pace, began, step = self._settings.intervals.consumption_seconds, self._clock(), "pricing"
        try:
            seen = InventoryView(self.known.inventory, self.known.snapshots)
            observations, problems = await self._money.round(seen, began)
            for observation in observations:
                self._state.put(observation, interval=pace, forever=True)
            self._put_ok(step, began, pace)
            for name, problem in problems.items():
                self._put(name, Status.UNREACHABLE, began, pace, problem)
            step = "upkeep"
            await asyncio.to_thread(self._upkeep.run, began, self.known.names)
            self._put_ok(step, began, pace)
        except StoreError as trouble:
            self._put(step, Status.UNREACHABLE, began, pace, str(trouble))
            raise

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
            saved = await self._disk.run(lambda key=project_id: self._key_values.read("operations", key))  # type: ignore[misc]
            now = self._clock() + found.skew
            counts = OperationCounts.from_dict(saved) if saved else OperationCounts(project_id, since=now)
            try:
                counts.absorb(await operations.read_operations(self._client, project_id, counts.since))
            except NeonError as problem:
                self._failed("operations", problem, pace)
                return
            page = counts.as_dict()
            await self._disk.run(lambda key=project_id, page=page: self._key_values.write("operations", key, page))  # type: ignore[misc]
            observation = operations.observe(counts, self._clock(), holding.project.name)
            self._state.put(observation, interval=pace, forever=True)
            self.known.operations_of[project_id] = holding.families
            (self.known.unfinished.add if counts.unfinished else self.known.unfinished.discard)(project_id)
        self._put_ok("operations", self._clock(), pace)

    def notes(self) -> tuple[str, ...]:
        """All degradations, a sentence each."""
        return tuple(note for notes in self.known.notes.values() for note in notes)

    def _failed(self, feed: str, problem: NeonError, pace: float) -> None:
        collector = "api" if feed == "inventory" else feed
        self._put(collector, problem.status, self._clock(), pace, problem.message)
        self._say(feed, (problem.message,))

    def _say(self, feed: str, notes: tuple[str, ...]) -> None:
        for note in notes:
            if note not in self.known.notes.get(feed, ()):
                _log.warning("%s: %s", feed, note)
        self.known.notes[feed] = notes

    def _put_ok(self, collector: str, began: float, pace: float) -> None:
        self._put(collector, Status.OK, began, pace, "")

    def _put(self, collector: str, status: Status, began: float, pace: float, error: str) -> None:
        now = self._clock()
        before = self._state.put(
            Observation(collector, _AGENT, status, now, now - began, error=error), interval=pace
        )  # fmt: skip
        if before is not None and status is Status.OK:
            _log.info("%s: ok again, was %s", collector, before.value)
