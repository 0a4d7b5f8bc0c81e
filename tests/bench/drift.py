"""Fingerprints of large databases: time, bytes and memory, beside `pg_dump --schema-only`, on PostgreSQL 15 and 18."""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import psycopg

from collectors.base import Epoch, Result, Server
from collectors.postgres.database.fingerprint import FingerprintCollector
from collectors.postgres.domain.fingerprint import Fingerprint
from exporter.demo.postgres import Cluster
from exporter.documents.terminal import table
from exporter.sampling.domain.schema_comparison import compare_tenants
from tests.bench.measure import cpu_seconds, rss_megabytes
from tests.fix_postgres import bin_dir, cluster


@dataclass(frozen=True)
class Cost:
    """What one look took."""

    seconds: float
    server_cpu: float
    server_mb: float
    our_mb: float
    """What our own process grew by at most, with the server's answer and the whole fingerprint in it."""
    received: int
    objects: int


def _sent(result: Result) -> int:
    """Bytes of the values, as text: what a billed egress would count, without the protocol's framing."""
    return sum(len(str(value)) for row in result.rows for value in row)


@contextmanager
def _peak(pid: int) -> Iterator[list[float]]:
    """The largest resident size of a server process while the block runs."""
    peak, stop = [0.0], threading.Event()

    def watch() -> None:
        while not stop.wait(0.02):
            try:
                peak[0] = max(peak[0], rss_megabytes(pid))
            except OSError:
                return

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        yield peak
    finally:
        stop.set()
        thread.join()


def look(connection: psycopg.Connection, known: Fingerprint | None) -> tuple[Fingerprint, Cost]:
    """One look, as a visit makes it."""
    collector = FingerprintCollector(connection.info.dbname, known.digests() if known else {})
    results: dict[str, Result] = {}
    began = time.monotonic()
    pid = connection.info.backend_pid
    cpu = cpu_seconds(pid)
    before = rss_megabytes(os.getpid())
    with _peak(pid) as peak, _peak(os.getpid()) as ours, connection.transaction():
        connection.execute("SET LOCAL jit = off")
        for query in collector.queries(Server(connection.info.server_version, {})):
            cursor = connection.execute(query.sql.encode())
            columns = tuple(column.name for column in cursor.description or ())
            results[query.name] = Result(columns, cursor.fetchall())
    seconds, cpu = time.monotonic() - began, cpu_seconds(pid) - cpu
    with _peak(os.getpid()) as after:
        facts = collector.read(results, Epoch("ep", 1.0, time.time())).facts
        found = facts.onto(known)  # type: ignore[union-attr]
        time.sleep(0.05)
    grown = max(ours[0], after[0]) - before
    received = sum(_sent(result) for result in results.values())
    return found, Cost(seconds, cpu, peak[0], max(0.0, grown), received, len(found.objects))


def dump(server: Cluster, database: str) -> tuple[float, int]:
    """Seconds and bytes of `pg_dump --schema-only`, the newest there is."""
    command = [str(bin_dir(18) / "pg_dump"), "--schema-only", "--dbname", server.conninfo(database)]
    began = time.monotonic()
    done = subprocess.run(command, capture_output=True, check=True, env={**os.environ, "LC_ALL": "C"})
    return time.monotonic() - began, len(done.stdout)


def tenants(connection: psycopg.Connection, schemas: int, tables: int) -> None:
    """So many schemas with so many tables, each with a key, an index, a check and a default."""
    for number in range(schemas):
        with connection.transaction():
            connection.execute(f"CREATE SCHEMA t_{number:05}")
            for entry in range(tables):
                name = f"t_{number:05}.things_{entry:03}"
                connection.execute(
                    f"CREATE TABLE {name} (id bigint PRIMARY KEY, name text NOT NULL DEFAULT 'x', "
                    f"amount numeric(12, 2) CHECK (amount >= 0), at timestamptz DEFAULT now(), "
                    f"note varchar(80), kind int, state text, extra jsonb); CREATE INDEX ON {name} (at)"
                )


def deviate(connection: psycopg.Connection) -> None:
    """Three tenants that are not like the others."""
    connection.execute("ALTER TABLE t_00017.things_003 ADD COLUMN forgotten int")
    connection.execute("ALTER TABLE t_00101.things_002 ALTER COLUMN note TYPE text")
    connection.execute("DROP INDEX t_00150.things_000_at_idx")


def run(major: int, schemas: int, tables: int, *, act: Callable[[psycopg.Connection], None]) -> list[tuple[str, ...]]:
    """A row for each look and one for pg_dump."""
    rows: list[tuple[str, ...]] = []
    what = f"{schemas * tables:,} tables in {schemas}"
    # pg_dump locks every table, and the default has no room for 10,000 locks; a look takes none.
    with cluster(major, max_locks_per_transaction="512") as server:
        with psycopg.connect(server.conninfo(), autocommit=True) as connection:
            connection.execute("CREATE DATABASE large")
        with psycopg.connect(server.conninfo("large"), autocommit=True) as connection:
            tenants(connection, schemas, tables)
            connection.execute("ANALYZE")
        known: Fingerprint | None = None
        for name in ("first look", "unchanged", "after changes"):
            if name == "after changes":
                with psycopg.connect(server.conninfo("large"), autocommit=True) as connection:
                    act(connection)
            with psycopg.connect(server.conninfo("large"), autocommit=True) as connection:
                known, cost = look(connection, known)
            told = (f"{cost.server_mb:.0f} MB", f"{cost.our_mb:.0f} MB", f"{cost.received:,}", f"{cost.objects:,}")
            rows.append((f"PG {major}", what, name, f"{cost.seconds:.2f} s", f"{cost.server_cpu:.2f} s", *told))
        seconds, size = dump(server, "large")
        rows.append((f"PG {major}", what, "pg_dump --schema-only", f"{seconds:.2f} s", "", "", "", f"{size:,}", ""))
        names = {schema: schema for schema in known.schemas if schema.startswith("t_")} if known else {}
        began = time.monotonic()
        found = compare_tenants(known, names) if known else None
        spent = time.monotonic() - began
        told = ", ".join(
            f"{tenant} ({'; '.join(f'{change.kind} {change.identity} {change.change}' for change in changes)})"
            for tenant, changes in (found.deviating.items() if found else ())
        )
        print(f"PG {major}, {what} schemas: {spent:.2f} s to compare; deviating: {told or 'nobody'}", flush=True)
    return rows


def main(arguments: Sequence[str]) -> None:
    """`python -m tests.bench drift [--quick]`."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench drift", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="a tenth of the tables")
    options = parser.parse_args(arguments)
    rows: list[tuple[str, ...]] = []
    for major in (15, 18):
        tables = 5 if options.quick else 50
        rows += run(major, 200, tables, act=deviate)
        rows += run(major, 1, 1000 if options.quick else 10_000, act=lambda _: None)
    head = ("server", "tables and schemas", "look", "time", "server CPU", "server RSS", "our RSS", "bytes", "objects")
    print(table(head, rows), end="")


if __name__ == "__main__":
    main(sys.argv[1:])
