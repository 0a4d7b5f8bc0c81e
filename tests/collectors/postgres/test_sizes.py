"""Sizes of databases on real servers: exact, of all that may be asked, and never at the expense of the others."""

from __future__ import annotations

import pytest

from collectors.base import NoDataError, Result
from collectors.postgres.cluster.sizes import SIZE, SizesCollector
from exporter.demo.postgres import Cluster
from tests.collectors.postgres.test_databases import database
from tests.collectors.reading import EPOCH, admin, read, role


async def test_sizes_of_all_databases(postgres: Cluster) -> None:
    with database(postgres, "db_big"), database(postgres, "db_small"):
        with admin(postgres, "db_big") as connection:
            connection.execute("CREATE TABLE t AS SELECT repeat('x', 500) FROM generate_series(1, 4000)")
        reading = await read(postgres, SizesCollector())
        with admin(postgres) as connection:
            true = dict(connection.execute("SELECT datname, pg_database_size(oid) FROM pg_database").fetchall())
    sizes = reading.families.get(SIZE)
    assert set(sizes) == {("postgres",), ("db_big",), ("db_small",)}
    assert sizes["db_big",] == true["db_big"]
    assert true["db_big"] > true["db_small"] + 2_000_000


async def test_a_size_that_may_not_be_asked_is_absent(postgres: Cluster) -> None:
    with database(postgres, "db_private"), database(postgres, "db_public"), role(postgres, "db_plain"):
        with admin(postgres) as connection:
            connection.execute("REVOKE CONNECT ON DATABASE db_private FROM PUBLIC")
        monitor = await read(postgres, SizesCollector())
        plain = await read(postgres, SizesCollector(), user="db_plain")
    assert monitor.families.get(SIZE)["db_private",] > 1_000_000
    assert ("db_private",) not in plain.families.get(SIZE)
    assert plain.families.get(SIZE)["db_public",] > 1_000_000


def test_what_is_unknown_stays_absent() -> None:
    results = {"sizes": Result(("datname", "size"), [("shop", None), ("mail", 5)])}
    assert SizesCollector().read(results, EPOCH).families.get(SIZE) == {("mail",): 5}
    with pytest.raises(NoDataError):
        SizesCollector().read({}, EPOCH)
