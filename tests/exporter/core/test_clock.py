"""The agent's clock under any steps of the system's: it moves with the monotonic clock, and Neon decides."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.core.clock import TRIFLE_SECONDS, AgentClock, is_recent

DAY = 86_400.0
TRUE = 1_800_000_000.0
"""What the time of day was when the monotonic clock stood at 0."""


class Machine:
    """A machine: its monotonic clock, and how far its system clock is off."""

    def __init__(self, off: float = 0.0) -> None:
        self.passed = 0.0
        self.off = off
        self.clock = AgentClock(lambda: TRUE + self.passed + self.off, lambda: self.passed)

    @property
    def error(self) -> float:
        """How far the agent's clock is off."""
        return self.clock() - TRUE - self.passed

    def look(self, neon_off: float = 0.0) -> float:
        """A look at Neon, whose clock is off by so much."""
        return self.clock.settle(TRUE + self.passed + neon_off - self.clock())


@pytest.mark.parametrize("step", [-3600.0, -30.0, 30 * DAY, 400 * DAY, -20_000 * DAY])
def test_a_wrong_step_is_counted_told_and_not_followed(step: float) -> None:
    machine = Machine()
    machine.passed, machine.off = 100.0, step
    found = machine.clock.step()
    assert found is not None
    assert (found.seconds, found.direction) == (pytest.approx(step), "forward" if step > 0 else "backward")
    assert machine.clock.step() is None, "it is one step"
    assert machine.look() == 0.0
    assert machine.error == pytest.approx(0, abs=1e-3)
    assert f"by {abs(step):.0f} s" in machine.clock.trouble()
    machine.off = 0.0
    back = machine.clock.step()
    assert back is not None
    assert back.seconds == pytest.approx(-step)
    assert machine.clock.trouble() == ""


@pytest.mark.parametrize("before", [-20_000 * DAY, -3600.0, 400 * DAY])
def test_a_correction_is_followed_when_neon_confirms_it(before: float) -> None:
    machine = Machine(before)
    machine.look()
    assert machine.error == pytest.approx(before), "Neon alone never sets our clock: the policy wants two of them"
    machine.passed, machine.off = 50.0, 0.0
    assert machine.clock.step() is not None
    assert machine.error == pytest.approx(before), "not before somebody confirms it"
    assert machine.clock.trouble()
    assert machine.look() == pytest.approx(-before)
    assert machine.error == pytest.approx(0, abs=1e-3)
    assert machine.clock.trouble() == ""


def test_neons_clock_gone_wrong_moves_nothing() -> None:
    machine = Machine()
    for wrong in (-DAY, 30 * DAY, 1.0):
        machine.passed += 60
        assert machine.look(wrong) == pytest.approx(0, abs=1e-3)
        assert machine.error == pytest.approx(0, abs=1e-3)


def test_a_slewed_clock_is_followed_without_a_step() -> None:
    machine = Machine()
    for _ in range(100):
        machine.passed += 60
        machine.off += 0.3
        assert machine.clock.step() is None
        machine.look(machine.off)
        assert machine.error == pytest.approx(machine.off)


@given(st.lists(st.tuples(st.floats(0.01, 900), st.floats(-500 * DAY, 500 * DAY), st.booleans()), max_size=30))
def test_time_never_goes_back_between_looks_and_is_right_after_one(events: list[tuple[float, float, bool]]) -> None:
    machine = Machine()
    for passed, off, looks in events:
        before = machine.clock()
        machine.passed += passed
        machine.off = off
        machine.clock.step()
        assert machine.clock() - before == pytest.approx(passed, abs=1e-3), "durations are those of the monotonic clock"
        if looks:
            machine.look()
            assert abs(machine.error) <= TRIFLE_SECONDS + 1e-3, "it began right, and Neon is right"
            assert bool(machine.clock.trouble()) == (abs(machine.clock.off) > TRIFLE_SECONDS)


def test_an_instant_in_the_future_is_not_recent() -> None:
    assert is_recent(100, 100, 60)
    assert is_recent(41, 100, 60)
    assert not is_recent(40, 100, 60)
    assert is_recent(105, 100, 60), "a few seconds are the clocks' own noise"
    assert not is_recent(3700, 100, 60), "else it would be asked for again in an hour, or in a year"
