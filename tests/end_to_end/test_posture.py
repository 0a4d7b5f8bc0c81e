"""Posture end to end: databases scanned on allowed visits, Neon's API, waivers, the command and its report.

The demo world has failures of its own; beside them one tenant is granted another's table, and the agent too much.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest

from exporter.demo.compute import Compute
from exporter.demo.twin import Twin, TwinSettings
from tests.fix_agent import Agent, AgentMaker
from tests.fix_twin_world import suspends_in_time

SUSPEND_SECONDS = 16
FIRST_SIGHT_SECONDS = 18
WAIVERS = [
    {"control": "P35", "object": "analytics", "reason": "moves in spring", "approver": "DPO", "expires": "2100-01-01"},
    {"control": "P36", "object": "analytics/*", "reason": "tests only", "approver": "CTO", "expires": "2020-01-01"},
]
LEAK = """
CREATE ROLE neon_superuser NOLOGIN BYPASSRLS;
GRANT neon_superuser TO monitor;
GRANT USAGE ON SCHEMA t_birch TO acme;
GRANT SELECT ON t_birch.orders TO acme;
"""
EXPECTED = {"P01", "P05", "P36", "P38", "P41", "P50", "P58", "P61", "P62", "P63"}
"""Some of what fails in the demo world, and what this test adds: P01, P05 and P50."""


@pytest.fixture(scope="module")
def twin(open_state_dir: Path) -> Iterator[Twin]:
    settings = TwinSettings(suspend_seconds=SUSPEND_SECONDS, workload=False, consumers=False, poolers=False)
    with Twin("small", open_state_dir / "posture", settings=settings) as running:
        yield running


def live(twin: Twin, agent: Agent, compute: Compute) -> None:
    """One life of the compute: work, a visit, and asleep again."""
    visited = agent.sum("neonmeter_visits_total", status="ok")
    twin.workload.run_burst(compute.endpoint.id, "acme", 20)
    used_at = twin.world.clock()
    agent.until(lambda a: a.sum("neonmeter_visits_total", status="ok") > visited)
    suspends_in_time(compute, used_at)
    time.sleep(1)


def posture(agent: Agent, *options: str) -> tuple[int, str]:
    command = [sys.executable, "-m", "exporter", "posture", "--config", str(agent.config), *options]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=os.environ)
    assert not done.stderr, done.stderr
    return done.returncode, done.stdout


def failing(plain: dict[str, Any]) -> dict[str, list[dict[str, Any]]]:
    return {
        entry["id"]: [one for one in entry["findings"] if one["status"] == "fail"]
        for entry in plain["controls"]
        if entry["status"] == "fail"
    }


def test_what_is_wrong_in_the_demo_is_found_told_and_answered_for(
    twin: Twin, make_agent: AgentMaker, tmp_path: Path
) -> None:
    agent = make_agent({**twin.agent_settings(), "posture": {"waivers": WAIVERS}}).start()
    compute = twin.compute("bookshop", "main")
    time.sleep(FIRST_SIGHT_SECONDS)
    twin.workload.run_burst(compute.endpoint.id, "birch", 1)
    with psycopg.connect(compute.cluster.conninfo("app"), autocommit=True) as owner:
        owner.execute(LEAK.encode())
    for _ in range(2):
        live(twin, agent, compute)
    agent.until(lambda a: a.sum("neon_tenant_posture_findings", tenant="birch", severity="critical") > 0)
    code, text = posture(agent, "--json")
    assert code == 1
    plain = json.loads(text)
    fails = failing(plain)
    assert fails.keys() >= EXPECTED
    (leak, *_) = fails["P01"]
    assert leak["tenant"] == "birch"
    assert "t_birch.orders" in leak["object"] + leak["evidence"]
    assert {entry["control"]: entry["state"] for entry in plain["waivers"]} == {"P35": "active", "P36": "expired"}
    residency = next(entry for entry in plain["controls"] if entry["id"] == "P35")
    assert residency["status"] == "waived"
    assert all(fail["waiver"]["expired"] for fail in fails["P36"])
    # The agent's own privilege is told wherever somebody looks.
    assert agent.sum("neonmeter_excess_privilege") == 1
    assert "excess privileges" in agent.log.read_text()
    assert "excess privileges" in agent.page("/")
    # The page of the running agent and the command say the same.
    project = compute.endpoint.project_id
    page = json.loads(agent.page(f"/api/v1/posture/{project}"))
    served = {entry["cache_key"] for entry in page["findings"] if entry["status"] == "fail"}
    told = {one["cache_key"] for fail in fails.values() for one in fail if one["object"].startswith(project)}
    assert served == told
    assert agent.sum("neonmeter_endpoint_caused_wakes_total") == 0
    out = tmp_path / "report"
    code, text = posture(agent, "--out", str(out), "--framework", "gdpr,cis", "--format", "html,md,csv,json,ocsf")
    assert code == 1
    assert text.index("critical") < text.index("medium"), "fails first, the worst above"
    assert {path.name for path in out.iterdir()} == {
        "posture.html", "posture.md", "posture.csv", "posture.json", "posture.ocsf.jsonl",
    }  # fmt: skip
    assert posture(agent, "--fail-on", "none")[0] == 0
    assert subprocess.run(
        [sys.executable, "-m", "exporter", "posture", "--config", str(agent.config), "--framework", "hippa"],
        capture_output=True, text=True, check=False,
    ).stderr.startswith("posture: --framework: there is no hippa; there are")  # fmt: skip
