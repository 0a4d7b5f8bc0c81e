"""Sessions on real servers: who waits, who idles in a transaction, and who keeps the compute awake, by name."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import psycopg
import pytest
from hypothesis import given
from hypothesis import strategies as st

from collectors.base import NoDataError, Reading, Result
from collectors.metric import Metric
from collectors.postgres.cluster import activity as a
from collectors.postgres.cluster.activity import ActivityCollector, ActivityFacts, bound, is_monitor
from exporter.demo.postgres import Cluster
from tests.collectors.reading import EPOCH, NOWHERE, admin, database, read, role, until
from tests.collectors.slots import consumer, slot
from tests.fix_postgres import cluster


@contextmanager
def session(server: Cluster, user: str, application: str, dbname: str = "postgres") -> Iterator[psycopg.Connection]:
    conninfo = f"{server.conninfo(dbname, user)} application_name={application}"
    with psycopg.connect(conninfo, autocommit=True) as connection:
        yield connection


@contextmanager
def blocked(server: Cluster, user: str, application: str, lock: int) -> Iterator[None]:
    """A session that waits for an advisory lock until the end of the block."""
    stopped = contextlib.suppress(psycopg.errors.QueryCanceled, psycopg.errors.AdminShutdown)
    with session(server, user, application) as connection:

        def wait() -> None:
            with stopped:
                connection.execute(f"SELECT pg_advisory_lock({lock})")

        thread = threading.Thread(target=wait)
        thread.start()
        with admin(server) as watcher:
            until(watcher, "SELECT count(*) = 1 FROM pg_locks WHERE NOT granted")
        try:
            yield
        finally:
            connection.cancel()
            thread.join(10)


def one(reading: Reading, metric: Metric, *labels: str) -> float:
    return float(reading.families.get(metric)[labels])


async def test_a_session_that_idles_in_a_transaction_is_named(postgres: Cluster) -> None:
    with role(postgres, "act_shop"), session(postgres, "act_shop", "checkout") as connection:
        connection.execute("BEGIN")
        connection.execute("SELECT 1")
        time.sleep(0.2)  # noqa: ASYNC251 - nothing else runs here
        reading = await read(postgres, ActivityCollector())
    assert reading.families.get(a.SESSIONS) == {("idle in transaction", "act_shop", "checkout"): 1}
    assert reading.families.get(a.KEPT_AWAKE) == {("idle_in_transaction", "act_shop", "checkout"): 1}
    assert 0.2 <= one(reading, a.OLDEST_IDLE) <= one(reading, a.LONGEST_TRANSACTION) < 30
    assert not reading.families.get(a.LONGEST_QUERY)
    assert not reading.families.get(a.WAITS)


async def test_a_lock_wait_shows_both_sides(postgres: Cluster) -> None:
    with role(postgres, "act_lock"), session(postgres, "act_lock", "holder") as holder:
        holder.execute("SELECT pg_advisory_lock(77)")
        with blocked(postgres, "act_lock", "waiter", 77):
            time.sleep(0.1)  # noqa: ASYNC251 - nothing else runs here
            reading = await read(postgres, ActivityCollector())
    quiet = await read(postgres, ActivityCollector())
    assert (one(reading, a.LOCKS_WAITING), one(reading, a.LOCKS_BLOCKING)) == (1, 1)
    with admin(postgres) as connection:
        if connection.info.server_version >= 140000:
            assert 0.1 <= one(reading, a.LOCKS_LONGEST) < 30
    assert reading.families.get(a.WAITS) == {("Lock",): 1}
    assert one(reading, a.LONGEST_QUERY) >= 0.1
    assert reading.families.get(a.SESSIONS) == {("active", "act_lock", "waiter"): 1, ("idle", "act_lock", "holder"): 1}
    # The holder is idle: it is the waiter whose statement keeps the compute up.
    assert reading.families.get(a.KEPT_AWAKE) == {("client_active", "act_lock", "waiter"): 1}
    assert (one(quiet, a.LOCKS_WAITING), one(quiet, a.LOCKS_BLOCKING)) == (0, 0)
    for metric in (a.LOCKS_LONGEST, a.LONGEST_QUERY, a.LONGEST_TRANSACTION, a.SESSIONS, a.KEPT_AWAKE):
        assert not quiet.families.get(metric)


async def test_other_monitors_are_told_apart_and_we_are_not_counted(postgres: Cluster) -> None:
    with (
        role(postgres, "act_mon"),
        session(postgres, "act_mon", "postgres_exporter"),
        session(postgres, "act_mon", "PgHero"),
        session(postgres, "act_mon", "psql"),
        session(postgres, "act_mon", "neonmeter") as ours,
        session(postgres, "cloud_admin", "compute_ctl") as neons,
    ):
        ours.execute("BEGIN")
        neons.execute("BEGIN")
        reading = await read(postgres, ActivityCollector())
    assert reading.families.get(a.KEPT_AWAKE) == {
        ("other_monitor", "act_mon", "postgres_exporter"): 1,
        ("other_monitor", "act_mon", "PgHero"): 1,
    }
    assert {labels[2] for labels in reading.families.get(a.SESSIONS)} == {"postgres_exporter", "PgHero", "psql"}


async def test_a_subscription_and_its_walsender_keep_it_awake(postgres: Cluster) -> None:
    with (
        database(postgres, "act_pub"),
        database(postgres, "act_sub"),
        slot(postgres, "act_feed", "pgoutput", "act_pub"),
    ):
        for dbname in ("act_pub", "act_sub"):
            with admin(postgres, dbname) as connection:
                connection.execute("CREATE TABLE t (id int PRIMARY KEY)")
        with admin(postgres, "act_pub") as connection:
            connection.execute("CREATE PUBLICATION p FOR TABLE t")
        with admin(postgres, "act_sub") as connection:
            # The walsender of a subscription is named for it; its user is whom it connects as.
            connection.execute(
                f"CREATE SUBSCRIPTION feed CONNECTION '{postgres.conninfo('act_pub')}' PUBLICATION p "
                "WITH (create_slot = false, slot_name = act_feed, copy_data = false)"
            )
            try:
                until(connection, "SELECT count(*) = 1 FROM pg_stat_replication WHERE state = 'streaming'")
                reading = await read(postgres, ActivityCollector())
            finally:
                connection.execute("ALTER SUBSCRIPTION feed DISABLE")
                connection.execute("ALTER SUBSCRIPTION feed SET (slot_name = NONE)")
                connection.execute("DROP SUBSCRIPTION feed")
                until(connection, "SELECT NOT active FROM pg_replication_slots WHERE slot_name = 'act_feed'")
                until(connection, "SELECT count(*) = 0 FROM pg_stat_replication")
    kept = reading.families.get(a.KEPT_AWAKE)
    assert kept == {("subscription", "", "feed"): 1, ("walsender", "cloud_admin", "feed"): 1}
    # A walsender is no client session.
    assert not reading.families.get(a.SESSIONS)


async def test_a_slots_reader_keeps_it_awake(postgres: Cluster) -> None:
    with (
        database(postgres, "act_cdc"),
        slot(postgres, "act_slot", dbname="act_cdc"),
        consumer(postgres, "act_slot", "act_cdc", "debezium"),
    ):
        reading = await read(postgres, ActivityCollector())
    assert reading.families.get(a.KEPT_AWAKE) == {("walsender", "cloud_admin", "debezium"): 1}


@pytest.mark.deep
async def test_an_autovacuum_worker_keeps_it_awake() -> None:
    slow = {"autovacuum_naptime": "1s", "autovacuum_vacuum_cost_delay": "100ms", "autovacuum_vacuum_cost_limit": "1"}
    with cluster(18, **slow) as server:
        with admin(server) as connection:
            connection.execute("CREATE TABLE t AS SELECT g, repeat('x', 200) FROM generate_series(1, 20000) g")
            connection.execute("DELETE FROM t WHERE g % 2 = 0")
            until(
                connection,
                "SELECT count(*) > 0 FROM pg_stat_progress_vacuum WHERE relid = 't'::regclass",
            )
        reading = await read(server, ActivityCollector())
    assert reading.families.get(a.KEPT_AWAKE)["autovacuum", "", ""] >= 1
    assert not reading.families.get(a.SESSIONS)


async def test_without_pg_monitor_sessions_are_hidden_not_idle(postgres: Cluster) -> None:
    with role(postgres, "act_plain"), role(postgres, "act_app"), session(postgres, "act_app", "shop") as connection:
        connection.execute("BEGIN")
        reading = await read(postgres, ActivityCollector(), user="act_plain")
    assert reading.families.get(a.SESSIONS) == {("hidden", "act_app", "shop"): 1}
    assert not reading.families.get(a.KEPT_AWAKE)
    assert not reading.families.get(a.LONGEST_TRANSACTION)


async def test_many_applications_are_bounded_and_none_is_lost(postgres: Cluster) -> None:
    with role(postgres, "act_many"), contextlib.ExitStack() as stack:
        for n in range(8):
            for _ in range(3 if n < 2 else 1):
                stack.enter_context(session(postgres, "act_many", f"app{n}")).execute("BEGIN")
        reading = await read(postgres, ActivityCollector(top=2))
    expected = {"app0": 3, "app1": 3, "other": 6}
    for metric in (a.SESSIONS, a.KEPT_AWAKE):
        assert {labels[2]: value for labels, value in reading.families.get(metric).items()} == expected
    assert isinstance(reading.facts, ActivityFacts)
    assert sum(keeper.sessions for keeper in reading.facts.holders) == 12
    assert {group.application_name for group in reading.facts.groups} == {f"app{n}" for n in range(8)}


async def test_an_old_snapshot_holds_back_vacuum(postgres: Cluster) -> None:
    with role(postgres, "act_old"), session(postgres, "act_old", "report") as connection:
        connection.execute("BEGIN ISOLATION LEVEL REPEATABLE READ")
        connection.execute("SELECT 1")
        with admin(postgres) as writer:
            for _ in range(30):
                writer.execute("SELECT txid_current()")
        reading = await read(postgres, ActivityCollector())
    assert one(reading, a.XMIN_AGE) >= 30


COLUMNS = (
    "backend_type", "state", "datname", "usename", "application_name", "wait_event_type", "sessions",
    "transaction_seconds", "query_seconds", "state_seconds", "xmin_age",
)  # fmt: skip


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        (("client backend", "active", "shop", "ann", "web"), "client_active"),
        (("client backend", "fastpath function call", "shop", "ann", "web"), "client_active"),
        (("client backend", "disabled", "shop", "ann", "web"), "client_active"),
        (("client backend", "idle", "shop", "ann", "web"), ""),
        (("client backend", "idle in transaction", "shop", "ann", "web"), "idle_in_transaction"),
        (("client backend", "idle in transaction (aborted)", "shop", "ann", "web"), "idle_in_transaction"),
        (("client backend", "idle", "shop", "ann", "Datadog Agent"), "other_monitor"),
        (("client backend", "active", "shop", "ann", "pgwatch - abc"), "other_monitor"),
        (("client backend", "idle", "shop", "postgres_exporter", ""), "other_monitor"),
        (("client backend", "idle", "shop", "grafana", ""), ""),
        (("client backend", "active", "shop", "cloud_admin", "web"), ""),
        (("client backend", "active", "shop", "ann", "neonmeter"), ""),
        (("walsender", "active", "shop", "cdc", "debezium"), "walsender"),
        (("walsender", "active", "shop", "cloud_admin", "debezium"), "walsender"),
        (("walsender", "active", None, "cloud_admin", "walproposer"), ""),
        (("autovacuum worker", "active", "shop", None, ""), "autovacuum"),
        (("parallel worker", "active", "shop", "ann", "web"), ""),
        (("logical replication worker", None, "shop", "ann", "sub"), ""),
        ((None, None, "shop", "ann", "web"), ""),
    ],
)
def test_who_keeps_it_awake(row: tuple[str | None, ...], reason: str) -> None:
    result = Result(COLUMNS, [(*row, None, 2, None, None, None, None)])
    kept = ActivityCollector().read({"sessions": result}, EPOCH).families.get(a.KEPT_AWAKE)
    expected = {(reason, row[3] or "", row[4] or ""): 2} if reason else {}
    assert kept == expected
    assert not reason or reason in a.REASONS


names = st.text("ab", max_size=2)


@given(
    st.dictionaries(st.tuples(st.sampled_from(["idle", "active"]), names, names), st.integers(1, 9)), st.integers(0, 5)
)
def test_bounding_keeps_the_sum(series: dict[tuple[str, str, str], int], top: int) -> None:
    bounded = bound(series, top)
    for kind in ("idle", "active"):
        assert sum(n for key, n in bounded.items() if key[0] == kind) == sum(
            n for key, n in series.items() if key[0] == kind
        )
    assert len({key[1:] for key in bounded if key[1:] != ("other", "other")}) <= top


def test_half_a_reading_tells_its_half() -> None:
    locks = Result(("waiting", "longest", "blocking"), [(2, 1.5, 1)])
    reading = ActivityCollector().read({"locks": locks}, EPOCH)
    assert (one(reading, a.LOCKS_WAITING), one(reading, a.LOCKS_LONGEST)) == (2, 1.5)
    assert not reading.families.get(a.SESSIONS)
    with pytest.raises(NoDataError):
        ActivityCollector().read({}, EPOCH)
    assert len(ActivityCollector().queries(NOWHERE)) == 3


def test_monitors_are_known_by_a_part_of_their_name() -> None:
    assert is_monitor("Grafana-Alloy")
    assert not is_monitor("")
    assert not is_monitor("my_app")
    assert all(part == part.lower() for part in a.OTHER_MONITORS)
