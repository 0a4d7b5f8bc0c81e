"""Faults on the whole way: scraped by Prometheus, routed by Alertmanager, delivered to a webhook, and nothing beside.

Every firing case of the unit tests is played at once, each on a project and an agent of its own, every other one
outside of the EU. Whatever one raises beyond its own alert must be named in its case (`alerts`, and `lasting`: what
follows when no `for` holds it back).
"""

from __future__ import annotations

import re
import time
from collections import defaultdict
from collections.abc import Iterator
from functools import partial

import httpx
import pytest

from tests.alerts.chain import GRAFANA, NEONMETER, Desk, chain
from tests.alerts.rules import ALERTS, WATCHDOG, alerts
from tests.alerts.scenes import Scene, openmetrics, scenes
from tests.fix_prometheus import Prometheus

FEW = {"NeonComputeUnreachable", "NeonConnectionsNearlyExhausted", "NeonCostAnomaly", "NeonmeterLoopLag"}
INHIBITED = {
    "NeonConnectionsHigh": "NeonConnectionsNearlyExhausted",
    "NeonLockWaitLong": "NeonLockQueueBlocked",
    "NeonTransactionIdAgeHigh": "NeonTransactionIdWraparoundNear",
    "NeonComputeUnreachable": "NeonMostComputesUnreachable",
    "NeonPoolerClientsWaiting": "NeonPoolerStuck",
    "NeonReplicationSlotUnread": "NeonReplicationSlotAboutToBeDropped",
}
"""What is silent while the other one fires on the same object."""


def scene_of(labels: dict[str, str]) -> str:
    """The scene that an alert belongs to, by whichever of its labels is the scene's own."""
    if "project_id" in labels:
        return labels["project_id"].removeprefix("p-")
    if "instance" in labels:
        return labels["instance"]
    owned = next((labels[key] for key in ("budget", "org_id", "tenant") if key in labels), "-nobody")
    return owned.split("-", 1)[1]


def receiver(name: str, scene: Scene) -> str:
    """Where an alert of a scene must go; written by hand of the routes, not read from them."""
    rule = alerts()[name]
    where = {"eu": "eu", "unknown": "eu", "other": "other", "none": "platform"}[residency(name, scene)]
    if rule.labels["severity"] == "critical":
        return f"{where}-page"
    if rule.labels["category"] == "finops":
        return "eu-finance-digest" if where == "platform" else f"{where}-finance-digest"
    if rule.labels["category"] == "posture":
        return "eu-security" if where == "platform" else f"{where}-security"
    return f"{where}-tickets"


def residency(name: str, scene: Scene) -> str:
    if name == "NeonRegionUnknown":
        return "unknown"
    return alerts()[name].labels.get("data_residency") or ("eu" if scene.region == "aws-eu-central-1" else "other")


def raised(server: Prometheus) -> dict[str, set[str]]:
    """Names of the alerts that fire by scene."""
    found: dict[str, set[str]] = defaultdict(set)
    answer = httpx.get(f"{server.url}/api/v1/alerts", timeout=60, trust_env=False).json()
    for alert in answer["data"]["alerts"]:
        if alert["labels"]["alertname"] != WATCHDOG:
            found[scene_of(alert["labels"])].add(alert["labels"]["alertname"])
    return dict(found)


def broken_rules(server: Prometheus) -> list[str]:
    groups = httpx.get(f"{server.url}/api/v1/rules", timeout=60, trust_env=False).json()["data"]["groups"]
    told = [(rule["name"], rule.get("lastError")) for group in groups for rule in group["rules"]]
    return [f"{name}: {error}" for name, error in told if error]


def delivered(board: Desk) -> dict[str, set[tuple[str, str]]]:
    found: dict[str, set[tuple[str, str]]] = defaultdict(set)
    for where, alert in list(board.received):
        if alert["labels"]["alertname"] != WATCHDOG:
            found[scene_of(alert["labels"])].add((where, alert["labels"]["alertname"]))
    return dict(found)


def owed(scene: Scene) -> set[tuple[str, str]]:
    """What the webhook must get of a scene: all that it raises, but for what something worse holds back."""
    told = {name for name in scene.expected if INHIBITED.get(name) not in scene.expected}
    return {(receiver(name, scene), name) for name in told}


def settle(server: Prometheus, board: Desk, played: list[Scene]) -> None:
    """Wait until everything owed is there, then a little for what is not."""
    until = time.monotonic() + 400
    while time.monotonic() < until:
        got = delivered(board)
        if all(owed(scene) <= got.get(scene.name, set()) for scene in played):
            break
        time.sleep(1)
    time.sleep(6)


def links(board: Desk) -> Iterator[str]:
    """Every link of every notification, after saying that all of its texts came out whole."""
    for _, alert in board.received:
        for key, text in alert["annotations"].items():
            assert text, f"{alert['labels']['alertname']}: {key} is empty"
            assert not re.search(r"error|no value|\{\{|//d/|=&|=$", text.lower().replace("errors", "")) or (
                key in ("summary", "description") and "error" in text.lower()
            ), f"{alert['labels']['alertname']}: {key} is {text!r}"
        yield from (alert["annotations"]["runbook_url"], alert["annotations"]["dashboard_url"])


def play(played: list[Scene]) -> None:
    now = time.time()
    pages = {scene.name: partial(scene.page, now) for scene in played}
    with chain(pages, openmetrics(played, now, now - 20)) as (
        server,
        board,
    ):
        settle(server, board, played)
        assert broken_rules(server) == []
        firing, got = raised(server), delivered(board)
        print(f"\n{'fault':40} {'where':6} {'raises':60} goes to")
        for scene in played:
            told = ", ".join(sorted(firing.get(scene.name, ())))
            to = ", ".join(sorted({where for where, _ in got.get(scene.name, ())}))
            print(f"{scene.name:40} {'EU' if 'eu-' in scene.region else 'US':6} {told:60} {to}")
        assert firing == {scene.name: set(scene.expected) for scene in played}
        assert got == {scene.name: owed(scene) for scene in played}
        assert board.delivered(alertname=WATCHDOG) == {("dead-mans-switch", WATCHDOG)}
        for link in links(board):
            base, _, path = link.partition(".example.invalid")
            assert f"{base}.example.invalid" in (GRAFANA, NEONMETER)
            if base == NEONMETER.partition(".example")[0]:
                assert (ALERTS / "runbooks" / f"{path.removeprefix('/runbooks/')}.md").exists()


def test_a_few_faults() -> None:
    play([scene for scene in scenes() if scene.name in FEW])


@pytest.mark.deep
def test_every_fault_raises_its_alert_and_only_that() -> None:
    played = scenes()
    assert len(played) >= 90
    play(played)


def test_no_agent_at_all() -> None:
    with chain({}) as (server, board):
        until = time.monotonic() + 300
        while len({alert["labels"]["alertname"] for _, alert in board.received}) < 2 and time.monotonic() < until:
            time.sleep(0.5)
        assert board.delivered(alertname="NeonmeterDown") == {("platform-page", "NeonmeterDown")}
        assert board.delivered(alertname=WATCHDOG) == {("dead-mans-switch", WATCHDOG)}
        assert server.query(f'ALERTS{{alertname!~"{WATCHDOG}|NeonmeterDown"}}') == []
