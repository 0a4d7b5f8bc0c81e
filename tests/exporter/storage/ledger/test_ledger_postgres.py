"""The ledger in PostgreSQL: the promises of every ledger, and those of one that several agents share."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from functools import partial

import psycopg
import pytest

from exporter.app.features import LEDGER_SCHEMAS
from exporter.demo.postgres import Cluster
from exporter.settings.secret import read_secret
from exporter.settings.sections import LedgerSettings
from exporter.storage.ledger.postgres import PostgresLedger
from tests.exporter.storage.ledger.ledger_contract import LedgerContract
from tests.fix_postgres import ALL, PASSWORD, cluster

Fresh = Callable[[], AbstractContextManager[PostgresLedger]]


def opened(server: Cluster, *, read_only: bool = False, **changes: object) -> PostgresLedger:
    url = f"postgresql://cloud_admin@127.0.0.1:{server.port}/postgres"
    ledger = LedgerSettings.model_validate({"url": url, "password": PASSWORD, **changes})
    password = partial(read_secret, ledger.password, ledger.password_file)
    return PostgresLedger.of(ledger.url or url, password, LEDGER_SCHEMAS, read_only=read_only)


def emptied(server: Cluster) -> None:
    """Without usage; tables that are there stay, which is quicker than to make them anew."""
    with psycopg.connect(server.conninfo(), autocommit=True) as connection:
        found = connection.execute("SELECT relname FROM pg_stat_user_tables WHERE schemaname = 'neonmeter'").fetchall()
        names = ", ".join(f"neonmeter.{name}" for (name,) in found if name != "room")
        if names:
            connection.execute(f"TRUNCATE {names} RESTART IDENTITY CASCADE")


def maker(server: Cluster) -> Fresh:
    @contextmanager
    def make() -> Iterator[PostgresLedger]:
        emptied(server)
        made = opened(server)
        try:
            yield made
        finally:
            made.close()

    return make


@pytest.fixture
def fresh(postgres18: Cluster) -> Fresh:
    """Ledgers of their own, one after the other."""
    return maker(postgres18)


@pytest.fixture
def ledger(fresh: Fresh) -> Iterator[PostgresLedger]:
    with fresh() as made:
        yield made


class TestPostgresLedger(LedgerContract):
    """All of them, on PostgreSQL 18."""


@pytest.fixture(scope="class", params=ALL[:-1], ids=[f"pg{major}" for major in ALL[:-1]])
def server(request: pytest.FixtureRequest) -> Iterator[Cluster]:
    with cluster(request.param) as running:
        yield running


@pytest.mark.deep
class TestOlderPostgres(LedgerContract):
    """All of them, on PostgreSQL 14-17."""

    @pytest.fixture
    def fresh(self, server: Cluster) -> Fresh:
        return maker(server)
