"""Single counters that survive: each series for itself, exact, also in seconds."""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path

import pytest

from collectors.base import Epoch
from collectors.metric import Families, Kind, Metric, Scope, Unit, Value
from exporter.sampling.counters.statements import SCHEMAS, DurableCounters
from exporter.storage.store import Store
from exporter.tenancy.domain.rules import TenantRules
from tests.exporter.sampling.statement_world import DEADLOCKS

BUSY = Metric(
    "pg_stat_database_active_seconds_total", Kind.COUNTER, Unit.SECONDS, Scope.ENDPOINT, "Busy.", ("datname",),
    durable=True,
)  # fmt: skip
SIZE = Metric("pg_database_size_bytes", Kind.GAUGE, Unit.BYTES, Scope.ENDPOINT, "Size.", ("datname",))
PLAIN = Metric("pg_plain_total", Kind.COUNTER, Unit.NONE, Scope.ENDPOINT, "Not durable.")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "neonmeter.db"


@pytest.fixture
def durable(path: Path) -> Iterator[DurableCounters]:
    store = Store.open(path, SCHEMAS)
    yield DurableCounters(store, TenantRules())
    store.close()


def families(metric: Metric, **values: Value) -> Families:
    made = Families()
    for datname, value in values.items():
        made.set(metric, (datname,), value)
    return made


def epoch(postmaster: float, clock: float) -> Epoch:
    return Epoch("ep", postmaster, clock)


def absorb(
    durable: DurableCounters,
    metric: Metric,
    postmaster: float,
    clock: float,
    *,
    since: float | None = None,
    **values: Value,
) -> dict[str, Value]:
    kept = durable.absorb_counters("ep:x", epoch(postmaster, clock), families(metric, **values), statistics_since=since)
    return {labels[0]: value for labels, value in kept.get(metric).items()}


def test_totals_go_on_over_suspends_resets_and_our_restarts(path: Path) -> None:
    store = Store.open(path, SCHEMAS)
    durable = DurableCounters(store, TenantRules())
    assert absorb(durable, DEADLOCKS, 1, 10, app=5) == {"app": 5}
    assert absorb(durable, DEADLOCKS, 1, 20, app=8) == {"app": 8}
    assert absorb(durable, DEADLOCKS, 1, 30, app=2) == {"app": 10}, "a reset within one life"
    store.close()
    store = Store.open(path, SCHEMAS)
    durable = DurableCounters(store, TenantRules())
    assert absorb(durable, DEADLOCKS, 1, 40, app=2) == {"app": 10}
    assert absorb(durable, DEADLOCKS, 50, 60, app=3, other=1) == {"app": 13, "other": 1}, "a new life, also with more"
    assert absorb(durable, DEADLOCKS, 50, 70, app=3) == {"app": 13}
    assert absorb(durable, DEADLOCKS, 50, 80, app=4, other=3) == {"app": 14, "other": 3}, "not seen for a while"
    store.close()


def test_a_new_life_with_the_same_value_is_new_growth(durable: DurableCounters) -> None:
    absorb(durable, DEADLOCKS, 1, 10, app=5)
    assert absorb(durable, DEADLOCKS, 50, 60, app=5) == {"app": 10}
    assert absorb(durable, DEADLOCKS, 50, 70, app=6) == {"app": 11}


def test_a_restart_that_kept_the_statistics_is_told_by_their_age(durable: DurableCounters) -> None:
    absorb(durable, DEADLOCKS, 1, 10, since=0.5, app=5)
    assert absorb(durable, DEADLOCKS, 50, 60, since=0.5, app=6) == {"app": 6}
    assert absorb(durable, DEADLOCKS, 50, 70, since=65.0, app=6) == {"app": 12}, "a crash: same postmaster, lost"


def test_an_answer_that_comes_late_changes_nothing(durable: DurableCounters) -> None:
    absorb(durable, DEADLOCKS, 1, 20, app=5)
    assert absorb(durable, DEADLOCKS, 1, 10, app=3) == {"app": 5}
    assert absorb(durable, DEADLOCKS, 1, 30, app=6) == {"app": 6}


def test_seconds_stay_exact_over_many_looks(durable: DurableCounters) -> None:
    rng = random.Random(3)
    raw, done, shown = 0, 0, 0.0
    for step in range(300):
        grown = rng.randrange(1, 2_000_000)
        if step % 50 == 49:
            raw = 0
        raw, done = raw + grown, done + grown
        (shown,) = absorb(durable, BUSY, 1, 10.0 + step, app=raw / 1e6).values()
        if step % 50 == 49:
            assert shown == done / 1e6
    assert shown == done / 1e6


def test_two_collectors_of_one_target_do_not_disturb_each_other(durable: DurableCounters) -> None:
    assert absorb(durable, DEADLOCKS, 1, 10, app=5) == {"app": 5}
    assert absorb(durable, BUSY, 1, 10, app=5) == {"app": 5.0}
    assert absorb(durable, DEADLOCKS, 50, 60, app=6) == {"app": 11}
    assert absorb(durable, BUSY, 50, 60, app=7.5) == {"app": 12.5}


def test_what_is_not_durable_passes_unchanged(durable: DurableCounters) -> None:
    given = families(SIZE, app=7)
    given.set(PLAIN, (), 3)
    given.set(DEADLOCKS, ("app",), 1)
    kept = durable.absorb_counters("ep:x", epoch(1, 10), given)
    assert kept.get(SIZE) == {("app",): 7}
    assert kept.get(PLAIN) == {(): 3}
    assert [metric.name for metric, _ in kept.items()] == [metric.name for metric, _ in given.items()]
