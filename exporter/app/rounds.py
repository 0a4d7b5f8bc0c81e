"""The jobs of a running agent: rounds over Neon and the computes, poolers, money, and publishing all of it.

A round looks at Neon first and visits right after, because only fresh evidence may justify a session.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable
from functools import partial

from exporter.app.schedule import Schedule
from exporter.app.wiring import Wiring
from exporter.core import selfmetrics
from exporter.serving.http import HttpServer
from exporter.serving.overview import OverviewSources
from exporter.serving.publisher import Publisher
from exporter.storage.store import StoreError

PINNED_SECONDS = 15.0
"""Computes that never suspend are looked at this often: watching keeps nothing awake there."""
PUBLISH_CHECK_SECONDS = 0.5
_log = logging.getLogger("neonmeter.rounds")


class Rounds:
    """Runs one wiring's jobs; `swap` replaces it by another."""

    def __init__(self, wiring: Wiring, publisher: Publisher, server: HttpServer) -> None:
        self.wiring = wiring
        self._publisher = publisher
        self._server = server
        self._metrics = wiring.kept.metrics
        self._schedule = self._plan()
        self._notes: dict[str, str] = {}
        self._first = True

    def start(self) -> None:
        """Begin with the first round at once."""
        self._schedule.start()

    async def swap(self, wiring: Wiring) -> None:
        """Run another wiring from now on. What Neon told is kept where it is still asked the same way."""
        old = self.wiring
        await self._schedule.stop(self._grace())
        if old.settings.neon == wiring.settings.neon:
            wiring.control_plane.known = old.control_plane.known
        self.wiring = wiring
        wiring.poolers.forget_others()
        self._first = True
        self._schedule = self._plan()
        self._schedule.start()
        await old.close()

    def _grace(self) -> float:
        # A visit ends well within this. What takes longer waits for an API that does not answer; and a container that
        # is still there after 10 seconds is killed.
        return self.wiring.settings.sampling.session_seconds + 1

    async def stop(self) -> None:
        """Start nothing more, let what runs end, publish once more."""
        await self._schedule.stop(self._grace())
        self._publish()
        await self.wiring.close()

    def _plan(self) -> Schedule:
        settings = self.wiring.settings
        intervals, sampling = settings.intervals, settings.sampling
        schedule = Schedule(
            on_bug=lambda name: self._metrics.inc(selfmetrics.ROUNDS, (name, "bug")),
            on_missed=lambda name: self._metrics.inc(selfmetrics.ROUNDS_MISSED, (name,)),
        )

        def every(name: str, seconds: float, job: Callable[[], Awaitable[None]], first_in: float = 0.0) -> None:
            schedule.every(name, seconds, lambda: self._guarded(name, job), first_in=first_in)

        every("round", min(intervals.inventory_seconds, sampling.tick_seconds), self._round)
        every("pinned", PINNED_SECONDS, self._pinned, first_in=PINNED_SECONDS)
        every("consumption", intervals.consumption_seconds, self._consume, first_in=intervals.consumption_seconds)
        every("operations", intervals.operations_seconds, self._operations, first_in=intervals.operations_seconds)
        for job in self.wiring.posture.jobs if self.wiring.posture is not None else ():
            every(job.name, job.seconds, job.run, first_in=job.first_in)
        for pooler in settings.pgbouncer:
            every(f"pgbouncer:{pooler.name}", pooler.interval_seconds, partial(self.wiring.poolers.read, pooler))
        schedule.every("publish", PUBLISH_CHECK_SECONDS, self._publish_if_due)
        return schedule

    async def _guarded(self, name: str, job: Callable[[], Awaitable[None]]) -> None:
        """A full disk or a damaged file is told in one line and tried again; serving goes on with what there is."""
        try:
            await job()
        except StoreError as problem:
            self._metrics.inc(selfmetrics.ROUNDS, (name, "store_error"))
            if self._notes.get("store") != str(problem):
                _log.error("%s", problem)  # a person can act on the line, not on a traceback
            self._notes["store"] = str(problem)
            return
        self._notes.pop("store", None)
        self._metrics.inc(selfmetrics.ROUNDS, (name, "ok"))

    async def _round(self) -> None:
        control_plane = self.wiring.control_plane
        found = await control_plane.look()
        if found is None:
            return
        self._publisher.has_inventory = True
        await self.wiring.tenants.look(found)
        await self.wiring.awake.before_visits(found)
        if self.wiring.posture is not None:
            await self.wiring.posture.before_visits(found)
        await self.wiring.visitor.round(found)
        for run in (self.wiring.drift, self.wiring.recovery, self.wiring.posture):
            if run is not None:
                await run.on_inventory(found)
        first, self._first = self._first, False
        if first:
            await self._read_snapshots()
        await asyncio.gather(
            self.wiring.cost.on_inventory(found), *([control_plane.read_operations()] if first else [])
        )

    async def _pinned(self) -> None:
        found = self.wiring.control_plane.known.inventory
        if found is not None:
            await self.wiring.visitor.round(found, only_pinned=True)

    async def _read_snapshots(self) -> None:
        control_plane, tenants = self.wiring.control_plane, self.wiring.tenants
        await tenants.read_snapshots(control_plane.known.inventory)
        control_plane.known.snapshots = tenants.snapshots()

    async def _consume(self) -> None:
        await self._read_snapshots()
        await self.wiring.cost.consume()

    async def _operations(self) -> None:
        await self.wiring.control_plane.read_operations()

    async def _publish_if_due(self) -> None:
        if self._publisher.due(self.wiring.settings.intervals.publish_seconds):
            self._publish()

    def _publish(self) -> None:
        wiring = self.wiring
        self._metrics.set(selfmetrics.CONNECTIONS, self._server.connections)
        with contextlib.suppress(OSError):  # Somebody moved the file: what is known is published all the same.
            self._metrics.set(selfmetrics.LEDGER_BYTES, wiring.kept.store.path.stat().st_size)
        self._publisher.publish(
            OverviewSources(
                inventory=wiring.control_plane.known.inventory,
                plans=wiring.visitor.plans,
                wake_states=wiring.kept.wake_states.all(),
                notes=(
                    *self._notes.values(),
                    *(wiring.posture.notes() if wiring.posture is not None else ()),
                    *wiring.control_plane.notes(),
                    *wiring.cost.notes(),
                ),
                next_round=self._schedule.next_due("round"),
                refresh_seconds=max(1, round(wiring.settings.intervals.publish_seconds)),
            )
        )
