"""Builds generations beside the event loop: what changed in the state is rendered, everything else is reused.

The event loop hands over what changed (`exporter.core.state.State.take`); from there on nothing is shared with it, so
a generation is the state at one moment, however long it takes to build.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from collectors.base import Observation, Status, Target
from collectors.metric import Families
from exporter.awake import series as awake
from exporter.core.selfmetrics import AGENT, CollectorHealth, SelfMetrics, collector_families
from exporter.core.state import Entry, Key
from exporter.cost.allocation import costs
from exporter.sampling.readings import WAKE
from exporter.serving.overview import OverviewSources, Rows, overview
from exporter.serving.page import Overview, TargetRow
from exporter.serving.snapshot import Snapshot, SnapshotBuilder

LEDGER_FIGURES = frozenset({costs.COLLECTOR, awake.COLLECTOR, WAKE})
"""Collectors with targets per branch or compute that are computed all at once: as fresh as the feed ``pricing`` and
the visits, so they have no freshness series of their own."""
OwnFigures = Callable[[Sequence[TargetRow], int, Mapping[str, int]], None]
"""Takes the rows of the targets, the number of series in the generation before, and of those cut, by metric."""
_log = logging.getLogger("neonmeter.publish")


@dataclass(frozen=True, slots=True)
class Published:
    """One generation."""

    snapshot: Snapshot
    overview: Overview = field(default_factory=lambda: Overview(0, 0.0, 0))
    targets: Sequence[TargetRow] = ()


class Assembler:
    """One generation after the other, each from what changed since the last. Safe in any thread."""

    def __init__(self, builder: SnapshotBuilder, metrics: SelfMetrics) -> None:
        self._builder = builder
        self._metrics = metrics
        self._lock = threading.Lock()
        self._entries: dict[str, dict[str, Entry]] = {}
        """By collector and key of the target."""
        self._unrendered: set[Key] = set()
        """What could not be rendered, by a bug of ours."""
        self._rows = Rows()
        self._series = 0

    def assemble(
        self, changes: Mapping[Key, Entry | None], sources: OverviewSources, now: float, own_figures: OwnFigures
    ) -> Published:
        """The next generation, at ``now`` (unix seconds); ``own_figures`` are set after everything else is known."""
        with self._lock:
            for key, entry in changes.items():
                self._apply(key, entry)
            self._put_health({target_key for _, target_key in changes})
            rows = self._rows.of(self._entries, sources)
            own_figures(rows, self._series, self._builder.truncated())
            self._builder.put("agent", AGENT, self._metrics.families())
            snapshot = self._builder.publish(now)
            self._series = snapshot.series
            return Published(snapshot, overview(snapshot, rows, self._entries, sources, now), rows)

    def without_pages(
        self, changes: Mapping[Key, Entry | None], now: float, own_figures: Callable[[], None]
    ) -> Snapshot:
        """As ``assemble``, when the rows or the overview cannot be made: the series alone."""
        with self._lock:
            for key, entry in changes.items():
                self._apply(key, entry)
            self._put_health({target_key for _, target_key in changes})
            own_figures()
            self._builder.put("agent", AGENT, self._metrics.families())
            return self._builder.publish(now)

    def families(self) -> Sequence[tuple[Target, Families]]:
        """All that is shown now, by target."""
        with self._lock:
            return tuple(
                (entry.good.target, entry.good.families)
                for entries in self._entries.values()
                for entry in entries.values()
                if entry.good
            )

    def _apply(self, key: Key, entry: Entry | None) -> None:
        """Render an entry, unless what it shows is the same object as before."""
        collector, target_key = key
        of_collector = self._entries.setdefault(collector, {})
        before = of_collector.get(target_key)
        if entry is None:
            of_collector.pop(target_key, None)
            self._unrendered.discard(key)
            self._builder.drop("/".join(key))
            return
        of_collector[target_key] = entry
        if entry.good is None or (before is not None and before.good is not None and _alike(before.good, entry.good)):
            return
        try:
            self._builder.put("/".join(key), entry.good.target, entry.good.families)
            self._unrendered.discard(key)
        except Exception:
            _log.exception("%s of %s cannot be shown; this is a bug in neonmeter", *key)
            self._unrendered.add(key)

    def _put_health(self, touched: Iterable[str]) -> None:
        """Update the freshness series of each target that something was observed at."""
        for target_key in touched:
            states = list(self._health(target_key))
            if states:
                self._builder.put(f"health:{target_key}", AGENT, collector_families(target_key, states))
            else:
                self._builder.drop(f"health:{target_key}")

    def _health(self, target_key: str) -> Iterable[CollectorHealth]:
        for collector, entries in self._entries.items():
            entry = entries.get(target_key)
            if entry is not None and collector not in LEDGER_FIGURES:
                broken = (collector, target_key) in self._unrendered
                yield CollectorHealth(
                    collector,
                    Status.BUG if broken else entry.last.status,
                    entry.good_at,
                    entry.last.seconds,
                    entry.good.rows if entry.good else 0,
                )


def _alike(one: Observation, other: Observation) -> bool:
    """Whether both show the same: a feed that saw no change gives the same object again."""
    return one.families is other.families and one.target.labels == other.target.labels
