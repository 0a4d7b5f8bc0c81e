"""Suspended stays suspended: a branch nobody uses is never woken; one touched once suspends as it would without us."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from collectors.postgres.evidence import APPLICATION_NAME
from tests.bench.sleep import ADDED_AT_MOST, AS_SHIPPED, TEN_MINUTES, USER, Night, Touches, print_night, watch

ONCE: Touches = {("bookshop", "main"): (17,), ("bookshop", "staging"): ()}
"""Rules R6 and R4: what happens within eps (15 s) of the first sight is no evidence of somebody else."""
EAGER: dict[str, Any] = {"sampling": {"tick_seconds": 1}}
"""It looks every second, so that it visits as often as the policy allows."""


def check(night: Night) -> None:
    print_night(night)
    assert night.caused == 0
    for slept in night.watched:
        assert APPLICATION_NAME not in slept.wakes
        assert set(slept.wakes) <= {USER}
        if not slept.touches:
            assert not slept.wakes
            assert not slept.sessions
            assert slept.awake == 0
        assert slept.longest <= slept.limit + ADDED_AT_MOST


def test_one_touch(open_state_dir: Path) -> None:
    night = watch(46, ONCE, EAGER, suspend_seconds=16, compare=False, patience=180)
    check(night)
    touched = night.watched[0]
    assert len(touched.to_suspend) == 1, "it sleeps again"
    assert touched.sessions, "this says something only if we were there"
    assert 0 < night.told["bookshop", "main"] <= ADDED_AT_MOST


@pytest.mark.deep
def test_one_touch_of_a_minute(open_state_dir: Path) -> None:
    night = watch(100, ONCE, EAGER, patience=180)
    check(night)
    assert len(night.watched[0].to_suspend) == 1
    assert night.watched[0].sessions


@pytest.mark.deep
def test_ten_minutes_as_shipped(open_state_dir: Path) -> None:
    night = watch(600, TEN_MINUTES, AS_SHIPPED)
    check(night)
    assert not [slept.place for slept in night.watched if slept.still_awake is not None]
