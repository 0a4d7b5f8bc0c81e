"""One schema by different paths has one fingerprint, also on another server: order, detours, dump and restore."""

from __future__ import annotations

import os
import random
import subprocess
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import psycopg
import pytest

from collectors.postgres.domain.fingerprint import Fingerprint
from exporter.demo.postgres import Cluster
from exporter.sampling.domain.schema_comparison import compare
from tests.collectors import fingerprint_world as world
from tests.collectors.postgres.test_fingerprint import look
from tests.fix_postgres import bin_dir, cluster

DETOURS = (
    "ALTER TABLE app.customers RENAME TO clients; ALTER TABLE app.clients RENAME TO customers",
    "ALTER TABLE app.customers RENAME COLUMN note TO remark; ALTER TABLE app.customers RENAME COLUMN remark TO note",
    "ALTER TABLE app.customers DROP COLUMN note; ALTER TABLE app.customers ADD COLUMN note varchar(50)",
    "DROP INDEX app.orders_placed; CREATE INDEX orders_placed ON app.orders (placed DESC)",
    "ALTER SCHEMA app RENAME TO elsewhere; ALTER SCHEMA elsewhere RENAME TO app",
    "ALTER INDEX app.orders_state RENAME TO x; ALTER INDEX app.x RENAME TO orders_state",
    "ALTER TABLE app.orders DROP CONSTRAINT positive;"
    " ALTER TABLE app.orders ADD CONSTRAINT positive CHECK (amount > 0)",
    "ALTER TYPE app.state RENAME VALUE 'paid' TO 'settled'; ALTER TYPE app.state RENAME VALUE 'settled' TO 'paid'",
    "REVOKE ALL ON app.orders FROM fp_app; GRANT INSERT ON app.orders TO fp_app; GRANT SELECT ON app.orders TO fp_app",
    "ALTER TABLE app.orders DISABLE TRIGGER touched; ALTER TABLE app.orders ENABLE TRIGGER touched",
    "ALTER PUBLICATION changes SET TABLE app.customers; ALTER PUBLICATION changes ADD TABLE app.orders",
    "DROP VIEW app.open_orders; CREATE VIEW app.open_orders AS SELECT o.id, o.amount FROM app.orders o"
    " WHERE o.state <> 'sent'; DROP VIEW app.open_orders;"
    " CREATE VIEW app.open_orders AS SELECT id, amount FROM app.orders WHERE state <> 'sent'",
)
"""Each leads away and back."""


@pytest.fixture(scope="module")
def other(postgres: Cluster) -> Iterator[Cluster]:
    """A second server of the same version, on which OIDs are not the same."""
    with psycopg.connect(postgres.conninfo()) as connection:
        major = connection.info.server_version // 10000
    with cluster(major) as server:
        with psycopg.connect(server.conninfo(), autocommit=True) as connection:
            connection.execute("CREATE TABLE so_that_oids_differ AS SELECT 1 AS x")
        yield server


@contextmanager
def roles(server: Cluster, names: Sequence[str]) -> Iterator[None]:
    with psycopg.connect(server.conninfo(), autocommit=True) as connection:
        for role in names:
            connection.execute(role.encode())
        yield
        for role in names:
            connection.execute(role.replace("CREATE", "DROP").encode())


@contextmanager
def database(server: Cluster) -> Iterator[str]:
    name = f"path_{uuid.uuid4().hex[:8]}"
    with psycopg.connect(server.conninfo(), autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name} TEMPLATE template0".encode())
        yield name
        connection.execute(f"DROP DATABASE {name} WITH (FORCE)".encode())


def fingerprint(server: Cluster, name: str) -> Fingerprint:
    with psycopg.connect(server.conninfo(name), autocommit=True) as connection:
        return look(connection)


def make(server: Cluster, name: str, statements: Sequence[str]) -> None:
    """Execute in any order: what fails because it needs another one comes again after that."""
    left = list(statements)
    with psycopg.connect(server.conninfo(name), autocommit=True) as connection:
        while left:
            failed = []
            for statement in left:
                try:
                    connection.execute(statement.encode())
                except psycopg.Error:
                    failed.append(statement)
            assert len(failed) < len(left), failed[0]
            left = failed


def shuffled(seed: int) -> tuple[list[str], ...]:
    """Default privileges mark a point in time: what is made before them has none. All else may change places."""
    statements = [part for part in world.BASE.strip().rstrip(";").split(";\n") if part.strip()]
    point = next(i for i, name in enumerate(statements) if name.startswith("ALTER DEFAULT"))
    before, after = statements[:point], statements[point + 1 :]
    order = random.Random(seed)
    order.shuffle(before)
    order.shuffle(after)
    return before, [statements[point]], after


def same(one: Fingerprint, another: Fingerprint) -> None:
    assert [*compare(one, another).changes] == []
    assert one.digest == another.digest


def test_two_servers_by_different_paths(postgres: Cluster, other: Cluster) -> None:
    with (
        roles(postgres, world.ROLES), roles(other, world.ROLES),
        database(postgres) as first, database(other) as second, database(other) as restored,
    ):  # fmt: skip
        make(postgres, first, [world.BASE])
        wanted = fingerprint(postgres, first)
        assert len(wanted.objects) > 50
        for seed in range(2):
            with database(other) as name:
                for phase in shuffled(seed):
                    make(other, name, phase)
                same(wanted, fingerprint(other, name))
        make(other, second, [world.BASE])
        with psycopg.connect(other.conninfo(second), autocommit=True) as connection:
            for detour in DETOURS:
                connection.execute(detour.encode())
                same(wanted, look(connection))
        text = subprocess.run(
            [str(bin_dir(18) / "pg_dump"), "--dbname", postgres.conninfo(first)],
            capture_output=True, check=True, env={**os.environ, "LC_ALL": "C"},
        ).stdout  # fmt: skip
        # pg_dump 18 says things that older servers do not know (SET transaction_timeout): those alone may fail.
        done = subprocess.run(
            [str(bin_dir(18) / "psql"), "--quiet", "--no-psqlrc", "--dbname", other.conninfo(restored)],
            input=text, capture_output=True, check=True,
        )  # fmt: skip
        errors = [line for line in done.stderr.decode().splitlines() if "ERROR" in line]
        assert all("transaction_timeout" in line for line in errors), errors
        same(wanted, fingerprint(other, restored))
