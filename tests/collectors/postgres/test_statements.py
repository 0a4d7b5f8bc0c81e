"""Statements: counted to the call on real servers, summed over what is no label, and nothing counted twice."""

from __future__ import annotations

import psycopg
import pytest
from hypothesis import given
from hypothesis import strategies as st

from collectors.base import Result, Server
from collectors.postgres.cluster import statements
from collectors.postgres.cluster.statements import (
    EVICTIONS,
    EXCLUDED,
    EXCLUDED_SECONDS,
    RESET_AT,
    STATEMENT_FIELDS,
    STATEMENT_METRICS,
    TENANT_METRICS,
    TRACKED,
    TRACKED_MAX,
    StatementRow,
    StatementSample,
    StatementsCollector,
    exclude_rows,
    merge_rows,
)
from exporter.demo.postgres import Cluster
from tests.collectors.reading import EPOCH, NOWHERE, admin, database, read, role, visited
from tests.fix_postgres import cluster

CALLS, ROWS, EXEC_US = (STATEMENT_FIELDS.index(name) for name in ("calls", "rows", "exec_us"))
INFO = Result(("dealloc", "stats_reset", "max"), [(0, 5.0, 5000)])
NAMES = Result(("kind", "oid", "name"), [("user", 1, "ann"), ("user", 10, "cloud_admin"), ("database", 5, "shop")])
COLUMNS = ("userid", "dbid", "queryid", "stats_since", *STATEMENT_FIELDS)


async def sample(server: Cluster, user: str = "monitor") -> StatementSample:
    facts = (await read(server, StatementsCollector(), user=user)).facts
    assert isinstance(facts, StatementSample)
    return facts


def of(facts: StatementSample, user: str, datname: str) -> list[StatementRow]:
    return [row for row in facts.rows if (row.user, row.datname) == (user, datname)]


def total(rows: list[StatementRow], field: int) -> int:
    return sum(row.counters[field] for row in rows)


async def test_calls_and_rows_are_exact_by_role_and_database(postgres: Cluster) -> None:
    work = {("ann", "stmt_shop"): 7, ("ann", "stmt_mail"): 3, ("bob", "stmt_shop"): 11}
    with role(postgres, "ann"), role(postgres, "bob"), database(postgres, "stmt_shop"), database(postgres, "stmt_mail"):
        for (user, dbname), times in work.items():
            with psycopg.connect(postgres.conninfo(dbname, user), autocommit=True) as connection:
                for n in range(times):
                    connection.execute("SELECT generate_series(1, 5)").fetchall()
                    connection.execute(f"SELECT {n} + 1, {n}").fetchall()
        facts = await sample(postgres)
        for (user, dbname), times in work.items():
            rows = of(facts, user, dbname)
            assert sorted(row.counters[CALLS] for row in rows) == [times, times]
            assert sorted(row.counters[ROWS] for row in rows) == [times, times * 5]
            assert total(rows, EXEC_US) > 0
            assert all(int(row.queryid) and row.userid and row.dbid for row in rows)
            # The same statements have the same id wherever they ran: that is what makes them one series a tenant.
        assert len({row.queryid for row in facts.rows if row.user in ("ann", "bob")}) == 2
        with admin(postgres) as connection:
            new = connection.info.server_version >= 170000
        assert all((row.stats_since is not None) == new for row in facts.rows)


async def test_counters_equal_what_the_view_holds(postgres: Cluster) -> None:
    with role(postgres, "carla"), database(postgres, "stmt_io", "OWNER carla"):
        with psycopg.connect(postgres.conninfo("stmt_io", "carla"), autocommit=True) as connection:
            connection.execute(
                "CREATE TABLE t AS SELECT g AS id, repeat('x', 100) AS pad FROM generate_series(1, 5000) g"
            )
            connection.execute("SET work_mem = '64kB'")
            connection.execute("SELECT * FROM t ORDER BY pad, id DESC").fetchall()
            connection.execute("UPDATE t SET pad = 'y' WHERE id % 7 = 0")
        rows = of(await sample(postgres), "carla", "stmt_io")
        with admin(postgres) as connection:
            true = connection.execute(
                "SELECT sum(calls)::int, sum(total_exec_time) * 1000, sum(total_plan_time) * 1000, sum(rows)::int, "
                "sum(shared_blks_hit)::int, sum(shared_blks_read)::int, sum(temp_blks_written)::int, "
                "sum(wal_bytes)::int "
                "FROM pg_stat_statements(false) WHERE userid = 'carla'::regrole"
            ).fetchone()
        assert true is not None
        by_name = {name: total(rows, index) for index, name in enumerate(STATEMENT_FIELDS)}
        exact = ("calls", "rows", "shared_blks_hit", "shared_blks_read", "temp_blks_written", "wal_bytes")
        assert tuple(by_name[name] for name in exact) == (true[0], *true[3:])
        assert by_name["exec_us"] == pytest.approx(true[1], abs=len(rows))
        assert by_name["plan_us"] == pytest.approx(true[2], abs=len(rows))
        assert by_name["wal_bytes"] > 100_000
        assert by_name["temp_blks_written"] > 0
        assert by_name["plan_us"] > 0


async def test_nested_and_top_level_calls_are_one_row(postgres: Cluster) -> None:
    with role(postgres, "dora"), database(postgres, "stmt_nested", "OWNER dora"):
        with admin(postgres) as connection:
            connection.execute("ALTER ROLE dora SET pg_stat_statements.track = 'all'")
        with psycopg.connect(postgres.conninfo("stmt_nested", "dora"), autocommit=True) as connection:
            connection.execute("CREATE TABLE t (id int)")
            connection.execute(
                "CREATE FUNCTION f() RETURNS void LANGUAGE plpgsql AS $$BEGIN PERFORM count(*) FROM t; END$$"
            )
            for _ in range(3):
                connection.execute("SELECT f()")
            for _ in range(4):
                connection.execute("SELECT count(*) FROM t")
        with admin(postgres) as connection:
            parts = connection.execute(
                "SELECT queryid::text, sum(calls)::int FROM pg_stat_statements(false) "
                "WHERE userid = 'dora'::regrole GROUP BY 1 HAVING count(*) = 2"
            ).fetchall()
        assert [calls for _, calls in parts] == [7]
        rows = of(await sample(postgres), "dora", "stmt_nested")
        assert [row.counters[CALLS] for row in rows if row.queryid == parts[0][0]] == [7]
        assert len({row.queryid for row in rows}) == len(rows)


async def test_what_is_left_out_is_counted(postgres: Cluster) -> None:
    with admin(postgres) as connection:
        connection.execute("CREATE ROLE ghost LOGIN PASSWORD 'not-a-secret'")
    with psycopg.connect(postgres.conninfo(user="ghost"), autocommit=True) as connection:
        connection.execute("SELECT pg_sleep(0.02), 'ghost'")
    with admin(postgres) as connection:
        connection.execute("DROP ROLE ghost")
        own = connection.execute(
            "SELECT count(*) FROM pg_stat_statements(false) WHERE userid = 'cloud_admin'::regrole"
        ).fetchone()
    assert own is not None
    reading = await read(postgres, StatementsCollector())
    excluded, seconds = reading.families.get(EXCLUDED), reading.families.get(EXCLUDED_SECONDS)
    # The counting statement itself was tracked after it counted.
    assert own[0] <= excluded["neon",] <= own[0] + 1
    assert excluded["dropped",] >= 1
    assert excluded["hidden",] == 0
    assert float(seconds["dropped",]) >= 0.02
    facts = reading.facts
    assert isinstance(facts, StatementSample)
    assert not [row for row in facts.rows if row.user == "cloud_admin"]
    assert facts.seen == reading.rows == reading.families.get(TRACKED)[()]
    assert facts.seen >= len(facts.rows) + sum(map(int, excluded.values()))


async def test_a_role_without_pg_monitor_sees_its_own_and_says_so(postgres: Cluster) -> None:
    with role(postgres, "plain"), role(postgres, "erin"):
        for user in ("plain", "erin"):
            with psycopg.connect(postgres.conninfo(user=user), autocommit=True) as connection:
                connection.execute("SELECT 1, 2, 3")
        reading = await read(postgres, StatementsCollector(), user="plain")
        assert isinstance(reading.facts, StatementSample)
        assert {row.user for row in reading.facts.rows} == {"plain"}
        assert reading.families.get(EXCLUDED)["hidden",] >= 1


async def test_a_database_without_the_extension_is_unsupported(postgres: Cluster) -> None:
    with database(postgres, "stmt_bare"):
        made = await visited(postgres, StatementsCollector(), dbname="stmt_bare")
    assert made.results == {"statements": {}}
    assert StatementsCollector().queries(NOWHERE) == ()


@pytest.mark.deep
async def test_evictions_are_counted() -> None:
    with cluster(18, **{"pg_stat_statements.max": "100"}) as server:
        with psycopg.connect(server.conninfo(user="monitor"), autocommit=True) as connection, connection.pipeline():
            for width in range(1, 200):
                connection.execute("SELECT " + ", ".join(["1"] * width))
        reading = await read(server, StatementsCollector())
    assert reading.families.get(TRACKED_MAX) == {(): 100}
    assert int(reading.families.get(EVICTIONS)[()]) >= 1
    assert int(reading.families.get(TRACKED)[()]) <= 100
    assert float(reading.families.get(RESET_AT)[()]) > 1.7e9
    assert isinstance(reading.facts, StatementSample)
    assert reading.facts.dealloc == reading.families.get(EVICTIONS)[()]


@pytest.mark.parametrize(
    ("columns", "expected"),
    [
        ({"total_exec_time", "total_plan_time", "blk_read_time"}, "blk_read_time * 1000"),
        ({"total_exec_time", "total_plan_time", "shared_blk_read_time", "stats_since"}, "local_blk_read_time"),
    ],
)
def test_the_extension_decides_not_the_server(columns: set[str], expected: str) -> None:
    server = Server(
        180000, {"pg_stat_statements": frozenset(columns), "pg_stat_statements_info": frozenset({"dealloc"})}
    )
    rows = StatementsCollector().queries(server)[0]
    assert expected in rows.sql


def raw(userid: int, dbid: int, queryid: str | None, since: float | None, *counters: int) -> tuple[object, ...]:
    return (userid, dbid, queryid, since, *counters, *[0] * (len(STATEMENT_FIELDS) - len(counters)))


@pytest.mark.parametrize("missing", ["rows", "names", "info"])
def test_no_facts_from_half_a_reading(missing: str) -> None:
    results = {"rows": Result(COLUMNS, [raw(1, 5, "7", None, 4)]), "names": NAMES, "info": INFO}
    del results[missing]
    assert StatementsCollector().read(results, EPOCH).facts is None


def test_rows_get_their_names() -> None:
    rows = [raw(1, 5, "7", 3.0, 4, 9), raw(10, 5, "7", 3.0, 1, 2_000_000), raw(1, 6, "7", 3.0, 1, 500_000)]
    reading = StatementsCollector().read({"rows": Result(COLUMNS, rows), "names": NAMES, "info": INFO}, EPOCH)
    assert isinstance(reading.facts, StatementSample)
    assert reading.facts.rows == (StatementRow("ann", "shop", "7", 3.0, (4, 9, *[0] * 8), 1, 5),)
    assert (reading.facts.epoch, reading.facts.stats_reset, reading.facts.dealloc) == (EPOCH, 5.0, 0)
    assert reading.families.get(EXCLUDED) == {("neon",): 1, ("hidden",): 0, ("dropped",): 1}
    assert reading.families.get(EXCLUDED_SECONDS) == {("neon",): 2.0, ("hidden",): 0.0, ("dropped",): 0.5}


counters = st.tuples(*[st.integers(0, 2**40)] * len(STATEMENT_FIELDS))
raw_rows = st.lists(
    st.builds(
        lambda userid, queryid, since, counts: (userid, 5, queryid, since, *counts),
        st.integers(1, 3), st.sampled_from(["7", "8", None]), st.one_of(st.none(), st.floats(1, 9)), counters,
    )
)  # fmt: skip


@given(raw_rows)
def test_merging_keeps_every_sum_and_the_oldest_birth(rows: list[statements._RawRow]) -> None:
    merged = merge_rows(rows)
    assert len({row[:3] for row in merged}) == len(merged) == len({row[:3] for row in rows})
    for column in range(4, 4 + len(STATEMENT_FIELDS)):
        assert sum(row[column] for row in merged) == sum(row[column] for row in rows)  # type: ignore[misc]
    for row in merged:
        births = [other[3] for other in rows if other[:3] == row[:3] and other[3] is not None]
        assert row[3] == min(births, default=None)


@given(raw_rows)
def test_every_row_is_kept_or_counted(rows: list[statements._RawRow]) -> None:
    kept, excluded = exclude_rows(rows, {1: "ann", 2: "cloud_admin"}, {5: "shop"})
    assert len(kept) + sum(count for count, _ in excluded.values()) == len(rows)
    assert sum(row[5] for row in kept) + sum(us for _, us in excluded.values()) == sum(row[5] for row in rows)


def test_each_counter_is_shown_in_its_unit() -> None:
    for table in (STATEMENT_METRICS, TENANT_METRICS):
        for metric, field, per in table:
            micro = STATEMENT_FIELDS[field].endswith("_us")
            assert per == (1_000_000 if micro else 1), metric.name
            assert metric.name.endswith("_seconds_total") == micro, metric.name
    assert {tenant_metric.field for tenant_metric in TENANT_METRICS} == set(range(len(STATEMENT_FIELDS)))
