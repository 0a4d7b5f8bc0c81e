"""Migration histories, read from real servers: documented tables here, real tools in test_migration_tools.py."""

from __future__ import annotations

import uuid
from collections.abc import Iterator

import psycopg
import pytest

from collectors.base import Status
from collectors.metric import Metric
from collectors.postgres.database import migrations
from collectors.postgres.database.migrations import MigrationsCollector
from collectors.postgres.domain.migrations import History, MigrationFacts, majority
from collectors.postgres.session import Visit
from exporter.demo.postgres import SUPERUSER, Cluster
from tests.collectors import migration_tables as tables
from tests.collectors.reading import visited

Told = dict[Metric, dict[tuple[str, ...], float]]


@pytest.fixture
def database(postgres: Cluster) -> Iterator[str]:
    """A database of its own on a shared server; answers its name."""
    name = f"migrations_{uuid.uuid4().hex[:8]}"
    with psycopg.connect(postgres.conninfo(), autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name}")
        yield name
        connection.execute(f"DROP DATABASE {name} WITH (FORCE)")


def run(postgres: Cluster, database: str, *statements: str) -> None:
    with psycopg.connect(postgres.conninfo(dbname=database), autocommit=True) as connection:
        for statement in statements:
            connection.execute(statement)


async def look(postgres: Cluster, database: str, user: str = SUPERUSER) -> tuple[Visit, MigrationFacts | None, Told]:
    collector = MigrationsCollector(database)
    made = await visited(postgres, collector, user=user, dbname=database)
    assert made.epoch is not None
    try:
        reading = collector.read(made.results["migrations"], made.epoch)
    except migrations.NoDataError:
        return made, None, {}
    assert isinstance(reading.facts, MigrationFacts)
    return made, reading.facts, {metric: dict(series) for metric, series in reading.families.items()}


async def test_every_tool_is_found_by_its_columns(postgres: Cluster, database: str) -> None:
    run(postgres, database, *(text.format(schema=tool.replace("-", "_")) for tool, text in tables.EVERY.items()))
    made, facts, families = await look(postgres, database)
    assert not made.failures
    assert facts is not None
    assert {history.tool: history.status for history in facts.histories} == dict.fromkeys(tables.EVERY, Status.OK)
    for history in facts.histories:
        schema = history.tool.replace("-", "_")
        assert history.schema == schema
        assert [migration.id for migration in history.migrations if migration.state == "applied"] == tables.APPLIED[
            history.tool
        ]
        labels = (database, history.tool, schema)
        assert families[migrations.APPLIED][labels] == len(tables.APPLIED[history.tool])
        assert families[migrations.FAILED][labels] == tables.FAILED.get(history.tool, 0)
        assert families[migrations.ROLLED_BACK][labels] == tables.ROLLED_BACK.get(history.tool, 0)
    held = {labels[1]: value for labels, value in families[migrations.LOCK_HELD].items() if value}
    assert held == {"liquibase": 1, "knex": 1}
    assert 1190 < families[migrations.LOCK_AGE][database, "liquibase"] < 1300
    assert {lock.by for lock in facts.locks} == {"ci-runner", ""}
    # The tools that keep no time of apply have none.
    timed = {labels[1] for labels in families[migrations.LAST_APPLIED]}
    assert timed == {"flyway", "liquibase", "prisma", "knex", "goose", "atlas"}


async def test_an_application_table_of_the_same_name_is_no_history(postgres: Cluster, database: str) -> None:
    run(postgres, database, "CREATE TABLE changes (id int, what text)", "CREATE TABLE migrations (bird text, day date)")
    _, facts, _ = await look(postgres, database)
    assert facts is None


async def test_one_history_a_tenant_and_who_deviates(postgres: Cluster, database: str) -> None:
    statements = [
        text
        for number in range(30)
        for text in (
            f"CREATE SCHEMA t_{number:02}",
            f"CREATE TABLE t_{number:02}.alembic_version (version_num varchar(32) PRIMARY KEY)",
            f"INSERT INTO t_{number:02}.alembic_version VALUES ('{'old' if number in (7, 19) else 'head'}')",
        )
    ]
    run(postgres, database, *statements)
    _, facts, families = await look(postgres, database)
    assert facts is not None
    assert len(facts.histories) == 30
    assert families[migrations.HISTORIES][database, "alembic"] == 30
    assert families[migrations.DEVIATING][database, "alembic"] == 2
    shown = {labels[2] for labels in families[migrations.APPLIED]}
    assert shown == {migrations.MAJORITY, "t_07", "t_19"}
    ids = {history.schema: [migration.id for migration in history.migrations] for history in facts.histories}
    assert ids["t_07"] == ["old"]
    assert ids["t_08"] == ["head"]


async def test_what_cannot_be_read_is_named(postgres: Cluster, database: str) -> None:
    run(
        postgres,
        database,
        tables.RAILS.format(schema="open"),
        tables.KNEX.format(schema="closed"),
        "GRANT USAGE ON SCHEMA open TO monitor",
        "GRANT SELECT ON open.schema_migrations TO monitor",
    )
    _, facts, families = await look(postgres, database, user="monitor")
    assert facts is not None
    assert {history.schema: history.status for history in facts.histories} == {
        "open": Status.OK,
        "closed": Status.NO_PRIVILEGE,
    }
    assert families[migrations.UNREADABLE] == {(database, "knex", "no_privilege"): 1}
    assert (database, "knex", "closed") not in families[migrations.APPLIED]


async def test_a_locked_history_holds_up_nothing_else(postgres: Cluster, database: str) -> None:
    run(
        postgres,
        database,
        *(tables.RAILS.format(schema=f"t{number}") for number in range(6)),
    )
    with psycopg.connect(postgres.conninfo(dbname=database)) as other:
        for number in (1, 2, 3):
            other.execute(f"LOCK TABLE t{number}.schema_migrations IN ACCESS EXCLUSIVE MODE")
        made, facts, _ = await look(postgres, database)
    assert facts is not None
    assert {history.schema: history.status.value for history in facts.histories} == {
        "t0": "ok", "t1": "timeout", "t2": "timeout", "t3": "timeout", "t4": "timeout", "t5": "timeout"
    }  # fmt: skip
    assert not made.failures
    _, facts, _ = await look(postgres, database)
    assert facts is not None
    assert all(history.status is Status.OK for history in facts.histories)


@pytest.mark.parametrize(("key", "tool"), [(75474063, "sqitch"), (72707369, "prisma"), (0, "rails")])
async def test_an_advisory_lock_is_held_only_while_it_is(postgres: Cluster, database: str, key: int, tool: str) -> None:
    tables_of = {"sqitch": tables.PRISMA, "prisma": tables.PRISMA, "rails": tables.RAILS}
    run(postgres, database, tables_of[tool].format(schema="public"))
    with psycopg.connect(postgres.conninfo(dbname=database), autocommit=True) as other:
        other.execute("SELECT pg_advisory_lock(%s)", (key or migrations.rails_key(database),))
        _, facts, _ = await look(postgres, database)
        assert facts is not None
        assert [lock.tool for lock in facts.locks] == [tool]
    _, facts, _ = await look(postgres, database)
    assert facts is not None
    assert facts.locks == ()


async def test_a_lock_in_a_table_is_held_only_while_it_is(postgres: Cluster, database: str) -> None:
    run(postgres, database, tables.LIQUIBASE.format(schema="public"))
    _, facts, families = await look(postgres, database)
    assert facts is not None
    assert [lock.tool for lock in facts.locks] == ["liquibase"]
    assert families[migrations.LOCK_HELD] == {(database, "liquibase"): 1}
    release = "UPDATE databasechangeloglock SET locked = false, lockgranted = NULL, lockedby = NULL"
    run(postgres, database, release)
    _, facts, families = await look(postgres, database)
    assert facts is not None
    assert facts.locks == ()
    assert families[migrations.LOCK_HELD] == {(database, "liquibase"): 0}
    assert migrations.LOCK_AGE not in families


def test_the_majority_is_the_most_common_digest() -> None:
    histories = [History("rails", f"t{n}", "x", digest=digest) for n, digest in enumerate("aabbbc")]
    assert majority(histories) == "b"
    assert majority([History("rails", "t", "x", digest="z", status=Status.TIMEOUT)]) == ""
