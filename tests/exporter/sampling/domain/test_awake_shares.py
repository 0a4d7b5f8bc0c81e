"""Shares of awake time: by table what each look and visit says, by property that nothing is lost or guessed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.sampling.domain.awake_shares import (
    HOUR,
    MICRO,
    NOBODY,
    REACH,
    UNCOVERED,
    AwakeHolder,
    AwakeState,
    Part,
    ShownState,
    Sighting,
    look,
    mean_cu,
    named,
    sample,
    usd,
    usd_per_day,
)

APP = AwakeHolder("client_active", "acme", "web")
SLOT = AwakeHolder("walsender", "replicator", "pg_recvlogical", "warehouse")
SHELL = AwakeHolder("idle_in_transaction", "acme", "forgotten-shell")
T0 = 1_700_000_000 // 3600 * 3600
"""The start of an hour, so that most tests lie within one."""


class Story:
    """What happened to one compute, in seconds after T0."""

    def __init__(self, *, first: int = 0) -> None:
        self.parts: list[Part] = []
        self.book, _ = look(None, ShownState(active=False, started=None, suspended=None), us(first))

    def awake(self, started: int, now: int, suspended: int | None = None) -> Story:
        return self._take(*look(self.book, ShownState(True, us(started), opt(suspended)), us(now)))

    def asleep(self, started: int, suspended: int | None, now: int) -> Story:
        return self._take(*look(self.book, ShownState(False, us(started), opt(suspended)), us(now)))

    def visit(self, at: int, *found: AwakeHolder | tuple[AwakeHolder, int]) -> Story:
        sightings = [Sighting(e[0], us(e[1])) if isinstance(e[0], AwakeHolder) else Sighting(e) for e in found]
        return self._take(*sample(self.book, sightings, us(at)))

    def _take(self, book: AwakeState, parts: list[Part]) -> Story:
        self.book = book
        self.parts += parts
        return self

    def shares(self) -> dict[str, float]:
        return {name: amount / MICRO for name, amount in sums(self.parts).items()}

    def pending(self) -> float:
        return self.book.pending / MICRO


def us(seconds: int) -> int:
    return (T0 + seconds) * MICRO


def opt(seconds: int | None) -> int | None:
    return None if seconds is None else us(seconds)


def sums(parts: Iterable[Part]) -> dict[str, int]:
    found: Counter[str] = Counter()
    for part in parts:
        found[part.holder.slot or part.holder.application or part.holder.reason] += part.amount
    return dict(found)


STORIES: dict[str, tuple[Story, dict[str, float], float]] = {
    "before the first visit and after the last is uncovered": (
        Story().awake(100, 110).visit(130, APP).asleep(100, 200, 210),
        {"uncovered": 30 + 70}, 0,
    ),
    "the later visit speaks for the time between two": (
        Story().awake(100, 110).visit(130, SLOT).visit(190, APP).awake(100, 200),
        {"uncovered": 30, "web": 60}, 10,
    ),
    "equal parts over those found": (
        Story().awake(100, 110).visit(110).visit(170, APP, SLOT, APP).asleep(100, 170, 180),
        {"uncovered": 10, "web": 30, "warehouse": 30}, 0,
    ),
    "nobody: only the suspend timeout runs": (
        Story().awake(100, 110).visit(110, APP).visit(170).asleep(100, 170, 180),
        {"uncovered": 10, "nobody": 60}, 0,
    ),
    "a transaction proves since when it idles, also before the first visit": (
        Story().awake(100, 110).visit(130, (SHELL, 105)).asleep(100, 130, 140),
        {"uncovered": 5, "forgotten-shell": 25}, 0,
    ),
    "proof reaches back no further than the life": (
        Story().awake(100, 110).visit(130, (SHELL, 20), APP).asleep(100, 130, 140),
        {"forgotten-shell": 30}, 0,
    ),
    "two proofs": (
        Story().awake(100, 110).visit(140, (SHELL, 110), (SLOT, 120)).asleep(100, 140, 150),
        {"uncovered": 10, "forgotten-shell": 10 + 10, "warehouse": 10}, 0,
    ),
    "a visit speaks for a quarter of an hour at most": (
        Story().awake(100, 110).visit(110, APP).awake(100, 2000).visit(2010, APP).asleep(100, 2010, 2020),
        {"uncovered": 10 + 1000, "web": 900}, 0,
    ),
    "without visits the time becomes uncovered while the life lasts": (
        Story().awake(100, 3000),
        {"uncovered": 2000}, 900,
    ),
    "a life that began and ended between two looks": (
        Story().asleep(100, 160, 200),
        {"uncovered": 60}, 0,
    ),
    "a suspend and a wake between two looks": (
        Story().awake(100, 110).visit(110, APP).awake(300, 310, suspended=200).visit(310, APP),
        {"uncovered": 10 + 90 + 10}, 0,
    ),
    "a suspend between two looks of which only the next start is known": (
        Story().awake(100, 150).awake(300, 310),
        {"uncovered": 50}, 10,
    ),
    "first sight in the middle of a life counts from then on": (
        Story(first=500).awake(100, 560),
        {}, 60,
    ),
    "the same again changes nothing": (
        Story().awake(100, 110).visit(130, APP).visit(130, SLOT).awake(100, 120).asleep(100, 150, 160)
        .asleep(100, 150, 170).visit(165, APP),
        {"uncovered": 50}, 0,
    ),
    "a suspend that the API stamps in our future is cut": (
        Story().awake(100, 110).asleep(100, 500, 120),
        {"uncovered": 20}, 0,
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", STORIES)
def test_shares(name: str) -> None:
    story, wanted, pending = STORIES[name]
    assert (story.shares(), story.pending()) == (wanted, pending)


def test_parts_lie_in_their_hours() -> None:
    story = Story().awake(100, 110).visit(3000, APP).visit(3700, APP)
    assert [(p.hour - T0, p.holder, p.amount // MICRO) for p in story.parts] == [
        (0, UNCOVERED, 2900), (0, APP, 600), (3600, APP, 100),
    ]  # fmt: skip


KEEPERS = [APP, SLOT, SHELL, AwakeHolder("autovacuum"), AwakeHolder("client_active", "birch", "api")]
STEPS = st.lists(
    st.tuples(
        st.integers(1, 2000 * MICRO),
        st.sampled_from(["look", "sleep", "wake", "visit"]),
        st.lists(st.tuples(st.sampled_from(KEEPERS), st.none() | st.integers(0, 5000 * MICRO)), max_size=4),
    ),
    max_size=30,
)  # fmt: skip


def tell(steps: Sequence[tuple[int, str, list[tuple[AwakeHolder, int | None]]]]) -> tuple[AwakeState, list[Part], int]:
    """Run a life that the control plane shows at every step; the awake time by its own count comes last."""
    now = us(0)
    started, suspended, active, awake = us(0), None, True, 0
    book, parts = look(None, ShownState(True, started, None), now)
    for passed, what, found in steps:
        now += passed
        awake += passed if active else 0
        if what == "sleep" and active:
            active, suspended = False, now
        elif what == "wake" and not active:
            active, started = True, now
        book, more = look(book, ShownState(active, started, suspended), now)
        parts += more
        if what == "visit" and active:
            sightings = [Sighting(who, None if age is None else now - age) for who, age in found]
            book, more = sample(book, sightings, now)
            parts += more
    return book, parts, awake


@given(STEPS)
def test_shares_sum_to_the_awake_time(steps: list[tuple[int, str, list[tuple[AwakeHolder, int | None]]]]) -> None:
    book, parts, awake = tell(steps)
    assert sum(part.amount for part in parts) + book.pending == awake
    assert all(part.amount > 0 for part in parts)
    assert 0 <= book.pending <= REACH


@given(STEPS, st.randoms(use_true_random=False))
def test_the_order_of_what_a_visit_found_does_not_matter(
    steps: list[tuple[int, str, list[tuple[AwakeHolder, int | None]]]], random: object
) -> None:
    shuffled = [(passed, what, sorted(found, key=lambda _: random.random())) for passed, what, found in steps]  # type: ignore[attr-defined]
    assert sorted(tell(steps)[1]) == sorted(tell(shuffled)[1])


@given(STEPS)
def test_without_a_visit_everything_is_uncovered(
    steps: list[tuple[int, str, list[tuple[AwakeHolder, int | None]]]],
) -> None:
    _, parts, _ = tell([(passed, "look" if what == "visit" else what, []) for passed, what, _ in steps])
    assert {part.holder for part in parts} <= {UNCOVERED}


@given(STEPS)
def test_only_who_was_found_gets_a_share(steps: list[tuple[int, str, list[tuple[AwakeHolder, int | None]]]]) -> None:
    _, parts, _ = tell(steps)
    found = {who for _, what, sightings in steps if what == "visit" for who, _ in sightings}
    assert {part.holder for part in parts} <= {*found, UNCOVERED, NOBODY}


def test_names_run_out() -> None:
    known = [APP, SLOT]
    assert named(APP, known, 2) == APP
    assert named(SHELL, known, 2) == AwakeHolder("idle_in_transaction", "other", "other")
    assert named(SHELL, known, 3) == SHELL


def test_dollars() -> None:
    quarter, rate = Fraction(1, 4), Fraction("0.106")
    assert usd(744 * HOUR, quarter, rate) == Fraction("19.716")
    assert usd_per_day(HOUR, 2 * HOUR, quarter, rate) == 12 * quarter * rate
    assert usd_per_day(0, 0, quarter, rate) == 0


@pytest.mark.parametrize(
    ("cu_seconds", "awake", "wanted"),
    [(1800, HOUR, Fraction(1, 2)), (36000, HOUR, Fraction(2)), (1, HOUR, Fraction(1, 4)), (900, MICRO, None),
     (0, HOUR, None)],
)  # fmt: skip
def test_the_mean_size_stays_within_autoscaling(cu_seconds: int, awake: int, wanted: Fraction | None) -> None:
    assert mean_cu(cu_seconds, awake, Fraction(1, 4), Fraction(2)) == wanted
