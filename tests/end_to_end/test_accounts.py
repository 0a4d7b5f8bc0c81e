"""Kinds of accounts end to end: a person's key over two organisations, one of them Free, from check to the ledger."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from exporter.demo.api import ORG_KEY, PERSONAL_KEY, TwinApi, serve
from exporter.demo.meter import Meter
from exporter.demo.worldfile import build_world, parse
from tests.fix_agent import AgentMaker
from tests.fix_evidence import EvidenceServer, playing
from tests.fix_twin import MovableClock

WORLD = """
org_id: org-{name}-1
org_name: {name}
plan: {plan}
managed_by: {by}
deleted: [{{name: old-{name}}}]
projects:
  - name: {name}-app
    region: aws-eu-central-1
    branches:
      - {{name: main, logical_size: 4000000000, replicas: 1}}
      - {{name: cold, parent: main, archived: true, endpoint: null}}
"""


@pytest.fixture
def agency() -> Iterator[TwinApi]:
    """A person in three organisations: two that pay, one of them managed by Vercel, and one on Free."""
    clock = MovableClock()
    worlds = [
        build_world(parse(WORLD.format(name=name, plan=plan, by=by)), clock)
        for name, plan, by in (
            ("north", "launch_v3", "console"),
            ("shop", "scale_v3", "vercel"),
            ("toy", "free_v3", "console"),
        )
    ]
    clock.forward(3 * 3600)
    meters = [Meter(world) for world in worlds]
    with serve(worlds[0], meters[0], beside=list(zip(worlds[1:], meters[1:], strict=True))) as api:
        yield api


def run(folder: Path, url: str, key: str, *arguments: str, **neon: Any) -> subprocess.CompletedProcess[str]:
    config = folder / "neonmeter.yaml"
    config.write_text(
        yaml.safe_dump({"neon": {"api_url": url, **neon}, "storage": {"path": str(folder / "neonmeter.db")}})
    )
    environ = {name: value for name, value in os.environ.items() if not name.startswith(("NEON", "COLUMNS"))}
    return subprocess.run(
        [sys.executable, "-m", "exporter", *arguments, "--config", str(config)],
        capture_output=True, text=True, check=False, timeout=300, env={**environ, "NEON_API_KEY": key},
    )  # fmt: skip


def rows(done: subprocess.CompletedProcess[str]) -> dict[str, tuple[str, str]]:
    assert "Traceback" not in done.stderr, done.stderr
    return {row["what"]: (row["result"], row["detail"]) for row in json.loads(done.stdout)}


def test_check_of_a_person_in_several_organisations(agency: TwinApi, tmp_path: Path) -> None:
    done = run(tmp_path, agency.url, PERSONAL_KEY, "check", "--json")
    found = rows(done)
    assert found["API key"][0] == "works" and "a personal key of account" in found["API key"][1]
    assert found["Neon API"] == ("works", "north, shop, toy: 3 projects, 6 branches, 6 computes")
    assert found["organisation shop"] == ("works", "org-shop-1, plan scale, managed by vercel: 1 project")
    assert found["consumption north"][0] == found["consumption shop"][0] == "works"
    assert found["consumption toy"][0] == "left out" and "Free plan" in found["consumption toy"][1]
    narrowed = rows(run(tmp_path, agency.url, PERSONAL_KEY, "check", "--json", org_id="org-shop-1"))
    assert narrowed["Neon API"][1].startswith("shop: 1 project") and "organisation shop" not in narrowed
    own = rows(run(tmp_path, agency.url, ORG_KEY, "check", "--json"))
    assert "a key of an organisation" in own["API key"][1] and own["Neon API"][1].startswith("north: 1 project")


def test_the_ledger_holds_each_organisation_apart(agency: TwinApi, tmp_path: Path) -> None:
    done = run(tmp_path, agency.url, PERSONAL_KEY, "ledger", "backfill")
    assert "Traceback" not in done.stderr, done.stderr
    assert "toy: " in done.stdout, "what Free does not have is said of the organisation that it is true of"
    facts = run(tmp_path, agency.url, PERSONAL_KEY, "ledger", "export", "-").stdout.splitlines()
    owners = {
        (fact["org_id"], fact["project_id"].split("-app")[0]) for fact in map(json.loads, facts) if "value" in fact
    }
    assert owners == {("org-north-1", "north"), ("org-shop-1", "shop")}


@pytest.mark.parametrize(
    ("account", "code", "words"),
    [
        (
            "personal_none",
            3,
            ("a personal key of account", "belongs to no organisation", "set neon.org_id", "neon.include"),
        ),
        ("project", 3, ("a key of an organisation", "put that project's id into neon.include")),
        ("organisation", 1, ("a key of an organisation", "North Wind: 1 project")),
        ("personal_several", 1, ("a personal key", "Shop, North Wind", "managed by vercel")),
    ],
)
def test_check_of_recorded_accounts(account: str, code: int, words: tuple[str, ...], tmp_path: Path) -> None:
    """The recordings have no consumption, so those that get that far fail at it, by name."""
    server: EvidenceServer
    with playing(account) as server:
        done = run(tmp_path, server.url, "napi_evidence", "check", "--json")
    text = " | ".join(f"{what}: {result}: {detail}" for what, (result, detail) in rows(done).items())
    assert done.returncode == code, text
    assert not [word for word in words if word not in text], text


def test_inventory_of_what_the_twin_can_show(agency: TwinApi, tmp_path: Path) -> None:
    text = run(tmp_path, agency.url, PERSONAL_KEY, "inventory").stdout
    for words in ("toy, plan free: 1 project, 2 branches, 2 computes", "idle (replica)", "cold (archived)",
                  "deleted: old-shop (old-shop-", "plan scale, managed by vercel"):  # fmt: skip
        assert words in text, text


QUOTA = """
plan: launch_v3
projects:
  - name: capped
    region: aws-eu-central-1
    quota: {logical_size_bytes: 1000, compute_time_seconds: 360000, written_data_bytes: 0}
    branches: [{name: main, logical_size: 4000}]
  - name: plain
    region: aws-eu-central-1
    branches: [{name: main}]
"""


def test_quotas_in_check_and_in_the_agent(make_agent: AgentMaker, tmp_path: Path) -> None:
    world = build_world(parse(QUOTA), time.time)
    (capped,) = (project.id for project in world.projects.values() if project.name == "capped")
    size = {"project_id": capped, "quota": "logical_size_bytes", "source": "settings"}
    with serve(world, Meter(world)) as api:
        found = rows(run(tmp_path, api.url, ORG_KEY, "check", "--json"))
        assert found["quota capped"][0] == "FAILS"
        assert found["quota capped"][1] == "used up: logical_size_bytes (4,000 of 1,000); no more can be stored or made"
        assert "quota plain" not in found
        agent = make_agent({"neon": {"api_url": api.url, "api_key": ORG_KEY}}).start()
        agent.until(lambda agent: agent.sum("neon_quota_used", **size) == 4000)
        assert agent.sum("neon_quota_limit", **size) == 1000
        limits = agent.samples()["neon_quota_limit"]
        assert {dict(key)["project_id"] for key in limits} == {capped} and len(limits) == 2, "a limit of 0 is none"


def test_an_agent_prices_every_organisation_apart(agency: TwinApi, make_agent: AgentMaker) -> None:
    agent = make_agent({"neon": {"api_url": agency.url, "api_key": PERSONAL_KEY}}).start()
    agent.until(lambda agent: len(agent.samples().get("neon_billing_data_through_timestamp_seconds", {})) == 2)
    through = {dict(key)["org_id"] for key in agent.samples()["neon_billing_data_through_timestamp_seconds"]}
    assert through == {"org-north-1", "org-shop-1"}
    agent.until(
        lambda agent: agent.sum("neon_quota_limit", quota="branches", source="plan") == 10, why="Free has limits"
    )
    assert {dict(key)["org_id"] for key in agent.samples()["neon_org_info"]} == {
        "org-north-1",
        "org-shop-1",
        "org-toy-1",
    }
    assert {dict(key)["org_id"] for key in agent.samples()["neon_org_projects_limit"]} == {"org-toy-1"}
    assert "toy: " in agent.page("/"), "what Free does not have is a note that names it"


def test_a_project_on_free_that_is_suspended_by_its_quota(tmp_path: Path) -> None:
    """The recording of a project detail: its counters are over what the Free plan of 2026-10 allows."""
    with playing("free") as server:
        found = rows(run(tmp_path, server.url, "napi_evidence", "check", "--json"))
    result, detail = found["quota toy"]
    assert result == "FAILS"
    assert detail == (
        "suspended by quota until 2030-01-01: compute_time_seconds (360,004 of 360,000) used up;"
        " upgrade to go on before"
    )
