"""Logical slots with real readers, for the tests of whoever watches them."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager

from exporter.demo.postgres import Cluster
from tests.collectors.reading import admin, until
from tests.fix_postgres import bin_dir


@contextmanager
def slot(server: Cluster, name: str, plugin: str = "test_decoding", dbname: str = "postgres") -> Iterator[str]:
    with admin(server, dbname) as connection:
        connection.execute("SELECT pg_create_logical_replication_slot(%s, %s)", (name, plugin))
    try:
        yield name
    finally:
        with admin(server) as connection:
            connection.execute(
                "SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots WHERE slot_name = %s", (name,)
            )


@contextmanager
def consumer(server: Cluster, slot_name: str, dbname: str, application: str) -> Iterator[None]:
    """A real pg_recvlogical (18's: it reads every version) that reads a slot until the end of the block."""
    conninfo = f"{server.conninfo(dbname)} application_name={application}"
    command = [str(bin_dir(18) / "pg_recvlogical"), "-d", conninfo, "--slot", slot_name, "--start", "-f", "/dev/null"]
    reader = subprocess.Popen([*command, "--status-interval=1"], stderr=subprocess.DEVNULL)
    try:
        with admin(server) as connection:
            until(connection, "SELECT active FROM pg_replication_slots WHERE slot_name = %s", slot_name)
        yield
    finally:
        reader.terminate()
        reader.wait(10)
        with admin(server) as connection:
            until(connection, "SELECT NOT active FROM pg_replication_slots WHERE slot_name = %s", slot_name)
            until(connection, "SELECT count(*) = 0 FROM pg_stat_replication")


def write_wal(server: Cluster, size: int) -> None:
    with admin(server) as connection:
        for _ in range(size // 100_000):
            connection.execute("SELECT pg_logical_emit_message(true, 'test', repeat('x', 100000))")
