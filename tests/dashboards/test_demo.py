"""The dashboards over the demo: an agent, real PostgreSQL servers, three minutes. What cannot be there is listed."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator

import pytest

from exporter.core.http_client import wait_until_ready
from exporter.demo.pooler import find_pgbouncer
from exporter.demo.postgres import free_port
from tests.dashboards import asking, rules
from tests.dashboards.asking import Asked
from tests.fix_prometheus import prometheus

pytestmark = pytest.mark.deep
SECONDS, SCRAPE = 150, 2
MAY_BE_EMPTY = {
    "neonmeter-drift 10": "a kind of change that nobody made in the demo",
    "neonmeter-drift 20": "no migration tool runs in the demo",
    "neonmeter-drift 0": "nobody approves a drift",
    "neonmeter-drift 34": "keys are read with the account, once an hour",
    "neonmeter-endpoint 21": "statements are so short that none is seen running",
    "neonmeter-endpoint 22": "nothing runs or waits for long",
    "neonmeter-endpoint 50": "slots that are read have no time since when they are not; PostgreSQL 17 and later",
    "neonmeter-endpoint 60": "needs PgBouncer",
    "neonmeter-endpoint 61": "needs PgBouncer",
    "neonmeter-endpoint 62": "needs PgBouncer",
    "neonmeter-finops 10": "a burn rate needs whole hours; the limit of the demo lasts the month",
    "neonmeter-finops 11": "a forecast needs a day of usage",
    "neonmeter-finops 21": "a run-rate needs whole hours",
    "neonmeter-finops 22": "a run-rate needs whole hours",
    "neonmeter-finops 30": "what is unusual needs weeks of usage",
    "neonmeter-finops 43": "the error of forecasts needs weeks of usage",
    "neonmeter-finops 0": "the plan and the prices stay as they are",
    "neonmeter-fleet 11": "nobody waits for a lock",
    "neonmeter-fleet 25": "a compute must wake up in the last minutes",
    "neonmeter-fleet 21": "a compute must wake up in the last minutes",
    "neonmeter-fleet 0": "the plan and the prices stay as they are, nobody approves a drift",
    "neonmeter-self 10": "every collector succeeds",
    "neonmeter-self 30": "every round ends ok",
}
"""Panels (0: annotations) of which a query may come back with nothing here, and why."""


@pytest.fixture(scope="module")
def answers() -> Iterator[list[Asked]]:
    listen = f"127.0.0.1:{free_port()}"
    demo = subprocess.Popen(
        [sys.executable, "-m", "exporter", "demo", "--listen", listen, "--for", str(SECONDS + 60)],
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        if not wait_until_ready(f"http://{listen}", 120, lambda: demo.poll() is None):
            pytest.skip("the demo does not start here")
        with prometheus(listen, interval=f"{SCRAPE}s") as server:
            time.sleep(SECONDS)
            boards = [board | {"time": {"from": "now-2m", "to": "now"}} for board in rules.boards().values()]
            now = time.time()
            yield [asked for board in boards for asked in asking.ask(server.url, board, end=now, scrape=SCRAPE)]
    finally:
        demo.terminate()
        demo.wait(60)


def test_no_query_is_wrong(answers: list[Asked]) -> None:
    assert [(answer.name, answer.error) for answer in answers if answer.error] == []


def test_every_panel_shows_the_demo(answers: list[Asked]) -> None:
    empty = [answer for answer in answers if not answer.series]
    assert [asked.name for asked in empty if f"{asked.board} {asked.panel}" not in MAY_BE_EMPTY] == []
    pooled: set[str] = (
        set() if find_pgbouncer() else {"neonmeter-endpoint 60", "neonmeter-endpoint 61", "neonmeter-endpoint 62"}
    )
    assert {f"{asked.board} {asked.panel}" for asked in empty if "neonmeter-endpoint 6" in asked.name} <= pooled
    assert len(empty) < len(answers) / 4
