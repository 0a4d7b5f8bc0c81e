"""Schemas of a user database on real servers: sizes without a lock, and which role works where."""

from __future__ import annotations

import psycopg
from psycopg import sql

from collectors.base import Epoch, Result
from collectors.postgres.database.schemas import SIZE, TABLES, UNKNOWN, SchemaFacts, SchemasCollector, UserDatabaseNames
from exporter.demo.postgres import Cluster
from tests.collectors.reading import admin, read

ROLES = ("acme_app", "birch_app", "both_app")


def make(server: Cluster, name: str) -> None:
    with admin(server) as owner:
        owner.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
        for role in ROLES:
            owner.execute(sql.SQL("CREATE ROLE {} LOGIN").format(sql.Identifier(role)))
    with psycopg.connect(server.conninfo(name), autocommit=True) as owner:
        owner.execute("CREATE SCHEMA t_acme AUTHORIZATION acme_app")
        owner.execute("CREATE SCHEMA t_birch; GRANT USAGE ON SCHEMA t_birch TO birch_app, both_app")
        owner.execute("GRANT USAGE ON SCHEMA t_acme TO both_app")
        owner.execute("ALTER ROLE both_app SET search_path = t_birch, public")
        owner.execute(
            "CREATE TABLE t_acme.orders AS SELECT n, repeat('x', 500) AS note FROM generate_series(1, 2000) n"
        )
        owner.execute("CREATE INDEX ON t_acme.orders (n); CREATE TABLE t_birch.empty (n int, note text)")
        owner.execute("VACUUM ANALYZE t_acme.orders")


def drop(server: Cluster, name: str) -> None:
    with admin(server) as owner:
        owner.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name)))
        for role in ROLES:
            owner.execute(sql.SQL("DROP ROLE {}").format(sql.Identifier(role)))


async def test_sizes_and_roles_of_a_user_database(postgres: Cluster) -> None:
    make(postgres, "shop")
    try:
        names = await read(postgres, UserDatabaseNames())
        with psycopg.connect(postgres.conninfo("shop")) as locker:
            locker.execute("LOCK TABLE t_acme.orders IN ACCESS EXCLUSIVE MODE")
            reading = await read(postgres, SchemasCollector("shop"), dbname="shop")
            row = locker.execute("SELECT pg_total_relation_size('t_acme.orders') + 0").fetchone()
    finally:
        drop(postgres, "shop")
    assert isinstance(names.facts, tuple)
    assert "shop" in names.facts
    assert not {"postgres", "template0", "template1"} & set(names.facts)
    size = reading.families.get(SIZE)["shop", "t_acme"]
    assert row is not None
    assert 0.9 * row[0] < size <= row[0], "a lock does not matter, and the size is that of the last vacuum"
    assert reading.families.get(TABLES)["shop", "t_birch"] == 1
    assert reading.families.get(UNKNOWN) == {("shop", "t_acme"): 0, ("shop", "t_birch"): 1}
    assert isinstance(reading.facts, SchemaFacts)
    assert {role: reading.facts.schemas[role] for role in ROLES} == {
        "acme_app": ("t_acme",),
        "birch_app": ("t_birch",),
        "both_app": ("t_birch",),  # its search_path says where it works
    }


def test_without_the_roles_there_are_no_facts_to_replace_better_ones() -> None:
    sizes = Result(("schema", "bytes", "tables", "unknown"), [("t", 8192, 1, 0)])
    reading = SchemasCollector("shop").read({"sizes": sizes}, Epoch("ep", 1.0, 2.0))
    assert reading.facts is None
    assert reading.families.get(SIZE) == {("shop", "t"): 8192}
