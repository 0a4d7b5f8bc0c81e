"""Who keeps a compute awake: a slot's consumer, a PgBouncer, a forgotten transaction; and who does not."""

from __future__ import annotations

import random
import time
from collections.abc import Iterator
from itertools import islice

import psycopg
import pytest

from exporter.demo import life, waste
from exporter.demo.compute import Compute
from exporter.demo.life import Life
from exporter.demo.pooler import Pooler, PoolerStartError, find_pgbouncer
from exporter.demo.twin import Twin
from exporter.demo.workload import Service, argument, bursts
from exporter.demo.worldfile import TenantSpec
from tests.exporter.demo import scenes
from tests.exporter.demo.test_compute import calls_of
from tests.fix_twin_world import app_dsn, held_awake, suspended, wait_for


@pytest.fixture
def published(small_twin: Twin) -> Iterator[Compute]:
    """The compute with the slot, its consumer started by the test and stopped afterwards."""
    compute = small_twin.compute("analytics", "main")
    compute.suspend()
    yield compute
    small_twin.life.stop()
    small_twin.life.consumers.clear()
    compute.suspend()


def slot(compute: Compute) -> tuple[bool, int]:
    """Whether the slot is in use, and its lag in bytes."""
    with psycopg.connect(compute.cluster.conninfo()) as connection:
        row = connection.execute(
            "SELECT active, (pg_current_wal_lsn() - confirmed_flush_lsn)::int8 FROM pg_replication_slots"
            " WHERE slot_name = 'warehouse'"
        ).fetchone()
    assert row is not None
    return bool(row[0]), int(row[1])


def test_a_slots_consumer_pins_its_compute_until_it_stops(small_twin: Twin, published: Compute) -> None:
    small_twin.life.start_consumers()
    consumer = small_twin.life.consumers[published.endpoint.id]
    assert wait_for(lambda: published.kept_awake_by == "walsender")
    assert slot(published)[0]
    time.sleep(4.5)  # T is 3 s.
    assert published.endpoint.current_state == "active" and consumer.running
    consumer.stop()
    assert wait_for(lambda: suspended(published))
    with held_awake(published):
        small_twin.workload.run_burst(published.endpoint.id, "dune", 50)
        active, lag = slot(published)
    assert not active and lag > 5000


def test_a_child_has_no_slot_of_its_parent(small_twin: Twin) -> None:
    dev = small_twin.compute("analytics", "dev")
    with held_awake(dev):
        psycopg.connect(app_dsn(small_twin, dev, "dune")).close()
        connection = psycopg.connect(dev.cluster.conninfo())
    with connection:
        assert connection.execute("SELECT count(*) FROM pg_replication_slots").fetchone() == (0,)
        assert connection.execute("SELECT count(*) FROM pg_stat_statements WHERE false").fetchone() == (0,)


def test_a_child_drifts_from_its_parent(small_twin: Twin) -> None:
    found = {}
    for branch in ("main", "staging"):
        compute = small_twin.compute("bookshop", branch)
        with psycopg.connect(app_dsn(small_twin, compute, "acme")) as connection:
            rows = connection.execute("SELECT attname FROM pg_attribute WHERE attrelid = 'orders'::regclass").fetchall()
        found[branch] = {name for (name,) in rows}
    assert found["staging"] - found["main"] == {"coupon"}


@pytest.fixture
def pooler(small_twin: Twin) -> Iterator[Pooler]:
    """A PgBouncer in front of bookshop/main, not started."""
    program = find_pgbouncer()
    if program is None:
        pytest.skip("pgbouncer is not installed")
    branch, compute = next(row for row in small_twin.life.branches() if row[0].pooled)
    compute.suspend()
    made = small_twin.life.pooler(branch, compute, program)
    yield made
    made.stop()
    compute.suspend()


def test_a_pooler_has_statistics_and_lets_its_compute_sleep(small_twin: Twin, pooler: Pooler) -> None:
    main = small_twin.compute("bookshop", "main")
    pooler.start()
    with psycopg.connect(pooler.conninfo("birch"), autocommit=True, prepare_threshold=None) as connection:
        assert connection.execute("SELECT count(*) FROM orders").fetchone() == (3000,)
    with psycopg.connect(f"{pooler.dsn}?sslmode=disable", password=pooler.stats_password, autocommit=True) as console:
        rows = console.execute("SHOW POOLS").fetchall()
    assert any(row[0] == "app" for row in rows)
    assert wait_for(lambda: suspended(main))
    time.sleep(1.5)
    assert suspended(main)


def test_calls_through_a_pooler_are_counted_to_the_call(small_twin: Twin, pooler: Pooler) -> None:
    main = small_twin.compute("bookshop", "main")
    pooler.start()
    small_twin.life.poolers[main.endpoint.id] = pooler
    try:
        workload = small_twin.life.workload()
        with held_awake(main):
            workload.run_burst(main.endpoint.id, "birch", 25)
            workload.run_burst(main.endpoint.id, "acme", 10)
            assert (calls_of(main, "birch"), calls_of(main, "acme")) == (25, 10)
        assert workload.done == {"birch": 25, "acme": 10}
    finally:
        small_twin.life.poolers.clear()


def test_without_pgbouncer_that_is_said_and_all_else_works(small_twin: Twin, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(life, "find_pgbouncer", lambda: None)
    notes: list[str] = []
    lonely = Life(
        small_twin.spec, small_twin.computes, small_twin.life.state, small_twin.state_dir, small_twin.life.bin_dir,
        small_twin.life.holder, notes.append,
    )  # fmt: skip
    lonely.start_poolers()
    assert len(notes) == 1 and "pgbouncer is not installed" in notes[0]
    assert lonely.workload().done == {}


def test_a_pooler_that_cannot_start_says_why(pooler: Pooler) -> None:
    pooler.settings = {"pool_mode": "nonsense"}
    with pytest.raises(PoolerStartError, match="nonsense"):
        pooler.start()


def test_a_forgotten_transaction_keeps_a_compute_awake(small_twin: Twin) -> None:
    staging = small_twin.compute("bookshop", "staging")
    with waste.idle_in_transaction(app_dsn(small_twin, staging, "acme")):
        time.sleep(4.5)
        assert staging.endpoint.current_state == "active"
        assert staging.kept_awake_by == "client"
    staging.suspend()


@pytest.mark.deep
def test_a_pooler_with_a_minimum_pool_wakes_its_compute_again_and_again(small_twin: Twin, pooler: Pooler) -> None:
    main = small_twin.compute("bookshop", "main")
    wakes = len(main.wakes)
    waste.pinning(pooler, "birch").start()
    with psycopg.connect(pooler.conninfo("birch"), autocommit=True, prepare_threshold=None) as connection:
        connection.execute("SELECT 1")  # The application keeps its connection to the pooler and does nothing more.
        assert wait_for(lambda: len(main.wakes) >= wakes + 3)
    assert {wake.user for wake in main.wakes[wakes:]} == {"birch"}


@pytest.mark.deep
def test_a_second_poller_of_a_user_database_keeps_a_compute_awake(small_twin: Twin) -> None:
    staging = small_twin.compute("bookshop", "staging")
    with scenes.second_poller(app_dsn(small_twin, staging, "acme"), every=1.0):
        time.sleep(6)
        assert staging.endpoint.current_state == "active"
    assert wait_for(lambda: suspended(staging))


@pytest.mark.deep
def test_an_autovacuum_worker_keeps_a_compute_awake(small_twin: Twin) -> None:
    staging = small_twin.compute("bookshop", "staging")
    psycopg.connect(app_dsn(small_twin, staging, "acme")).close()
    with scenes.slow_autovacuum(staging):
        assert wait_for(lambda: staging.kept_awake_by == "autovacuum")
        time.sleep(4)
        assert staging.endpoint.current_state == "active"
    assert wait_for(lambda: suspended(staging))


@pytest.mark.deep
def test_a_subscription_keeps_both_of_its_computes_awake(small_twin: Twin, published: Compute) -> None:
    dev = small_twin.compute("analytics", "dev")
    for compute in (dev, published):
        psycopg.connect(app_dsn(small_twin, compute, "dune")).close()
    with scenes.subscription(dev, published, "warehouse", small_twin.password):
        time.sleep(6)
        assert (dev.kept_awake_by, published.kept_awake_by) == ("subscription", "walsender")
        assert dev.endpoint.current_state == published.endpoint.current_state == "active"
    assert wait_for(lambda: suspended(dev) and suspended(published))


def services(*paces: float) -> list[Service]:
    return [
        Service("ep-1", TenantSpec(name=f"t{n}", schema="s", role="r", calls_per_second=pace), "", 60.0)
        for n, pace in enumerate(paces)
    ]


def test_the_rhythm_follows_from_the_seed_and_quiet_computes_pause_past_t() -> None:
    quiet = list(islice(bursts(services(1.0), random.Random(1)), 50))
    busy = list(islice(bursts(services(12.0, 5.0), random.Random(1)), 50))
    assert quiet == list(islice(bursts(services(1.0), random.Random(1)), 50))
    assert max(pause for _, pause in quiet) > 60 > min(pause for _, pause in quiet)
    assert max(pause for _, pause in busy) <= 10


def test_calls_reach_only_rows_that_are_there() -> None:
    statement = "SELECT email FROM customers WHERE id = %s"
    reached = {argument(statement, number) for number in range(2000)}
    assert (min(reached), max(reached), len(reached)) == (1, 500, 500)
