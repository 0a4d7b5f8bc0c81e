"""Databases on real servers: all of them, also one that we may not enter, and counters that count what was done."""

from __future__ import annotations

import asyncio
import threading
import time

import psycopg
import pytest

from collectors.base import NoDataError, Reading, Result
from collectors.metric import Metric
from collectors.postgres.cluster import databases as d
from collectors.postgres.cluster.databases import DatabasesCollector
from exporter.demo.postgres import Cluster
from tests.collectors.reading import EPOCH, NOWHERE, admin, database, read, role

COUNTERS: dict[str, Metric] = {line.column: line.metric for line in d._COUNTERS}


def one(reading: Reading, metric: Metric, *labels: str) -> float:
    return float(reading.families.get(metric)[labels])


async def test_a_database_that_we_may_not_enter(postgres: Cluster) -> None:
    with database(postgres, "db_private"), role(postgres, "db_plain"):
        with admin(postgres) as connection:
            connection.execute("REVOKE CONNECT ON DATABASE db_private FROM PUBLIC")
            connection.execute("ALTER DATABASE db_private ALLOW_CONNECTIONS true CONNECTION LIMIT 7")
        plain = await read(postgres, DatabasesCollector(), user="db_plain")
    assert one(plain, d.XID_AGE, "db_private") >= 0
    assert plain.families.get(d.CONNECTION_LIMIT) == {("db_private",): 7}


async def test_a_database_whose_drop_was_interrupted_costs_nothing_else(postgres: Cluster) -> None:
    with database(postgres, "db_broken"), database(postgres, "db_whole", "CONNECTION LIMIT 4"):
        mark = "UPDATE pg_database SET datconnlimit = {}, datallowconn = {} WHERE datname = 'db_broken'"
        with admin(postgres) as connection:
            # -2 is how PostgreSQL itself marks a database whose DROP did not come to its end.
            connection.execute(mark.format(-2, "false").encode())
        try:
            reading = await read(postgres, DatabasesCollector())
        finally:
            with admin(postgres) as connection:
                connection.execute(mark.format(-1, "true").encode())
    assert reading.families.get(d.CONNECTION_LIMIT) == {("db_whole",): 4}
    assert one(reading, d.XID_AGE, "db_whole") >= 0


async def test_connections_beside_their_limit(postgres: Cluster) -> None:
    with database(postgres, "db_busy"):
        held = [psycopg.connect(postgres.conninfo("db_busy")) for _ in range(3)]
        try:
            reading = await read(postgres, DatabasesCollector())
        finally:
            for connection in held:
                connection.close()
    assert one(reading, d.BACKENDS, "db_busy") == 3
    assert one(reading, d.CONNECTIONS_MAX) == 60
    assert one(reading, d.CONNECTIONS_RESERVED) == 3
    assert one(reading, d.CONNECTIONS) >= 4


async def test_counters_count_what_was_done(postgres: Cluster) -> None:
    with database(postgres, "db_work"):
        await_idle(postgres, "db_work")
        before = await read(postgres, DatabasesCollector())
        with psycopg.connect(postgres.conninfo("db_work"), autocommit=True) as connection:
            connection.execute("CREATE TABLE t (id int PRIMARY KEY, pad text)")
            for n in range(5):
                some = f"generate_series({n * 10 + 1}, {n * 10 + 10})"
                connection.execute(f"INSERT INTO t SELECT g, repeat('x', 50) FROM {some} g")
            connection.execute("UPDATE t SET pad = 'y' WHERE id <= 12")
            connection.execute("DELETE FROM t WHERE id > 47")
            for _ in range(2):
                connection.execute("BEGIN")
                connection.execute("ROLLBACK")
            connection.execute("SET work_mem = '64kB'")
            connection.execute("SELECT g FROM generate_series(1, 50000) g ORDER BY g DESC").fetchall()
            connection.execute("BEGIN")
            await asyncio.sleep(0.1)
            connection.execute("COMMIT")
        deadlock(postgres, "db_work")
        await_idle(postgres, "db_work")
        after = await read(postgres, DatabasesCollector())

    def grew(column: str) -> float:
        was = before.families.get(COUNTERS[column]).get(("db_work",), 0)
        return one(after, COUNTERS[column], "db_work") - float(was)

    # Two rollbacks were asked for, one is the deadlock's victim.
    assert (grew("xact_rollback"), grew("deadlocks"), grew("sessions")) == (3, 1, 3)
    assert grew("xact_commit") >= 10
    assert grew("temp_files") >= 1
    assert grew("temp_bytes") > 300_000
    assert grew("tup_inserted") >= 50
    assert grew("tup_updated") >= 12
    assert grew("tup_deleted") >= 3
    assert grew("blks_hit") > 0
    assert 0.1 <= grew("idle_in_transaction_time") < grew("session_time")
    assert 0 < grew("active_time") < grew("session_time")
    assert after.families.get(COUNTERS["conflicts"])["db_work",] == 0


def deadlock(server: Cluster, dbname: str) -> None:
    """Two sessions take two advisory locks in opposite order: exactly one of them loses."""
    both_hold = threading.Barrier(2)
    lost: list[Exception] = []

    def take(first: int, second: int) -> None:
        with psycopg.connect(server.conninfo(dbname)) as connection:
            connection.execute("SELECT pg_advisory_xact_lock(%s)", (first,))
            both_hold.wait(10)
            try:
                connection.execute("SELECT pg_advisory_xact_lock(%s)", (second,))
            except psycopg.errors.DeadlockDetected as problem:
                lost.append(problem)
                connection.rollback()

    threads = [threading.Thread(target=take, args=pair) for pair in ((1, 2), (2, 1))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert len(lost) == 1


def await_idle(server: Cluster, dbname: str) -> None:
    """Statistics of a session are complete once it has ended; before 15 they travel a moment longer."""
    with admin(server) as connection:
        for _ in range(200):
            left = connection.execute("SELECT count(*) FROM pg_stat_activity WHERE datname = %s", (dbname,)).fetchone()
            if left == (0,):
                break
            time.sleep(0.02)
        if connection.info.server_version < 150000:
            time.sleep(1.0)


async def test_age_counts_transactions(postgres: Cluster) -> None:
    before = one(await read(postgres, DatabasesCollector()), d.XID_AGE, "postgres")
    with admin(postgres) as connection:
        for _ in range(20):
            connection.execute("SELECT txid_current()")
    after = await read(postgres, DatabasesCollector())
    assert one(after, d.XID_AGE, "postgres") >= before + 20
    # Templates take part in the wraparound, and only in that.
    assert one(after, d.XID_AGE, "template0") >= before + 20
    assert ("template0",) in after.families.get(d.MULTIXACT_AGE)
    assert ("template0",) not in after.families.get(d.BACKENDS)


def test_what_is_unknown_stays_absent() -> None:
    rows: list[tuple[object, ...]] = [("shop", None, None, 12, 2_500.0), ("mail", 9, 3, None, None)]
    columns = ("datname", "connection_limit", "numbackends", "xid_age", "session_time")
    reading = DatabasesCollector().read({"databases": Result(columns, rows)}, EPOCH)
    assert reading.families.get(d.CONNECTION_LIMIT) == {("mail",): 9}
    assert reading.families.get(d.BACKENDS) == {("mail",): 3}
    assert reading.families.get(d.XID_AGE) == {("shop",): 12}
    assert reading.families.get(COUNTERS["session_time"]) == {("shop",): 2.5}
    assert reading.rows == 2
    with pytest.raises(NoDataError):
        DatabasesCollector().read({}, EPOCH)


def test_a_failed_query_costs_only_its_own_figures() -> None:
    results = {"connections": Result(("used", "max", "reserved"), [(4, 60, 3)])}
    reading = DatabasesCollector().read(results, EPOCH)
    assert (one(reading, d.CONNECTIONS), one(reading, d.CONNECTIONS_MAX)) == (4, 60)
    assert not reading.families.get(d.XID_AGE)
    assert [query.name for query in DatabasesCollector().queries(NOWHERE)] == ["databases", "connections"]
