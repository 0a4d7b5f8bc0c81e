"""Real servers that forget: the exported calls and seconds of a tenant are what the workload did, to the call."""

from __future__ import annotations

import os
import signal
import time
from collections import Counter
from pathlib import Path

import psycopg
import pytest

from collectors.base import Epoch, Result, Server
from collectors.postgres.cluster.statements import (
    STATEMENT_FIELDS,
    TENANT_CALLS,
    TENANT_EXEC,
    StatementSample,
    StatementsCollector,
)
from exporter.demo.postgres import Cluster
from exporter.sampling.counters.statements import SCHEMAS, UNCERTAIN, DurableCounters
from exporter.storage.store import Store
from exporter.tenancy.domain.rules import AGENT, TenantRule, TenantRules
from tests.collectors.reading import admin
from tests.exporter.sampling.statement_world import NAMES, PLACE, assert_consistent
from tests.fix_postgres import ALL, QUICK, cluster

MAJORS = [pytest.param(major, marks=() if major in QUICK else pytest.mark.deep, id=f"pg{major}") for major in ALL]
RULES = TenantRules([TenantRule(role="u_(?P<tenant>.+)")], own_roles=["monitor"])
EXEC_US = STATEMENT_FIELDS.index("exec_us")
CLOCK = "SELECT extract(epoch FROM pg_postmaster_start_time())::float8, extract(epoch FROM clock_timestamp())::float8"
DONE = Counter[str]


def work(server: Cluster, role: str, calls: int) -> int:
    """Distinct statements, more of them than the agent exports; returns how many were executed."""
    with psycopg.connect(server.conninfo(user=role), autocommit=True) as connection:
        for number in range(calls):
            connection.execute(f"SELECT {', '.join(['1'] * (1 + number % 7))}").fetchall()
    return calls


def suspend(server: Cluster) -> None:
    """As Neon does: the compute is gone, and so is what it counted."""
    server.stop("immediate")
    (server.data_dir / "pg_stat" / "pg_stat_statements.stat").unlink(missing_ok=True)
    server.start()


def crash(server: Cluster) -> None:
    """A backend is killed: the server starts over in place, its shared memory empty, its start time the same."""
    with psycopg.connect(server.conninfo(), autocommit=True) as victim:
        os.kill(victim.info.backend_pid, signal.SIGKILL)
        with pytest.raises(psycopg.OperationalError):
            for _ in range(6000):
                victim.execute("SELECT 1")
                time.sleep(0.01)
    deadline = time.monotonic() + 180
    while True:
        try:
            psycopg.connect(server.conninfo()).close()
        except psycopg.OperationalError:
            assert time.monotonic() < deadline
            time.sleep(0.05)
        else:
            return


def restart(server: Cluster) -> None:
    """An ordinary restart keeps what was counted."""
    server.stop("fast")
    server.start()


def reset(server: Cluster) -> None:
    """A user resets all of it."""
    with admin(server) as connection:
        connection.execute("SELECT pg_stat_statements_reset()")


def reset_rows(server: Cluster) -> None:
    """A user resets rows one by one. Before 17 nothing tells of it but that they then count fewer calls."""
    with admin(server) as connection:
        connection.execute(
            "SELECT pg_stat_statements_reset(userid, dbid, queryid) FROM pg_stat_statements(false) "
            "WHERE userid::regrole::text LIKE 'u_%'"
        )


EVENTS = (suspend, restart, suspend, crash, reset, reset_rows, suspend, None)


@pytest.mark.parametrize("major", MAJORS)
def test_three_suspends_a_restart_a_crash_and_resets_lose_no_call(major: int, tmp_path: Path) -> None:
    with cluster(major) as server:
        with admin(server) as connection:
            for name in ("u_acme", "u_globex"):
                connection.execute(f"CREATE ROLE {name} LOGIN PASSWORD '{server.password}'")
        store = Store.open(tmp_path / "neonmeter.db", SCHEMAS)
        durable = DurableCounters(store, RULES, 3)
        done: DONE = Counter()
        busy: DONE = Counter()
        last: DONE = Counter()
        for event in EVENTS:
            for share in (1, 2):
                done["acme"] += work(server, "u_acme", 23 * share)
                done["globex"] += work(server, "u_globex", 11 * share)
                last = look(server, durable)
            if event is not None:
                event(server)
                if event is not restart:
                    busy += last
        busy += last
        families = durable.families(PLACE[2])
        calls = {labels[0]: value for labels, value in families.get(TENANT_CALLS).items()}
        assert calls.pop(AGENT, 0) > 0
        assert calls == dict(done)
        exec_us = {labels[0]: round(float(value) * 1e6) for labels, value in families.get(TENANT_EXEC).items()}
        exec_us.pop(AGENT, None)
        assert exec_us == dict(busy)
        assert families.get(UNCERTAIN) == {(): 0}
        assert sum(hour.calls for hour in durable.tenant_hours(0, 1e11) if hour.tenant == "acme") == done["acme"]
        store.close()
        store = Store.open(tmp_path / "neonmeter.db", SCHEMAS)
        again = DurableCounters(store, RULES, 3).families(PLACE[2])
        assert again.get(TENANT_CALLS) == families.get(TENANT_CALLS)
        assert_consistent(again, most=4)
        store.close()


def look(server: Cluster, durable: DurableCounters) -> DONE:
    """Absorbs what the server tells now; returns the execution time that it holds, by tenant."""
    collector = StatementsCollector()
    with psycopg.connect(server.conninfo(user="monitor"), autocommit=True) as connection:
        columns = {
            probe: frozenset(
                column.name for column in connection.execute(f"SELECT * FROM {probe} LIMIT 0").description or ()
            )
            for probe in collector.probes
        }
        clock = connection.execute(CLOCK).fetchone()
        assert clock is not None
        results = {}
        for query in collector.queries(Server(connection.info.server_version, columns)):
            cursor = connection.execute(query.sql)
            results[query.name] = Result(tuple(column.name for column in cursor.description or ()), cursor.fetchall())
    facts = collector.read(results, Epoch(PLACE[2], *clock)).facts
    assert isinstance(facts, StatementSample)
    durable.absorb(PLACE, NAMES, facts)
    held: DONE = Counter()
    for row in facts.rows:
        if row.user.startswith("u_"):
            held[row.user.removeprefix("u_")] += row.counters[EXEC_US]
    return held


@pytest.mark.parametrize("major", [18, pytest.param(15, marks=pytest.mark.deep)])
def test_evictions_by_a_full_table_invent_nothing(major: int, tmp_path: Path) -> None:
    """500 queries in 100 places: what was evicted before a look is gone, and from 17 on nothing else is wrong."""
    with cluster(major, **{"pg_stat_statements.max": "100"}) as server:
        store = Store.open(tmp_path / "neonmeter.db", SCHEMAS)
        durable = DurableCounters(store, TenantRules([TenantRule(role="u_(?P<tenant>.+)")]), 3)
        with admin(server) as connection:
            connection.execute(f"CREATE ROLE u_acme LOGIN PASSWORD '{server.password}'")
        done = 0
        for start in (0, 120, 240, 0):
            with psycopg.connect(server.conninfo(user="u_acme"), autocommit=True) as connection:
                for number in range(start, start + 120):
                    connection.execute(f'SELECT 1 AS "c{number}"').fetchall()
            done += 120
            look(server, durable)
        calls = durable.families(PLACE[2]).get(TENANT_CALLS)[("acme",)]
        assert 4 * 60 <= calls <= done
        store.close()
