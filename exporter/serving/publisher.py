"""From the state to what is served: one snapshot and one overview per generation, replaced as one reference.

Only `publish` makes anything visible, so every reader gets one consistent generation. It is built in a worker thread:
the event loop hands over what changed and swaps the reference (`exporter.serving.assembly`).
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping, Sequence

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
    ) -> None:
        self._state = state
        self._assembler = Assembler(builder, metrics)
        self._metrics = metrics
        self._clock = clock
        self._beat = clock()
        self._lag = 0.0
        self._last = 0.0
        self._config = ""
        self.draining = False
        self.has_inventory = False
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
        self._beat = self._clock()
        self._lag = max(self._lag, lag)

    def due(self, interval: float) -> bool:
        """Whether the state changed, or the last generation is at least ``interval`` seconds old."""
        return self._state.changed or self._clock() - self._last >= interval

    async def publish(self, sources: OverviewSources) -> None:
        """Build the next generation and make it the current one.

        Raises:
            StoreError: where another agent stands by, it could not be told; the generation is not shown.
        """
        began, now = time.perf_counter(), self._clock()
        self._state.expire(now)
        changes = self._state.take()
        beat, lag, self._last, self._lag = self._beat, self._lag, now, 0.0

        def own_figures(rows: Sequence[TargetRow], series: int, cut: Mapping[str, int]) -> None:
            self._metrics.set(selfmetrics.LOOP_LAG, lag)
            self._metrics.set(selfmetrics.HEARTBEAT, beat)
            self._metrics.set(selfmetrics.PUBLISH_LAST, now)
            self._metrics.set(selfmetrics.GENERATION, self._now.snapshot.generation + 1)
            self._metrics.set(selfmetrics.SERIES, series)
            self._metrics.set(selfmetrics.ADDED_AWAKE, sum(state.added_seconds for state in sources.wake_states))
            _set_counts(self._metrics, rows, cut)

        built = await asyncio.to_thread(self._assembler.assemble, changes, sources, now, own_figures)
        if self.confirm is not None:
            await self.confirm()
        self._now = built
        self._metrics.inc(selfmetrics.PUBLISHES)
        self._metrics.observe(selfmetrics.PUBLISH_SECONDS, time.perf_counter() - began)

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
        age = self._clock() - self._beat
        return age < HEARTBEAT_LIMIT_SECONDS, f"the last heartbeat of the collecting loop was {age:.1f} s ago"

    def ready(self) -> tuple[bool, str]:
        """Whether the first inventory was read and no shutdown has begun."""
        if self.draining:
            return False, "stopping"
        if self.standing_by is not None:
            return self.standing_by()
        if not self.has_inventory:
            return False, "waiting for the first inventory from Neon"
        return True, "ready"


def _set_counts(metrics: SelfMetrics, rows: Sequence[TargetRow], cut: Mapping[str, int]) -> None:
    """How many targets there are by kind and state, and how many series were cut by metric."""
    metrics.replace(selfmetrics.SERIES_TRUNCATED, {(name,): float(count) for name, count in cut.items()})
    states = Counter((row.kind, row.state) for row in rows)
    metrics.replace(selfmetrics.TARGETS, {labels: float(count) for labels, count in states.items()})
