"""The jobs of a running agent: rounds over Neon and the computes, poolers, those of the features, and publishing.

A round reads Neon first and visits right after, because only fresh evidence may justify a session.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable

from collectors.errors import NeonmeterError
from exporter.app.generation import Generation
from exporter.app.schedule import Schedule
from exporter.app.signals import DRAIN_SECONDS
from exporter.core import selfmetrics
from exporter.serving.http import HttpServer
from exporter.serving.overview import OverviewSources
from exporter.serving.publisher import Publisher
from exporter.settings import PoolerSettings
from exporter.storage.store import StoreError

PINNED_SECONDS = 15.0
"""Computes that never suspend are looked at this often: watching keeps nothing awake there."""
PUBLISH_CHECK_SECONDS = 0.5
_log = logging.getLogger("neonmeter.rounds")


class Rounds:
    """Runs one generation's jobs; `swap` replaces it by another."""

    def __init__(self, generation: Generation, publisher: Publisher, server: HttpServer) -> None:
        self.generation = generation
        self._publisher = publisher
        self._server = server
        self._metrics = generation.resources.metrics
        self._schedule = self._plan()
        self._store_problem = ""
        self._first = True

    def start(self) -> None:
        """Begin with the first round at once."""
        self._schedule.start()

    async def swap(self, generation: Generation) -> None:
        """Run another generation from now on. What Neon answered is kept where it is still asked the same way.

        What the old one showed and the new one does not watch leaves the exposition.
        """
        old = self.generation
        await self._schedule.stop(self._grace())
        if old.settings.neon == generation.settings.neon:
            generation.control_plane.known = old.control_plane.known
        self.generation = generation
        retire_what_is_off(generation)
        self._first = True
        self._schedule = self._plan()
        self._schedule.start()
        await old.close()

    def _grace(self) -> float:
        # A visit ends well within this. What takes longer waits for an API that does not answer.
        return self.generation.settings.sampling.session_seconds + 1

    async def stop(self) -> None:
        """Start nothing more, let what runs end for a moment, publish once more."""
        await self._schedule.stop(min(DRAIN_SECONDS, self._grace()))
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(DRAIN_SECONDS / 2):
                await self._publish()
        await self.generation.close()

    async def abandon(self) -> None:
        """Break off whatever runs, and show nothing more."""
        await self._schedule.stop(0.0)
        await self.generation.close()

    def _plan(self) -> Schedule:
        settings = self.generation.settings
        intervals, sampling = settings.intervals, settings.sampling
        schedule = Schedule(
            on_bug=lambda name: self._metrics.inc(selfmetrics.ROUNDS, (name, "bug")),
            on_missed=lambda name: self._metrics.inc(selfmetrics.ROUNDS_MISSED, (name,)),
        )

        def every(name: str, seconds: float, job: Callable[[], Awaitable[None]], first_in: float = 0.0) -> None:
            schedule.every(name, seconds, lambda: self._guarded(name, job), first_in=first_in)

        every("round", min(intervals.inventory_seconds, sampling.tick_seconds), self._round)
        every("pinned", PINNED_SECONDS, self._pinned, first_in=PINNED_SECONDS)
        every("operations", intervals.operations_seconds, self._operations, first_in=intervals.operations_seconds)
        for run in self.generation.runs.values():
            for job in run.jobs:
                every(job.name, job.seconds, job.run, first_in=job.first_in)
        shard = self.generation.resources.shard
        for pooler in (pooler for pooler in settings.pgbouncer if shard.owns(f"pgbouncer {pooler.name}")):
            every(f"pgbouncer:{pooler.name}", pooler.interval_seconds, self._pooler(pooler))
        every("publish", PUBLISH_CHECK_SECONDS, self._publish_if_due)
        return schedule

    async def _guarded(self, name: str, job: Callable[[], Awaitable[None]]) -> None:
        """A full disk or a damaged file is logged in one line and tried again; serving goes on with what there is."""
        try:
            await job()
        except StoreError as problem:
            self._metrics.inc(selfmetrics.ROUNDS, (name, "store_error"))
            if self._store_problem != str(problem):
                _log.error("%s", problem)  # a person can act on the line, not on a traceback
            self._store_problem = str(problem)
            return
        self._store_problem = ""
        self._metrics.inc(selfmetrics.ROUNDS, (name, "ok"))

    async def _round(self) -> None:
        generation = self.generation
        inventory = await generation.control_plane.look()
        if inventory is None:
            return
        generation.resources.state.exclude(inventory.excluded_project_ids)
        self._publisher.has_inventory = True
        first, self._first = self._first, False
        await each_its_turn(
            generation.tenants.look(inventory),
            *(run.before_visits(inventory) for run in generation.runs.values()),
            generation.visitor.round(inventory),
            *([generation.tenants.read_snapshots(inventory)] if first else ()),
            *(run.on_inventory(inventory) for run in generation.runs.values()),
            *([generation.control_plane.read_operations()] if first else ()),
        )

    async def _pinned(self) -> None:
        inventory = self.generation.control_plane.known.inventory
        if inventory is not None:
            await self.generation.visitor.round(inventory, only_pinned=True)

    async def _operations(self) -> None:
        generation = self.generation
        await generation.tenants.read_snapshots(generation.control_plane.known.inventory)
        await generation.control_plane.read_operations()

    def _pooler(self, pooler: PoolerSettings) -> Callable[[], Awaitable[None]]:
        async def read() -> None:
            await self.generation.poolers.read(pooler)

        return read

    async def _publish_if_due(self) -> None:
        if self._publisher.due(self.generation.settings.intervals.publish_seconds):
            await self._publish()

    async def _publish(self) -> None:
        generation = self.generation
        self._metrics.set(selfmetrics.CONNECTIONS, self._server.connections)
        with contextlib.suppress(OSError):  # Somebody moved the file: what is known is published all the same.
            self._metrics.set(selfmetrics.LEDGER_BYTES, generation.resources.store.path.stat().st_size)
        problems = (self._store_problem,) if self._store_problem else ()
        await self._publisher.publish(
            OverviewSources(
                inventory=generation.control_plane.known.inventory,
                plans=dict(generation.visitor.plans),
                wake_states=generation.resources.wake_states.all(),
                notes=(*problems, *generation.notes()),
                next_round=self._schedule.next_due("round"),
                refresh_seconds=max(1, round(generation.settings.intervals.publish_seconds)),
            )
        )


async def each_its_turn(*steps: Awaitable[None]) -> None:
    """Run the steps of a round one after the other; what fails costs no other step its turn.

    Failures after the first are logged: one of our own errors (a full disk) as a line, a bug with its traceback.

    Raises:
        Exception: the first failure, after all had their turn.
    """
    failures = []
    for step in steps:
        try:
            await step
        except Exception as problem:  # raised below
            failures.append(problem)
    for later in failures[1:]:
        bug = None if isinstance(later, NeonmeterError) else later
        _log.error("another part of the round failed as well: %s", later, exc_info=bug)
    if failures:
        raise failures[0]


def retire_what_is_off(generation: Generation) -> None:
    """Take out of the exposition and the pages what the settings of a new generation switch off."""
    state, pages = generation.resources.state, generation.resources.pages
    off = {feature.name for feature in generation.resources.features} - generation.runs.keys()
    for owner in state.owners():
        if owner.partition("/")[0] in off:
            state.retire(owner)
    for owner in (owner for run in generation.runs.values() for owner in run.switched_off):
        state.retire(owner)
    for name in off:
        pages.retire(name)
    generation.poolers.forget_others()
