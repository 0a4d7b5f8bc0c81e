"""The security scan on real servers: it waits for nobody, says what it could not read, and counts exactly."""

from __future__ import annotations

from collections.abc import Iterator

import psycopg
import pytest

from collectors.base import Epoch, NoDataError, Result, Server, Status, Unread
from collectors.postgres.database.security import (
    SecurityCollector,
    SecurityFacts,
    SecurityScope,
    TenantMap,
    every_check,
    literal,
    prepare_sql,
)
from collectors.postgres.domain.security import AgentRole, ServerFacts
from exporter.demo.postgres import Cluster
from tests.collectors.reading import admin, database, read, role, visited

AGENT_MEMBERSHIPS = ("pg_monitor", "pg_read_all_settings", "pg_read_all_stats", "pg_stat_scan_tables")
WORLD = """
CREATE SCHEMA s;
CREATE TABLE s.t (id int, tenant_id text);
ALTER TABLE s.t ENABLE ROW LEVEL SECURITY;
CREATE POLICY everything ON s.t USING (true);
GRANT SELECT ON s.t TO PUBLIC;
GRANT USAGE ON SCHEMA s TO PUBLIC;
"""


@pytest.fixture
def scene(postgres: Cluster) -> Iterator[str]:
    with database(postgres, "secured") as name:
        with admin(postgres, name) as connection:
            connection.execute(WORLD)
        yield name


async def scan(server: Cluster, datname: str, **options: object) -> SecurityFacts:
    reading = await read(server, SecurityCollector(datname, **options), dbname=datname)  # type: ignore[arg-type]
    assert isinstance(reading.facts, SecurityFacts)
    return reading.facts


async def test_a_visit_reads_every_part_with_pg_monitor_alone(postgres: Cluster, scene: str) -> None:
    facts = await scan(postgres, scene, tenants=TenantMap())
    assert set(facts.database.checks) == every_check()
    assert not [name for name, found in facts.database.checks.items() if isinstance(found, Unread)]
    assert (facts.database.tables, facts.database.tenant_tables, facts.database.tenants_told) == (1, 1, False)
    assert [group.objects for group in facts.database.checks["policy_true"]] == [("s.t.everything",)]  # type: ignore[union-attr]
    assert isinstance(facts.server, ServerFacts)
    assert {"log_connections", "ssl", "password_encryption", "shared_preload_libraries"} <= facts.server.settings.keys()
    assert facts.server.agent == AgentRole("monitor", (), AGENT_MEMBERSHIPS)
    assert not isinstance(facts.server.roles, Unread)
    assert "monitor" in {role_found.name for role_found in facts.server.roles}


async def test_without_the_tenants_nothing_is_said_of_tenants(postgres: Cluster, scene: str) -> None:
    facts = await scan(postgres, scene, tenants=None, cluster=False)
    assert isinstance(facts.database.checks["xtenant_grant"], Unread)
    assert facts.database.checks["xtenant_grant"].status is Status.NO_DATA
    assert not isinstance(facts.database.checks["policy_true"], Unread)
    assert isinstance(facts.server, Unread)


async def test_behind_an_exclusive_lock_only_the_texts_of_policies_are_missing(postgres: Cluster, scene: str) -> None:
    await visited(postgres)
    with admin(postgres, scene) as locker:
        locker.execute("BEGIN")
        locker.execute("LOCK TABLE s.t IN ACCESS EXCLUSIVE MODE")
        facts = await scan(postgres, scene, tenants=TenantMap())
        locker.execute("ROLLBACK")
    missing = {name for name, found in facts.database.checks.items() if isinstance(found, Unread)}
    assert missing == {"policy_true", "policy_true_read", "policy_no_tenant_ref", "policy_guc_missing_ok", "cdc_no_pk",
                       "publication_crossing", "published"}  # fmt: skip
    assert {found.status for found in facts.database.checks.values() if isinstance(found, Unread)} == {Status.NO_DATA}


def test_a_part_that_lost_its_settings_says_so(postgres: Cluster, scene: str) -> None:
    """When one query of a visit fails the rest runs again in a new transaction, without what the first one set."""
    collector = SecurityCollector(scene, TenantMap())
    results: dict[str, Result] = {}
    with admin(postgres, scene) as connection:
        for query in collector.queries(Server(connection.info.server_version, {})):
            if query.name not in ("prepare", "code"):
                cursor = connection.execute(query.sql.encode())
                results[query.name] = Result(tuple(c.name for c in cursor.description or ()), cursor.fetchall())
    facts = collector.read(results, Epoch("ep", 1.0, 2.0)).facts
    assert isinstance(facts, SecurityFacts)
    assert all(isinstance(found, Unread) for found in facts.database.checks.values())
    statuses = {name: found.status for name, found in facts.database.checks.items() if isinstance(found, Unread)}
    assert (statuses["policy_true"], statuses["definers"]) == (Status.NO_DATA, Status.TIMEOUT)
    with pytest.raises(NoDataError):
        collector.read({}, Epoch("ep", 1.0, 2.0))


async def test_counts_are_exact_and_twenty_are_named(postgres: Cluster, scene: str) -> None:
    with admin(postgres, scene) as connection:
        for number in range(45):
            connection.execute(f"CREATE TABLE s.more_{number:02} (tenant_id text)")
            connection.execute(f"GRANT SELECT ON s.more_{number:02} TO PUBLIC")
    facts = await scan(postgres, scene, tenants=TenantMap())
    (group,) = facts.database.checks["rls_off"]  # type: ignore[misc]
    assert (group.count, len(group.objects), group.objects[0]) == (45, 20, "s.more_00")
    assert facts.database.tenant_tables == 46


async def test_three_hundred_groups_and_the_rest_as_one(postgres: Cluster, scene: str) -> None:
    with admin(postgres, scene) as connection:
        connection.execute("DO $$ BEGIN FOR i IN 1..320 LOOP EXECUTE format('CREATE SCHEMA many_%s', i); "
                           "EXECUTE format('CREATE TABLE many_%s.t (id int)', i); END LOOP; END $$")  # fmt: skip
    told = TenantMap({f"many_{number}": str(number) for number in range(1, 321)}, {})
    facts = await scan(postgres, scene, tenants=told, wanted=SecurityScope(owners=("nobody",)))
    groups = facts.database.checks["xtenant_owner"]
    assert not isinstance(groups, Unread)
    assert (len(groups), sum(group.count for group in groups)) == (301, 640)
    assert sum(bool(group.objects) for group in groups) == 50


async def test_nobodys_schema_can_stand_in_for_the_catalogues(postgres: Cluster, scene: str) -> None:
    """A function under a name that we call, and a search_path that begins with it."""
    with admin(postgres, scene) as connection:
        connection.execute(
            "CREATE FUNCTION s.current_setting(text, boolean) RETURNS text LANGUAGE sql AS $$ SELECT '{}' $$"
        )
        connection.execute(
            "CREATE FUNCTION s.aclexplode(aclitem[]) RETURNS TABLE (grantee oid, privilege_type text) "
            "LANGUAGE sql AS $$ SELECT 1::oid, 'none' WHERE false $$"
        )
        connection.execute(f"ALTER DATABASE {scene} SET search_path = s, pg_catalog")
    facts = await scan(postgres, scene, tenants=TenantMap())
    assert [group.objects for group in facts.database.checks["public_table_grant"]] == [("s.t",)]  # type: ignore[union-attr]


async def test_an_agent_as_neon_superuser_is_told(postgres: Cluster, scene: str) -> None:
    with admin(postgres) as connection:
        connection.execute("CREATE ROLE neon_superuser NOLOGIN CREATEDB CREATEROLE REPLICATION BYPASSRLS")
        connection.execute("GRANT pg_read_all_data TO neon_superuser")
    try:
        with role(postgres, "too_much", "neon_superuser", "pg_monitor") as user:
            reading = await read(postgres, SecurityCollector(scene, TenantMap()), user=user, dbname=scene)
            facts = reading.facts
            assert isinstance(facts, SecurityFacts)
            assert isinstance(facts.server, ServerFacts)
            assert facts.server.platform == "neon"
            agent = facts.server.agent
            assert isinstance(agent, AgentRole)
            assert agent.attributes == ("bypassrls", "createdb", "createrole", "replication")
            assert {"neon_superuser", "pg_read_all_data"} <= set(agent.memberships)
            assert [group.objects for group in facts.database.checks["agent_reads"]] == [("s.t",)]  # type: ignore[union-attr]
            (mine,) = [found for found in facts.server.roles if found.name == user]  # type: ignore[union-attr]
            assert mine.acts_as_neon_superuser
            assert mine.borrowed == ("bypassrls", "createdb", "createrole", "replication")
    finally:
        with admin(postgres) as connection:
            connection.execute("DROP ROLE neon_superuser")


async def test_slots_are_told_on_every_version(postgres: Cluster, scene: str) -> None:
    with admin(postgres, scene) as connection:
        connection.execute("SELECT pg_create_logical_replication_slot('secured_slot', 'pgoutput')")
        try:
            facts = await scan(postgres, scene, tenants=TenantMap())
        finally:
            connection.execute("SELECT pg_drop_replication_slot('secured_slot')")
    assert isinstance(facts.server, ServerFacts)
    (slot,) = [entry for entry in facts.server.slots if entry.name == "secured_slot"]  # type: ignore[union-attr]
    assert (slot.kind, slot.active, slot.wal_status, slot.invalid) == ("logical", False, "reserved", "")
    with psycopg.connect(postgres.conninfo()) as connection:
        assert (slot.inactive_since is not None) == (connection.info.server_version >= 170000)


@pytest.mark.parametrize("text", ["it's", "back\\slash", "\\'", "E'", "", "ü\n"])
def test_what_is_told_arrives_as_it_was(postgres18: Cluster, text: str) -> None:
    with admin(postgres18) as connection:
        row = connection.execute(f"SELECT {literal(text)}".encode()).fetchone()
        assert row == (text,)
        with connection.transaction():
            connection.execute(prepare_sql(TenantMap({text: text}, {}), SecurityScope()).encode())
            told = connection.execute(
                "SELECT current_setting('neonmeter.posture')::jsonb -> 'schemas', current_setting('search_path')"
            ).fetchone()
    assert told == ({text: text}, "")
