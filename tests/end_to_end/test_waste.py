"""`neonmeter waste` on real computes: a slot, a forgotten transaction, a pool, with the dollars of the twin's meter."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest

from exporter.demo.truth import awake_seconds
from exporter.demo.twin import Twin, TwinSettings
from exporter.pricing.domain.components import MONTH_HOURS
from tests.end_to_end.test_awake import holders, set_the_scene
from tests.fix_agent import Agent, AgentMaker
from tests.fix_twin_world import wait_for

WANTED = {
    ("analytics/main", "slot_keeps_awake"): (
        "walsender",
        "replicator",
        "SELECT pg_drop_replication_slot('warehouse');",
    ),
    ("bookshop/staging", "kept_awake"): (
        "idle_in_transaction",
        "acme",
        "ALTER ROLE \"acme\" SET idle_in_transaction_session_timeout = '1min';",
    ),
    ("bookshop/main", "kept_awake"): (
        "idle_pool",
        "birch",
        "pgbouncer.ini: min_pool_size = 0, server_idle_timeout = 10",
    ),
}
TOLERANCE = 0.2
"""The meter, the looks and the visits are seconds apart, and all of it is a minute or two."""


@pytest.fixture
def wasteful(open_state_dir: Path) -> Iterator[Twin]:
    quiet = TwinSettings(suspend_seconds=20, workload=False, consumers=False, poolers=False)
    with Twin("small", open_state_dir / "waste", settings=quiet) as twin:
        yield twin


def told(agent: Agent, *command: str) -> str:
    line = [sys.executable, "-m", "exporter", *command, "--config", str(agent.config)]
    done = subprocess.run(line, capture_output=True, text=True, check=False, timeout=300)
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


def findings(agent: Agent) -> dict[tuple[str, str], dict[str, Any]]:
    found = json.loads(told(agent, "waste", "--json"))
    assert Fraction(found["waste_per_month"]) <= Fraction(found["cost_per_month"])
    return {(entry["name"], entry["rule"]): entry for entry in found["findings"] if Fraction(entry["usd_per_month"])}


@pytest.mark.deep
def test_waste_is_named_with_the_dollars_of_the_twins_meter(wasteful: Twin, make_agent: AgentMaker) -> None:
    with ExitStack() as stack:
        agent = make_agent(wasteful.agent_settings()).start()
        set_the_scene(wasteful, stack)
        assert wait_for(lambda: WANTED.keys() <= findings(agent).keys()), told(agent, "waste")
        time.sleep(20)  # So that a second more or less is little of the whole.
        found, kept = findings(agent), holders(agent)
        for (name, rule), (reason, user, command) in WANTED.items():
            one = found[name, rule]
            assert one["command"] == command
            compute = wasteful.compute(*name.split("/")).endpoint
            age = wasteful.world.clock() - wasteful.world.projects[compute.project_id].created_at
            cost = awake_seconds(wasteful.world, compute.id) / age * MONTH_HOURS * compute.min_cu * 0.106
            truth = cost * kept[name, reason, user]["share"]
            assert float(Fraction(one["usd_per_month"])) == pytest.approx(truth, rel=TOLERANCE), (name, rule)
        text = told(agent, "waste")
        assert "slot warehouse kept it awake for" in text
        assert "a transaction that nobody ends of acme (forgotten-shell)" in text
        told(agent, "whatif", "--suspend-timeout", "60", "--plan", "scale")
