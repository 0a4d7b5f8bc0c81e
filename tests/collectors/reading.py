"""One visit with one collector, as the agent makes it: what the tests of the SQL collectors read through."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from contextlib import contextmanager

import psycopg

from collectors.base import Epoch, Reading, Server, SqlCollector, Status
from collectors.postgres.session import Deadlines, Visit, visit
from exporter.demo.postgres import Cluster

EPOCH = Epoch("ep-test", 1_000.0, 2_000.0)
NOWHERE = Server(180000, {})


async def visited(
    cluster: Cluster, *collectors: SqlCollector, user: str = "monitor", dbname: str = "postgres"
) -> Visit:
    """A visit that succeeded as a whole. A server that came up this second looks as if we woke it: then once more."""
    for _ in range(300):
        made = await visit(
            cluster.conninfo(dbname, user), collectors, endpoint_id="ep-test", deadlines=Deadlines(10, 20, 10, 1)
        )
        if not made.woke_it:
            break
        await asyncio.sleep(0.2)
    assert made.status is Status.OK, made.error
    return made


async def read(
    cluster: Cluster, collector: SqlCollector, *, user: str = "monitor", dbname: str = "postgres"
) -> Reading:
    """What the collector makes of a visit in which none of its queries failed."""
    made = await visited(cluster, collector, user=user, dbname=dbname)
    assert not made.failures
    assert made.epoch is not None
    reading = collector.read(made.results[collector.name], made.epoch)
    for metric, series in reading.families.items():
        assert metric in collector.metrics
        assert len(series) <= metric.max_series, metric.name
        assert all(len(labels) == len(metric.labels) for labels in series), metric.name
    return reading


@contextmanager
def admin(cluster: Cluster, dbname: str = "postgres") -> Iterator[psycopg.Connection]:
    """A superuser's session in autocommit."""
    with psycopg.connect(cluster.conninfo(dbname), autocommit=True) as connection:
        yield connection


@contextmanager
def role(cluster: Cluster, name: str, *grants: str) -> Iterator[str]:
    """A login role for one test; its objects go with it."""
    with admin(cluster) as connection:
        connection.execute(f"CREATE ROLE {name} LOGIN PASSWORD '{cluster.password}'")
        for grant in grants:
            connection.execute(f"GRANT {grant} TO {name}")
    try:
        yield name
    finally:
        with admin(cluster) as connection:
            # A session outlives its client by a moment, and would be seen by whoever looks next.
            until(connection, "SELECT count(*) = 0 FROM pg_stat_activity WHERE usename = %s", name)
            connection.execute(f"DROP OWNED BY {name} CASCADE")
            connection.execute(f"DROP ROLE {name}")


@contextmanager
def database(cluster: Cluster, name: str, options: str = "") -> Iterator[str]:
    """A database for one test."""
    with admin(cluster) as connection:
        connection.execute(f"CREATE DATABASE {name} {options}")
    try:
        yield name
    finally:
        with admin(cluster) as connection:
            connection.execute(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")


def until(connection: psycopg.Connection, sql: str, *params: object) -> None:
    """Wait until the query answers true."""
    for _ in range(3600):
        row = connection.execute(sql.encode(), params).fetchone()
        if row is not None and row[0]:
            return
        time.sleep(0.05)
    raise AssertionError(f"never true: {sql}")
