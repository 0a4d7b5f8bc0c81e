"""A PostgreSQL 18 as a platform has it: 50 databases, 20 tenants by role, 6,000 distinct statements."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import psycopg

from exporter.demo.postgres import Cluster, wheel_bin_dir

DATABASES, TENANTS, EACH = 50, 20, 300
PASSWORD = "not-a-secret"
SETTINGS = {"pg_stat_statements.max": "10000", "max_connections": "200", "shared_buffers": "128MB"}
MONITORS = ("monitor", "exporter")


def statement(number: int) -> str:
    """One of ``EACH`` statements that no normalising makes equal: the operators spell the number."""
    return "SELECT 1" + "".join("+1" if number >> bit & 1 else "-1" for bit in range(10))


class Tenants:
    """The applications: one session a tenant, each in a database of its own."""

    def __init__(self, sessions: list[psycopg.Connection]) -> None:
        self._sessions = sessions
        self._next = 0

    def work(self, statements: int) -> None:
        """Call so many statements once, the next ones each time."""
        for session in self._sessions:
            share = range(self._next, self._next + statements // len(self._sessions))
            session.execute(";".join(statement(number % EACH) for number in share).encode())
        self._next += statements // len(self._sessions)


@contextmanager
def server() -> Iterator[tuple[Cluster, Tenants]]:
    """The server, running, and its applications; both are gone afterwards.

    Raises:
        PostgresStartError: there is no PostgreSQL in this environment.
    """
    with ExitStack() as stack:
        where = Path(tempfile.mkdtemp(prefix="neonmeter-bench-"))
        stack.callback(shutil.rmtree, where, ignore_errors=True)
        where.chmod(0o755)
        cluster = Cluster(wheel_bin_dir(where), where / "data", PASSWORD, settings=SETTINGS)
        cluster.create()
        cluster.start()
        stack.callback(cluster.stop, "immediate")
        with psycopg.connect(cluster.conninfo(), autocommit=True) as owner:
            owner.execute("CREATE EXTENSION pg_stat_statements")
            for number in range(DATABASES):
                owner.execute(f"CREATE DATABASE db{number:02}".encode())
            for number in range(TENANTS):
                owner.execute(f"CREATE ROLE tenant{number:02} LOGIN PASSWORD '{PASSWORD}'".encode())
            for name in MONITORS:
                owner.execute(f"CREATE ROLE {name} LOGIN PASSWORD '{PASSWORD}'".encode())
                owner.execute(f"GRANT pg_monitor TO {name}".encode())
        sessions = [
            stack.enter_context(
                psycopg.connect(cluster.conninfo(f"db{number:02}", f"tenant{number:02}"), autocommit=True)
            )
            for number in range(TENANTS)
        ]
        tenants = Tenants(sessions)
        tenants.work(TENANTS * EACH)
        yield cluster, tenants
