"""Anomalies: each kind is found, named and priced; noise, weekends, new branches and price changes are none."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from fractions import Fraction

from hypothesis import given, settings
from hypothesis import strategies as st

from exporter.cost.domain.outlook.anomaly import Anomaly, AwakeDay, Policy, Watched, anomalies
from exporter.pricing.domain.calendar import DAY, day_seconds

START = day_seconds("2026-01-05")  # a Monday
CENT = Fraction(1, 100)


def found(
    days: Sequence[int | None], *, level: bool = False, awake: Sequence[AwakeDay | None] | None = None
) -> tuple[Anomaly, ...]:
    """Days in cents."""
    asked: Callable[[int, int], Sequence[AwakeDay | None]] | None = None
    if awake is not None:
        asked = lambda start, stop: awake[start:stop]  # noqa: E731
    component = "root_storage" if level else "compute"
    watched = Watched("org", "p", "br", component, START, list(days), CENT, level=level, awake=asked)
    return anomalies([watched], Policy())


def noise(count: int, usual: int = 500) -> list[int]:
    return [usual + (day * 7919) % 37 - 18 for day in range(count)]


def test_a_spike_is_told_the_day_after() -> None:
    days = noise(60)
    days[40] = 2500
    (one,) = found(days)
    assert (one.kind, one.start, one.end) == ("spike", START + 40 * DAY, START + 41 * DAY)
    assert one.detected == START + 41 * DAY
    assert 19 < one.usd < 21
    assert "$25.00 a day on one day instead of $5." in one.why


def test_a_step_goes_on_until_it_is_the_new_usual() -> None:
    (going,) = found(noise(40) + noise(10, 900))
    assert (going.kind, going.end) == ("step", None)
    assert going.detected - going.start == 2 * DAY or going.detected - going.start == DAY
    (over,) = found(noise(40) + noise(60, 900))
    assert over.end is not None
    assert over.end - over.start == 28 * DAY
    assert 100 < over.usd < 125


def test_a_leak_is_told_before_it_is_large() -> None:
    days = [1000 + 2 * day for day in range(50)]
    leaking = days + [days[-1] + 2 * day + 12 * day for day in range(1, 31)]
    (one,) = found(leaking, level=True)
    assert (one.kind, one.start) == ("slow_leak", START + 50 * DAY)
    assert one.end is None
    assert one.detected <= START + 56 * DAY
    assert one.usd == sum(12 * day for day in range(1, 31)) * CENT


def test_growth_as_ever_is_no_leak() -> None:
    assert found([1000 + 20 * day for day in range(120)], level=True) == ()


def test_a_compute_that_no_longer_sleeps() -> None:
    usual, stuck = AwakeDay(6, 2, 9000), AwakeDay(24, 24, 86400)
    days = noise(40, 60) + [260] * 6
    (one,) = found(days, awake=[usual] * 40 + [stuck] * 6)
    assert (one.kind, one.end) == ("stuck_awake", None)
    assert "usually 6 of 24 hours" in one.why
    (loaded,) = found(days, awake=[usual] * 40 + [AwakeDay(24, 2, 86400)] * 6)
    assert loaded.kind == "step"
    (busy,) = found(days, awake=[usual] * 40 + [AwakeDay(24, 24, 86400, Fraction(9, 10))] * 6)
    assert busy.kind == "step"
    (unknown,) = found(days, awake=[None] * 46)
    assert unknown.kind == "step"


def test_pennies_are_none() -> None:
    days = [5 + day % 2 for day in range(60)]
    days[40] = 14
    days[50] = 60
    assert found(days) == ()


def test_a_weekend_at_work_is_none() -> None:
    days = [0 if day % 7 > 4 else 300 for day in range(70)]
    days[47], days[48] = 310, 290
    assert found(days) == ()


def test_a_new_branch_is_none() -> None:
    assert found([0] * 3 + noise(9, 2000)) == ()


def test_rare_work_is_compared_with_rare_work() -> None:
    days = [400 if day % 5 == 0 else 0 for day in range(80)]
    assert found(days) == ()
    days[70] = 6000
    (one,) = found(days)
    assert one.kind == "spike"


def test_days_that_were_not_read_are_no_change() -> None:
    days: list[int | None] = [*noise(60)]
    days[30:35] = [None] * 5
    assert found(days) == ()


def test_what_rises_together_is_one() -> None:
    flat = [1000] * 50
    leak = flat + [1000 + 40 * day for day in range(1, 20)]
    watched = [
        Watched("org", "p", "br", component, START, leak, CENT * part, level=True)
        for component, part in (("root_storage", 2), ("instant_restore", 1))
    ]
    (one,) = anomalies(watched, Policy())
    assert (one.component, one.also) == ("root_storage", ("instant_restore",))
    (alone,) = anomalies(watched[:1], Policy())
    assert one.usd == alone.usd * Fraction(3, 2)


@settings(max_examples=50)
@given(days=st.lists(st.integers(0, 10_000), min_size=1, max_size=90), level=st.booleans())
def test_every_alarm_passes_the_floors(days: list[int], level: bool) -> None:
    for anomaly in found(days, level=level):
        assert anomaly.usd >= Policy().usd
        assert START <= anomaly.start < anomaly.detected <= START + len(days) * DAY
        assert anomaly.end is None or anomaly.start < anomaly.end <= START + len(days) * DAY


@settings(max_examples=50)
@given(days=st.lists(st.integers(0, 10_000), min_size=30, max_size=90), cut=st.integers(20, 89))
def test_the_future_changes_no_alarm(days: list[int], cut: int) -> None:
    early = {(anomaly.start, anomaly.detected) for anomaly in found(days[:cut])}
    late = {
        (anomaly.start, anomaly.detected)
        for anomaly in found(days)
        if anomaly.detected <= START + min(cut, len(days)) * DAY
    }
    assert early == late
