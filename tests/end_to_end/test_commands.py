"""The commands that read, as a person or a script runs them, beside an agent at work."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from decimal import Context, Decimal
from pathlib import Path
from typing import Any

import pytest
import yaml

from exporter.app.catalog import CATALOG
from exporter.app.settings import load
from exporter.demo.postgres import free_port
from exporter.demo.twin import Twin
from exporter.version import __version__
from tests.end_to_end.pinned_world import ALONE, EAGER, pinned_world, wake_all
from tests.fix_agent import Agent

EXACT = Context(prec=60)


@pytest.fixture(scope="module")
def twin(open_state_dir: Path) -> Iterator[Twin]:
    with Twin(pinned_world(["copy"]), open_state_dir / "commands", settings=ALONE) as twin:
        wake_all(twin)
        yield twin


@pytest.fixture(scope="module")
def agent(twin: Twin, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Agent]:
    """It has priced what the tenant did."""
    settings = {**twin.agent_settings(), "sampling": EAGER}
    agent = Agent(settings, tmp_path_factory.mktemp("agent")).start()
    try:
        twin.workload.run_burst(twin.compute("shop", "main").endpoint.id, "acme", 300)
        agent.until(lambda agent: agent.sum("neon_tenant_cost_month_to_date_usd", tenant="acme") > 0)
        yield agent
    finally:
        assert agent.stop() == 0


def run(*arguments: str, config: Path | None = None, **environ: str) -> subprocess.CompletedProcess[str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("NEON")}
    done = subprocess.run(
        [sys.executable, "-m", "exporter", *arguments, *(["--config", str(config)] if config else [])],
        capture_output=True, text=True, check=False, timeout=300, env={**kept, **environ},
    )  # fmt: skip
    assert "Traceback" not in done.stderr
    return done


def test_inventory(twin: Twin, agent: Agent) -> None:
    told = run("inventory", config=agent.config)
    assert told.returncode == 0, told.stderr
    lines = told.stdout.splitlines()
    assert lines[0] in [f"Twin, plan {plan}: 1 project, 2 branches, 2 computes" for plan in ("launch", "launch_v3")]
    assert [line.split()[0] for line in lines[3:]] == ["shop", "shop"]
    assert "main *" in lines[3], "the default branch first, its child under it"
    assert "    copy" in lines[4]
    tree = json.loads(run("inventory", "--json", config=agent.config).stdout)
    assert {entry["id"] for entry in tree["endpoints"]} == set(twin.computes)
    assert {entry["current_state"] for entry in tree["endpoints"]} == {"active"}
    assert tree["org_id"] == twin.world.org_id


def test_inventory_without_a_key_and_without_an_answer(twin: Twin, tmp_path: Path) -> None:
    none = run("inventory")
    assert (none.returncode, none.stdout) == (2, "")
    assert "set NEON_API_KEY" in none.stderr
    wrong = run("inventory", NEON_API_KEY="wrong", NEONMETER_NEON__API_URL=twin.api_url)
    assert (wrong.returncode, wrong.stdout) == (3, "")
    assert "the API key was refused" in wrong.stderr
    assert len(wrong.stderr.splitlines()) == 1
    enough = run("inventory", NEON_API_KEY=twin.api_key, NEONMETER_NEON__API_URL=twin.api_url)
    assert enough.returncode == 0, "the key alone is enough"


def sums(node: dict[str, Any]) -> None:
    """The children of every row sum to it, to the last digit, and so do its components."""
    for below in ("projects", "branches", "tenants"):
        if below in node:
            total = sum((Decimal(child["cost"]) for child in node[below]), Decimal(0))
            assert EXACT.subtract(total, Decimal(node["cost"])) == 0
            for child in node[below]:
                sums(child)
    assert sum(map(Decimal, node["components"].values())) == Decimal(node["cost"])


def test_cost_ties(agent: Agent) -> None:
    done = run("cost", "--json", config=agent.config)
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert told["ties"] is True
    assert told["estimated"] is True
    assert Decimal(told["total"]) > 0
    assert sum(Decimal(org["cost"]) for org in told["orgs"]) == Decimal(told["total"])
    for org in told["orgs"]:
        sums(org)
    by_tenant = {row["tenant"]: Decimal(row["cost"]) for row in told["tenants"]}
    assert sum(by_tenant.values()) == Decimal(told["total"]), "the same money, by tenant"
    assert by_tenant["acme"] > 0
    # What the agent exports is the same money, a moment before or after.
    agent.until(lambda agent: agent.sum("neon_cost_month_to_date_usd") >= float(told["total"]) / 1.5)
    exported = agent.sum("neon_cost_month_to_date_usd")
    assert exported <= 1.5 * float(json.loads(run("cost", "--json", config=agent.config).stdout)["total"])


def test_cost_for_a_person(agent: Agent) -> None:
    told = run("cost", config=agent.config)
    assert (told.returncode, told.stderr) == (0, "")
    assert "acme" in told.stdout
    assert "shop" in told.stdout, "names, not ids, although Neon is not asked"
    explained = run("cost", "--explain", config=agent.config)
    assert explained.returncode == 0
    assert explained.stdout != told.stdout
    empty = run("cost", "--month", "2025-01", "--json", config=agent.config)
    assert Decimal(json.loads(empty.stdout)["total"]) == 0
    nonsense = run("cost", "--month", "2026-13", config=agent.config)
    assert (nonsense.returncode, nonsense.stdout) == (2, "")
    assert nonsense.stderr == "--month: 2026-13 is not a month; write YYYY-MM, such as 2026-10\n"


def test_cost_before_the_first_run(tmp_path: Path) -> None:
    told = run("cost", NEON_API_KEY="x", NEONMETER_STORAGE__PATH=str(tmp_path / "none.db"))
    assert told.returncode == 2
    assert "none.db is not there yet; `neonmeter run` fills it" in told.stderr
    assert not list(tmp_path.iterdir()), "a command that reads makes no file"


def test_metrics() -> None:
    told = json.loads(run("metrics", "--format", "json").stdout)
    assert {entry["name"] for entry in told} == set(CATALOG)
    assert all(entry["help"].endswith(".") for entry in told)
    assert run("metrics").stdout.startswith("# Metrics\n")


def test_healthcheck(agent: Agent) -> None:
    well = run("healthcheck", config=agent.config)
    assert well.returncode == 0
    assert "the last heartbeat of the collecting loop was" in well.stdout
    assert run("healthcheck", "--url", agent.url).returncode == 0
    nobody = run("healthcheck", "--url", f"http://127.0.0.1:{free_port()}")
    assert nobody.returncode == 1
    assert "no answer from http://127.0.0.1:" in nobody.stderr
    assert agent.process is not None
    agent.process.send_signal(signal.SIGSTOP)
    try:
        stuck = run("healthcheck", config=agent.config)
    finally:
        agent.process.send_signal(signal.SIGCONT)
    assert stuck.returncode == 1
    assert "timed out" in stuck.stderr


def test_version_and_commands_that_there_are_not() -> None:
    assert run("version").stdout == run("--version").stdout == f"neonmeter {__version__}\n"
    unknown = run("chekc")
    assert (unknown.returncode, unknown.stdout) == (2, "")
    assert "no such command: 'chekc'; did you mean check?" in unknown.stderr
    assert "use one of run, check, config" in run("frobnicate").stderr


def test_config(agent: Agent, twin: Twin, tmp_path: Path) -> None:
    good = run("config", "check", config=agent.config)
    assert (good.returncode, good.stdout) == (0, "The settings are good.\n")
    shown = run("config", "show", config=agent.config)
    assert shown.returncode == 0
    tree = yaml.safe_load(shown.stdout)
    assert tree["neon"]["org_id"] == twin.world.org_id
    assert twin.api_key not in shown.stdout
    assert twin.monitor_password not in shown.stdout
    bad = tmp_path / "bad.yaml"
    bad.write_text("neon: {api_kye: x}\nstorage: {path: /nowhere/x.db}\nsampling: {tick_seconds: -1}\n")
    told = run("config", "check", config=bad)
    assert told.returncode == 2
    assert "neon.api_kye: unknown key; did you mean api_key?" in told.stderr
    assert "sampling.tick_seconds: " in told.stderr, "all at once"


def test_the_example_and_the_schema_describe_what_is_loaded(tmp_path: Path) -> None:
    example = tmp_path / "example.yaml"
    example.write_text(run("config", "example").stdout)
    load(example)
    schema = json.loads(run("config", "schema").stdout)
    written = yaml.safe_load(example.read_text())
    assert set(written) <= set(schema["properties"])
