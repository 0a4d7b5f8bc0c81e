"""A full security scan of large databases, beside asking `has_table_privilege` of each pair of role and table."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence

import psycopg

from collectors.base import Epoch, Result, Server, Unread
from collectors.postgres.database.security import SecurityCollector, SecurityFacts, SecurityScope, TenantMap
from exporter.documents.terminal import table
from exporter.posture.domain.evaluate import evaluate
from exporter.posture.domain.facts import Facts
from exporter.posture.domain.finding import Outcome
from exporter.posture.scanner import database_facts, server_facts
from exporter.sampling.computes import DatabaseRef
from tests.bench.measure import cpu_seconds, load
from tests.exporter.posture.policies import policy
from tests.fix_postgres import cluster

POLICY = policy(migration_roles=("cloud_admin", "migrator"))
PAIRS = """
SELECT r.rolname, n.nspname, count(*) FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace
  CROSS JOIN pg_roles AS r
 WHERE c.relkind = 'r' AND n.nspname LIKE 't\\_%' AND r.rolname LIKE 'role\\_%'
   AND substr(r.rolname, 6) <> substr(n.nspname, 3)
   AND (has_table_privilege(r.oid, c.oid, 'SELECT') OR has_table_privilege(r.oid, c.oid, 'INSERT')
     OR has_table_privilege(r.oid, c.oid, 'UPDATE') OR has_table_privilege(r.oid, c.oid, 'DELETE')) GROUP BY 1, 2
"""
"""The same question over tables alone: without columns, functions, sequences and schemas."""


def build(connection: psycopg.Connection, schemas: int, tables: int) -> TenantMap:
    """So many tenants: a role and a schema each, tables with a tenant column, an index and grants; three leaks."""
    connection.execute("CREATE ROLE migrator NOLOGIN")
    for number in range(schemas):
        schema, role = f"t_{number:04}", f"role_{number:04}"
        with connection.transaction():
            connection.execute(f"CREATE ROLE {role} LOGIN; CREATE SCHEMA {schema} AUTHORIZATION migrator")
            for entry in range(tables):
                connection.execute(
                    f"CREATE TABLE {schema}.things_{entry:03} (id bigint PRIMARY KEY, tenant_id text, email text, "
                    f"at timestamptz DEFAULT now(), note varchar(80)); "
                    f"ALTER TABLE {schema}.things_{entry:03} OWNER TO migrator"
                )
            connection.execute(f"GRANT USAGE ON SCHEMA {schema} TO {role}")
            connection.execute(f"GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA {schema} TO {role}")
    connection.execute("CREATE TABLE public.shared_notes (tenant_id text, body text)")
    connection.execute("GRANT SELECT ON public.shared_notes TO PUBLIC")
    if schemas > 20:
        connection.execute("GRANT USAGE ON SCHEMA t_0017 TO role_0003; GRANT SELECT ON t_0017.things_001 TO role_0003")
        connection.execute("GRANT role_0009 TO role_0008")
        connection.execute("ANALYZE")
    return TenantMap(
        {f"t_{number:04}": f"{number:04}" for number in range(schemas)},
        {f"role_{number:04}": f"{number:04}" for number in range(schemas)},
    )


def scan(connection: psycopg.Connection, tenants: TenantMap) -> tuple[SecurityFacts, dict[str, float], int]:
    """One scan as a visit makes it: facts, seconds by part, bytes of the values received."""
    wanted = SecurityScope(POLICY.tenant_columns, POLICY.migration_roles)
    collector = SecurityCollector(connection.info.dbname, tenants, wanted)
    results: dict[str, Result] = {}
    seconds: dict[str, float] = {}
    with connection.transaction():
        connection.execute("SET LOCAL jit = off")
        for query in collector.queries(Server(connection.info.server_version, {})):
            began = time.monotonic()
            cursor = connection.execute(query.sql.encode())
            columns = tuple(column.name for column in cursor.description or ())
            results[query.name] = Result(columns, cursor.fetchall())
            seconds[query.name] = time.monotonic() - began
    facts = collector.read(results, Epoch("ep", 1.0, time.time())).facts
    assert isinstance(facts, SecurityFacts)
    return facts, seconds, sum(len(str(value)) for result in results.values() for row in result.rows for value in row)


def run(major: int, schemas: int, tables: int) -> list[tuple[str, ...]]:
    """A row for each way of looking."""
    rows: list[tuple[str, ...]] = []
    what = f"{schemas} x {tables}"
    with cluster(major) as server, psycopg.connect(server.conninfo(), autocommit=True) as connection:
        tenants = build(connection, schemas, tables)
        pid = connection.info.backend_pid
        for turn in ("first scan", "second scan"):
            began, cpu = time.monotonic(), cpu_seconds(pid)
            facts, parts, received = scan(connection, tenants)
            spent, cpu = time.monotonic() - began, cpu_seconds(pid) - cpu
            told = ", ".join(f"{name} {value:.2f}" for name, value in parts.items() if value >= 0.005)
            rows.append((f"PG {major}", what, turn, f"{spent:.2f} s", f"{cpu:.2f} s", f"{received:,}", told))
        key = DatabaseRef("p", "br", "large")
        began = time.monotonic()
        assert not isinstance(facts.server, Unread)
        whole = server_facts(key, facts.server, None, tenants.roles)
        database = database_facts(key, facts, None)
        found = evaluate(Facts(databases=(database,), servers=(whole,)), POLICY, time.time())
        failed = [finding for finding in found if finding.outcome is Outcome.FAIL]
        judged = (
            f"{len(found)} findings, {len(failed)} of them failures for {sum(entry.count for entry in failed)} objects"
        )
        rows.append((f"PG {major}", what, "judging it", f"{time.monotonic() - began:.2f} s", "", "", judged))
        began, cpu = time.monotonic(), cpu_seconds(pid)
        pairs = connection.execute(PAIRS.encode()).fetchall()
        spent, cpu = time.monotonic() - began, cpu_seconds(pid) - cpu
        between = f"{len(pairs)} pairs of role and schema"
        rows.append((f"PG {major}", what, "has_table_privilege", f"{spent:.2f} s", f"{cpu:.2f} s", "", between))
        leaks = [
            finding for finding in failed if finding.control in ("P01", "P02") and "/latent/" not in finding.object_id
        ]
        told = ", ".join(f"{leak.control} {leak.object_id.removeprefix('p/br/large/')}" for leak in leaks[:4])
        print(f"PG {major}, {what}: {sum(leak.count for leak in leaks)} objects across tenants: {told} ...", flush=True)
    return rows


def main(arguments: Sequence[str]) -> None:
    """`python -m tests.bench posture [--quick]`."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench posture", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="a tenth of the tables")
    options = parser.parse_args(arguments)
    print(f"{load()}", flush=True)
    rows: list[tuple[str, ...]] = []
    for major in (15, 18):
        rows += run(major, 200, 5 if options.quick else 50)
    rows += run(18, 10, 100 if options.quick else 1000)
    print(table(("server", "tenants x tables", "look", "time", "server CPU", "bytes", "of which"), rows), end="")


if __name__ == "__main__":
    main(sys.argv[1:])
