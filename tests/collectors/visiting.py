"""Visits with fake collectors, and what they must not leave behind: shared by the tests of the session."""

from __future__ import annotations

import asyncio
import gc
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import psycopg

from collectors.postgres.session import Deadlines, Visit, visit
from exporter.demo.postgres import Cluster
from tests.collectors.reading_fake import FakeCollector

PATIENT = Deadlines(connect=60, session=60, statement=30)
"""Where the deadlines are not what is tested."""


def monitor(server: Cluster, dbname: str = "postgres") -> str:
    return server.conninfo(dbname, "monitor")


@contextmanager
def admin(server: Cluster) -> Iterator[psycopg.Connection]:
    with psycopg.connect(server.conninfo(), autocommit=True) as connection:
        yield connection


def sessions_left(server: Cluster) -> int:
    """Sessions of ours on the server, once those that are closing had the time to."""
    left = -1
    with admin(server) as connection:
        for _ in range(6000):
            row = connection.execute("SELECT count(*) FROM pg_stat_activity WHERE application_name = 'neonmeter'")
            left = row.fetchone()[0]  # type: ignore[index]
            if left == 0:
                return 0
            time.sleep(0.02)
    return left


def open_sockets() -> set[str]:
    gc.collect()
    found = set()
    for path in Path("/proc/self/fd").iterdir():
        with suppress(OSError):
            found.add(str(path.readlink()))
    return {name for name in found if name.startswith("socket:")}


async def settled(server: Cluster) -> None:
    """Wait until the server is old enough that a connect of ours cannot be taken for its wake."""
    with admin(server) as connection:
        while True:
            row = connection.execute("SELECT extract(epoch FROM now() - pg_postmaster_start_time())::float8").fetchone()
            if row is not None and row[0] > 2.5:
                return
            await asyncio.sleep(0.1)


async def look(server: Cluster, *queries: str, probe: Visit | None = None, deadlines: Deadlines = PATIENT) -> Visit:
    await settled(server)
    known = (probe.server, probe.evidence.postmaster_start) if probe is not None and probe.evidence else (None, 0.0)
    return await visit(
        monitor(server),
        [FakeCollector(*queries)],
        endpoint_id="ep-1",
        deadlines=deadlines,
        probe=known[0],
        probed_start=known[1],
    )
