"""The ledger in the agent's own file: the promises of every ledger, on SQLite."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import pytest

from exporter.storage.ledger.sqlite import SqliteLedger
from exporter.storage.ledger.sqlite_sql import LEDGER_SCHEMA
from exporter.storage.store import Store
from tests.exporter.storage.ledger.ledger_contract import LedgerContract


@pytest.fixture
def fresh(tmp_path_factory: pytest.TempPathFactory) -> Callable[[], AbstractContextManager[SqliteLedger]]:
    """Ledgers of their own, one after the other."""

    @contextmanager
    def make() -> Iterator[SqliteLedger]:
        store = Store.open(tmp_path_factory.mktemp("ledger") / "neonmeter.db", {"ledger": LEDGER_SCHEMA})
        try:
            yield SqliteLedger(store)
        finally:
            store.close()

    return make


@pytest.fixture
def ledger(fresh: Callable[[], AbstractContextManager[SqliteLedger]]) -> Iterator[SqliteLedger]:
    with fresh() as made:
        yield made


class TestSqliteLedger(LedgerContract):
    """All of them."""

    def test_it_says_where_it_is(self, ledger: SqliteLedger) -> None:
        assert Path(ledger.where).name == "neonmeter.db"
