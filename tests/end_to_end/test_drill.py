"""`neonmeter drill` on the twin: real data of a past instant, measured RTO and RPO, and nothing is left behind."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psycopg
import pytest
import yaml

from exporter.demo.api import WRITE_KEY
from exporter.demo.twin import Twin, TwinSettings
from exporter.recovery.journal import DrillJournal
from tests.fix_agent import AgentMaker
from tests.fix_twin_world import app_dsn, wait_for

KEEPING = TwinSettings(suspend_seconds=60, workload=False, consumers=False, poolers=False, history=True)
PLACE = "bookshop/main"
SIGNING = "a-key-of-the-auditors"


@pytest.fixture(scope="module")
def keeping(open_state_dir: Path) -> Iterator[Twin]:
    with Twin("small", open_state_dir / "drilled", settings=KEEPING) as twin:
        with psycopg.connect(dsn_of(twin), autocommit=True) as session:
            session.execute("CREATE TABLE t_acme.neonmeter_drill (id text, at timestamptz)")
        yield twin


def dsn_of(twin: Twin) -> str:
    return app_dsn(twin, twin.compute("bookshop", "main"), "acme")


def order(twin: Twin) -> float:
    """Commit one more order; answers when it says that it was made."""
    query = "INSERT INTO orders (customer_id, amount) VALUES (7, 7) RETURNING extract(epoch FROM ordered_at)::float8"
    with psycopg.connect(dsn_of(twin), autocommit=True) as session:
        (at,) = session.execute(query).fetchone() or (0.0,)
    return float(at)


def orders(twin: Twin) -> int:
    with psycopg.connect(dsn_of(twin), autocommit=True) as session:
        (count,) = session.execute("SELECT count(*) FROM orders").fetchone() or (0,)
    return int(count)


class Desk:
    """One settings file, and the command run on it."""

    def __init__(self, twin: Twin, folder: Path) -> None:
        self.twin = twin
        self.config = folder / "neonmeter.yaml"
        self.recovery: dict[str, Any] = {
            "dsn": "postgresql://acme@{host}/app",
            "password": twin.password,
            "signing_key": SIGNING,
            "targets": [{"project": "bookshop", "rto_seconds": 120, "rpo_seconds": 60}],
            "sentinels": [{"database": "app", "table": "t_acme.customers", "min_rows": 500}],
            "heartbeats": [{"database": "app", "table": "t_acme.orders", "column": "ordered_at"}],
        }
        self.settings = {**twin.agent_settings(), "storage": {"path": str(folder / "nm.db")}, "recovery": self.recovery}
        self.book = DrillJournal(folder / "nm.db.drills", SIGNING.encode())

    def start(self, *words: str, key: str = WRITE_KEY) -> subprocess.Popen[str]:
        self.config.write_text(yaml.safe_dump(self.settings))
        environ = {**os.environ, "NEONMETER_DRILL_KEY": key}
        line = [sys.executable, "-m", "exporter", "drill", *words, "--config", str(self.config)]
        pipe = subprocess.PIPE
        return subprocess.Popen(line, stdin=subprocess.DEVNULL, stdout=pipe, stderr=pipe, text=True, env=environ)

    def run(self, *words: str, code: int = 0, key: str = WRITE_KEY) -> str:
        process = self.start(*words, key=key)
        out, err = process.communicate(timeout=300)
        assert process.returncode == code, out + err
        return out or err

    def drill(self, *words: str, code: int = 0) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.run(PLACE, "--yes", "--json", *words, code=code))
        return found

    def copies(self) -> list[str]:
        return [
            branch.name for branch in self.twin.world.branches.values() if branch.name.startswith("neonmeter-drill-")
        ]


@pytest.fixture
def workspace(keeping: Twin, tmp_path: Path) -> Desk:
    return Desk(keeping, tmp_path)


def test_the_past_is_proved_measured_and_cleaned_up(workspace: Desk, keeping: Twin, make_agent: AgentMaker) -> None:
    newest = order(keeping)
    there = orders(keeping)
    time.sleep(1.2)
    at = datetime.now(UTC).isoformat()
    time.sleep(0.2)
    order(keeping)  # After the instant: it must not be seen.
    check = workspace.config.with_name("check.sql")
    check.write_text(f"-- no order from after the instant\nSELECT count(*) = {there}, count(*) FROM t_acme.orders;\n")
    keeping.api.forget()

    found = workspace.drill("--at", at, "--check", str(check), "--fingerprint", "live")

    assert (found["result"], found["error"], found["cleaned"]) == ("ok", "", True)
    assert {entry["name"]: entry["ok"] for entry in found["checks"]} == {
        "schema app": True,
        "rows t_acme.customers": True,
        "heartbeat t_acme.orders.ordered_at": True,
        "no order from after the instant": True,
    }
    assert found["rpo_seconds"] == pytest.approx(datetime.fromisoformat(at).timestamp() - newest, abs=0.01)
    assert 0 < found["rto_seconds"] < found["ended_at"] - found["started_at"] + 1
    print(f"\nRTO {found['rto_seconds']:.2f} s, RPO {found['rpo_seconds']:.2f} s")
    wrote = {key: count for key, count in keeping.api.counts.items() if key[0] != "GET"}
    branches = "/projects/{project_id}/branches"
    assert wrote == {("POST", branches, 201): 1, ("DELETE", f"{branches}/{{branch_id}}", 200): 1}
    assert workspace.copies() == []
    assert not list((keeping.state_dir / "clusters").glob("br-made-*"))
    verdict = workspace.book.verify()
    assert (verdict.problem, verdict.lines, verdict.signed, verdict.foreign) == ("", 3, 3, 0)
    text = workspace.run("verify")
    assert verdict.head in text
    assert "3 carry a signature" in text
    assert "of 2m 00s" in workspace.run("list")

    keeping.api.forget()
    agent = make_agent({**workspace.settings, "storage": {"path": workspace.settings["storage"]["path"]}}).start()
    branch = keeping.compute("bookshop", "main").endpoint.branch_id
    labels = {"branch_id": branch, "kind": "pitr"}
    agent.until(lambda one: one.samples().get("neon_drill_last_result"), why="the drill is shown")
    assert agent.sum("neon_drill_last_duration_seconds", **labels) == pytest.approx(found["rto_seconds"])
    assert agent.sum("neon_drill_last_rpo_seconds", **labels) == pytest.approx(found["rpo_seconds"])
    assert agent.sum("neon_drill_rto_target_seconds", **labels) == 120
    assert agent.sum("neon_drill_last_success_timestamp_seconds", **labels) == pytest.approx(found["ended_at"])
    window = agent.sum("neon_pitr_window_seconds", branch_id=branch)
    assert 0 < window <= 604800
    assert keeping.api.non_get == 0


def test_a_marker_fixes_the_instant(workspace: Desk) -> None:
    workspace.recovery["markers"] = [
        {"dsn": "postgresql://acme@{host}/app", "password": workspace.twin.password, "table": "t_acme.neonmeter_drill"}
    ]
    found = workspace.drill("--read-write", "--fingerprint", "none")
    told = {entry["name"]: (entry["ok"], entry["detail"]) for entry in found["checks"]}
    assert told["marker"] == (True, "the row from before is there, the row from after is not")
    assert 0.9 < found["rpo_seconds"] < 1.1  # The marker's row lies a second before the instant.


def test_a_lie_is_found(workspace: Desk) -> None:
    """Data is missing: the drill fails, says what, and still cleans up."""
    workspace.recovery["sentinels"][0]["min_rows"] = 10_000
    found = workspace.drill("--minutes-ago", "0.01", "--fingerprint", "none", code=1)
    assert (found["result"], found["rto_seconds"], found["cleaned"]) == ("failed", None, True)
    assert found["error"] == "rows t_acme.customers: 500 rows, at least 10000 wanted"
    assert workspace.copies() == []


@pytest.mark.parametrize("sent", [signal.SIGTERM, pytest.param(signal.SIGINT, marks=pytest.mark.deep)])
def test_an_interrupted_drill_cleans_up(workspace: Desk, sent: signal.Signals) -> None:
    process = workspace.start(PLACE, "--yes", "--minutes-ago", "0.01")
    assert wait_for(workspace.copies)
    process.send_signal(sent)
    out, err = process.communicate(timeout=300)
    assert process.returncode == 130, out + err
    assert workspace.copies() == []
    (drill,) = workspace.book.drills()
    assert (drill.result, drill.cleaned) == ("aborted", True)


@pytest.mark.parametrize("then", ["list", pytest.param(PLACE, marks=pytest.mark.deep)])
def test_what_a_killed_drill_left_is_removed_by_the_next(workspace: Desk, then: str) -> None:
    process = workspace.start(PLACE, "--yes", "--minutes-ago", "0.01")
    assert wait_for(workspace.copies)
    process.kill()
    process.communicate(timeout=120)
    (left,) = workspace.copies()
    made = next(branch for branch in workspace.twin.world.branches.values() if branch.name == left)
    assert made.expires_at is not None  # Were there no next drill, Neon would delete it.
    if then == "list":
        assert json.loads(workspace.run("list", "--json"))["leftovers_removed"] == [left]
    else:
        assert workspace.drill("--minutes-ago", "0.01", "--fingerprint", "none")["leftovers_removed"] == [left]
    assert workspace.copies() == []
    killed = workspace.book.drills()[0]
    assert (killed.result, killed.error, killed.cleaned) == ("aborted", "killed", True)
    assert workspace.book.verify().problem == ""


def test_only_its_own_key_will_do(workspace: Desk) -> None:
    assert "create one for drills only" in workspace.run(PLACE, "--yes", code=2, key=workspace.twin.api_key)
    assert "NEONMETER_DRILL_KEY" in workspace.run(PLACE, "--yes", code=2, key="")
    personal = workspace.twin.api.settings.personal_key  # It reads, and is not the agent's.
    workspace.settings["neon"]["org_id"] = workspace.twin.world.org_id
    told = workspace.run(PLACE, "--yes", "--minutes-ago", "0.01", "--json", code=1, key=personal)
    assert "HTTP 403" in json.loads(told)["error"]
    assert workspace.copies() == []


@pytest.mark.deep
def test_a_branch_whose_answer_never_came_is_found_by_its_name(workspace: Desk) -> None:
    """The connection breaks after Neon made the branch: nobody knows its id."""
    writer = workspace.twin.api.settings.writer
    assert writer is not None

    class Mute:
        def write(self, method: str, request: Any, sent: bytes, plane: Any) -> tuple[int, Any]:
            told = writer.write(method, request, sent, plane)
            return (200, {"lost": True}) if method == "POST" else told

    workspace.twin.api.settings.writer = Mute()
    try:
        found = workspace.drill("--minutes-ago", "0.01", code=1)
    finally:
        workspace.twin.api.settings.writer = writer
    assert (found["result"], found["copy_id"], found["cleaned"]) == ("failed", "", True)
    assert workspace.copies() == []
