"""Things that keep a compute awake although nobody works: each a context manager that sets the scene and clears it.

An agent must name them. Two more are in the demo itself (`exporter.demo.waste`).
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator, Mapping

import psycopg
from psycopg import sql

from exporter.demo.compute import Compute
from exporter.demo.seed import REPLICATOR, publication


@contextlib.contextmanager
def second_poller(conninfo: str, every: float, application_name: str = "other-monitor") -> Iterator[threading.Thread]:
    """Another monitoring program: connects every so many seconds, asks one thing, disconnects."""
    ended = threading.Event()

    def poll() -> None:
        while not ended.is_set():
            with (
                contextlib.suppress(psycopg.Error),
                psycopg.connect(conninfo, application_name=application_name, autocommit=True) as connection,
            ):
                connection.execute("SELECT count(*) FROM pg_stat_activity")
            ended.wait(every)

    thread = threading.Thread(target=poll, name="twin-second-poller", daemon=True)
    thread.start()
    try:
        yield thread
    finally:
        ended.set()
        thread.join()


@contextlib.contextmanager
def slow_autovacuum(compute: Compute, database: str = "app") -> Iterator[None]:
    """An autovacuum worker that takes its time over one table; the compute must be awake.

    Raises:
        psycopg.Error: the compute is not awake.
    """
    with psycopg.connect(compute.cluster.conninfo(database), autocommit=True) as connection:
        connection.execute(
            "CREATE TABLE public.slow_to_vacuum WITH (autovacuum_vacuum_threshold = 0,"
            " autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_cost_delay = 100, autovacuum_vacuum_cost_limit = 1)"
            " AS SELECT n, repeat('x', 200) AS filler FROM generate_series(1, 20000) AS n"
        )
        connection.execute("DELETE FROM public.slow_to_vacuum WHERE n % 2 = 0")
        connection.execute("ALTER SYSTEM SET autovacuum_naptime = '1s'")
        connection.execute("SELECT pg_reload_conf()")
    try:
        yield
    finally:
        with (
            contextlib.suppress(psycopg.Error),  # Suspended meanwhile: the table stays, as a user's would.
            psycopg.connect(compute.cluster.conninfo(database), autocommit=True) as connection,
        ):
            connection.execute("DROP TABLE public.slow_to_vacuum")
            connection.execute("ALTER SYSTEM RESET autovacuum_naptime")
            connection.execute("SELECT pg_reload_conf()")


@contextlib.contextmanager
def subscription(
    subscriber: Compute, publisher: Compute, slot: str, password: str, *, database: str = "app"
) -> Iterator[None]:
    """A logical subscription of one awake compute to a slot of another: both are kept awake.

    Raises:
        psycopg.Error: one of them is not awake, or the slot is in use.
    """
    host, _, port = publisher.endpoint.host.rpartition(":")
    source: Mapping[str, str] = {
        "host": host, "port": port, "dbname": database, "user": REPLICATOR, "password": password, "sslmode": "disable",
    }  # fmt: skip
    conninfo = " ".join(f"{name}={value}" for name, value in source.items())
    name = sql.Identifier(f"{slot}_sub")
    with psycopg.connect(subscriber.cluster.conninfo(database), autocommit=True) as connection:
        connection.execute(
            sql.SQL(
                "CREATE SUBSCRIPTION {} CONNECTION {} PUBLICATION {}"
                " WITH (create_slot = false, copy_data = false, slot_name = {})"
            ).format(name, sql.Literal(conninfo), sql.Identifier(publication(slot)), sql.Literal(slot))
        )
    try:
        yield
    finally:
        with psycopg.connect(subscriber.cluster.conninfo(database), autocommit=True) as connection:
            connection.execute(sql.SQL("ALTER SUBSCRIPTION {} DISABLE").format(name))
            connection.execute(sql.SQL("ALTER SUBSCRIPTION {} SET (slot_name = NONE)").format(name))
            connection.execute(sql.SQL("DROP SUBSCRIPTION {}").format(name))
