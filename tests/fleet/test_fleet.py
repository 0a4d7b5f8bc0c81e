"""The simulated fleet against what is known without it (nobody, a fast poller), and its steps against every look."""

from __future__ import annotations

import random
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from collectors.wake.policy import bound_seconds
from exporter.demo.monitor import LOOK_SECONDS
from tests.bench import month
from tests.fleet.fleet import NOBODY, OBSERVERS, OURS, POLLERS, Fleet, Observer, agent, poll, simulate, totals, watch
from tests.fleet.monitor_model import Burst, Compute, run
from tests.fleet.users import CLASSES, month_of

HORIZON = 2 * 3600.0
TIMEOUTS = st.sampled_from([60.0, 300.0, 3600.0])


@st.composite
def users(draw: st.DrawFn) -> list[Burst]:
    bursts: list[Burst] = []
    at = draw(st.floats(1.0, 300.0))
    while at < HORIZON and len(bursts) < 12:
        end = at + draw(st.one_of(st.floats(0.01, 5.0), st.floats(5.0, 900.0)))
        bursts.append((at, min(end, HORIZON)))
        at = end + draw(st.one_of(st.floats(0.5, 60.0), st.floats(50.0, 1500.0)))
    return bursts


@given(TIMEOUTS, users())
def test_without_an_observer_it_is_awake_from_each_burst_until_t_after_it(
    suspend_after: float, bursts: list[Burst]
) -> None:
    awake, until = 0.0, 0.0
    for start, end in bursts:
        awake += max(0.0, min(end + suspend_after, HORIZON) - max(start, until))
        until = max(until, min(end + suspend_after, HORIZON))
    compute = Compute(suspend_after, bursts)
    run(compute, [], HORIZON)
    assert compute.awake_seconds(HORIZON) == pytest.approx(awake)
    assert compute.caused_wakes == 0


@settings(max_examples=60, deadline=None)
@given(st.sampled_from(OURS), st.sampled_from([15.0, 37.0, 60.0]), TIMEOUTS, users(), st.floats(0.0, 1.0))
def test_looks_that_are_stepped_over_would_have_changed_nothing(
    observer: Observer, tick: float, suspend_after: float, bursts: list[Burst], shift: float
) -> None:
    each_look, stepped = Compute(suspend_after, bursts), Compute(suspend_after, bursts)
    sampler = agent(observer, shift * tick)
    sampler.tick = tick
    run(each_look, [sampler], HORIZON)
    again = agent(observer, shift * tick)
    again.tick = tick
    watch(stepped, again, HORIZON, settled=observer.lag or 0.0)
    stepped.advance(HORIZON)
    assert stepped.transitions == each_look.transitions
    assert stepped.awake_seconds(HORIZON) == each_look.awake_seconds(HORIZON)
    assert (stepped.long_bursts, stepped.long_sampled) == (each_look.long_bursts, each_look.long_sampled)
    assert len(stepped.visits) + stepped.visits_untold == len(each_look.visits)


@given(st.sampled_from([15.0, 60.0, 61.0, 300.0, 700.0]), TIMEOUTS, users(), st.floats(0.0, 1.0), st.booleans())
def test_a_poller_s_turns_that_are_stepped_over_would_have_changed_nothing(
    every: float, suspend_after: float, bursts: list[Burst], shift: float, noticed: bool
) -> None:
    observer = Observer("poller", "poller", every, 0.01, seen=1.0 if noticed else 1e-12)
    stepped, every_burst = Compute(suspend_after, bursts), Compute(suspend_after, bursts)
    poll(stepped, observer, shift * every, HORIZON, random.Random(1))
    stepped.advance(HORIZON)
    at = shift * every
    while at <= HORIZON:
        every_burst.advance(at)
        if noticed or not every_burst.awake:
            every_burst.touch(at, at + 0.01 + LOOK_SECONDS)
        at += every
    every_burst.advance(HORIZON)
    assert stepped.awake_seconds(HORIZON) == pytest.approx(every_burst.awake_seconds(HORIZON))
    assert stepped.caused_wakes == every_burst.caused_wakes


@pytest.mark.parametrize("observer", POLLERS[:2], ids=lambda entry: entry.title)
def test_a_poller_that_is_faster_than_t_keeps_everything_awake(observer: Observer) -> None:
    fleet = Fleet(12, 100, seed=3)
    total = totals(simulate(fleet, observer))
    assert total.awake >= 12 * (fleet.hours * 3600 - observer.every)
    assert total.wakes <= 12


def test_every_second_has_a_place() -> None:
    fleet = Fleet(40, 72, seed=2)
    alone = simulate(fleet, NOBODY)
    assert sum(entry.computes for entry in alone.values()) == 40
    assert {name: entry.computes for name, entry in alone.items()} == {
        user_class.name: round(user_class.share * 40) for user_class in CLASSES
    }
    for observer in OBSERVERS:
        sums = simulate(fleet, observer)
        for name, entry in sums.items():
            assert entry.foreign <= alone[name].awake + 1e-6 <= entry.awake + 2e-6, (observer.title, name)
            assert entry.awake <= entry.computes * fleet.hours * 3600 + 1e-6
            assert entry.uncovered <= entry.foreign + 1e-6
            assert entry.long_sampled <= entry.long_bursts
            assert observer.kind != "neonmeter" or entry.wakes == 0


@pytest.mark.parametrize("observer", OURS, ids=lambda entry: entry.title)
def test_no_suspend_comes_later_than_the_bound(observer: Observer) -> None:
    fleet = Fleet(30, 48, seed=5)
    policy = agent(observer, 0.0).policy
    bound = max(bound_seconds(policy, limit) for user in CLASSES for limit, _ in user.suspend_after)
    total = totals(simulate(fleet, observer))
    assert total.suspends
    assert total.worst <= bound


@pytest.mark.parametrize("user", CLASSES, ids=lambda entry: entry.name)
def test_users_come_in_order_and_the_same_ones_for_the_same_seed(user: object) -> None:
    assert user in CLASSES
    first, second = (month_of(user, random.Random("a"), 8 * 86400.0) for _ in range(2))  # type: ignore[arg-type]
    assert first == second
    bursts = first[1]
    assert bursts
    assert all(start < end for start, end in bursts)
    assert all(before[1] < after[0] for before, after in pairwise(bursts))


def test_the_month_is_printed_the_same_for_one_seed(capsys: pytest.CaptureFixture[str]) -> None:
    told = []
    for _ in range(2):
        month.main(["--endpoints", "20", "--hours", "24", "--seed", "7"])
        lines = capsys.readouterr().out.splitlines()
        told.append([line for line in lines if "CPU s" not in line and "  $" not in line])
    assert told[0] == told[1]
    text = "\n".join(told[0])
    for line in ("seed 7", "uncovered h", "bursts > G sampled", "neonmeter, evidence: database", "pinned"):
        assert line in text
