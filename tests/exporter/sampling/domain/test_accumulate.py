"""Growth of counters: against a model server that suspends, resets, evicts, crashes and restarts."""

from __future__ import annotations

from dataclasses import dataclass, field
from zlib import crc32

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from exporter.sampling.domain.accumulate import HOUR_US, Baseline, Counted, CounterEpoch, Growth, advance, spread

quick = settings(max_examples=100, deadline=None)
KEYS = ("a", "b", "c")
Rows = dict[str, Counted]


@dataclass
class Server:
    """What pg_stat_statements would hold; every event takes a second."""

    exact: bool
    clock: int = 1_795_410_590
    postmaster: int = 0
    reset: int = 0
    dealloc: int = 0
    rows: dict[str, tuple[int, tuple[int, int]]] = field(default_factory=dict)
    done: list[int] = field(default_factory=lambda: [0, 0])

    def __post_init__(self) -> None:
        self.suspend()

    def call(self, key: str, calls: int) -> None:
        self.clock += 1
        since, (had, busy) = self.rows.get(key, (self.clock, (0, 0)))
        # No two calls take equally long, so a row that was evicted never comes back looking quite the same.
        took = crc32(str(self.clock).encode())
        self.rows[key] = (since, (had + calls, busy + took))
        self.done = [self.done[0] + calls, self.done[1] + took]

    def suspend(self) -> None:
        self.clock += 1
        self.postmaster, self.reset, self.dealloc, self.rows = self.clock, self.clock, 0, {}

    def crash(self) -> None:
        """A backend dies: shared memory is wiped, the postmaster stays."""
        self.clock += 1
        self.reset, self.dealloc, self.rows = self.clock, 0, {}

    def restart(self) -> None:
        """An ordinary restart: the statistics file brings all of it back."""
        self.clock += 1
        self.postmaster = self.clock

    def evict(self, key: str) -> None:
        self.clock += 1
        self.dealloc += 1
        self.rows.pop(key, None)

    def reset_row(self, key: str) -> None:
        self.clock += 1
        self.rows.pop(key, None)

    def look(self) -> tuple[CounterEpoch, Rows]:
        self.clock += 1
        rows = {key: Counted(float(since) if self.exact else None, value) for key, (since, value) in self.rows.items()}
        return CounterEpoch(self.postmaster * 10**6, self.reset * 10**6, self.clock * 10**6, self.dealloc), rows


@dataclass
class Agent:
    """What we would export."""

    total: list[int] = field(default_factory=lambda: [0, 0])
    uncertain: int = 0
    baseline: Baseline[str] | None = None

    def look(self, server: Server) -> Growth[str]:
        return self.take(*server.look())

    def take(self, life: CounterEpoch, rows: Rows) -> Growth[str]:
        growth = advance(self.baseline, life, rows)
        for delta in growth.deltas.values():
            assert all(value >= 0 for value in delta)
            assert any(delta)
            self.total = [self.total[0] + delta[0], self.total[1] + delta[1]]
        self.uncertain += growth.uncertain
        if not growth.stale:
            old = dict(self.baseline.rows) if self.baseline else {}
            growth.apply(old)
            assert old == rows
            self.baseline = Baseline(life, old)
        return growth


calls = st.tuples(st.just("call"), st.sampled_from(KEYS), st.integers(1, 50))
losses = st.tuples(st.sampled_from(["suspend", "crash", "evict", "reset_row"]), st.sampled_from(KEYS), st.just(0))
others = st.tuples(st.sampled_from(["restart", "look"]), st.just("a"), st.just(0))
histories = st.lists(st.one_of(calls, calls, losses, others), max_size=40)
History = list[tuple[str, str, int]]


def play(server: Server, agent: Agent, history: History, *, look_after_row_losses: bool) -> None:
    for event, key, count in history:
        match event:
            case "call":
                server.call(key, count)
            case "look":
                agent.look(server)
            case "restart":
                server.restart()
            case "suspend" | "crash":
                agent.look(server)
                getattr(server, event)()
            case _:
                agent.look(server)
                getattr(server, event)(key)
                if look_after_row_losses:
                    agent.look(server)
    agent.look(server)


@quick
@given(histories)
def test_with_the_birth_of_rows_every_call_counts_once(history: History) -> None:
    server, agent = Server(exact=True), Agent()
    play(server, agent, history, look_after_row_losses=False)
    assert agent.total == server.done
    assert agent.uncertain == 0


@quick
@given(histories)
def test_without_it_every_call_counts_once_when_the_absence_was_seen(history: History) -> None:
    server, agent = Server(exact=False), Agent()
    play(server, agent, history, look_after_row_losses=True)
    assert agent.total == server.done


@quick
@given(histories)
def test_without_it_an_unseen_absence_can_only_miss_calls(history: History) -> None:
    server, agent = Server(exact=False), Agent()
    play(server, agent, [event for event in history if event[0] != "reset_row"], look_after_row_losses=False)
    assert agent.total[0] <= server.done[0]
    if agent.total != server.done:
        assert agent.uncertain > 0


@quick
@given(histories, st.booleans())
def test_looks_at_any_time_never_count_what_did_not_happen(history: History, exact: bool) -> None:
    """Here no life is seen to its end: what was lost is lost, but nothing is invented."""
    server, agent = Server(exact), Agent()
    for event, key, count in history:
        match event:
            case "call":
                server.call(key, count)
            case "look":
                agent.look(server)
            case "evict" | "reset_row":
                getattr(server, event)(key)
            case _:
                getattr(server, event)()
    agent.look(server)
    assert agent.total[0] <= server.done[0]
    assert agent.total[1] <= server.done[1]


@quick
@given(histories, st.booleans())
def test_the_same_look_twice_adds_nothing(history: History, exact: bool) -> None:
    server, agent = Server(exact), Agent()
    play(server, agent, history, look_after_row_losses=False)
    life, rows = server.look()
    agent.take(life, rows)
    again = agent.take(life, rows)
    assert not again.deltas and not again.changed and not again.gone and not again.stale


@quick
@given(histories, st.permutations(KEYS))
def test_the_order_of_rows_does_not_matter(history: History, order: list[str]) -> None:
    server, agent = Server(exact=True), Agent()
    play(server, agent, history, look_after_row_losses=False)
    for key in KEYS:
        server.call(key, 2)
    life, rows = server.look()
    shuffled = {key: rows[key] for key in order}
    assert advance(agent.baseline, life, rows).deltas == advance(agent.baseline, life, shuffled).deltas


def life(postmaster: int = 1, reset: int = 1, clock: int = 10, dealloc: int = 0) -> CounterEpoch:
    return CounterEpoch(postmaster * 10**6, reset * 10**6, clock * 10**6, dealloc)


@pytest.mark.parametrize(
    ("before", "after", "old", "new", "delta"),
    [
        pytest.param(life(), life(clock=20), (5, 5), (7, 9), (2, 4), id="grew"),
        pytest.param(life(), life(clock=20), (5, 5), (5, 5), None, id="stood still"),
        pytest.param(life(), life(reset=15, clock=20), (5, 5), (7, 9), (7, 9), id="reset: larger values too"),
        pytest.param(life(), life(postmaster=15, clock=20), (5, 5), (7, 9), (2, 4), id="restart that kept them"),
        pytest.param(life(), life(15, 15, 20), (5, 5), (7, 9), (7, 9), id="suspend"),
        pytest.param(
            life(reset=0), life(15, 0, 20), (5, 5), (7, 9), (7, 9), id="no reset time: the postmaster decides"
        ),
        pytest.param(life(), life(clock=20), (5, 5), (3, 9), (3, 9), id="fewer calls: a new life of the row"),
        pytest.param(life(), life(clock=20), (5, 5), (6, 3), (6, 3), id="any smaller counter: a new life of the row"),
    ],
)
def test_a_row(
    before: CounterEpoch, after: CounterEpoch, old: tuple[int, int], new: tuple[int, int], delta: tuple[int, int] | None
) -> None:
    growth = advance(Baseline(before, {"q": Counted(None, old)}), after, {"q": Counted(None, new)})
    assert growth.deltas == ({} if delta is None else {"q": delta})


def test_a_birth_that_moved_is_a_new_row_also_with_larger_or_equal_counters() -> None:
    before = Baseline(life(), {"q": Counted(2.0, (5,)), "r": Counted(2.0, (5,))})
    growth = advance(before, life(clock=20), {"q": Counted(15.5, (9,)), "r": Counted(15.5, (5,))})
    assert growth.deltas == {"q": (9,), "r": (5,)}


def test_the_same_birth_with_smaller_counters_was_set_back_and_counts_nothing() -> None:
    growth = advance(Baseline(life(), {"q": Counted(2.0, (5, 50))}), life(9, 1, 20), {"q": Counted(2.0, (3, 60))})
    assert growth.deltas == {"q": (0, 10)}
    assert growth.uncertain == 1
    assert growth.changed == {"q": Counted(2.0, (3, 60))}


def test_an_answer_that_came_late_changes_nothing() -> None:
    growth = advance(Baseline(life(clock=30), {"q": Counted(None, (5,))}), life(clock=20), {"q": Counted(None, (3,))})
    assert growth.stale and not growth.deltas and not growth.changed and not growth.gone


def test_a_reset_in_the_middle_of_a_look_counts_nothing_twice() -> None:
    """The rows were read before it, the reset time after it; the look began at 20."""
    before = Baseline(life(clock=10), {"q": Counted(None, (500,))})
    torn = CounterEpoch(10**6, 20 * 10**6 + 3, 20 * 10**6)
    assert advance(before, torn, {"q": Counted(None, (510,))}).stale
    after = CounterEpoch(10**6, 20 * 10**6 + 3, 80 * 10**6)
    assert advance(before, after, {"q": Counted(None, (4,))}).deltas == {"q": (4,)}
    assert not advance(None, torn, {"q": Counted(None, (510,))}).stale, "the first look has nothing to count twice"


def test_growth_is_dated_from_the_last_look_or_the_start_of_the_life() -> None:
    assert life(clock=20).began_us(life(clock=10)) == 10 * 10**6
    assert life(15, 16, 20).began_us(life(clock=10)) == 16 * 10**6
    assert life(15, 16, 20).began_us(None) == 16 * 10**6
    month = 30 * 24 * 3600
    assert life(1, 1, month).began_us(None) == (month - 7 * 24 * 3600) * 10**6


@quick
@given(
    st.tuples(st.integers(0, 10**15), st.integers(0, 100)),
    st.integers(0, 200 * HOUR_US),
    st.integers(0, 170 * HOUR_US),
)
def test_the_hours_of_a_span_sum_to_it(delta: tuple[int, int], start: int, length: int) -> None:
    parts = list(spread(delta, start, start + length))
    assert tuple(map(sum, zip(*(part for _, part in parts), strict=True))) == (delta if any(delta) else ())
    assert all(value >= 0 for _, part in parts for value in part)
    assert all(start // HOUR_US <= hour // 3600 <= (start + length) // HOUR_US for hour, _ in parts)
    assert len({hour for hour, _ in parts}) == len(parts)


def test_a_span_over_an_hour_is_shared_by_time() -> None:
    half = HOUR_US // 2
    assert list(spread((100, 3), half, 2 * HOUR_US)) == [(0, (33, 1)), (3600, (67, 2))]
    assert list(spread((100, 3), half, half)) == [(0, (100, 3))]
