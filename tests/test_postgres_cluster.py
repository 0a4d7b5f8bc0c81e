"""The servers that everything else is tested on start, take SCRAM, and end with their parent."""

from __future__ import annotations

import psycopg
import pytest

from exporter.demo.postgres import Cluster


def test_a_cluster_serves_scram_and_statements(postgres: Cluster) -> None:
    with psycopg.connect(postgres.conninfo(user="monitor")) as connection:
        row = connection.execute("SELECT count(*) FROM pg_stat_statements(false)").fetchone()
    assert row is not None and row[0] >= 1


def test_a_wrong_password_is_refused(postgres: Cluster) -> None:
    with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
        psycopg.connect(postgres.conninfo(user="monitor").replace("password=", "password=x"))
