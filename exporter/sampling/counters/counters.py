"""Single durable counters: what pg_stat_database and its like lose at a suspend is added up on disk.

Every series has the life of its last reading, so collectors that run at different times do not disturb each other.
Seconds are stored as integer microseconds: sums stay exact, and what is exported never moves by rounding.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from functools import lru_cache
from typing import Final

from collectors.base import Epoch
from collectors.metric import Families, Labels, Metric, Series, Unit, Value
from exporter.sampling.counters import tables
from exporter.sampling.counters.tables import StoredCounter
from exporter.sampling.domain.accumulate import Baseline, Counted, CounterEpoch, advance, microseconds
from exporter.storage.store import Store

_MICRO: Final = 1_000_000
_Key = tuple[str, str]


class SingleCounters:
    """The durable counters of all targets. The caller holds a lock (`exporter.sampling.counters.statements`)."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._targets: dict[str, dict[_Key, StoredCounter]] = {}

    def absorb(self, target: str, epoch: Epoch, families: Families, statistics_since: float | None) -> Families:
        """As `exporter.sampling.counters.statements.DurableCounters.absorb_counters`."""
        life = CounterEpoch(
            microseconds(epoch.postmaster_start), microseconds(statistics_since or 0), microseconds(epoch.server_clock)
        )
        known = self._known(target)
        changed: dict[_Key, StoredCounter] = {}
        answer = Families()
        for metric, series in families.items():
            if not metric.durable:
                answer.put(metric, series)
                continue
            totals: Series = {}
            for labels, value in series.items():
                key = (metric.name, _text(labels))
                before = known.get(key)
                after = _advance(key, before, life, _grains(metric, value))
                if after is not before:
                    changed[key] = after
                totals[labels] = after.total / _MICRO if metric.unit is Unit.SECONDS else after.total
            answer.put(metric, totals)
        if changed:
            with self._store.transaction() as cursor:
                tables.save_counters(cursor, target, list(changed.values()))
            known.update(changed)
        return answer

    def stored(self, target: str, metrics: Iterable[Metric]) -> Families:
        """The totals as they are on the disk; what was never counted is absent."""
        by_name = {metric.name: metric for metric in metrics if metric.durable}
        answer = Families()
        for row in self._known(target).values():
            metric = by_name.get(row.metric)
            if metric is not None:
                total = row.total / _MICRO if metric.unit is Unit.SECONDS else row.total
                answer.set(metric, tuple(json.loads(row.labels)), total)
        return answer

    def load(self) -> None:
        """Read the totals of all targets at once; those that are known stay."""
        found: dict[str, dict[_Key, StoredCounter]] = {}
        with self._store.snapshot() as cursor:
            for target, row in tables.load_all_counters(cursor):
                if target not in self._targets:
                    found.setdefault(target, {})[row.metric, row.labels] = row
        self._targets |= found

    def clear(self) -> None:
        """Read the totals anew from the disk when they are needed next."""
        self._targets.clear()

    def _known(self, target: str) -> dict[_Key, StoredCounter]:
        known = self._targets.get(target)
        if known is None:
            with self._store.snapshot() as cursor:
                stored = tables.load_counters(cursor, target)
            known = self._targets[target] = {(row.metric, row.labels): row for row in stored}
        return known


@lru_cache(maxsize=16_384)
def _text(labels: Labels) -> str:
    return json.dumps(labels, ensure_ascii=False)


def _advance(key: _Key, before: StoredCounter | None, life: CounterEpoch, raw: int) -> StoredCounter:
    row = Counted(None, (raw,))
    if before is None:
        return StoredCounter(*key, life, raw, raw)
    if raw == before.raw and life.continues(before.life):
        return before
    growth = advance(Baseline(before.life, {key: Counted(None, (before.raw,))}), life, {key: row})
    if growth.stale:
        return before
    return StoredCounter(*key, life, raw, before.total + growth.deltas.get(key, (0,))[0])


def _grains(metric: Metric, value: Value) -> int:
    return round(value * _MICRO) if metric.unit is Unit.SECONDS else round(value)
