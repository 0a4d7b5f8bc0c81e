"""Counters that are brought up to totals: growing totals, each set twice, are never an error and never go back."""

from __future__ import annotations

import random
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import pytest

from collectors.base import Epoch
from collectors.metric import Families, Kind, Metric, Scope, Unit
from collectors.neon.operations import WAKE_TIME, OperationCounts
from collectors.pgbouncer.shows import Result, families_of
from exporter.awake import series as awake
from exporter.core.selfmetrics import ADDED_AWAKE_USD, SelfMetrics
from exporter.sampling.awake_store import AwakeRecord, AwakeWindow
from exporter.sampling.counters import tables
from exporter.sampling.counters.counters import SingleCounters
from exporter.sampling.domain.awake_shares import AwakeHolder, AwakeState
from exporter.serving.render import as_float
from exporter.storage.store import Store

TOTALS = 100_000
SECONDS = Metric(
    "pg_test_seconds_total", Kind.COUNTER, Unit.SECONDS, Scope.ENDPOINT, "Seconds.", max_series=1, durable=True
)
_HOLDERS = [AwakeHolder("walsender", "u", "a", f"slot{number}") for number in range(5)]


def own_metrics(_: Path) -> Callable[[int], float]:
    metrics = SelfMetrics()

    def bring(picodollars: int) -> float:
        metrics.set(ADDED_AWAKE_USD, Fraction(picodollars, 10**12))
        return metrics._totals[ADDED_AWAKE_USD][()]

    return bring


def durable_counters(folder: Path) -> Callable[[int], float]:
    store = Store.open(folder / "counters.db", tables.SCHEMAS)
    counters, look = SingleCounters(store), [0]

    def bring(microseconds: int) -> float:
        look[0] += 1
        families = Families()
        families.set(SECONDS, (), microseconds / 10**6)
        epoch = Epoch("ep", 1000.0, 2000.0 + look[0], 1000.0)
        return float(counters.absorb("endpoint:ep", epoch, families, 1000.0).get(SECONDS)[()])

    return bring


def awake_series(_: Path) -> Callable[[int], float]:
    dice, shares = random.Random(2), dict.fromkeys(_HOLDERS, 0)
    record = AwakeRecord("ep", "p", "b", AwakeState(0, 0))

    def bring(total: int) -> float:
        shares[dice.choice(_HOLDERS)] += total - sum(shares.values())
        shuffled = dict(dice.sample(list(shares.items()), len(shares)))
        price = awake.Price(Fraction(1), awake.LEDGER, Fraction(1, 10))
        families = awake.families(record, shuffled, AwakeWindow(1, 0, {}), price)
        return float(families.get(awake.KEPT)["walsender", "u", "a"])

    return bring


def operations(_: Path) -> Callable[[int], float]:
    counts, where = OperationCounts("p", 0.0), ("seconds", "b", "ep")
    known = [0]

    def bring(milliseconds: int) -> float:
        counts.add_wake_time(where, (milliseconds - known[0]) / 1000)
        known[0] = milliseconds
        assert counts.families().get(WAKE_TIME)["b", "ep"] == milliseconds / 1000, "to the millisecond"
        return float(counts.counts[where])

    return bring


def pooler(_: Path) -> Callable[[int], float]:
    dice, parts = random.Random(3), [0] * 4
    columns = ("database", "total_query_time")

    def bring(total: int) -> float:
        parts[dice.randrange(4)] += total - sum(parts)
        rows: list[tuple[object, ...]] = [("app", part) for part in dice.sample(parts, 4)]
        found = families_of({"STATS": Result(columns, rows)})
        return float(next(series["app",] for metric, series in found.items() if metric.unit is Unit.SECONDS))

    return bring


@pytest.mark.parametrize(
    ("path", "times"),
    [(own_metrics, TOTALS), (durable_counters, 500), (awake_series, 2000), (operations, 20_000), (pooler, 2000)],
)
def test_growing_totals_never_go_back(
    path: Callable[[Path], Callable[[int], float]], times: int, tmp_path: Path
) -> None:
    dice, bring, total, shown = random.Random(1), path(tmp_path), 0, 0.0
    for _ in range(times):
        total += dice.randrange(0, 500_000_000)
        first = bring(total)
        assert bring(total) == first, "the same total is the same value"
        assert first >= shown
        shown = first


def test_what_is_shown_is_the_nearest_float_of_the_total() -> None:
    metrics, total = SelfMetrics(), Fraction(0)
    for _ in range(1000):
        total += Fraction(1, 3)
        metrics.set(ADDED_AWAKE_USD, total)
    assert as_float(metrics.families().get(ADDED_AWAKE_USD)[()]) == float(Fraction(1000, 3))
