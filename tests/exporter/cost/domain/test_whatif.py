"""What-if: the same settings change nothing, a plan is a repricing, and ranges hold what really would have been."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from exporter.cost.domain.whatif.scenario import AwakeSpan, BranchLife, Computes, StoredMonth
from exporter.cost.domain.whatif.whatif import Exactness, Knobs, replay
from exporter.pricing.domain.calendar import DAY, HOUR, day_seconds
from exporter.pricing.domain.price import price
from exporter.pricing.domain.usage import UsageFact
from exporter.pricing.ratecard import load
from tests.byte_hours import byte_hours

CARD = load()
MONTH = day_seconds("2026-10-01")
END = MONTH + 3 * DAY
GB = 10**9
CU = "compute_unit_seconds"
few = settings(max_examples=60)


def fact(metric: str, value: int, start: int = MONTH, *, branch: str = "b1", project: str = "p1") -> UsageFact:
    return UsageFact("org", project, branch, start, "hourly", "launch_v3", metric, value, unit=byte_hours(metric))


def whole(hours: Iterable[UsageFact]) -> list[UsageFact]:
    """As the ledger gives it for pricing: sums of every series, of branches and their project; branch-hours stay."""
    sums: dict[tuple[str, str, str], UsageFact] = {}
    kept = []
    for hour in hours:
        if hour.metric == "extra_branches_month":
            kept.append(hour)
            continue
        for branch in {hour.branch_id, ""}:
            key = (hour.project_id, branch, hour.metric)
            held = sums.get(key, hour._replace(branch_id=branch, start=MONTH, value=0))
            sums[key] = held._replace(value=held.value + hour.value)
    return [*sums.values(), *kept]


def stored(hours: Sequence[UsageFact], **facts: object) -> StoredMonth:
    compute = [hour for hour in hours if hour.metric == CU and hour.branch_id]
    return StoredMonth(MONTH, END, whole(hours), compute, **facts)  # type: ignore[arg-type]


def awake_with(acts: Sequence[int], after: int) -> tuple[AwakeSpan, ...]:
    """How a compute that suspends so long after the last activity would have lived."""
    lives: list[AwakeSpan] = []
    for at in sorted(acts):
        if lives and at <= (lives[-1].end or 0):
            lives[-1] = AwakeSpan(lives[-1].start, at + after)
        else:
            lives.append(AwakeSpan(at, at + after))
    return tuple(AwakeSpan(live.start, None if (live.end or 0) >= END else live.end) for live in lives)


def metered(lives: Iterable[AwakeSpan], cu: int, branch: str = "b1") -> list[UsageFact]:
    hours: dict[int, int] = {}
    for life in lives:
        at, end = life.start, min(END, life.end if life.end is not None else END)
        while at < end:
            hour = at // HOUR * HOUR
            until = min(end, hour + HOUR)
            hours[hour] = hours.get(hour, 0) + (until - at) * cu
            at = until
    return [fact(CU, value, hour, branch=branch) for hour, value in hours.items()]


acts = st.lists(st.integers(MONTH, END - 1), min_size=1, max_size=30)


@few
@given(acts, st.integers(60, 7200), st.integers(60, 7200))
def test_another_suspend_timeout_brackets_what_would_have_been(acts: list[int], old: int, new: int) -> None:
    lives = awake_with(acts, old)
    scene = stored(metered(lives, 1), computes={"b1": Computes(old, Fraction(1), (lives,))})
    truth = price(whole(metered(awake_with(acts, new), 1)), CARD).total
    found = replay(scene, Knobs(suspend_after=new), CARD).together
    assert found.low <= truth <= found.high
    if new >= old:  # Longer is exact at a fixed size: the stored wakes tell where each pause ended.
        assert found.low == found.high == truth


@few
@given(acts, st.integers(60, 3600), st.integers(1, 4), st.integers(1, 4))
def test_another_size_of_a_fixed_compute_is_its_ratio(acts: list[int], after: int, old: int, new: int) -> None:
    lives = awake_with(acts, after)
    computes = {"b1": Computes(after, Fraction(old), (lives,))}
    scene = stored(metered(lives, old), computes=computes)
    truth = price(whole(metered(lives, new)), CARD).total
    found = replay(scene, Knobs(min_cu=Fraction(new)), CARD).together
    assert found.low == truth
    # Smaller, unmeasured: it may have needed all of what it had.
    assert found.high == (truth if new >= old else replay(scene, Knobs(min_cu=Fraction(old)), CARD).before)
    blind = replace(scene, computes={"b1": Computes(after, Fraction(old), None)})
    found = replay(blind, Knobs(min_cu=Fraction(new)), CARD).together
    assert found.low <= truth <= found.high


def test_an_hour_shrinks_to_what_it_was_measured_to_need() -> None:
    scene = stored(
        [fact(CU, 4 * HOUR)],
        computes={"b1": Computes(300, Fraction(4), ((AwakeSpan(MONTH, MONTH + HOUR),),))},
        busy_us={("b1", MONTH): 2 * HOUR * 10**6},
    )
    found = replay(scene, Knobs(min_cu=Fraction(1)), CARD).together
    assert (found.low, found.high) == (Fraction("0.106"), Fraction("0.212"))
    assert found.exactness is Exactness.BOUNDS


@st.composite
def months(draw: st.DrawFn) -> StoredMonth:
    hours = []
    for branch in ("b1", "b2"):
        for metric in (CU, "root_branch_bytes_month", "instant_restore_bytes_month", "public_network_transfer_bytes"):
            for hour in draw(st.lists(st.integers(0, 71), max_size=6, unique=True)):
                most = HOUR if metric == CU else 10**12
                hours.append(fact(metric, draw(st.integers(0, most)), MONTH + hour * HOUR, branch=branch))
    hours += [fact("extra_branches_month", draw(st.integers(0, 30)), MONTH + h * HOUR, branch="") for h in range(3)]
    lives = awake_with(draw(acts), 300)
    return stored(
        hours,
        computes={"b1": Computes(300, Fraction(1, 4), (lives,)), "b2": Computes(300, Fraction(1, 4), None)},
        ephemeral=(BranchLife("b2", "p1", MONTH - DAY),),
        branch_usage=[row for row in hours if row.branch_id == "b2"],
        history={"p1": DAY},
    )


SAME = [
    Knobs(suspend_after=300),
    Knobs(min_cu=Fraction(1, 4)),
    Knobs(history=DAY),
    Knobs(branch_ttl=90 * DAY),
    Knobs(plan="launch_v3"),
    Knobs("launch_v3", 300, DAY, Fraction(1, 4), 90 * DAY),
]


@few
@given(months(), st.sampled_from(SAME))
def test_the_same_settings_cost_the_same_to_the_last_digit(month: StoredMonth, knobs: Knobs) -> None:
    found = replay(month, knobs, CARD)
    assert found.before == found.together.low == found.together.high == price(month.facts, CARD).total
    assert all(effect.low == effect.high == found.before for effect in found.effects.values())


@few
@given(months(), st.sampled_from(["scale_v3", "agent", "launch_v3"]))
def test_another_plan_is_the_same_usage_priced_with_it(month: StoredMonth, plan: str) -> None:
    found = replay(month, Knobs(plan=plan), CARD)
    priced = price(month.facts, CARD, plan=plan)
    assert found.together.low == found.together.high == priced.total
    assert found.together.exactness is Exactness.EXACT
    assert bool(found.together.unpriced) == bool(priced.unknown)


@few
@given(months())
def test_nothing_is_below_zero_and_a_range_is_a_range(month: StoredMonth) -> None:
    knobs = Knobs("scale_v3", 60, 3600, Fraction(1), 3600)
    found = replay(month, knobs, CARD)
    for effect in [*found.effects.values(), found.together]:
        assert 0 <= effect.low <= effect.high


def test_a_branch_lifetime_takes_the_usage_after_it_and_its_branch_hours() -> None:
    hours = [fact("child_branch_bytes_month", 10 * GB, MONTH + h * HOUR, branch="b2") for h in range(72)]
    hours += [fact("root_branch_bytes_month", GB, MONTH + h * HOUR) for h in range(72)]
    hours += [fact("extra_branches_month", 12, MONTH + h * HOUR, branch="") for h in range(72)]
    scene = stored(
        hours,
        ephemeral=(BranchLife("b2", "p1", MONTH - DAY - 1800),),
        branch_usage=[hour for hour in hours if hour.branch_id == "b2"],
    )
    found = replay(scene, Knobs(branch_ttl=2 * DAY), CARD)
    # It is gone 24 h after the month began: that leaves 24 of 72 hours of it, and 11 branches instead of 12.
    kept = [hour for hour in hours if hour.branch_id != "b2" or hour.start < MONTH + DAY]
    kept = [
        row._replace(value=11) if row.metric == "extra_branches_month" and row.start >= MONTH + DAY else row
        for row in kept
    ]
    assert found.together.low == found.together.high == price(whole(kept), CARD).total
    assert found.together.exactness is Exactness.EXACT
    from_usage = replace(scene, ephemeral=(BranchLife("b2", "p1", MONTH - DAY - 1800, known=False),))
    assert replay(from_usage, Knobs(branch_ttl=2 * DAY), CARD).together.exactness is Exactness.ESTIMATED


def test_a_shorter_history_costs_its_part() -> None:
    scene = stored([fact("instant_restore_bytes_month", 744 * 7 * GB)], history={"p1": 7 * DAY})
    found = replay(scene, Knobs(history=DAY), CARD)
    assert (found.before, found.together.low) == (Fraction("1.40"), Fraction("0.20"))
    assert found.together.exactness is Exactness.ESTIMATED
    assert replay(replace(scene, history={}), Knobs(history=DAY), CARD).together.low == found.before


def test_settings_for_some_projects_leave_the_others_as_they_were() -> None:
    hours = [fact(CU, HOUR, branch="a"), fact(CU, HOUR, branch="b", project="p2")]
    scene = replace(stored(hours), projects=frozenset({"p2"}))
    found = replay(scene, Knobs(plan="scale_v3"), CARD)
    assert found.together.low == Fraction("0.106") + Fraction("0.222")


def test_together_is_not_the_sum_of_the_effects() -> None:
    lives = (AwakeSpan(MONTH, MONTH + HOUR),)
    scene = stored([fact(CU, HOUR)], computes={"b1": Computes(1800, Fraction(1), (lives,))})
    found = replay(scene, Knobs(plan="scale_v3", suspend_after=900), CARD)
    assert found.effects["plan"].low == Fraction("0.222")
    assert found.effects["suspend_after"].high == Fraction("0.106") * Fraction(3, 4)
    assert found.together.high == Fraction("0.222") * Fraction(3, 4)


@pytest.mark.parametrize(
    "knobs", [Knobs(plan="gold"), Knobs(min_cu=Fraction(0)), Knobs(history=-1), Knobs(suspend_after=0)]
)
def test_what_cannot_be_set_is_refused(knobs: Knobs) -> None:
    with pytest.raises(ValueError, match=r"it must be more than 0|not in the rate card"):
        replay(stored([]), knobs, CARD)
