"""Expressions of others on our metrics, by name: what docs/compatibility.md promises holds on a real scrape."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from exporter.app.catalog import CATALOG
from exporter.demo.twin import Twin
from tests.alerts.chain import chain
from tests.alerts.mixins import ASKS, PAGE, Ask, page
from tests.alerts.rules import ALERTS
from tests.alerts.test_rules import metrics_of
from tests.fix_agent import Agent
from tests.fix_prometheus import Prometheus

FILE = ALERTS / "compatibility.rules.yml"
RULES = {rule["record"]: rule["expr"] for rule in yaml.safe_load(FILE.read_text())["groups"][0]["rules"]}
ids = [f"{ask.source}: {ask.title}" for ask in ASKS]
RENAMED = {"pg_stat_activity_count": ("usename",), "pg_stat_activity_max_tx_duration": ("state",)}


def labels_of(metric: str) -> set[str]:
    """The labels that a metric has here, by its own name or by the rule for it; empty when there is none."""
    if metric in CATALOG:
        return {"instance", "job", *CATALOG[metric].all_labels}
    if metric not in RULES:
        return set()
    origin = next(iter(metrics_of(RULES[metric])))[0]
    return {"instance", "job", *CATALOG[origin].all_labels, *RENAMED.get(metric, ())}


def works(ask: Ask) -> bool:
    return all(labels_of(metric) and set(labels) <= labels_of(metric) for metric, labels in ask.uses.items())


@pytest.mark.parametrize("ask", ASKS, ids=ids)
def test_it_works_or_says_why_not(ask: Ask) -> None:
    assert works(ask) == (not ask.why)


def test_the_page_is_of_this_list() -> None:
    assert PAGE.read_text() == page(), "run python -m tests.alerts.mixins"


@pytest.mark.parametrize("name", RULES)
def test_a_rule_renames_what_exists(name: str) -> None:
    assert name not in CATALOG, "the names would be there twice"
    for metric, labels in metrics_of(RULES[name]):
        assert metric in CATALOG
        assert labels <= set(CATALOG[metric].all_labels)


@pytest.fixture(scope="module")
def server(open_state_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Prometheus]:
    """A Prometheus with these rules over an agent of a twin."""
    with Twin("small", open_state_dir / "compatibility") as twin:
        settings = twin.agent_settings()
        agent = Agent(settings, tmp_path_factory.mktemp("agent")).start()
        try:
            address = agent.url.removeprefix("http://")
            with chain({}, targets=[address], more=[FILE]) as (server, _):
                yield server
        finally:
            agent.stop()


@pytest.mark.deep
def test_on_a_real_scrape(server: Prometheus) -> None:
    """Every metric that a working expression needs has data, with the labels it needs, one instance a compute."""
    asked = [uses for ask in ASKS if works(ask) for uses in ask.uses.items()]
    wanted = {(metric, label) for metric, labels in asked for label in (*labels, "instance")}
    quiet = {
        "pg_stat_activity_max_tx_duration": "only while a statement runs at the moment of a visit",
        "pg_stat_replication_pg_wal_lsn_diff": "only with a consumer",
    }
    until = time.monotonic() + 500
    missing = wanted
    while missing and time.monotonic() < until:
        missing = {(metric, label) for metric, label in missing
                   if metric not in quiet and not server.query(f'{metric}{{{label}!=""}}')}  # fmt: skip
        time.sleep(1)
    assert missing == set()
    computes = {row["metric"]["instance"] for row in server.query("pg_settings_max_connections")}  # type: ignore[index]
    assert all(str(name).startswith("ep-") for name in computes)
