"""Puts scenes up on a real server, scans them as the agent would, and lets tenant a try to get at tenant b's row."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace

import psycopg

from collectors.base import Epoch, Result, Server, Unread
from collectors.postgres.database.security import SecurityCollector, SecurityFacts, SecurityScope, TenantMap
from exporter.demo.postgres import Cluster
from exporter.posture.domain.evaluate import evaluate
from exporter.posture.domain.facts import Facts
from exporter.posture.domain.finding import Finding, Outcome, Severity
from exporter.posture.domain.policy import Policy
from exporter.posture.scanner import database_facts, server_facts
from exporter.sampling.computes import DatabaseRef
from tests.exporter.posture.policies import policy
from tests.exporter.posture.scene_world import MAKE_ROLES, ROLES, SCHEMAS, SECRET, TENANT_ROLES, WORLD
from tests.exporter.posture.scenes import Scene, Steps

POLICY = policy(encrypted_columns=("*.iban_sealed",), migration_roles=("cloud_admin", "migrator_*"))
NOW = 1_800_000_000.0
_LOGINS = {
    "a": "posture_a",
    "b": "posture_b",
}


@dataclass(frozen=True)
class Stage:
    """A server with the two tenants' roles and a database, made anew for each scene by what it is made of."""

    cluster: Cluster
    major: int
    database: str
    admin: psycopg.Connection
    agent: psycopg.Connection

    def set_up(self) -> None:
        """The world in order: much quicker than a database for each scene."""
        owners = ", ".join(ROLES)
        name = self.database
        self.run("admin", f"DROP OWNED BY {owners} CASCADE; DROP PUBLICATION IF EXISTS p; "
                 f"DROP EXTENSION IF EXISTS citext, dblink; DROP OWNED BY monitor; GRANT pg_monitor TO monitor; "
                 f"REVOKE ALL ON DATABASE {name} FROM PUBLIC; "
                 f"GRANT CONNECT ON DATABASE {name} TO posture_a, posture_b, monitor; {WORLD}")  # fmt: skip

    @contextmanager
    def scene(self, scene: Scene) -> Iterator[None]:
        """The world after the scene's one change."""
        self.set_up()
        try:
            self.run("admin", scene.sql)
            yield
        finally:
            if scene.undo:
                self.run("admin", scene.undo)

    def run(self, who: str, sql: str) -> list[tuple[object, ...]]:
        """Logs in, runs, and answers the rows of the last statement."""
        if who == "admin":
            self.admin.execute("RESET ROLE; RESET ALL")
            return _rows(self.admin.execute(sql.encode()))
        with psycopg.connect(self.cluster.conninfo(self.database, _LOGINS[who]), autocommit=True) as connection:
            return _rows(connection.execute(sql.encode()))

    def reaches(self, steps: Steps) -> bool:
        """Whether the steps, each by its own login, end with b's secret in hand."""
        rows: list[tuple[object, ...]] = []
        for who, sql in steps:
            try:
                rows = self.run(who, sql)
            except psycopg.Error:
                # What one is refused may not matter for the next step; without the loot the last one shows nothing.
                rows = []
        return any(SECRET in str(value) for row in rows for value in row)

    def scan(self, user: str = "monitor", tenants: TenantMap | None = None) -> SecurityFacts:
        """As a visit reads it."""
        told = TenantMap(SCHEMAS, TENANT_ROLES) if tenants is None else tenants
        wanted = SecurityScope(POLICY.tenant_columns, POLICY.migration_roles, POLICY.encrypted_columns)
        collector = SecurityCollector(self.database, told, wanted)
        if user == "monitor":
            return scanned(self.agent, collector)
        with psycopg.connect(self.cluster.conninfo(self.database, user), autocommit=True) as connection:
            return scanned(connection, collector)

    def findings(self, user: str = "monitor") -> tuple[Finding, ...]:
        """What all controls say of the database and of its server."""
        return judged(self.scan(user))


def _rows(cursor: psycopg.Cursor) -> list[tuple[object, ...]]:
    while cursor.nextset():
        pass
    return cursor.fetchall() if cursor.description else []


def scanned(connection: psycopg.Connection, collector: SecurityCollector) -> SecurityFacts:
    results: dict[str, Result] = {}
    with connection.transaction():
        connection.execute("SET LOCAL lock_timeout = '300ms'")
        connection.execute("SET LOCAL transaction_read_only = on")
        for query in collector.queries(Server(connection.info.server_version, {})):
            cursor = connection.execute(query.sql.encode())
            columns = tuple(column.name for column in cursor.description or ())
            results[query.name] = Result(columns, cursor.fetchall())
    facts = collector.read(results, Epoch("ep", 1.0, NOW)).facts
    assert isinstance(facts, SecurityFacts)
    return facts


def judged(scan: SecurityFacts, policy: Policy = POLICY, now: float | None = None) -> tuple[Finding, ...]:
    import time

    key = DatabaseRef("p", "br", "db")
    database = replace(database_facts(key, scan, None), nonproduction=True)
    servers = () if isinstance(scan.server, Unread) else (server_facts(key, scan.server, None, TENANT_ROLES),)
    facts = Facts(databases=(database,), servers=servers)
    return evaluate(facts, policy, now or time.time())


def worst(findings: tuple[Finding, ...], control: str) -> Severity | None:
    """The worst failure of one control, as far as it is about the world of the scenes."""
    failed = [
        finding
        for finding in findings
        if finding.control == control and finding.outcome is Outcome.FAIL and about_us(finding)
    ]
    return min((finding.severity for finding in failed), key=lambda entry: entry.rank, default=None)


def about_us(finding: Finding) -> bool:
    """Other tests may have roles and slots on the same server."""
    parts = finding.object_id.split("/")
    return len(parts) < 3 or parts[2] == "db" or parts[2].startswith(ROLES) or finding.control == "P50"


@contextmanager
def stage(cluster: Cluster) -> Iterator[Stage]:
    """Makes the roles and the database, and takes them away."""
    with psycopg.connect(cluster.conninfo(), autocommit=True) as admin:
        admin.execute(MAKE_ROLES.format(password=cluster.password).encode())
        admin.execute("CREATE DATABASE posture TEMPLATE template0")
        admin.execute("REVOKE ALL ON DATABASE posture FROM PUBLIC")
        admin.execute("GRANT CONNECT ON DATABASE posture TO monitor")
        try:
            with (
                psycopg.connect(cluster.conninfo("posture"), autocommit=True) as inside,
                psycopg.connect(cluster.conninfo("posture", "monitor"), autocommit=True) as agent,
            ):
                yield Stage(cluster, admin.info.server_version // 10000, "posture", inside, agent)
        finally:
            admin.execute("DROP DATABASE posture WITH (FORCE)")
            admin.execute("DROP ROLE " + ", ".join(ROLES))
