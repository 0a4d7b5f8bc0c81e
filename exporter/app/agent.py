"""The composition root: everything is built here, started in order and stopped in mirrored order."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable
from functools import partial
from itertools import count
from pathlib import Path

from collectors.errors import UsageError
from collectors.threads import DaemonThreads
from collectors.wake.policy import WakeState
from exporter.app import log, loop
from exporter.app.features import FEATURES
from exporter.app.generation import Resources, start_generation
from exporter.app.interpreter import collect_garbage, tune_interpreter
from exporter.app.otlp import Otlp, OtlpSettings
from exporter.app.reload import Reloader
from exporter.app.rounds import Rounds
from exporter.app.settings import Settings
from exporter.app.signals import Signals
from exporter.app.standby import Standby
from exporter.core import selfmetrics
from exporter.core.api_pages import ApiPages
from exporter.core.clock import AgentClock
from exporter.core.parts import JOB, Parts
from exporter.core.selfmetrics import SelfMetrics
from exporter.core.state import State
from exporter.sampling.shards import shard_of
from exporter.serving.http import HttpServer, Limits
from exporter.serving.overview import OverviewSources
from exporter.serving.publisher import Publisher
from exporter.serving.routes import WATCHING, Routes
from exporter.serving.snapshot import SnapshotBuilder
from exporter.settings.tree import SettingsError
from exporter.storage.ledger.lease import LeaseError
from exporter.storage.store import Store, StoreError

BEATS_A_COLLECTION = 8
"""A heartbeat is a quarter of a second."""
TELEMETRY_SECONDS = 1.0
"""For the last spans and metrics at a stop; a collector that does not answer is not waited for."""
_log = logging.getLogger("neonmeter")


def run_agent(settings: Settings, config: Path | None) -> None:
    """Collect and serve until SIGTERM or SIGINT; ``config`` is the file that a reload reads again.

    Raises:
        StoreError, OtlpUnavailableError: what the settings name cannot be used.
        UsageError: the port cannot be used.
    """
    log.set_up(settings.log.level, settings.log.format)
    for warning in settings.warnings:
        _log.warning("%s", warning)
    tune_interpreter()
    try:
        loop.run(App(settings, config).run())
    except OSError as problem:
        what = f"{problem.filename}: " if problem.filename else ""
        raise UsageError(
            f"neonmeter cannot go on: {what}{problem.strerror or problem}; check the limits of this process (ulimit -n)"
            " and the disks it uses"
        ) from problem


class App:
    """One running agent."""

    def __init__(self, settings: Settings, config: Path | None) -> None:
        self.settings = settings
        self.metrics = SelfMetrics()
        builder = SnapshotBuilder()
        self.state = State()
        self.clock = AgentClock()
        self.parts = Parts(self.state, self.metrics, self.clock)
        for direction in ("forward", "backward"):
            self.metrics.inc(selfmetrics.CLOCK_STEPS, (direction,), 0)
        self.publisher = Publisher(
            builder, self.state, self.metrics, clock=self.clock, clock_trouble=self.clock.trouble
        )
        self.publisher.use(settings)
        self.pages = ApiPages()
        self.stopping = asyncio.Event()
        self._wake_states: list[WakeState] = []
        self._config = config

    async def run(self) -> None:
        """Serve first, so that /metrics answers before anything was collected; stop in the reverse order.

        Raises:
            StoreError, OSError: the ledger's file or the port cannot be used.
        """
        signals = Signals(asyncio.get_running_loop(), self.stopping.set)
        server = self._serve()
        try:
            await self._take_turns(server, signals)
        finally:
            server.stop()
            signals.ignore()

    async def _take_turns(self, server: HttpServer, signals: Signals) -> None:
        """Work until stopped; where another agent stands by, or works, only while the lease is this one's."""
        shard = shard_of(self.settings)
        self.publisher.identity = "" if shard.alone else str(shard)
        self.metrics.set(selfmetrics.SHARD_INFO, 1, (str(shard.index), str(shard.total)))
        standby = Standby.of(self.settings, shard)
        if standby is None:
            self.metrics.set(selfmetrics.ACTIVE, 1)
            await self._collect(server, signals)
            return
        try:
            while not self.stopping.is_set() and await self._stand_by(standby, signals):
                await self._collect(server, signals, standby)
        finally:
            await asyncio.to_thread(standby.close)

    async def _stand_by(self, standby: Standby, signals: Signals) -> bool:
        """Show this agent's own health until the lease is its own; False: it was stopped."""
        await self.state.forget(lambda _collector, _target: True)
        for feature in FEATURES:
            self.pages.retire(feature.name)
        for metric in (selfmetrics.ACTIVE, selfmetrics.SHARD_PROJECTS, selfmetrics.LISTED_PROJECTS):
            self.metrics.set(metric, 0)
        self.publisher.has_inventory, self.publisher.confirm = False, None
        self.publisher.standing_by = lambda: standby.words
        self.publisher.on_reload = lambda: (False, "standing by: restart this agent to change its settings")
        signals.on_hang_up(lambda: _log.warning("%s", self.publisher.on_reload()[1]))
        _log.info("standing by")
        heart = asyncio.create_task(self._beat())
        pages = asyncio.create_task(self._show_standby(standby))
        try:
            return await standby.until_active(self.stopping)
        finally:
            self.publisher.standing_by = None
            for task in (heart, pages):
                task.cancel()
            await asyncio.gather(heart, pages, return_exceptions=True)

    async def _show_standby(self, standby: Standby) -> None:
        while True:
            self.metrics.set(selfmetrics.STANDBY_READY, int(standby.words[0]))
            sources = OverviewSources(notes=(standby.words[1],), wake_states=self._wake_states)
            await self.parts.turn(f"{JOB}publish", partial(self.publisher.publish, sources))
            await asyncio.sleep(min(5.0, self.settings.intervals.publish_seconds))

    def _serve(self) -> HttpServer:
        host, port = self.settings.http.address
        loopback = host in ("localhost", "::1") or host.startswith("127.")
        routes = Routes(self.publisher, self.metrics, loopback=loopback, details=self.pages, clock=self.clock)
        try:
            server = HttpServer(
                routes.answer,
                host=host,
                port=port,
                limits=Limits(connections=self.settings.http.max_connections),
                spare_paths=WATCHING,
                on_error=lambda problem: _log.error(
                    "an HTTP request failed (%s); this is a bug in neonmeter", type(problem).__name__
                ),
            )
        except OSError as problem:
            where = f"http.listen: {self.settings.http.listen}"
            raise SettingsError([f"{where} cannot be used: {problem.strerror}"]) from problem
        server.start()
        _log.info("serving on %s", server.url)
        return server

    async def _collect(self, server: HttpServer, signals: Signals, standby: Standby | None = None) -> None:
        lost = asyncio.create_task(standby.until_lost()) if standby is not None else None
        try:
            resources = await self._open(standby)
        except StoreError as problem:
            if standby is None or lost is None:
                raise
            _log.error("%s", problem)
            lost.cancel()
            await standby.end(clean=True)
            return
        otlp = self._telemetry()
        rounds = Rounds(start_generation(self.settings, resources), self.publisher, server)
        reloader = Reloader(self._config, rounds, self.publisher)
        reloader.listen(asyncio.get_running_loop(), signals)
        rounds.start()
        heart = asyncio.create_task(self._beat())
        clean = False
        try:
            await self._until_ended(lost)
        finally:
            await reloader.close()
            if lost is not None and lost.done():
                await rounds.abandon()
            else:
                self.publisher.draining = True
                with contextlib.suppress(LeaseError):
                    await rounds.stop()
                    if standby is not None:
                        await standby.save()
                    clean = True
            heart.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await heart
            if otlp is not None:
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(TELEMETRY_SECONDS):
                        await DaemonThreads("otlp-stop", 1).run(otlp.stop)
            self._wake_states = resources.wake_states.all()
            resources.close()
            if standby is not None and lost is not None:
                lost.cancel()
                await standby.end(clean=clean)

    async def _open(self, standby: Standby | None) -> Resources:
        """Everything that a tenure works on.

        Raises:
            StoreError: the file or the ledger's database cannot be used.
        """
        if standby is None:
            return self._resources()
        # In a thread, because the copy in PostgreSQL is made first, and the lease wants a loop that turns.
        resources = await asyncio.to_thread(self._resources, standby.begin)
        resources.wake_states.copy = self.publisher.confirm = standby.save
        self.metrics.set(selfmetrics.ACTIVE, 1)
        self.metrics.set(selfmetrics.STANDBY_READY, 0)
        return resources

    def _resources(self, on_store: Callable[[Store], None] = lambda _: None) -> Resources:
        return Resources.open(
            self.settings, self.state, self.metrics, self.pages, self.parts, clock=self.clock, on_store=on_store
        )

    async def _until_ended(self, lost: asyncio.Task[None] | None) -> None:
        """Until somebody stops the agent, or it has lost the lease."""
        stopped = asyncio.create_task(self.stopping.wait())
        await asyncio.wait([stopped, *([lost] if lost is not None else [])], return_when=asyncio.FIRST_COMPLETED)
        if stopped.done():
            _log.info("stopping")
        stopped.cancel()

    async def _beat(self) -> None:
        """Measure how late the event loop turns: a wedged one is what /healthz is for."""
        loop = asyncio.get_running_loop()
        for number in count(1):
            planned = loop.time() + 0.25
            await asyncio.sleep(0.25)
            self.publisher.beat(max(0.0, loop.time() - planned))
            if number % BEATS_A_COLLECTION == 0:
                collect_garbage()
            try:
                self._look_at_the_clock()
            except Exception as problem:  # The heart goes on.
                self.parts.failed(f"{JOB}clock", problem)

    def _look_at_the_clock(self) -> None:
        """Count and report a step of the system's clock; nothing else follows from one."""
        step = self.clock.step()
        self.metrics.set(selfmetrics.CLOCK_OFF, self.clock.off)
        if step is not None:
            self.metrics.inc(selfmetrics.CLOCK_STEPS, (step.direction,))
            self.publisher.publish_soon()
            _log.warning("the system clock was set %s by %.1f s", step.direction, abs(step.seconds))

    def _telemetry(self) -> Otlp | None:
        wanted = self.settings.telemetry
        if wanted.otlp_endpoint is None:
            return None
        settings = OtlpSettings(wanted.otlp_endpoint, wanted.traces, wanted.metrics, wanted.interval_seconds)
        return Otlp(settings, self.publisher.families, lambda text: _log.warning("%s", text), clock=self.clock)
