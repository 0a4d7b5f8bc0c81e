"""Visits that never come to a query: each way a connect fails has its status, one line, and leaves nothing."""

from __future__ import annotations

import socket

import psycopg
import pytest
from psycopg import sql

from collectors.base import Status
from collectors.postgres.session import Deadlines, visit
from exporter.demo.postgres import Cluster, free_port
from tests.collectors.reading_fake import FakeCollector
from tests.collectors.visiting import PATIENT, admin, monitor, open_sockets, sessions_left, settled
from tests.fix_postgres import PASSWORD


@pytest.mark.fault("network: a host that accepts and is silent")
async def test_a_listener_that_accepts_and_never_answers_is_left_at_the_deadline() -> None:
    # The kernel accepts for a socket that listens; nobody ever reads from it.
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1]
        before = open_sockets()
        found = await visit(f"host=127.0.0.1 port={port} user=x password=y", [], deadlines=Deadlines(0.2, 0.4))
        assert (found.status, found.error) == (Status.TIMEOUT, "no session within 0.2 s of connecting")
        assert open_sockets() == before


@pytest.mark.fault("network: nobody listens")
async def test_a_dead_port_is_unreachable() -> None:
    found = await visit(f"host=127.0.0.1 port={free_port()} user=x password=y", [], deadlines=PATIENT)
    assert (found.status, found.error) == (Status.UNREACHABLE, "connection refused: nothing listens there")


@pytest.mark.fault("DNS: a name that does not exist")
async def test_a_name_that_does_not_resolve_is_unreachable() -> None:
    found = await visit("host=nothing.invalid user=x password=y", [], deadlines=Deadlines(connect=4, session=4))
    assert found.status in (Status.UNREACHABLE, Status.TIMEOUT)
    assert "nothing.invalid" not in found.error or found.error.count("\n") == 0


async def test_a_pooler_is_refused_before_anything_is_sent() -> None:
    found = await visit(
        "postgresql://m:s3cret@ep-cool-1-pooler.eu-central-1.aws.neon.tech/postgres", [], deadlines=PATIENT
    )
    assert found.status is Status.UNSUPPORTED
    assert "direct host" in found.error
    assert "s3cret" not in found.error


async def test_a_malformed_connection_string_does_not_betray_its_password() -> None:
    found = await visit("host=x password=s3cret oops s3cret", [], deadlines=PATIENT)
    assert (found.status, found.error) == (Status.UNREACHABLE, "the connection string cannot be parsed")


async def test_a_wrong_password_is_auth_and_is_not_repeated_to_anyone(postgres: Cluster) -> None:
    found = await visit(monitor(postgres).replace(PASSWORD, "wrong-s3cret"), [], deadlines=PATIENT)
    assert (found.status, found.error) == (Status.AUTH, "the password is wrong, or the role does not exist")
    assert sessions_left(postgres) == 0


async def test_a_missing_database_is_said(postgres: Cluster) -> None:
    found = await visit(monitor(postgres, "nowhere"), [], deadlines=PATIENT)
    assert (found.status, found.error) == (Status.UNSUPPORTED, "the database does not exist")


@pytest.mark.fault("database: no connection is left for us")
async def test_a_role_over_its_connection_limit_is_told_so(postgres: Cluster) -> None:
    held = [psycopg.connect(monitor(postgres)) for _ in range(3)]
    try:
        found = await visit(monitor(postgres), [], deadlines=PATIENT)
    finally:
        for connection in held:
            connection.close()
    assert found.status is Status.UNREACHABLE
    assert "CONNECTION LIMIT" in found.error


async def test_a_revoked_connect_is_no_privilege(postgres: Cluster) -> None:
    with admin(postgres) as owner:
        owner.execute("CREATE DATABASE closed")
        owner.execute("REVOKE CONNECT ON DATABASE closed FROM PUBLIC")
        try:
            found = await visit(monitor(postgres, "closed"), [], deadlines=PATIENT)
        finally:
            owner.execute("DROP DATABASE closed")
    assert (found.status, found.error) == (Status.NO_PRIVILEGE, "the role has no CONNECT on the database")


async def test_a_role_without_pg_monitor_still_visits_and_is_recognised(postgres: Cluster) -> None:
    await settled(postgres)
    with admin(postgres) as owner:
        owner.execute(sql.SQL("CREATE ROLE plain LOGIN PASSWORD {}").format(PASSWORD))
        try:
            found = await visit(postgres.conninfo(user="plain"), [FakeCollector("SELECT 1")], deadlines=PATIENT)
            assert sessions_left(postgres) == 0
        finally:
            owner.execute("DROP ROLE plain")
    assert found.status is Status.OK
    assert found.evidence is not None
    assert not found.evidence.privileged
    assert found.results["fake"]["q0"].rows == [(1,)]
