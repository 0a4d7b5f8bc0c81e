"""The sticky choice: sums stay exact, series stay few, nothing goes down, and members seldom change."""

from __future__ import annotations

import random

from hypothesis import given, settings
from hypothesis import strategies as st

from exporter.sampling.domain.topk import TopK, TopKPolicy

OTHER = ("other",)
Key = tuple[str, ...]
quick = settings(max_examples=100, deadline=None)


class Exporter:
    """Routes increments as `exporter.sampling.counters.statements` does, and keeps what each series last showed."""

    def __init__(self, policy: TopKPolicy) -> None:
        self.top: TopK[Key] = TopK(policy)
        self.shown: dict[Key, int] = {OTHER: 0}
        self.stored: dict[Key, int] = {}
        self.entries = 0

    def step(self, busy: dict[Key, int], now: float) -> None:
        change = self.top.plan(busy, now)
        for key, value in busy.items():
            self.shown[key if self.top.owns(change, key) else OTHER] += value
        for key in change.left:
            self.stored[key] = self.shown.pop(key)
        for key in change.entered:
            self.shown[key] = self.stored.get(key, 0)
        self.top.apply(change)
        self.entries += len(change.entered)


steps = st.lists(
    st.tuples(
        st.dictionaries(st.sampled_from([(name,) for name in "abcdefghij"]), st.integers(0, 10**9), max_size=10),
        st.floats(0, 5000),
    ),
    max_size=30,
)


@quick
@given(steps, st.integers(0, 4))
def test_each_increment_is_exported_once_and_nothing_goes_down(
    steps: list[tuple[dict[Key, int], float]], k: int
) -> None:
    exporter = Exporter(TopKPolicy(k=k, min_stay=60))
    now = 1_795_410_590.0
    last: dict[Key, int] = {}
    for busy, pause in steps:
        now += pause
        before = dict(exporter.shown)
        exporter.step(busy, now)
        shown = exporter.shown
        assert len(shown) <= k + 1
        assert set(shown) - {OTHER} == set(exporter.top.members)
        # What a scraper sees grow: series that are there before and after. Nobody may miss any of it.
        assert sum(shown[key] - before[key] for key in shown if key in before) == sum(busy.values())
        for key, value in shown.items():
            assert value >= last.get(key, 0)
            last[key] = value
            if key not in before:
                assert value == exporter.stored.get(key, 0)


@quick
@given(steps, st.randoms(use_true_random=False))
def test_the_order_of_rows_does_not_matter(steps: list[tuple[dict[Key, int], float]], shuffle: random.Random) -> None:
    one, two = Exporter(TopKPolicy(k=3)), Exporter(TopKPolicy(k=3))
    now = 1_795_410_590.0
    for busy, pause in steps:
        now += pause
        one.step(busy, now)
        items = list(busy.items())
        shuffle.shuffle(items)
        two.step(dict(items), now)
    assert one.shown == two.shown


def test_the_busiest_become_members() -> None:
    exporter = Exporter(TopKPolicy(k=2))
    exporter.step({("a",): 1, ("b",): 50, ("c",): 40}, 1000.0)
    assert set(exporter.top.members) == {("b",), ("c",)}
    assert exporter.shown == {OTHER: 91, ("b",): 0, ("c",): 0}


def test_a_member_stays_until_its_time_is_up_and_a_newcomer_is_clearly_busier() -> None:
    exporter = Exporter(TopKPolicy(k=1, min_stay=900, margin=1.5, half_life=3600))
    exporter.step({("a",): 100}, 1000.0)
    exporter.step({("b",): 100_000}, 1060.0)
    assert set(exporter.top.members) == {("a",)}, "too early"
    exporter.step({("a",): 100_000}, 1120.0)
    exporter.step({("b",): 20_000}, 2000.0)
    assert set(exporter.top.members) == {("a",)}, "busier, but not clearly"
    exporter.step({("b",): 90_000}, 2060.0)
    assert set(exporter.top.members) == {("b",)}


def test_what_was_busy_long_ago_gives_way() -> None:
    exporter = Exporter(TopKPolicy(k=1, half_life=3600))
    exporter.step({("a",): 1_000_000_000}, 1000.0)
    exporter.step({("b",): 1000}, 1000.0 + 21 * 3600)
    assert set(exporter.top.members) == {("b",)}


def test_a_returning_statement_goes_on_where_its_series_stopped() -> None:
    exporter = Exporter(TopKPolicy(k=1, min_stay=0))
    exporter.step({("a",): 10}, 1000.0)
    exporter.step({("a",): 10}, 1060.0)
    exporter.step({("b",): 100}, 1120.0)
    exporter.step({("a",): 1000}, 1180.0)
    exporter.step({("a",): 1}, 1240.0)
    assert exporter.shown == {("a",): 11, OTHER: 10 + 100 + 1000}


def test_a_stationary_load_leaves_the_members_alone() -> None:
    """200 statements of equal mean, 20 places, a day of minutes: a plain top 20 changes thousands of times."""
    rng = random.Random(7)
    exporter = Exporter(TopKPolicy(k=20))
    for minute in range(24 * 60):
        exporter.step(
            {(str(number),): int(rng.expovariate(1e-6)) for number in range(200)}, 1_795_410_590.0 + 60 * minute
        )
    assert 20 <= exporter.entries <= 120


def test_a_smaller_k_is_obeyed_at_once() -> None:
    exporter = Exporter(TopKPolicy(k=3))
    exporter.step({("a",): 3, ("b",): 2, ("c",): 1}, 1000.0)
    exporter.top.policy = TopKPolicy(k=1)
    exporter.step({("b",): 5}, 1060.0)
    assert set(exporter.top.members) == {("b",)}
    assert exporter.shown == {("b",): 5, OTHER: 6}


def test_a_clock_that_leaps_breaks_nothing() -> None:
    exporter = Exporter(TopKPolicy(k=1))
    for now in (1000.0, 1e10, 5.0, 1e12, 1e12 + 60):
        exporter.step({("a",): 10, ("b",): 9}, now)
    assert sum(exporter.shown.values()) == 95


def test_the_memory_of_candidates_is_bounded() -> None:
    exporter = Exporter(TopKPolicy(k=2))
    for step in range(100):
        exporter.step({(f"{step}-{number}",): number for number in range(100)}, 1000.0 + step)
    assert len(exporter.top._scores) <= 2 * 1008 + 100
    assert len(exporter.top.members) == 2
