"""The SQL files: each says what it costs and needs, runs through some collector, and loads by version."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from collectors.base import Options, Result, Server
from collectors.metric import Families, Kind, Metric, Scope, Unit
from collectors.postgres import query
from collectors.postgres.database.fingerprint import FingerprintCollector
from collectors.postgres.database.migrations import MigrationsCollector
from collectors.postgres.database.schemas import SchemasCollector, UserDatabaseNames
from collectors.postgres.database.security import SecurityCollector
from collectors.registry import ALL

EVERY = [(name, major) for name in query.names() for major in query.versions(name)]
OLD = {
    "pg_stat_statements": frozenset({"total_plan_time", "blk_read_time"}),
    "pg_stat_statements_info": frozenset({"dealloc"}),
}
NEW = {**OLD, "pg_stat_statements": frozenset({"total_plan_time", "shared_blk_read_time"})}


@pytest.mark.parametrize(("name", "major"), EVERY)
def test_each_file_says_what_it_reads_costs_and_needs(name: str, major: int) -> None:
    head = query.header(name, major)
    assert set(head) - {"checks", "checks when quiet"} == {"view", "cost", "privilege"}
    assert ("checks" in head) == (name in ("security_grants", "security_tables", "security_code"))
    assert all(len(text) >= 4 for text in head.values())


@pytest.mark.parametrize(("name", "major"), EVERY)
def test_only_the_statement_is_sent(name: str, major: int) -> None:
    sql = query.load(name, major)
    assert "--" not in sql
    assert sql.split()[0] in ("SELECT", "WITH", "DO")
    assert ";" not in sql or sql.startswith("DO $neonmeter$")


def test_every_file_belongs_to_a_collector() -> None:
    collectors = [collector.build(Options()) for collector in ALL.values()]
    posture = SecurityCollector("app")
    riding = (SchemasCollector("app"), FingerprintCollector("app"), MigrationsCollector("app"), posture)
    used = {
        entry.sql
        for collector in (*collectors, *riding, UserDatabaseNames())
        for server in (Server(140000, OLD), Server(180000, NEW))
        for entry in collector.queries(server)
    }
    assert used >= {query.load(name, major) for name, major in EVERY}


def test_the_newest_file_that_fits_wins() -> None:
    assert query.versions("statements") == (0, 17)
    assert query.load("statements", 16) == query.load("statements", 14) != query.load("statements", 17)
    assert query.load("statements", 18) == query.load("statements", 17)
    with pytest.raises(KeyError):
        query.load("nothing", 18)


@given(st.one_of(st.none(), st.integers(-(2**60), 2**60), st.booleans()))
def test_null_stays_absent_and_everything_else_is_a_number(value: int | None) -> None:
    metric = Metric("pg_test", Kind.GAUGE, Unit.NONE, Scope.ENDPOINT, "A test.")
    families = Families()
    (row,) = query.records(Result(("x",), [(value,)]))
    query.fill(families, (query.Column("x", metric), query.Column("absent", metric)), (), row)
    assert families.get(metric) == ({} if value is None else {(): int(value)})


def test_a_failed_query_has_no_records() -> None:
    assert list(query.records(None)) == []
