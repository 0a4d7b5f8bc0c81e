"""From the state to what is served: one snapshot and one overview per generation, replaced as one reference.

Only `publish` makes anything visible, so every reader gets one consistent generation. The rows of pages are built here,
on the event loop, not during a request.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import yaml

from collectors.base import Target
from collectors.metric import Families
from exporter.awake import series as awake
from exporter.core import selfmetrics
from exporter.core.selfmetrics import AGENT, CollectorHealth, SelfMetrics, collector_families
from exporter.core.state import State
from exporter.cost.allocation import costs
from exporter.sampling.readings import WAKE
from exporter.serving.overview import OverviewSources, overview, target_rows
from exporter.serving.page import Overview, TargetRow
from exporter.serving.snapshot import Snapshot, SnapshotBuilder
from exporter.settings import CoreSettings

HEARTBEAT_LIMIT_SECONDS = 60.0
LEDGER_FIGURES = frozenset({costs.COLLECTOR, awake.COLLECTOR, WAKE})
"""Collectors with targets per branch or compute that are computed all at once: as fresh as the feed ``pricing`` and
the visits, so they have no freshness series of their own."""


@dataclass(frozen=True, slots=True)
class Published:
    """One generation."""

    snapshot: Snapshot
    overview: Overview
    targets: Sequence[TargetRow]
    families: tuple[tuple[Target, Families], ...] = ()


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
        self._builder = builder
        self._state = state
        self._metrics = metrics
        self._clock = clock
        self._health: dict[str, tuple[object, ...]] = {}
        self._beat = clock()
        self._lag = 0.0
        self._last = 0.0
        self._config = ""
        self.draining = False
        self.has_inventory = False
        self.on_reload: Callable[[], tuple[bool, str]] = lambda: (False, "not running yet")
        builder.put("agent", AGENT, metrics.families())
        self._now = Published(builder.publish(clock()), Overview(0, 0.0, 0), ())

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

    def publish(self, sources: OverviewSources) -> None:
        """Build the next generation and make it the current one."""
        began, now = time.perf_counter(), self._clock()
        self._state.expire(now)
        self._put_health()
        rows = target_rows(self._state, sources)
        self._own_figures(sources, rows)
        self._builder.put("agent", AGENT, self._metrics.families())
        self._state.changed = False
        snapshot = self._builder.publish(now)
        shown = tuple((entry.good.target, entry.good.families) for _, _, entry in self._state.entries() if entry.good)
        self._now = Published(snapshot, overview(snapshot, rows, self._state, sources, now), rows, shown)
        self._last, self._lag = now, 0.0
        self._metrics.inc(selfmetrics.PUBLISHES)
        self._metrics.observe(selfmetrics.PUBLISH_SECONDS, time.perf_counter() - began)

    def _own_figures(self, sources: OverviewSources, rows: Sequence[TargetRow]) -> None:
        metrics = self._metrics
        metrics.set(selfmetrics.LOOP_LAG, self._lag)
        metrics.set(selfmetrics.HEARTBEAT, self._beat)
        metrics.set(selfmetrics.PUBLISH_LAST, self._clock())
        metrics.set(selfmetrics.GENERATION, self._now.snapshot.generation + 1)
        metrics.set(selfmetrics.SERIES, self._now.snapshot.series)
        metrics.set(selfmetrics.ADDED_AWAKE, sum(state.added_seconds for state in sources.wake_states))
        cut: dict[tuple[str, ...], float] = {(name,): float(count) for name, count in self._builder.truncated().items()}
        metrics.replace(selfmetrics.SERIES_TRUNCATED, cut)
        states: dict[tuple[str, ...], float] = {}
        for row in rows:
            states[row.kind, row.state] = states.get((row.kind, row.state), 0) + 1
        metrics.replace(selfmetrics.TARGETS, states)

    def _put_health(self) -> None:
        """Update the freshness series of each target that was attempted since the last generation."""
        by_target: dict[str, tuple[Target, list[CollectorHealth]]] = {}
        marks: dict[str, tuple[object, ...]] = {}
        for collector, target, entry in self._state.entries():
            if collector in LEDGER_FIGURES:
                continue
            health = CollectorHealth(
                collector, entry.last.status, entry.good_at, entry.last.seconds, entry.good.rows if entry.good else 0
            )
            by_target.setdefault(target.key, (target, []))[1].append(health)
            marks[target.key] = (*marks.get(target.key, ()), collector, entry.last.at, entry.last.status, entry.good_at)
        for key in self._health.keys() - marks.keys():
            self._builder.drop(f"health:{key}")
        for key, mark in marks.items():
            if self._health.get(key) != mark:
                self._builder.put(f"health:{key}", AGENT, collector_families(*by_target[key]))
        self._health = marks

    def families(self) -> Sequence[tuple[Target, Families]]:
        """The families of the current generation by target, for OTLP's thread: immutable, unlike the state."""
        return self._now.families

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
        if not self.has_inventory:
            return False, "waiting for the first inventory from Neon"
        return True, "ready"
