"""`neonmeter awake` on real computes: a pinning slot, a forgotten transaction and a pooler are named, with dollars."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack
from decimal import Decimal
from pathlib import Path
from typing import Any

import psycopg
import pytest

from exporter.demo import waste
from exporter.demo.pooler import find_pgbouncer
from exporter.demo.twin import Twin, TwinSettings
from tests.fix_agent import Agent, AgentMaker
from tests.fix_twin_world import app_dsn, wait_for

T = 20


@pytest.fixture
def twin(open_state_dir: Path) -> Iterator[Twin]:
    quiet = TwinSettings(suspend_seconds=T, workload=False, consumers=False, poolers=False)
    with Twin("small", open_state_dir / "awake", settings=quiet) as twin:
        yield twin


def set_the_scene(twin: Twin, stack: ExitStack) -> None:
    """The three of them, each on a compute of its own."""
    twin.life.start_consumers()
    stack.callback(twin.life.stop_consumers)
    staging = twin.compute("bookshop", "staging")
    stack.enter_context(waste.idle_in_transaction(app_dsn(twin, staging, "acme"), "forgotten-shell"))
    program = find_pgbouncer()
    if program is None:
        pytest.skip("pgbouncer is not installed")
    branch, compute = next(row for row in twin.life.branches() if row[0].pooled)
    pooler = waste.pinning(twin.life.pooler(branch, compute, program), "birch")
    twin.life.holder.submit(pooler.start).result()
    stack.callback(pooler.stop)
    # An application that holds its connection to the pooler and does nothing more.
    stack.enter_context(psycopg.connect(pooler.conninfo("birch"), autocommit=True, prepare_threshold=None)).execute(
        "SELECT 1"
    )


def told(agent: Agent, *more: str) -> str:
    command = [sys.executable, "-m", "exporter", "awake", "--config", str(agent.config), *more]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=300)
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


def holders(agent: Agent) -> dict[tuple[str, str, str], dict[str, Any]]:
    """By compute, reason and role."""
    found = json.loads(told(agent, "--json"))
    return {
        (compute["name"], holder["reason"], holder["user"]): {**holder, "compute": compute}
        for compute in found["computes"]
        for holder in compute["keepers"]
    }


WANTED = {
    ("analytics/main", "walsender", "replicator"): ("warehouse", "drop the slot"),
    ("bookshop/staging", "idle_in_transaction", "acme"): ("", "idle_in_transaction_session_timeout"),
    ("bookshop/main", "idle_pool", "birch"): ("", "min_pool_size=0"),
}  # fmt: skip


@pytest.mark.deep
def test_who_keeps_computes_awake(twin: Twin, make_agent: AgentMaker) -> None:
    with ExitStack() as stack:
        agent = make_agent(twin.agent_settings()).start()
        set_the_scene(twin, stack)
        assert wait_for(lambda: WANTED.keys() <= holders(agent).keys()), told(agent)
        found, text = holders(agent), told(agent)
        print(text)
        for key, (slot, advice) in WANTED.items():
            holder = found[key]
            assert holder["slot"] == slot
            assert advice in holder["what_to_do"]
            compute = holder["compute"]
            assert compute["cu_source"] == "autoscaling_min"
            whole = Decimal("0.106") * 24 * Decimal(compute["cu"])
            part = Decimal(holder["seconds"]) / Decimal(compute["window_seconds"])
            assert float(holder["usd_per_day"]) == pytest.approx(float(whole * part), rel=1e-6)
            assert 0 < holder["share"] <= 1
            assert sum(entry["seconds"] for entry in compute["keepers"]) == pytest.approx(compute["awake_seconds"])
            line = next(line for line in text.splitlines() if f"  {key[1]} " in line)
            assert re.search(r"\$\d+\.\d{4} ", line), line
        assert found["bookshop/staging", "idle_in_transaction", "acme"]["application_name"] == "forgotten-shell"
        assert found["bookshop/staging", "idle_in_transaction", "acme"]["share"] > 0.5
        assert text.splitlines()[-3].startswith("neonmeter itself")
        check_series(twin, agent)


def check_series(twin: Twin, agent: Agent) -> None:
    """What is exported is what the twin knows, and is still there after a kill -9."""
    staging = twin.compute("bookshop", "staging").endpoint
    mine = {"endpoint_id": staging.id}
    awake = agent.sum("neon_endpoint_awake_seconds_total", **mine)
    assert staging.started_at is not None
    assert awake <= time.time() - staging.started_at + 2
    kept = agent.sum("neon_endpoint_kept_awake_seconds_total", reason="idle_in_transaction", **mine)
    uncovered = agent.sum("neon_endpoint_uncovered_awake_seconds_total", **mine)
    assert 0 < kept + uncovered <= awake
    assert agent.sum("neon_endpoint_kept_awake_usd_per_day", reason="idle_in_transaction", **mine) > 0
    assert agent.sum("neon_endpoint_awake_cu", source="autoscaling_min", **mine) == 0.25
    agent.kill()
    agent.start()
    agent.until(lambda agent: agent.sum("neon_endpoint_awake_seconds_total", **mine) > awake, why="it goes on")
    assert agent.sum("neon_endpoint_kept_awake_seconds_total", reason="idle_in_transaction", **mine) >= kept


@pytest.mark.deep
def test_the_demo_names_its_wasters_with_dollars(open_state_dir: Path) -> None:
    command = [sys.executable, "-m", "exporter", "demo", "--for", "110", "--state", str(open_state_dir / "wasting")]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 0, done.stderr
    lines = [" ".join(line.split()) for line in done.stdout.splitlines()]
    for named in (
        "walsender replicator slot warehouse",
        "idle_in_transaction acme (forgotten-shell)",
        "idle_pool dune",
    ):
        line = next((line for line in lines if named in line), "")
        assert re.search(r"% \$\d+\.\d{4} ", line), (named, done.stdout[-5000:])
