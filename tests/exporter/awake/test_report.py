"""The report of who keeps computes awake, where the ledger is in PostgreSQL."""

from __future__ import annotations

import time
from pathlib import Path

import psycopg
import pytest

from exporter.awake import report
from exporter.demo.postgres import Cluster
from exporter.feature.workspace import SHARED_SCHEMAS
from exporter.settings.tree import CoreSettings
from exporter.storage.ledger.ledger import Ledger
from exporter.storage.store import Store
from tests.exporter.storage.ledger.test_ledger_postgres import maker
from tests.fix_postgres import PASSWORD

SESSIONS = "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'neonmeter ledger'"


def sessions(server: Cluster) -> int:
    with psycopg.connect(server.conninfo()) as connection:
        ((count,),) = connection.execute(SESSIONS).fetchall()
        return int(count)


def test_a_report_leaves_no_session_open(postgres18: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "neonmeter.db"
    Store.open(path, SHARED_SCHEMAS).close()
    with maker(postgres18)() as ledger:
        ledger.through()
    settings = CoreSettings.model_validate({
        "storage": {"path": path},
        "ledger": {"url": f"postgresql://cloud_admin@127.0.0.1:{postgres18.port}/postgres", "password": PASSWORD},
    })  # fmt: skip
    opened: list[Ledger] = []
    ledger_of = report.ledger_of

    def remembered(*args: object, **options: object) -> Ledger:
        opened.append(ledger_of(*args, **options))  # type: ignore[arg-type]
        return opened[-1]

    monkeypatch.setattr(report, "ledger_of", remembered)
    assert report.read_report(settings).computes == ()
    deadline = time.monotonic() + 180
    while (still := sessions(postgres18)) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert (len(opened), still) == (1, 0)
