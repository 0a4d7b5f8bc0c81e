"""The ledger as people use it: back-filled, kept whole, moved to PostgreSQL, and missed when it is away."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import psycopg
import pytest
import yaml

from collectors.errors import FINDINGS, OK, USAGE
from exporter.commands.main import main
from exporter.demo.postgres import Cluster
from exporter.storage.ledger.file import lines
from exporter.storage.ledger.sqlite import SqliteLedger
from exporter.storage.ledger.sqlite_sql import LEDGER_SCHEMA
from exporter.storage.store import Store
from tests.exporter.storage.ledger.test_ledger_postgres import emptied, opened
from tests.fix_agent import Agent, AgentMaker
from tests.fix_postgres import PASSWORD, cluster
from tests.fix_twin import Twin, TwinMaker

HOUR, DAY = 3600, 86400


@pytest.fixture
def old_twin(make_twin: TwinMaker) -> Twin:
    """A Neon with a hundred days of history: two plans, storage all the time, computes now and then, children."""
    began = time.time() // HOUR * HOUR - 100 * DAY
    twin = make_twin(now=began)
    for number, branch in enumerate(sorted(twin.world.branches)):
        twin.meter.size(branch, began + number * 5000, 10**9 * (number + 1))
        twin.world.branches[branch].logical_size = 10**9 * (number + 1)
        for day in range(0, 100, 3):
            at = began + day * DAY + number * 7000
            twin.meter.awake(branch, at, at + 5 * HOUR, 0.25 * (number + 1))
            twin.meter.egress(branch, at, 10**8 + day)
    twin.meter.plan(began + 50 * DAY + 7 * HOUR, "scale_v3")
    twin.clock.forward(100 * DAY - 10)
    return twin


def settings_of(twin: Twin, folder: Path, **ledger: Any) -> dict[str, Any]:
    return {
        "neon": {"api_url": twin.url, "api_key": twin.key, "consumption_per_minute": 6000},
        "storage": {"path": str(folder / "neonmeter.db")},
        "ledger": ledger,
    }


def written(settings: dict[str, Any], folder: Path) -> list[str]:
    config = folder / "neonmeter.yaml"
    config.write_text(yaml.safe_dump(settings))
    return ["--config", str(config)]


def check_all_is_there(twin: Twin, ledger: Any) -> None:
    """Over the whole history: what the ledger counts of each branch is what the twin's meter says."""
    frame = [(0, int(twin.clock()) // HOUR + 1)]
    told: dict[tuple[str, str], int] = {}
    for fact in ledger.usage(0, 2**40):
        if fact.branch_id:
            key = (fact.branch_id, fact.metric)
            told[key] = told.get(key, 0) + fact.value
    for branch in twin.world.branches.values():
        (metered,) = twin.meter.branch(branch.project_id, branch.id, frame)
        for metric in ("compute_unit_seconds", "root_branch_bytes_month", "child_branch_bytes_month"):
            value = told.get((branch.id, metric), 0)
            # Each bucket shows whole units, so a day may hold one unit that its hours do not; those of stored bytes are
            # byte-months, each rounded, and the oldest month may not be told at all.
            rounded = 372 * (168 + 60 + 12) if metric.endswith("_bytes_month") else 0
            assert abs(value - metered.get(metric, 0)) <= 3 + rounded, (branch.id, metric)


def test_backfill_reads_what_neon_still_has(
    old_twin: Twin, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:  # fmt: skip
    config = written(settings_of(old_twin, tmp_path), tmp_path)
    assert main(["ledger", "backfill", *config]) == OK
    assert {line.split()[0] for line in capsys.readouterr().out.splitlines()[2:]} == {"hourly", "daily", "monthly"}
    with closing(Store.open(tmp_path / "neonmeter.db", {"ledger": LEDGER_SCHEMA})) as store:
        ledger = SqliteLedger(store)
        check_all_is_there(old_twin, ledger)
        assert {fact.plan for fact in ledger.stored()} == {"launch", "scale"}
        assert {fact.unit for fact in ledger.stored() if fact.metric.endswith("_bytes_month")} == {"byte-month"}
        before = list(lines(ledger))
    assert main(["ledger", "verify", "--json", *config]) == OK
    said = json.loads(capsys.readouterr().out)
    assert (said["days_that_do_not_add_up"], said["doubled"], said["damage"]) == (0, 0, [])
    assert said["buckets"]["daily"] > 50
    # Once more changes nothing but the time of reading.
    assert main(["ledger", "backfill", *config]) == OK
    with closing(Store.open(tmp_path / "neonmeter.db", {"ledger": LEDGER_SCHEMA})) as store:
        check_all_is_there(old_twin, SqliteLedger(store))
        assert len(list(lines(SqliteLedger(store)))) == len(before)


def ok(agent: Agent, feed: str) -> bool:
    return agent.sum("neonmeter_collector_status", collector=feed, status="ok") == 1


def test_the_agent_backfills_by_itself_and_a_damaged_file_is_told(
    old_twin: Twin, make_agent: AgentMaker, tmp_path: Path
) -> None:
    path = tmp_path / "neonmeter.db"
    agent = make_agent(settings_of(old_twin, tmp_path))
    agent.start()
    agent.until(lambda a: ok(a, "backfill"), why="no back-fill")
    agent.stop()
    with closing(Store.open(path, {"ledger": LEDGER_SCHEMA})) as store:
        ledger = SqliteLedger(store)
        check_all_is_there(old_twin, ledger)
        first = {fact.observed_at for fact in ledger.stored() if fact.granularity != "hourly"}
    agent.start()
    agent.until(lambda a: ok(a, "pricing"), why="not priced")
    agent.stop()
    with closing(Store.open(path, {"ledger": LEDGER_SCHEMA})) as store, store.snapshot() as cursor:
        again = {fact.observed_at for fact in SqliteLedger(store).stored() if fact.granularity != "hourly"}
        assert again == first, "what was read once is read again"
        (root,) = cursor.execute("SELECT rootpage FROM sqlite_schema WHERE name = 'ledger_usage'").fetchone()
    with path.open("r+b") as file:
        file.seek((root - 1) * 4096)
        file.write(b"\xff" * 4096)
    assert main(["ledger", "verify", *written(settings_of(old_twin, tmp_path), tmp_path)]) in (FINDINGS, USAGE)
    agent.start()
    agent.until(lambda a: a.sum("neonmeter_collector_status", collector="consumption", status="unreachable"), 90)
    agent.until(lambda a: "the file is damaged: stop neonmeter, keep a copy" in a.page("/"))
    assert agent.sum("neonmeter_inventory_last_success_timestamp_seconds") > 0, "/metrics goes on"
    assert agent.stop() == 0


@pytest.fixture
def server() -> Iterator[Cluster]:
    with cluster(18) as running:
        yield running


def test_a_postgres_ledger_that_goes_away_and_comes_back(
    old_twin: Twin, make_agent: AgentMaker, tmp_path: Path, server: Cluster
) -> None:
    secret = tmp_path / "secret"
    secret.write_text(PASSWORD)
    url = f"postgresql://cloud_admin@127.0.0.1:{server.port}/postgres"
    agent = make_agent(settings_of(old_twin, tmp_path, url=url, password_file=str(secret)))
    agent.start()
    agent.until(lambda a: ok(a, "backfill") and ok(a, "upkeep"), why="not fed")
    with psycopg.connect(server.conninfo(), autocommit=True) as connection:
        row = connection.execute("SELECT count(*), sum(cost) FROM neonmeter.finops_cost_by_branch_month").fetchone()
        assert row is not None
        assert row[0] > 0
        assert row[1] > 0
    cost = agent.sum("neon_cost_usd_total")
    server.stop("immediate")
    agent.until(lambda a: a.sum("neonmeter_collector_status", collector="consumption", status="unreachable"), 90)
    agent.until(lambda a: "is the server of ledger.url up" in a.page("/"), why="no note")
    assert agent.sum("neon_cost_usd_total") >= cost > 0, "what was known is not shown any more"
    server.start()
    agent.until(lambda a: ok(a, "consumption") and ok(a, "upkeep"), why="it is not back")
    agent.until(lambda a: "is the server of ledger.url up" not in a.page("/"), why="the note stays")
    agent.stop()
    with closing(opened(server)) as ledger:
        check_all_is_there(old_twin, ledger)
        holdings = ledger.holdings()
        assert (holdings.mismatches, holdings.doubled) == (0, 0)
    assert PASSWORD not in agent.log.read_text()


def test_from_a_file_to_postgres_by_hand(
    old_twin: Twin, tmp_path: Path, postgres18: Cluster, capsys: pytest.CaptureFixture[str]
) -> None:
    emptied(postgres18)
    (tmp_path / "other").mkdir()
    here = written(settings_of(old_twin, tmp_path), tmp_path)
    url = f"postgresql://cloud_admin@127.0.0.1:{postgres18.port}/postgres"
    there = written(settings_of(old_twin, tmp_path / "other", url=url, password=PASSWORD), tmp_path / "other")
    assert main(["ledger", "backfill", *here]) == OK
    one, other = tmp_path / "one.jsonl", tmp_path / "other.jsonl"
    assert main(["ledger", "export", str(one), *here]) == OK
    for _ in range(2):
        assert main(["ledger", "import", str(one), *there]) == OK
    assert " 0" in capsys.readouterr().out.splitlines()[-4]
    assert main(["ledger", "export", str(other), *there]) == OK
    assert one.read_bytes() == other.read_bytes()
    assert one.stat().st_mode & 0o077 == 0
    assert main(["ledger", "verify", *there]) == OK
    assert main(["ledger", "status", *there]) == OK
    said = capsys.readouterr().out
    assert f"postgresql://127.0.0.1:{postgres18.port}/postgres" in said
    assert PASSWORD not in said


def test_bad_lines_and_missing_files(old_twin: Twin, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = written(settings_of(old_twin, tmp_path), tmp_path)
    bad = tmp_path / "bad.jsonl"
    bad.write_text("nonsense\n" * 60)
    assert main(["ledger", "import", str(bad), *config]) == FINDINGS
    said = capsys.readouterr().err.splitlines()
    assert said[0] == f"{bad}:1: not JSON (Expecting value: line 1 column 1 (char 0))"
    assert said[-1] == "... and 10 more lines that are no facts"
    bad.write_bytes(b"\xff\xfe")
    assert main(["ledger", "import", str(bad), *config]) == USAGE
    assert main(["ledger", "import", str(tmp_path / "nothing"), *config]) == USAGE
    assert main(["ledger", "export", str(tmp_path / "no" / "where"), *config]) == USAGE
    said = capsys.readouterr().err.splitlines()
    assert len(said) == 3
    assert main(["ledger", "verify", *written(settings_of(old_twin, tmp_path / "none"), tmp_path)]) == USAGE
    assert "`neonmeter run` fills it" in capsys.readouterr().err
