"""From the state to what is served: one snapshot and one overview per generation, replaced as one reference.

Only `publish` makes anything visible, so every reader gets one consistent generation. It is built in a worker thread:
the event loop hands over what changed and swaps the reference (`exporter.serving.assembly`).
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import replace
from math import fsum

import yaml

from collectors.base import Target
from collectors.metric import Families
from exporter.core import selfmetrics
from exporter.core.selfmetrics import AGENT, SelfMetrics
from exporter.core.state import State
from exporter.serving.assembly import Assembler, Published
from exporter.serving.overview import OverviewSources
from exporter.serving.page import Overview, TargetRow
from exporter.serving.snapshot import Snapshot, SnapshotBuilder
from exporter.settings import CoreSettings

HEARTBEAT_LIMIT_SECONDS = 60.0


class Publisher:
    """Builds generations and implements `exporter.serving.routes.View` for the HTTP server."""

    def __init__(
        self,
        builder: SnapshotBuilder,
        state: State,
        metrics: SelfMetrics,
        *,
        clock: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
        clock_trouble: Callable[[], str] = str,
    ) -> None:
        """``clock`` (unix seconds) dates what is published; when, and how old the heartbeat is, ``monotonic`` says.

        ``clock_trouble`` answers what is wrong with the system's clock, empty when nothing is.
        """
        self._state = state
        self._assembler = Assembler(builder, metrics)
        self._metrics = metrics
        self._clock = clock
        self._monotonic = monotonic
        self._clock_trouble = clock_trouble
        self._beat = monotonic()
        self._beat_at = clock()
        self._lag = 0.0
        self._last: float | None = None
        self._config = ""
        self.draining = False
        self.has_inventory = False
        self.progress = ""
        """How far the first reading of Neon is, as a sentence, while it is not done."""
        self.on_reload: Callable[[], tuple[bool, str]] = lambda: (False, "not running yet")
        self.confirm: Callable[[], Awaitable[None]] | None = None
        """Where another agent stands by: lets it know what is about to be shown."""
        self.standing_by: Callable[[], tuple[bool, str]] | None = None
        """While this agent stands by: whether it could take over, and a sentence about it."""
        self.identity = ""
        """Which of several agents this is, for people; empty when there is no other."""
        builder.put("agent", AGENT, metrics.families())
        self._now = Published(builder.publish(clock()))

    def use(self, settings: CoreSettings) -> None:
        """Show these settings on /config, with secrets masked."""
        self._config = yaml.safe_dump(settings.masked(), sort_keys=False)

    def beat(self, lag: float) -> None:
        """Record a turn of the event loop that was ``lag`` seconds late."""
        self._beat, self._beat_at = self._monotonic(), self._clock()
        self._metrics.inc(selfmetrics.LOOP_TURNS)
        self._lag = max(self._lag, lag)

    def due(self, interval: float) -> bool:
        """Whether the state changed, or the last generation is at least ``interval`` seconds old."""
        return self._state.changed or self._last is None or self._monotonic() - self._last >= interval

    def publish_soon(self) -> None:
        """Make the next generation due."""
        self._last = None

    async def publish(self, sources: OverviewSources) -> None:
        """Build the next generation and make it the current one.

        Raises:
            LeaseError: where another agent stands by, it could not be told; the generation is not shown.
        """
        began, now = time.perf_counter(), self._clock()
        self._state.expire(now)
        changes = self._state.take()
        set_instants = self._instants(now)

        def own_figures(rows: Sequence[TargetRow], series: int, cut: Mapping[str, int]) -> None:
            set_instants()
            self._metrics.set(selfmetrics.SERIES, series)
            self._metrics.set(selfmetrics.ADDED_AWAKE, fsum(state.added_seconds for state in sources.wake_states))
            _set_counts(self._metrics, rows, cut)

        built = await asyncio.to_thread(self._assembler.assemble, changes, sources, now, own_figures)
        if self.confirm is not None:
            await self.confirm()
        self._now = built
        self._metrics.inc(selfmetrics.PUBLISHES)
        self._metrics.observe(selfmetrics.PUBLISH_SECONDS, time.perf_counter() - began)

    async def publish_without_pages(self) -> None:
        """Publish what the state has while the figures for pages cannot be made: those stay as they were."""
        now = self._clock()
        self._state.expire(now)
        changes, set_instants = self._state.take(), self._instants(now)
        snapshot = await asyncio.to_thread(self._assembler.without_pages, changes, now, set_instants)
        if self.confirm is not None:
            await self.confirm()
        self._now = replace(self._now, snapshot=snapshot)

    def _instants(self, now: float) -> Callable[[], None]:
        """Begin a generation; answers what sets its figures, whatever else can be worked out."""
        beat, lag, self._last, self._lag = self._beat_at, self._lag, self._monotonic(), 0.0

        def set_them() -> None:
            self._metrics.set(selfmetrics.LOOP_LAG, lag)
            self._metrics.set(selfmetrics.HEARTBEAT, beat)
            self._metrics.set(selfmetrics.PUBLISH_LAST, now)
            self._metrics.set(selfmetrics.GENERATION, self._now.snapshot.generation + 1)

        return set_them

    def families(self) -> Sequence[tuple[Target, Families]]:
        """The families of the current generation by target, for OTLP's thread."""
        return self._assembler.families()

    def snapshot(self) -> Snapshot:
        """See `View.snapshot`."""
        return self._now.snapshot

    def overview(self) -> Overview:
        """See `View.overview`."""
        return self._now.overview

    def targets(self) -> Sequence[TargetRow]:
        """See `View.targets`."""
        return self._now.targets

    def config_text(self) -> str:
        """See `View.config_text`."""
        return self._config

    def reload(self) -> tuple[bool, str]:
        """See `View.reload`."""
        return self.on_reload()

    def health(self) -> tuple[bool, str]:
        """Whether the event loop turned within the last minute."""
        age = self._monotonic() - self._beat
        return age < HEARTBEAT_LIMIT_SECONDS, f"the last heartbeat of the collecting loop was {age:.1f} s ago"

    def ready(self) -> tuple[bool, str]:
        """Whether an inventory is shown, also one from before our start, and nothing speaks against it."""
        if self.draining:
            return False, "stopping"
        if self.standing_by is not None:
            return self.standing_by()
        if not self.has_inventory:
            return False, "waiting for the first inventory from Neon" + (f": {self.progress}" if self.progress else "")
        trouble = self._clock_trouble()
        if trouble:
            return False, trouble
        return True, f"ready; {self.progress}" if self.progress else "ready"


def _set_counts(metrics: SelfMetrics, rows: Sequence[TargetRow], cut: Mapping[str, int]) -> None:
    """How many targets there are by kind and state, and how many series were cut by metric."""
    metrics.replace(selfmetrics.SERIES_TRUNCATED, {(name,): float(count) for name, count in cut.items()})
    states = Counter((row.kind, row.state) for row in rows if row.kind != "agent")
    metrics.replace(selfmetrics.TARGETS, {labels: float(count) for labels, count in states.items()})
