"""What a real PgBouncer says of its own set-up, and which holes a release has."""

from __future__ import annotations

import pytest

from collectors.base import Status
from collectors.pgbouncer.config import SETTINGS, known_holes, read_pooler, release_of
from collectors.pgbouncer.console import PoolerTarget
from collectors.postgres.database.security import NotRead
from exporter.demo.postgres import Cluster, free_port
from tests.fix_pgbouncer import Pooler, pooler


async def test_a_stats_user_sees_the_set_up(pgbouncer: Pooler) -> None:
    (found,) = await read_pooler(PoolerTarget("main", pgbouncer.console), deadline_seconds=20)
    assert found.name == "main"
    assert isinstance(found.version, str) and release_of(found.version)
    assert not isinstance(found.config, NotRead)
    assert found.config["auth_type"] == "scram-sha-256" and found.config["client_tls_sslmode"] == "disable"
    assert found.config["server_tls_sslmode"] and found.config["stats_users"] == "stats"
    assert found.config.keys() <= set(SETTINGS), "no paths and no queries"
    assert "auth_file" not in found.config and "auth_query" not in found.config


async def test_another_set_up(postgres18: Cluster) -> None:
    with pooler(postgres18, auth_type="trust", admin_users="stats", pool_mode="session") as running:
        (found,) = await read_pooler(PoolerTarget("loose", running.console), deadline_seconds=20)
    assert not isinstance(found.config, NotRead)
    assert (found.config["auth_type"], found.config["admin_users"]) == ("trust", "stats")
    assert found.config["pool_mode"] == "session"


async def test_who_may_not_look(pgbouncer: Pooler) -> None:
    (nobody,) = await read_pooler(PoolerTarget("main", lambda: pgbouncer.console("nobody")), deadline_seconds=20)
    assert isinstance(nobody.config, NotRead) and nobody.config.status is Status.NO_PRIVILEGE
    assert isinstance(nobody.version, NotRead)
    (wrong,) = await read_pooler(
        PoolerTarget("main", lambda: pgbouncer.console(password="hush-hush")), deadline_seconds=20
    )
    assert isinstance(wrong.config, NotRead) and wrong.config.status is Status.AUTH
    assert "hush" not in wrong.config.why


async def test_where_nothing_answers() -> None:
    gone = PoolerTarget("gone", lambda: f"host=127.0.0.1 port={free_port()} user=x")
    (found,) = await read_pooler(gone)
    assert isinstance(found.version, NotRead) and found.version.status is Status.UNREACHABLE
    (neon,) = await read_pooler(PoolerTarget("neon", lambda: "host=ep-x-pooler user=x"))
    assert isinstance(neon.version, NotRead) and neon.version.status is Status.UNSUPPORTED
    (unknown,) = await read_pooler(PoolerTarget("dns", lambda: "host=no-such-host.invalid user=x"))
    assert unknown.name == "dns" and isinstance(unknown.config, NotRead)


@pytest.mark.parametrize(
    ("version", "count"),
    [("PgBouncer 1.18.0", 6), ("PgBouncer 1.24.0", 6), ("PgBouncer 1.24.1", 5), ("PgBouncer 1.25.1", 4),
     ("PgBouncer 1.25.2", 0), ("PgBouncer 1.26.0", 0), ("PgBouncer 2.0.0", 0), ("1.9.0", 6)],
)  # fmt: skip
def test_holes_of_a_release(version: str, count: int) -> None:
    found = known_holes(version)
    assert found is not None and len(found) == count


def test_what_a_distribution_mended() -> None:
    assert known_holes("PgBouncer 1.18.0", ("CVE-2025-2291",)) == known_holes("PgBouncer 1.24.1")
    assert known_holes("PgBouncer 1.18.0", ("*",)) == ()
    assert known_holes("PgBouncer devel") is None, "not told is not safe"
