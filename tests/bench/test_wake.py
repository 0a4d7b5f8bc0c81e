"""The comparison of observers: how it counts is tested here; that it runs, in the long tests."""

from __future__ import annotations

import subprocess
import sys
from collections import Counter
from itertools import pairwise

import pytest

from tests.bench.wake import Outcome, month_dollars, verdicts
from tests.bench.wake_observers import OBSERVERS
from tests.bench.wake_trace import EDGE, Added, added, trace

ALONE = [(10.0, 80.0), (200.0, 270.0)]
"""Awake twice; the run ends at 400."""


@pytest.mark.parametrize(
    ("spans", "expected"),
    [
        (ALONE, [0.0, 0.0]),
        ([(10.0, 97.5), (200.0, 270.0)], [17.5, 0.0]),
        ([(10.0, 300.0)], [200.0 - EDGE - 80.0, 30.0]),
        ([(10.0, 80.0), (120.0, 130.0), (199.0, 271.0)], [10.0, 1.0]),
        ([(0.0, 400.0)], [118.0, 128.0]),
    ],
)
def test_added_is_what_was_awake_while_the_unwatched_one_slept(
    spans: list[tuple[float, float]], expected: list[float]
) -> None:
    assert [entry.seconds for entry in added(spans, ALONE, 400.0)] == expected


def test_a_trace_is_the_same_for_one_seed_and_lets_everything_sleep_in_between() -> None:
    bursts = trace(3, 3600.0, 60.0, 40.0)
    assert bursts == trace(3, 3600.0, 60.0, 40.0) != trace(4, 3600.0, 60.0, 40.0)
    assert len(bursts) > 20
    assert all(after[0] - before[1] >= 100.0 for before, after in pairwise(bursts))
    assert bursts[-1][1] + 100.0 <= 3600.0


def test_a_compute_that_never_sleeps_costs_the_documented_month() -> None:
    assert round(float(month_dollars(1.0, "launch_v3")), 2) == 19.72
    assert round(float(month_dollars(1.0, "scale_v3")), 2) == 41.29


@pytest.mark.parametrize(
    ("name", "seconds", "wakes", "met"),
    [
        ("frozen", 17.4, {"web": 2}, True),
        ("frozen", 19.0, {"web": 2}, False),
        ("frozen", 0.0, {"web": 2, "neonmeter": 1}, False),
        ("two", 17.0, {"web": 2}, True),
        ("two", 34.0, {"web": 2}, False),
    ],
)
def test_the_promise_is_per_transition_and_forbids_wakes(
    name: str, seconds: float, wakes: dict[str, int], met: bool
) -> None:
    observer = next(entry for entry in OBSERVERS if entry.name == name)
    outcome = Outcome(observer, 100.0, 0.1, [Added(80.0, 0.0), Added(270.0, seconds)], Counter(wakes), 3)
    assert [verdict.met for verdict in verdicts([outcome], 17.5)] == [met]


@pytest.mark.deep
def test_it_runs() -> None:
    command = [
        sys.executable,
        "-m",
        "tests.bench",
        "wake",
        "--minutes",
        "1.2",
        "--suspend",
        "15",
        "--only",
        "poller,lag-0",
    ]
    told = subprocess.run(command, check=True, capture_output=True, text=True, timeout=300).stdout
    for line in (
        "nothing",
        "psycopg in the user database",
        "neonmeter, looking every 5 s",
        "idle transitions, 0 wakes",
    ):
        assert line in told
