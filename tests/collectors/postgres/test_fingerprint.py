"""Fingerprints on real servers: each single change is seen as exactly that change, and noise as nothing."""

from __future__ import annotations

import uuid
from collections.abc import Iterator

import psycopg
import pytest

from collectors.base import Epoch, Result, Server
from collectors.postgres.database.fingerprint import BusyError, FingerprintCollector
from collectors.postgres.domain.fingerprint import KINDS, Fingerprint
from exporter.demo.postgres import SUPERUSER, Cluster
from exporter.sampling.domain.schema_comparison import compare
from tests.collectors import fingerprint_world as world
from tests.collectors.reading import visited


def look(
    connection: psycopg.Connection, known: Fingerprint | None = None, *, column_order: bool = False
) -> Fingerprint:  # fmt: skip
    """As a visit reads it, but in the caller's own transaction, so that a change can be looked at and rolled back."""
    name = connection.info.dbname
    collector = FingerprintCollector(name, known.digests() if known else {}, column_order=column_order)
    results = {}
    with connection.transaction():
        connection.execute("SET LOCAL lock_timeout = '300ms'")
        for query in collector.queries(Server(connection.info.server_version, {})):
            cursor = connection.execute(query.sql.encode())
            columns = tuple(column.name for column in cursor.description or ())
            results[query.name] = Result(columns, cursor.fetchall())
    reading = collector.read(results, Epoch("ep", 1.0, 2.0))
    return reading.facts.onto(known)  # type: ignore[union-attr]


@pytest.fixture(scope="module")
def database(postgres: Cluster) -> Iterator[str]:
    name = f"fingerprint_{uuid.uuid4().hex[:8]}"
    with psycopg.connect(postgres.conninfo(), autocommit=True) as connection:
        for role in world.ROLES:
            connection.execute(role)
        connection.execute(f"CREATE DATABASE {name} TEMPLATE template0")
        with psycopg.connect(postgres.conninfo(name), autocommit=True) as inside:
            inside.execute(world.BASE)
        yield name
        connection.execute(f"DROP DATABASE {name} WITH (FORCE)")
        for role in world.ROLES:
            connection.execute(role.replace("CREATE", "DROP"))


@pytest.fixture(scope="module")
def before(postgres: Cluster, database: str) -> Fingerprint:
    """The database as it was made; no test leaves a change behind."""
    with psycopg.connect(postgres.conninfo(database), autocommit=True) as found:
        return look(found)


@pytest.fixture
def connection(postgres: Cluster, database: str) -> Iterator[psycopg.Connection]:
    with psycopg.connect(postgres.conninfo(database), autocommit=True) as found:
        yield found


def test_every_kind_of_object_has_a_place(connection: psycopg.Connection) -> None:
    found = look(connection, column_order=True)
    assert {key.kind for key in found.objects} == set(KINDS)
    assert sum(schema.objects for schema in found.schemas.values()) == len(found.objects)
    again = look(connection, found, column_order=True)
    assert again == Fingerprint(found.pg_major, found.database, 2.0, found.schemas, found.objects)


@pytest.mark.parametrize(("statement", "expected"), world.CHANGES, ids=[text for text, _ in world.CHANGES])
def test_a_single_change_is_seen_as_exactly_that(
    connection: psycopg.Connection, before: Fingerprint, statement: str, expected: world.Expected
) -> None:
    with connection.transaction(force_rollback=True):
        connection.execute(statement)
        after = look(connection, before)
    seen = [(row.kind, row.identity, row.change) for row in compare(before, after).changes]
    wanted = [(kind, name.replace("?", SUPERUSER), change) for kind, name, change in expected]
    assert sorted(seen) == sorted(wanted)
    assert after.digest != before.digest


def test_the_order_of_columns_is_an_object_of_its_own(connection: psycopg.Connection, before: Fingerprint) -> None:
    ordered = look(connection, column_order=True)
    assert compare(before, ordered).changes == (), "one side was not asked for it"
    with connection.transaction(force_rollback=True):
        connection.execute(
            "ALTER TABLE app.customers ADD COLUMN again text NOT NULL, DROP COLUMN name CASCADE;"
            " ALTER TABLE app.customers RENAME COLUMN again TO name; GRANT SELECT (name) ON app.customers TO fp_app"
        )
        assert [*compare(before, look(connection)).changes] == []
        (change,) = compare(ordered, look(connection, column_order=True)).changes
        assert (change.kind, change.identity, change.was, change.now) == (
            "order", "customers", "id,name,note", "id,note,name"
        )  # fmt: skip
        connection.execute("ALTER TABLE app.customers DROP COLUMN note")
        (change,) = compare(ordered, look(connection, column_order=True)).changes
        assert (change.kind, change.identity) == ("column", "customers.note")


def test_noise_changes_nothing(connection: psycopg.Connection, before: Fingerprint) -> None:
    for statement in world.NOISE:
        for part in statement.split(";"):
            connection.execute(part.format(superuser=SUPERUSER))
        after = look(connection, before)
        assert [*compare(before, after).changes] == [], statement
        assert after.digest == before.digest, statement


async def test_a_look_reads_nothing_behind_an_exclusive_lock(postgres: Cluster, database: str) -> None:
    collector = FingerprintCollector(database)
    with psycopg.connect(postgres.conninfo(database)) as other:
        other.execute("LOCK TABLE app.orders IN ACCESS EXCLUSIVE MODE")
        made = await visited(postgres, collector, dbname=database)
        assert made.epoch is not None
        assert not made.failures
        with pytest.raises(BusyError):
            collector.read(made.results["fingerprint"], made.epoch)
        waiting = other.execute("SELECT count(*) FROM pg_locks WHERE NOT granted").fetchone()
        assert waiting == (0,)
        assert made.seconds < 5
    made = await visited(postgres, collector, dbname=database)
    assert made.epoch is not None
    assert collector.read(made.results["fingerprint"], made.epoch).rows > 50


def test_only_what_moved_is_sent(connection: psycopg.Connection) -> None:
    before = look(connection)
    collector = FingerprintCollector(before.database, before.digests())
    with connection.transaction(force_rollback=True):
        connection.execute("CREATE SCHEMA side; CREATE TABLE side.t (id int)")
        for query in collector.queries(Server(connection.info.server_version, {})):
            rows = connection.execute(query.sql.encode()).fetchall()
            if query.name == "schemas":
                assert {row[1] for row in rows if row[0] == "object"} == {"side"}


def test_a_file_holds_all_of_it_and_refuses_edits(connection: psycopg.Connection) -> None:
    found = look(connection)
    text = found.to_json()
    assert Fingerprint.from_json(text, taken_at=2.0) == found
    assert look(connection).to_json() == text
    for broken in ("{}", "no", text.replace('"format": 1', '"format": 2'), text.replace(found.digest, "0" * 32)):
        with pytest.raises(ValueError, match=r"neonmeter|create it again"):
            Fingerprint.from_json(broken)
