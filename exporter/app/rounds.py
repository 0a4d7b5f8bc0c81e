"""The jobs of a running agent: rounds over Neon and the computes, poolers, those of the features, and publishing.

A round reads Neon first and visits right after, because only fresh evidence may justify a session.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from functools import partial

from collectors.neon.inventory import Inventory
from exporter.app.generation import Generation
from exporter.app.interpreter import end_exemptions
from exporter.app.schedule import Schedule
from exporter.app.signals import DRAIN_SECONDS
from exporter.core import selfmetrics
from exporter.core.parts import JOB, STEP
from exporter.sampling.computes import computes
from exporter.serving.http import HttpServer
from exporter.serving.overview import OverviewSources
from exporter.serving.publisher import Publisher
from exporter.settings import PoolerSettings
from exporter.storage.store import StoreError

PINNED_SECONDS = 15.0
"""Computes that never suspend are looked at this often: watching keeps nothing awake there."""
PUBLISH_CHECK_SECONDS = 0.5
Step = Callable[[], Awaitable[None]]


class Rounds:
    """Runs one generation's jobs; `swap` replaces it by another."""

    def __init__(self, generation: Generation, publisher: Publisher, server: HttpServer) -> None:
        self.generation = generation
        self._publisher = publisher
        self._server = server
        self._metrics = generation.resources.metrics
        self._parts = generation.resources.parts
        self._schedule = self._plan()
        self._first = True
        self._recalled = False

    def start(self) -> None:
        """Begin with the first round at once."""
        self._schedule.start()

    async def swap(self, generation: Generation) -> None:
        """Run another generation from now on. What Neon answered is kept where it is still asked the same way.

        What the old one showed and the new one does not watch leaves the exposition.

        Raises:
            Exception: the new one cannot run; the old one does then.
        """
        old = self.generation
        await self._schedule.stop(self._grace())
        try:
            if old.settings.neon == generation.settings.neon:
                generation.control_plane.known = old.control_plane.known
            self.generation = generation
            self._schedule = self._plan()
            retire_what_is_off(generation)
            await self._parts.forget()
        except Exception:
            self.generation = old
            self._schedule = self._plan()
            raise
        finally:
            self._first = True
            self._schedule.start()
        await self._parts.turn(f"{STEP}close", old.close)
        end_exemptions()

    def _grace(self) -> float:
        # A visit ends well within this. What takes longer waits for an API that does not answer.
        return self.generation.settings.sampling.session_seconds + 1

    async def stop(self) -> None:
        """Start nothing more, let what runs end for a moment, publish once more.

        Raises:
            StoreError: the agent that stands by could not be told of the last generation.
        """
        failure: Exception | None = None
        await self._schedule.stop(min(DRAIN_SECONDS, self._grace()))
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(DRAIN_SECONDS / 2):
                failure = await self._publish()
        await self.generation.close()
        if isinstance(failure, StoreError):
            raise failure

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
            clock=self.generation.resources.clock,
        )

        def every(name: str, seconds: float, job: Step, first_in: float = 0.0) -> None:
            async def turn() -> None:
                await self._parts.turn(JOB + name, job)

            schedule.every(name, seconds, turn, first_in=first_in)

        every("round", min(intervals.inventory_seconds, sampling.tick_seconds), self._round)
        every("pinned", PINNED_SECONDS, self._pinned, first_in=PINNED_SECONDS)
        every("operations", intervals.operations_seconds, self._operations, first_in=intervals.operations_seconds)
        for run in self.generation.runs.values():
            for job in run.jobs:
                every(job.name, job.seconds, job.run, first_in=job.first_in)
        shard = self.generation.resources.shard
        for pooler in (pooler for pooler in settings.pgbouncer if shard.owns(f"pgbouncer {pooler.name}")):
            every(f"pgbouncer:{pooler.name}", pooler.interval_seconds, self._pooler(pooler))
        schedule.every("publish", PUBLISH_CHECK_SECONDS, self._publish_if_due)
        return schedule

    async def _steps(self, steps: dict[str, Step]) -> None:
        """One after the other, each guarded by itself."""
        for name, step in steps.items():
            await self._parts.turn(STEP + name, step)

    async def _round(self) -> None:
        generation, looked = self.generation, list[Inventory | None]()
        if not self._recalled:
            self._recalled = True
            await self._recall()

        async def look() -> None:
            looked.append(await generation.control_plane.look(self._part))

        await self._steps({"inventory": look})
        # When the look itself has a bug, the rest goes on with what is known: the wake policy knows how old that is.
        inventory = looked[0] if looked else generation.control_plane.known.inventory
        if inventory is None or not inventory.complete or inventory.recalled:
            return
        generation.resources.state.exclude(inventory.excluded_project_ids)
        self._publisher.has_inventory = True
        first, self._first = self._first, False
        tenants, runs = generation.tenants, generation.runs
        await self._steps(
            {
                "tenants": partial(tenants.look, inventory),
                **{f"before_visits/{name}": partial(run.before_visits, inventory) for name, run in runs.items()},
                "visits": partial(generation.visitor.round, inventory),
                **({"snapshots": partial(tenants.read_snapshots, inventory)} if first else {}),
                **{f"on_inventory/{name}": partial(run.on_inventory, inventory) for name, run in runs.items()},
                **({"operations": generation.control_plane.read_operations} if first else {}),
            }
        )

    async def _recall(self) -> None:
        """Show at once what was known before our start; Neon is read afterwards."""
        generation, recalled = self.generation, list[Inventory | None]()

        async def recall() -> None:
            recalled.append(await generation.control_plane.recall())

        await self._steps({"recall": recall})
        for inventory in filter(None, recalled):
            self._publisher.has_inventory = True
            runs = generation.runs
            await self._steps(
                {
                    "recall/visits": partial(generation.visitor.recall, computes(inventory)),
                    **{f"recall/{name}": partial(run.recall, inventory) for name, run in runs.items()},
                }
            )

    async def _part(self, part: Inventory) -> None:
        """Visit what was read while the rest is still being read: only fresh evidence counts. The rest waits."""
        generation = self.generation
        await self._steps(
            {
                "tenants": partial(generation.tenants.look, part),
                **{f"before_visits/{name}": partial(run.before_visits, part) for name, run in generation.runs.items()},
                "visits": partial(generation.visitor.round, part),
            }
        )

    async def _pinned(self) -> None:
        inventory = self.generation.control_plane.known.inventory
        if inventory is not None:
            await self.generation.visitor.round(inventory, only_pinned=True)

    async def _operations(self) -> None:
        generation = self.generation
        inventory = generation.control_plane.known.inventory
        whole = inventory is not None and inventory.complete and not inventory.recalled
        await self._steps(
            {
                **({"snapshots": lambda: generation.tenants.read_snapshots(inventory)} if whole else {}),
                "operations": generation.control_plane.read_operations,
            }
        )

    def _pooler(self, pooler: PoolerSettings) -> Step:
        async def read() -> None:
            await self.generation.poolers.read(pooler)

        return read

    async def _publish_if_due(self) -> None:
        if self._publisher.due(self.generation.settings.intervals.publish_seconds):
            await self._publish()

    async def _publish(self) -> Exception | None:
        """Publish; when the pages cannot be made, at least what the state has, with the status that says so.

        Answers the failure.
        """
        failure = await self._parts.turn(f"{JOB}publish", self._publish_all)
        if failure is not None and not isinstance(failure, StoreError):
            await self._parts.turn(f"{JOB}publish/without_pages", self._publisher.publish_without_pages)
        return failure

    async def _publish_all(self) -> None:
        generation = self.generation
        self._metrics.set(selfmetrics.TASKS, len(asyncio.all_tasks()))
        self._publisher.progress = generation.control_plane.progress
        self._metrics.set(selfmetrics.CONNECTIONS, self._server.connections)
        with contextlib.suppress(OSError):  # Somebody moved the file: what is known is published all the same.
            self._metrics.set(selfmetrics.LEDGER_BYTES, generation.resources.store.path.stat().st_size)
        await self._publisher.publish(
            OverviewSources(
                inventory=generation.control_plane.known.inventory,
                plans=dict(generation.visitor.plans),
                wake_states=generation.resources.wake_states.all(),
                notes=(*self._parts.problems(), *generation.notes()),
                next_round=self._schedule.next_due("round"),
                refresh_seconds=max(1, round(generation.settings.intervals.publish_seconds)),
            )
        )


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
