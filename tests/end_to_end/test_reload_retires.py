"""What a reload switches off or excludes leaves /metrics, /targets and /api/v1 within two publishes."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from exporter.app.catalog import GROUPS
from exporter.demo.postgres import free_port
from exporter.demo.twin import Twin
from exporter.demo.worldfile import parse
from tests.end_to_end.pinned_world import ALONE, EAGER, wake_all
from tests.end_to_end.test_reload import reload
from tests.fix_agent import Agent

WORLD = """
projects:
  - name: shop
    region: aws-eu-central-1
    branches:
      - name: main
        protected: true
        snapshots: [{name: daily, days_ago: 0.5}]
        endpoint: {suspend_timeout: -1}
        tenants: [{name: acme, schema: t_acme, role: acme}]
      - {name: dev, parent: main, endpoint: {suspend_timeout: -1}}
  - name: lab
    region: aws-eu-central-1
    branches:
      - name: main
        endpoint: {suspend_timeout: -1}
        tenants: [{name: birch, schema: t_birch, role: birch}]
"""
OFF: dict[str, tuple[dict[str, Any], tuple[str, ...]]] = {
    "posture": ({"posture": {"enabled": False}}, ("Posture",)),
    "drift": ({"drift": {"enabled": False}}, ("Drift", "Migrations")),
    "recovery": ({"recovery": {"enabled": False}}, ("Recovery",)),
    "budgets": ({"budgets": []}, ()),
    "pgbouncer": ({"pgbouncer": []}, ("PgBouncer",)),
    "replication": (
        {"sampling": {**EAGER, "collectors": {**EAGER["collectors"], "replication": {"enabled": False}}}},
        ("Replication",),
    ),
}
"""By feature: the settings that switch it off, and the headings of the catalogue whose families are its own."""
OWN = {"budgets": ("neon_budget_",)}
"""Prefixes of families where a heading holds more than what is switched off."""


@pytest.fixture(scope="module")
def twin(open_state_dir: Path) -> Iterator[Twin]:
    with Twin(parse(WORLD), open_state_dir / "retire", settings=ALONE) as twin:
        wake_all(twin)
        yield twin


@pytest.fixture(scope="module")
def agent(twin: Twin, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Agent]:
    """Everything that can be switched off is on."""
    nobody = {"name": "front", "dsn": f"postgresql://stats@127.0.0.1:{free_port()}/pgbouncer", "interval_seconds": 1}
    settings = {
        **twin.agent_settings(),
        "sampling": EAGER,
        "tenants": [{"tenant": "acme", "role": "acme"}, {"tenant": "birch", "role": "birch"}],
        "budgets": [{"name": "all", "amount": "10"}],
        "recovery": {"targets": [{"rto_seconds": 60, "rpo_seconds": 60}]},
        "pgbouncer": [nobody],
    }
    agent = Agent(settings, tmp_path_factory.mktemp("agent")).start()
    try:
        yield agent
    finally:
        ended, log = agent.stop(), agent.log.read_text()
        assert ended == 0, log[-3000:]
        assert "Traceback" not in log, log[max(0, log.index("Traceback") - 500) :]


def families_of(feature: str) -> set[str]:
    headings = OFF[feature][1]
    return {metric.name for group in GROUPS if group.title in headings for metric in group.metrics}


def shown(agent: Agent, feature: str) -> list[str]:
    """The series of a feature, and those that say how its collectors are."""
    names, prefixes = families_of(feature), OWN.get(feature, ())
    found = []
    for name, series in agent.samples().items():
        family = re.sub(r"_(bucket|sum|count)$", "", name)
        own = family in names or family.startswith(prefixes or ("\x00",))
        for labels in series:
            collector = dict(labels).get("collector", "")
            if own or collector == feature or collector.startswith(f"{feature}_"):
                found.append(f"{name}{dict(labels)}")
    return found


def pages(agent: Agent, feature: str) -> list[str]:
    listed: list[str] = json.loads(agent.page("/api/v1/"))["pages"]
    return [page for page in listed if page == f"/api/v1/{feature}" or page.startswith(f"/api/v1/{feature}/")]


def two_publishes_later(agent: Agent) -> None:
    now = agent.sum("neonmeter_publish_generation")
    agent.until(lambda agent: agent.sum("neonmeter_publish_generation") >= now + 2)


@pytest.mark.parametrize("feature", OFF)
def test_what_is_switched_off_leaves(feature: str, agent: Agent) -> None:
    agent.until(lambda agent: shown(agent, feature), why=f"{feature} shows something")
    paged = pages(agent, feature)
    assert reload(agent, **OFF[feature][0]) == (200, "the settings were read again and are in force\n")
    two_publishes_later(agent)
    assert shown(agent, feature) == []
    assert pages(agent, feature) == []
    assert reload(agent)[0] == 200
    agent.until(lambda agent: shown(agent, feature), why=f"{feature} comes back")
    agent.until(lambda agent: len(pages(agent, feature)) >= len(paged), why=f"the pages of {feature} come back")


def of_project(agent: Agent, project: str) -> list[str]:
    """Everywhere that a project's id stands."""
    lines = [line for line in agent.page("/metrics").splitlines() if project in line]
    targets = [row for row in json.loads(agent.page("/targets?format=json")) if project in json.dumps(row)]
    listed: list[str] = json.loads(agent.page("/api/v1/"))["pages"]
    inside = [page for page in listed if project in page or project in agent.page(page)]
    return [*lines, *map(str, targets), *inside]


def test_an_excluded_project_leaves(twin: Twin, agent: Agent) -> None:
    lab = next(project.id for project in twin.world.projects.values() if project.name == "lab")
    shop = next(project.id for project in twin.world.projects.values() if project.name == "shop")
    agent.until(lambda agent: any("neon_cost_usd" in line for line in of_project(agent, lab)), why="it has a cost")
    agent.until(lambda agent: any("/api/v1/posture" in line for line in of_project(agent, lab)), why="it has pages")
    neon = {**agent.settings["neon"], "exclude": ["lab"]}
    assert reload(agent, neon=neon)[0] == 200
    agent.until(lambda agent: agent.sum("neon_branches") or True)
    two_publishes_later(agent)
    agent.until(lambda agent: not of_project(agent, lab), why="nothing is left of it")
    assert of_project(agent, shop)
    assert reload(agent)[0] == 200
    agent.until(lambda agent: any("neon_cost_usd" in line for line in of_project(agent, lab)), why="it comes back")
