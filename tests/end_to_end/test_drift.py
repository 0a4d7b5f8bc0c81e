"""A child branch drifts on a real compute: seen at the next allowed visit, explained, and cleared by an approval."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from exporter.demo import drifting
from exporter.demo.twin import Twin, TwinSettings
from tests.fix_agent import Agent, AgentMaker
from tests.fix_twin_world import suspends_in_time

SUSPEND_SECONDS = 16
FIRST_SIGHT_SECONDS = 18


@pytest.fixture(scope="module")
def twin(open_state_dir: Path) -> Iterator[Twin]:
    settings = TwinSettings(suspend_seconds=SUSPEND_SECONDS, workload=False, consumers=False, poolers=False)
    with Twin("small", open_state_dir / "drift", settings=settings) as running:
        yield running


def ask(agent: Agent, *arguments: str, code: int = 0) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "exporter", *arguments, "--config", str(agent.config)],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == code, done.stdout + done.stderr
    return done.stdout + done.stderr


def work_until_read(twin: Twin, agent: Agent, *branches: str) -> float:
    """Somebody works on the branches until a scan of the user databases of each succeeded in this life of theirs.

    Answers when the last work ended, on the twin's clock.
    """
    computes = {branch: twin.compute("bookshop", branch) for branch in branches}

    def read(branch: str) -> float:
        wanted = {"branch_id": computes[branch].endpoint.branch_id, "datname": "app"}
        return agent.sum("neon_schema_scan_timestamp_seconds", **wanted)

    before = {branch: computes[branch].endpoint.started_at or 0.0 for branch in branches}
    used_at = twin.world.clock()
    waiting, until = set(branches), time.monotonic() + 240
    while waiting and time.monotonic() < until:
        for branch in waiting:
            twin.workload.run_burst(computes[branch].endpoint.id, "acme", 5)
        used_at = twin.world.clock()
        time.sleep(1)
        waiting = {branch for branch in waiting if read(branch) <= before[branch]}
    assert not waiting, f"{waiting}: not read; {agent.log.read_text()[-2000:]}"
    return used_at


def migrate(twin: Twin, branch: str, *heads: str) -> None:
    """A tenant's own history, as Alembic keeps it, readable for the agent's role."""
    host, _, port = twin.compute("bookshop", branch).endpoint.host.rpartition(":")
    conninfo = f"host={host} port={port} dbname=app user=acme password={twin.password} sslmode=disable"
    with psycopg.connect(conninfo, autocommit=True) as connection:
        connection.execute("CREATE TABLE t_acme.alembic_version (version_num varchar(32) PRIMARY KEY)")
        connection.execute("GRANT USAGE ON SCHEMA t_acme TO monitor; GRANT SELECT ON t_acme.alembic_version TO monitor")
        for head in heads:
            connection.execute("INSERT INTO t_acme.alembic_version VALUES (%s)", [head])


def test_a_branch_drifts_and_is_approved(twin: Twin, make_agent: AgentMaker) -> None:
    rules = {"tenants": [{"schema": "t_(?P<tenant>[a-z]+)"}], "drift": {"templates": [{"schema": "t_cedar"}]}}
    agent = make_agent({**twin.agent_settings(), **rules}).start()
    staging = twin.compute("bookshop", "staging")
    branch_id = staging.endpoint.branch_id
    assert "No database has been read yet" in ask(agent, "drift")
    migrate(twin, "main", "b2")
    migrate(twin, "staging", "a1", "c3")
    time.sleep(FIRST_SIGHT_SECONDS)
    used_at = work_until_read(twin, agent, "main", "staging")

    def differs(**labels: str) -> float:
        return agent.sum("neon_schema_drift_objects", branch_id=branch_id, datname="app", **labels)

    agent.until(lambda _: differs() == 2, why="what the world's staging has beyond main")
    assert differs(kind="column", change="added") == differs(kind="index", change="added") == 1
    assert agent.sum("neon_migrations_divergence", branch_id=branch_id, side="ahead") == 2
    text = ask(agent, "drift", "migrations", "staging")
    assert "alembic" in text
    assert "1 behind, 2 ahead" in text
    assert agent.sum("neon_settings_drift_detected", branch_id=branch_id, baseline="parent") == 0
    text = ask(agent, "drift", "approve", "bookshop/staging", "--database", "app", "--reason", "as planned")
    assert "approved by" in text
    agent.until(lambda _: differs() == 0, why="an approval clears the gauge at the next look")
    detected = ("neon_schema_drift_detected", {"branch_id": branch_id, "datname": "app", "baseline": "approved"})
    assert agent.sum(detected[0], **detected[1]) == 0
    suspends_in_time(staging, used_at)

    drifting.change(twin)
    work_until_read(twin, agent, "staging")
    agent.until(lambda _: differs() == 3, why="the change by hand, at the next life's visit")
    assert agent.sum(detected[0], **detected[1]) == 1
    text = ask(agent, "drift", "staging")
    for name in ("t_acme.orders.gift_note", "t_acme.orders.orders_by_customer", "t_birch.customers.email"):
        assert name in text
    assert "t_acme.orders.coupon" not in text, "approved"
    told = json.loads(ask(agent, "drift", "tenants", "bookshop/staging", "--json"))["app"]
    assert set(told["deviating"]) == {"acme", "birch"}
    page = agent.page(f"/api/v1/drift/{staging.endpoint.project_id}/{branch_id}.md")
    assert "gift_note" in page
    assert "did you mean bookshop/staging?" in ask(agent, "drift", "bookshop/stagin", code=2)
    assert "has not been read yet" in ask(agent, "drift", "bookshop/preview", code=2)
    text = ask(
        agent, "drift", "between", "bookshop/main", "bookshop/staging", "--database", "app", "--markdown", code=1
    )
    assert "**5 differences**: 3 added, 1 removed, 1 changed" in text
    ask(agent, "drift", "approve", "staging", "--database", "app", "--reason", "kept after all")
    agent.until(lambda _: differs() == 0, why="approving it clears it")
    assert agent.sum("neonmeter_endpoint_caused_wakes_total") == 0
