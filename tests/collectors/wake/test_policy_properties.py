"""The bound of the wake policy, against a model of Neon's monitor with users, APIs and clocks that vary at random."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import cycle

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from collectors.postgres.evidence import Evidence
from collectors.wake.policy import WakePolicy, WakeState, bound_seconds, unproved_bound_seconds
from collectors.wake.trust import long_life
from tests.fleet.monitor_model import Burst, Clocks, Compute, Sampler, Shown, frozen, honest, lying, run

HORIZON = 3600.0
TIMEOUTS = st.sampled_from([60.0, 120.0, 300.0, 600.0])
TICKS = st.sampled_from([5.0, 15.0, 37.0, 60.0])
LENGTHS = st.sampled_from([0.02, 0.5, 5.0])


@st.composite
def users(draw: st.DrawFn) -> list[Burst]:
    """Bursts of a user: bursty, cron-like or steady."""
    bursts: list[Burst] = []
    at = draw(st.floats(1.0, 300.0))
    while at < HORIZON and len(bursts) < 40:
        end = at + draw(st.one_of(st.floats(0.01, 5.0), st.floats(5.0, 400.0)))
        bursts.append((at, end))
        at = end + draw(st.one_of(st.floats(0.5, 60.0), st.floats(50.0, 900.0)))
    return bursts


@st.composite
def lags(draw: st.DrawFn) -> Iterator[float]:
    """How late the API is, look by look: 0-120 s."""
    return cycle(draw(st.lists(st.floats(0.0, 120.0), min_size=1, max_size=12)))


def sampler(shown: Shown, tick: float, phase: float, length: float, **more: object) -> Sampler:
    return Sampler(WakePolicy(), tick, phase, shown, length, **more)  # type: ignore[arg-type]


def check_bound(compute: Compute, samples: int, seconds: float) -> None:
    assert compute.caused_wakes == 0
    for transition in compute.transitions:
        assert transition.samples_after <= samples, transition
        added = transition.suspended_at - transition.last_foreign - compute.suspend_after
        assert added <= seconds + 1e-6, (transition, added)


@settings(max_examples=80, deadline=None)
@given(TIMEOUTS, users(), lags(), TICKS, st.floats(0.0, 60.0), LENGTHS)
def test_after_the_last_foreign_activity_one_sample_follows_and_the_suspend_comes_in_time(
    suspend_after: float, bursts: list[Burst], late: Iterator[float], tick: float, phase: float, length: float
) -> None:
    compute = Compute(suspend_after, bursts)
    agent = sampler(honest(late), tick, phase, length)
    run(compute, [agent], HORIZON)
    check_bound(compute, 9, bound_seconds(agent.policy, suspend_after))


@settings(max_examples=50, deadline=None)
@given(TIMEOUTS, users(), lags(), TICKS, st.frozensets(st.integers(0, 400), max_size=60), LENGTHS)
def test_a_crash_loop_keeps_the_bound(
    suspend_after: float,
    bursts: list[Burst],
    late: Iterator[float],
    tick: float,
    crashes: frozenset[int],
    length: float,
) -> None:
    compute = Compute(suspend_after, bursts)
    agent = sampler(honest(late), tick, 0.0, length, crash_at=crashes)
    run(compute, [agent], HORIZON)
    check_bound(compute, 9, bound_seconds(agent.policy, suspend_after))


@settings(max_examples=40, deadline=None)
@given(TIMEOUTS, users(), TICKS, st.floats(0.0, 60.0))
def test_a_last_active_that_is_frozen_until_the_suspend_allows_one_sample_at_most_near_the_wake(
    suspend_after: float, bursts: list[Burst], tick: float, phase: float
) -> None:
    compute = Compute(suspend_after, bursts)
    agent = sampler(frozen, tick, phase, 0.5)
    run(compute, [agent], HORIZON)
    check_bound(compute, 9, bound_seconds(agent.policy, suspend_after))


@example(300.0, [(1.5, 2.5)], cycle([0.0]), 60.0, Clocks(-300.0, -300.0, 0.0, 0.0))  # a start seems new a second time
@example(300.0, [(1.5, 2.5), (286.8, 289.8)], cycle([0.0]), 5.0, Clocks(-300.0, -300.0, 300.0, -20.0))
@settings(max_examples=80, deadline=None)
@given(
    TIMEOUTS, users(), lags(), TICKS,
    st.builds(Clocks, *[st.sampled_from([-300.0, -20.0, 0.0, 20.0, 300.0])] * 4),
)  # fmt: skip
def test_clocks_five_minutes_apart_wake_nothing_and_end_in_a_suspend(
    suspend_after: float, bursts: list[Burst], late: Iterator[float], tick: float, clocks: Clocks
) -> None:
    compute = Compute(suspend_after, bursts, clocks)
    agent = sampler(honest(late), tick, 0.0, 0.5)
    run(compute, [agent], HORIZON)
    # What a wrong clock lets through is a visit without proof, and the database's own evidence ends that.
    check_bound(compute, 2, unproved_bound_seconds(WakePolicy(), suspend_after))


@settings(max_examples=80, deadline=None)
@given(TIMEOUTS, users(), lags(), TICKS, st.floats(0.0, 60.0), LENGTHS, st.sampled_from([-300.0, -40.0, 40.0, 300.0]))
def test_an_api_whose_clock_is_minutes_off_keeps_the_bound(
    suspend_after: float,
    bursts: list[Burst],
    late: Iterator[float],
    tick: float,
    phase: float,
    length: float,
    off: float,
) -> None:
    """Its Date header and what it stamps are off by as much; last_active comes from the compute and is right.

    The agent goes by the later of its own clock, which is right here, and that header (`exporter.sampling.computes`).
    """
    compute = Compute(suspend_after, bursts, Clocks(date=max(0.0, off), started=off))
    agent = sampler(honest(late), tick, phase, length)
    run(compute, [agent], HORIZON)
    check_bound(compute, 9, bound_seconds(agent.policy, suspend_after))


@settings(max_examples=50, deadline=None)
@given(TIMEOUTS, users(), TICKS, st.floats(0.0, 60.0), LENGTHS)
def test_a_last_active_that_lies_keeps_the_bound(
    suspend_after: float, bursts: list[Burst], tick: float, phase: float, length: float
) -> None:
    compute = Compute(suspend_after, bursts)
    agent = sampler(lying, tick, phase / 61, length)  # It is there before the first burst.
    run(compute, [agent], HORIZON)
    check_bound(compute, 9, bound_seconds(agent.policy, suspend_after))


@settings(max_examples=50, deadline=None)
@given(TIMEOUTS, users(), lags(), TICKS, st.floats(0.0, 60.0), LENGTHS)
def test_two_samplers_do_not_keep_a_compute_awake_between_them(
    suspend_after: float, bursts: list[Burst], late: Iterator[float], tick: float, phase: float, length: float
) -> None:
    compute = Compute(suspend_after, bursts)
    agents = [sampler(honest(late), tick, 0.0, length), sampler(honest(late), tick, phase, length)]
    run(compute, agents, HORIZON)
    check_bound(compute, 4, 4 * bound_seconds(WakePolicy(), suspend_after))


@settings(max_examples=40, deadline=None)
@given(TIMEOUTS, st.integers(2, 6), TICKS, st.floats(0.0, 13.0))
def test_no_number_of_samplers_keeps_a_compute_awake_for_ever_even_where_the_api_lies(
    suspend_after: float, number: int, tick: float, spread: float
) -> None:
    compute = Compute(suspend_after, [(10.0, 400.0)])
    agents = [sampler(lying, tick, spread * index, 5.0) for index in range(number)]
    run(compute, agents, 30 * suspend_after + 2000)
    assert compute.transitions
    assert not compute.awake
    assert compute.caused_wakes == 0


@pytest.mark.parametrize("number", [2, 12, 30])
@pytest.mark.parametrize("suspend_after", [60.0, 300.0])
def test_samplers_that_take_turns_in_looking_whether_it_outlasts_them_end_it(number: int, suspend_after: float) -> None:
    compute = Compute(suspend_after, [(10.0, 20.0)])
    policy = WakePolicy("database", credit=1e9)
    agents = []
    for index in range(number):
        # Each comes just before the compute would have slept after the one before, if none doubled its silence.
        before = Evidence(10.0, 20.0, sessions=1, active_seconds=10.0)
        last = 10 + (index + 1) * (suspend_after - 10) - long_life(suspend_after)
        state = WakeState("ep-model", own_end=last, server_end=20.0, visited_start=10.0, seen_start=10.0, seen_at=last,
                          visits=1, last_visit=last, baseline=before.baseline())  # fmt: skip
        agents.append(Sampler(policy, 1.0, 21.0, lying, 5.0, state=state))
    run(compute, agents, 120 * suspend_after)
    assert not compute.awake
    assert compute.caused_wakes == 0


@settings(max_examples=50, deadline=None)
@given(TIMEOUTS, users(), TICKS, LENGTHS)
def test_database_mode_keeps_the_bound_whatever_the_api_shows(
    suspend_after: float, bursts: list[Burst], tick: float, length: float
) -> None:
    policy = WakePolicy("database", tick=tick)
    compute = Compute(suspend_after, bursts)
    run(compute, [Sampler(policy, tick, 0.5, lying, length)], HORIZON)
    check_bound(compute, 9, bound_seconds(policy, suspend_after))


@settings(max_examples=50, deadline=None)
@given(TIMEOUTS, users(), st.floats(0.0, 60.0), LENGTHS, st.frozensets(st.integers(0, 400), max_size=20))
def test_database_mode_adds_t_at_most_where_it_came_late(
    suspend_after: float, bursts: list[Burst], phase: float, length: float, crashes: frozenset[int]
) -> None:
    """It is installed, or loses its state, in the middle of a life."""
    policy = WakePolicy("database")
    compute = Compute(suspend_after, bursts)
    agent = Sampler(policy, policy.tick, phase, frozen, length, crash_at=crashes)
    run(compute, [agent], HORIZON)
    check_bound(compute, 9, unproved_bound_seconds(policy, suspend_after))


@settings(max_examples=30, deadline=None)
@given(
    TIMEOUTS, users(), TICKS, LENGTHS, st.integers(2, 3)
)  # fmt: skip
def test_samplers_that_believe_nobody_keep_the_bound_however_many_they_are(
    suspend_after: float, bursts: list[Burst], tick: float, length: float, number: int
) -> None:
    """Proofs are proofs for everyone. (Each of them looks at its own time; the API lies.)"""
    compute = Compute(suspend_after, bursts)
    agents = [sampler(lying, tick, 0.3 * index, length) for index in range(number)]
    run(compute, agents, HORIZON)
    check_bound(compute, 99, bound_seconds(WakePolicy(), suspend_after))


@settings(max_examples=30, deadline=None)
@given(TIMEOUTS, users(), TICKS)
def test_what_we_add_stays_a_small_share_of_the_awake_time(
    suspend_after: float, bursts: list[Burst], tick: float
) -> None:
    compute = Compute(suspend_after, bursts)
    agent = sampler(honest(), tick, 0.0, 0.05)
    end = HORIZON + 600 + 2 * suspend_after
    run(compute, [agent], end)
    assert agent.state is not None
    policy = agent.policy
    most = policy.credit + policy.share * compute.awake_seconds(end) + bound_seconds(policy, suspend_after)
    assert agent.state.added_seconds <= most


@settings(max_examples=40, deadline=None)
@given(TIMEOUTS, users(), TICKS)
def test_what_we_book_as_added_is_never_less_than_what_we_added(
    suspend_after: float, bursts: list[Burst], tick: float
) -> None:
    compute = Compute(suspend_after, bursts)
    agent = sampler(honest(), tick, 0.0, 0.5)
    # Long enough that the last burst is over, and what it left is booked.
    end = HORIZON + 600 + 2 * suspend_after
    run(compute, [agent], end)
    alone = Compute(suspend_after, bursts)
    run(alone, [], end)
    assert agent.state is not None
    assert agent.state.added_seconds >= compute.awake_seconds(end) - alone.awake_seconds(end) - 1e-3


@pytest.mark.parametrize("tick", [60.0, 90.0, 300.0, 1200.0])
def test_a_compute_that_its_users_keep_awake_is_not_booked_as_held_by_us_however_rarely_we_come(tick: float) -> None:
    compute = Compute(60.0, [(100.0, 7300.0)])
    agent = sampler(honest(), tick, 0.0, 0.05)
    run(compute, [agent], 7400.0)
    assert agent.state is not None
    assert agent.state.added_seconds <= len(compute.visits)
