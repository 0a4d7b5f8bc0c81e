"""What a real PgBouncer says of its own set-up."""

from __future__ import annotations

from collectors.base import Status, Unread
from collectors.pgbouncer.console import SECURITY_SETTINGS, PoolerTarget, read_pooler
from exporter.demo.postgres import Cluster, free_port
from tests.fix_pgbouncer import Pooler, pooler


async def test_a_stats_user_sees_the_set_up(pgbouncer: Pooler) -> None:
    (found,) = await read_pooler(PoolerTarget("main", pgbouncer.console), deadline_seconds=20)
    assert found.name == "main"
    assert isinstance(found.version, str) and found.version.startswith("PgBouncer 1.")
    assert not isinstance(found.config, Unread)
    assert found.config["auth_type"] == "scram-sha-256" and found.config["client_tls_sslmode"] == "disable"
    assert found.config["server_tls_sslmode"] and found.config["stats_users"] == "stats"
    assert found.config.keys() <= set(SECURITY_SETTINGS), "no paths and no queries"
    assert "auth_file" not in found.config and "auth_query" not in found.config


async def test_another_set_up(postgres18: Cluster) -> None:
    with pooler(postgres18, auth_type="trust", admin_users="stats", pool_mode="session") as running:
        (found,) = await read_pooler(PoolerTarget("loose", running.console), deadline_seconds=20)
    assert not isinstance(found.config, Unread)
    assert (found.config["auth_type"], found.config["admin_users"]) == ("trust", "stats")
    assert found.config["pool_mode"] == "session"


async def test_who_may_not_look(pgbouncer: Pooler) -> None:
    (nobody,) = await read_pooler(PoolerTarget("main", lambda: pgbouncer.console("nobody")), deadline_seconds=20)
    assert isinstance(nobody.config, Unread) and nobody.config.status is Status.NO_PRIVILEGE
    assert isinstance(nobody.version, Unread)
    (wrong,) = await read_pooler(
        PoolerTarget("main", lambda: pgbouncer.console(password="hush-hush")), deadline_seconds=20
    )
    assert isinstance(wrong.config, Unread) and wrong.config.status is Status.AUTH
    assert "hush" not in wrong.config.why


async def test_where_nothing_answers() -> None:
    gone = PoolerTarget("gone", lambda: f"host=127.0.0.1 port={free_port()} user=x")
    (found,) = await read_pooler(gone)
    assert isinstance(found.version, Unread) and found.version.status is Status.UNREACHABLE
    (neon,) = await read_pooler(PoolerTarget("neon", lambda: "host=ep-x-pooler user=x"))
    assert isinstance(neon.version, Unread) and neon.version.status is Status.UNSUPPORTED
    (unknown,) = await read_pooler(PoolerTarget("dns", lambda: "host=no-such-host.invalid user=x"))
    assert unknown.name == "dns" and isinstance(unknown.config, Unread)
