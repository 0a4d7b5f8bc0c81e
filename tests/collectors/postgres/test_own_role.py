"""What our own role has too much, on a real server: nothing with pg_monitor alone, all of it otherwise."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import psycopg
import pytest

from collectors.base import Epoch, NoDataError, Result, Server
from collectors.postgres.own_role import OwnRole, OwnRoleCollector
from exporter.demo.postgres import Cluster


@contextmanager
def role(server: Cluster, sql: str) -> Iterator[str]:
    """A login of that name with what the statements give it."""
    with psycopg.connect(server.conninfo(), autocommit=True) as owner:
        owner.execute(
            f"CREATE ROLE own_role LOGIN PASSWORD 'not-a-secret'; CREATE ROLE own_group NOLOGIN; {sql}".encode()
        )
        try:
            yield server.conninfo(user="own_role")
        finally:
            owner.execute(b"DROP ROLE own_role; DROP ROLE own_group")


def told(conninfo: str) -> OwnRole:
    collector = OwnRoleCollector()
    (query,) = collector.queries(Server(180000, {}))
    with psycopg.connect(conninfo) as connection, connection.cursor() as cursor:
        cursor.execute(query.sql.encode())
        columns = tuple(column.name for column in cursor.description or ())
        results = {query.name: Result(columns, cursor.fetchall())}
    facts = collector.read(results, Epoch("ep", 0.0, 0.0)).facts
    assert isinstance(facts, OwnRole)
    return facts


@pytest.mark.parametrize(
    ("sql", "excess"),
    [
        ("", ()),
        ("GRANT pg_monitor TO own_role;", ()),
        ("ALTER ROLE own_role BYPASSRLS CREATEDB;", ("createdb", "bypassrls")),
        ("GRANT pg_read_all_data TO own_role;", ("member of pg_read_all_data",)),
        ("ALTER ROLE own_group BYPASSRLS REPLICATION; GRANT own_group TO own_role;",
         ("member of own_group (replication, bypassrls)",)),
        ("GRANT pg_write_all_data TO own_group; GRANT own_group TO own_role;",
         ("member of own_group", "member of pg_write_all_data")),
    ],
)  # fmt: skip
def test_what_is_more_than_pg_monitor_is_told(postgres18: Cluster, sql: str, excess: tuple[str, ...]) -> None:
    with role(postgres18, sql) as conninfo:
        assert told(conninfo) == OwnRole("own_role", excess)


def test_no_answer_is_no_clean_bill() -> None:
    with pytest.raises(NoDataError):
        OwnRoleCollector().read({}, Epoch("ep", 0.0, 0.0))
