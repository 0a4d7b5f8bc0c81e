"""What every ledger promises, as tests: each database runs all of them on the real thing (fixture ``ledger``)."""

from __future__ import annotations

import threading

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from exporter.pricing.domain.calendar import month_start, next_month
from exporter.pricing.domain.price import price
from exporter.pricing.domain.usage import UsageFact
from exporter.pricing.ratecard import load
from exporter.storage.ledger.cost_counters import Counted, CounterKey
from exporter.storage.ledger.ledger import Changes, Ledger
from tests.byte_hours import byte_hours

HOUR, DAY = 3600, 86400
T0 = 1793491200  # 2026-11-01
EVER = 2**40
BRANCHES = "extra_branches_month"
CARD = load()
# Each example empties the ledger, and each database runs the same test.
_ALLOWED = [HealthCheck.function_scoped_fixture, HealthCheck.differing_executors]


def fact(
    value: int,
    at: int,
    *,
    start: int = T0,
    plan: str = "launch_v3",
    branch: str = "b1",
    metric: str = "compute_unit_seconds",
    granularity: str = "hourly",
) -> UsageFact:
    return UsageFact("org", "p1", branch, start, granularity, plan, metric, value, at, byte_hours(metric))


def brief(facts: list[UsageFact]) -> list[tuple[int, str, int]]:
    return [(f.start, f.granularity, f.value) for f in facts]


readings = st.lists(
    st.lists(
        st.tuples(
            st.sampled_from(["b1", "b2"]),
            st.integers(0, 60),
            st.sampled_from(["launch_v3", "scale_v3"]),
            st.integers(0, 1000),
            st.integers(0, 5),
            st.sampled_from(["hourly", "hourly", "daily", "monthly"]),
            st.sampled_from(["compute_unit_seconds", "root_branch_bytes_month", BRANCHES]),
        ),
        max_size=8,
    ),
    max_size=6,
)
Batches = list[list[tuple[str, int, str, int, int, str, str]]]


def facts_of(batch: list[tuple[str, int, str, int, int, str, str]]) -> list[UsageFact]:
    found = []
    for branch, hour, plan, value, at, granularity, metric in batch:
        start = T0 + hour * HOUR
        start = start if granularity == "hourly" else start // DAY * DAY if granularity == "daily" else T0
        found.append(fact(value, at, start=start, plan=plan, branch=branch, metric=metric, granularity=granularity))
    return found


class LedgerContract:
    """Collected by the modules that bring a ``ledger``."""

    def test_the_same_reading_twice_changes_nothing(self, ledger: Ledger) -> None:
        facts = [fact(10, T0 + 60), fact(20, T0 + 60, branch="b2")]
        assert ledger.put(facts) == Changes(new=2)
        assert ledger.put(facts) == Changes()
        assert ledger.usage(T0, T0 + HOUR) == facts
        assert ledger.revisions(T0, T0 + DAY) == {T0: 1}
        assert ledger.holdings().mismatches == 0

    def test_a_bucket_that_grew_is_replaced(self, ledger: Ledger) -> None:
        ledger.put([fact(10, T0 + 60)])
        assert ledger.put([fact(30, T0 + 120)]) == Changes(grown=1)
        assert ledger.usage(T0, T0 + HOUR) == [fact(30, T0 + 120)]
        assert ledger.revisions(T0, T0 + DAY) == {T0: 2}

    def test_a_smaller_reading_holds_and_is_a_correction(self, ledger: Ledger) -> None:
        ledger.put([fact(30, T0 + 60)])
        assert ledger.put([fact(10, T0 + 120)]) == Changes(shrunk=1)
        assert ledger.usage(T0, T0 + HOUR) == [fact(10, T0 + 120)]
        assert ledger.tally() == {"facts": 1, "corrections": 1}
        assert ledger.holdings().mismatches == 0

    def test_an_older_reading_that_comes_late_changes_nothing(self, ledger: Ledger) -> None:
        ledger.put([fact(30, T0 + 120)])
        assert ledger.put([fact(10, T0 + 60)]) == Changes()
        assert ledger.usage(T0, T0 + HOUR) == [fact(30, T0 + 120)]

    def test_of_one_bucket_twice_in_a_reading_the_newest_holds(self, ledger: Ledger) -> None:
        assert ledger.put([fact(7, T0 + 60), fact(9, T0 + 90), fact(8, T0 + 30)]) == Changes(new=1)
        assert ledger.usage(T0, T0 + HOUR) == [fact(9, T0 + 90)]

    def test_a_bucket_read_again_under_another_plan_is_not_counted_twice(self, ledger: Ledger) -> None:
        ledger.put([fact(30, T0 + 60), fact(5, T0 + 60, branch="b2")])
        assert ledger.put([fact(30, T0 + 120, plan="scale_v3")]) == Changes(new=1, moved=1)
        assert [(f.plan, f.value) for f in ledger.usage(T0, T0 + HOUR, "p1")] == [("launch_v3", 5), ("scale_v3", 30)]
        assert sum(f.value for f in ledger.priceable(T0, T0 + DAY)) == 35
        assert ledger.holdings().mismatches == 0

    def test_an_older_reading_under_another_plan_changes_nothing(self, ledger: Ledger) -> None:
        ledger.put([fact(30, T0 + 60)])
        ledger.put([fact(30, T0 + 120, plan="scale_v3")])
        assert ledger.put([fact(30, T0 + 60)]) == Changes()
        assert [(f.plan, f.value) for f in ledger.usage(T0, T0 + HOUR)] == [("scale_v3", 30)]

    def test_a_change_of_plan_within_an_hour_keeps_both_parts(self, ledger: Ledger) -> None:
        parts = [fact(10, T0 + 60), fact(20, T0 + 60, plan="scale_v3")]
        ledger.put(parts)
        assert ledger.put([p._replace(observed_at=T0 + 120) for p in parts]) == Changes()
        assert sum(f.value for f in ledger.usage(T0, T0 + HOUR)) == 30

    def test_all_of_a_batch_or_none(self, ledger: Ledger) -> None:
        with pytest.raises(ValueError, match="-1"):
            ledger.put([fact(10, T0), fact(-1, T0)])
        with pytest.raises(ValueError, match="granularity"):
            ledger.put([fact(10, T0), fact(1, T0, granularity="weekly")])
        with pytest.raises(OverflowError):
            ledger.put([fact(10, T0), fact(2**70, T0, branch="b2")])
        # Fails in the database, in the middle: no text holds a surrogate.
        with pytest.raises(UnicodeEncodeError):
            ledger.put([fact(10, T0), fact(1, T0, branch="\ud800")])
        assert ledger.usage(0, EVER) == []
        assert ledger.put([fact(10, T0)]) == Changes(new=1)

    def test_through_is_the_newest_reading_of_each_owner(self, ledger: Ledger) -> None:
        ledger.put([fact(10, T0 + 5 * HOUR), fact(10, T0 + 5 * HOUR, start=T0 + 2 * HOUR)])
        assert ledger.through().projects == {("org", "p1"): T0 + 3 * HOUR}
        # The newest bucket still grows, and hours without any use are read too.
        ledger.put([fact(1, T0 + 6 * HOUR + 60, start=T0 + 6 * HOUR)], read_through={"org": T0 + 6 * HOUR, "quiet": T0})
        assert ledger.through().orgs == {"org": T0 + 6 * HOUR, "quiet": T0}
        assert ledger.through().projects == {("org", "p1"): T0 + 6 * HOUR + 60}
        # A reading that missed a project does not move the organisation: the next one begins where this one did.
        ledger.put([fact(1, T0 + 9 * HOUR, start=T0 + 7 * HOUR)])
        assert ledger.through().orgs["org"] == T0 + 6 * HOUR
        ledger.put([], read_through={"org": T0 + 5 * HOUR})
        assert ledger.through().orgs["org"] == T0 + 6 * HOUR

    def test_sums_by_day_and_hours_of_one_metric(self, ledger: Ledger) -> None:
        facts = [fact(hour + 1, T0 + DAY, start=T0 + hour * HOUR) for hour in range(30)]
        facts += [fact(12, T0 + DAY, start=f.start, branch="", metric=BRANCHES) for f in facts]
        ledger.put(facts)
        by_cut = ledger.priceable(T0, T0 + 2 * DAY, [T0 + DAY])
        assert [(f.start, f.value) for f in by_cut if f.branch_id] == [(T0, 300), (T0 + DAY, 165)]
        assert [(f.start, f.value) for f in ledger.priceable(T0, T0 + 2 * DAY) if f.branch_id] == [(T0, 465)]
        assert [f.value for f in by_cut if not f.branch_id] == [12] * 30
        assert [f.value for f in ledger.hours("compute_unit_seconds", T0 + 3 * HOUR, T0 + 5 * HOUR)] == [4, 5]
        assert sorted(f.value for f in ledger.window(T0, T0 + 2 * HOUR)) == [3, 12, 12]
        assert ledger.hours("compute_unit_seconds", T0 + 40 * HOUR, T0 + 50 * HOUR) == []

    def test_hours_need_not_begin_on_the_hour(self, ledger: Ledger) -> None:
        odd = fact(7, T0 + DAY, start=T0 + 1391)
        ledger.put([fact(5, T0 + DAY), odd])
        assert [f.value for f in ledger.hours("compute_unit_seconds", T0, T0 + HOUR)] == [5, 7]

    def test_a_day_counts_what_its_hours_do_not_hold(self, ledger: Ledger) -> None:
        hours = [fact(10, T0 + 9 * DAY, start=T0 + hour * HOUR) for hour in range(14, 24)]
        ledger.put([*hours, fact(340, T0 + 9 * DAY, granularity="daily")])
        assert brief(ledger.usage(T0, T0 + DAY))[0] == (T0, "daily", 240)
        assert sum(f.value for f in ledger.priceable(T0, T0 + DAY)) == 340
        assert sum(f.value for f in ledger.window(T0, T0 + DAY)) == 340
        # A window that cuts the day cannot say where in it that was.
        assert sum(f.value for f in ledger.window(T0, T0 + 20 * HOUR)) == 60
        ledger.put([fact(20, T0 + 9 * DAY, start=T0 + hour * HOUR) for hour in range(14)])
        assert {f.granularity for f in ledger.usage(T0, T0 + DAY)} == {"hourly"}
        assert sum(f.value for f in ledger.priceable(T0, T0 + DAY)) == 380

    def test_a_month_counts_what_its_days_do_not_hold(self, ledger: Ledger) -> None:
        end = next_month(T0)
        ledger.put([fact(1000, end, granularity="monthly"), fact(300, end, start=T0 + DAY, granularity="daily")])
        ledger.put([fact(70, end, start=T0 + DAY + 5 * HOUR), fact(40, end, start=T0 + 3 * DAY)])
        assert brief(ledger.usage(T0, end)) == [
            (T0, "monthly", 660), (T0 + DAY, "daily", 230), (T0 + DAY + 5 * HOUR, "hourly", 70),
            (T0 + 3 * DAY, "hourly", 40),
        ]  # fmt: skip
        facts = ledger.priceable(T0, end, [T0 + 2 * DAY])
        assert sum(f.value for f in facts) == 1000
        assert sum(f.value for f in ledger.priceable(T0, T0 + 2 * DAY)) == 300
        assert sum(f.value for f in ledger.usage(T0 + DAY, end)) == 340
        assert len(list(ledger.stored())) == 4

    def test_a_day_of_two_plans_holds_what_the_hours_of_both_do_not(self, ledger: Ledger) -> None:
        at = T0 + 9 * DAY
        ledger.put([fact(100, at, granularity="daily"), fact(60, at, granularity="daily", plan="scale_v3")])
        ledger.put([fact(90, at, start=T0 + 20 * HOUR, plan="scale_v3")])
        assert [(f.plan, f.granularity, f.value) for f in ledger.usage(T0, T0 + DAY)] == [
            ("launch_v3", "daily", 70), ("scale_v3", "hourly", 90),
        ]  # fmt: skip

    def test_branch_hours_of_a_day_are_a_lower_bound(self, ledger: Ledger) -> None:
        ledger.put([fact(360, T0 + 9 * DAY, branch="", metric=BRANCHES, granularity="daily")])
        (line,) = price(ledger.priceable(T0, T0 + DAY), CARD).lines
        assert (line.usage, line.lower_bound) == (360, True)

    def test_summing_up_hours_changes_no_cost(self, ledger: Ledger) -> None:
        end, at = T0 + 3 * DAY, T0 + 9 * DAY
        facts = [
            fact(value + hour, at + hour, start=T0 + hour * HOUR, metric=metric, branch=branch)
            for hour in range(60)
            for value, metric, branch in (
                (900, "compute_unit_seconds", "b1"), (10**9, "root_branch_bytes_month", "b1"),
                (10**8, "child_branch_bytes_month", "b2"), (hour % 24, BRANCHES, ""),
            )
        ]  # fmt: skip
        # One day is known in part by the hour, and one has a piece under another plan.
        facts = [f for f in facts if not (f.metric.startswith("root") and T0 + 5 * HOUR <= f.start < T0 + 9 * HOUR)]
        facts.append(fact(24 * 10**9 + 276, at, metric="root_branch_bytes_month", granularity="daily"))
        facts.append(fact(5, at, start=T0 + DAY + 60, metric="child_branch_bytes_month", plan="scale_v3"))
        ledger.put(facts, read_through={"org": end})
        before = [price(ledger.priceable(T0, end, cuts), CARD) for cuts in ((), (T0 + DAY,))]
        days = [price(ledger.priceable(T0 + n * DAY, T0 + (n + 1) * DAY), CARD) for n in range(3)]
        facts_before = ledger.priceable(T0, end, (T0 + DAY,))
        hours, revisions = ledger.hours("compute_unit_seconds", 0, EVER), ledger.revisions(0, EVER)
        through, tally = ledger.through(), ledger.tally()
        done = ledger.compact(T0 + 2 * DAY)
        assert done.days == 2
        assert done.hours == 48 * 2 - 4 + 1
        assert [price(ledger.priceable(T0, end, cuts), CARD) for cuts in ((), (T0 + DAY,))] == before
        assert [price(ledger.priceable(T0 + n * DAY, T0 + (n + 1) * DAY), CARD) for n in range(3)] == days
        assert ledger.priceable(T0, end, (T0 + DAY,)) == facts_before, "what a closed month is known by"
        assert ledger.hours("compute_unit_seconds", 0, EVER) == hours
        assert (ledger.revisions(0, EVER), ledger.through(), ledger.tally()) == (revisions, through, tally)
        assert ledger.holdings().mismatches == 0
        assert ledger.compact(T0 + 2 * DAY).hours == 0
        # What comes back (an import of an old file) is not counted beside its sum.
        ledger.put(facts)
        assert price(ledger.priceable(T0, end), CARD) == before[0]

    def test_compaction_in_steps(self, ledger: Ledger) -> None:
        ledger.put([fact(5, T0, start=T0 + n * DAY, metric="root_branch_bytes_month") for n in range(5)])
        assert [ledger.compact(T0 + 4 * DAY, days=3).days for _ in range(3)] == [3, 1, 0]
        assert ledger.holdings().buckets == {"daily": 4, "hourly": 1}

    def test_holdings_count_what_is_there(self, ledger: Ledger) -> None:
        assert ledger.holdings().buckets == {}
        ledger.put([fact(1, T0), fact(1, T0, start=T0 + HOUR), fact(1, T0, branch="b2", start=T0 + HOUR)])
        ledger.put([fact(9, T0, start=T0 - DAY, granularity="daily")])
        holdings = ledger.holdings()
        assert holdings.buckets == {"daily": 1, "hourly": 3}
        assert (holdings.first, holdings.last) == (T0 - DAY, T0 + 2 * HOUR)
        assert (holdings.mismatches, holdings.doubled, holdings.damage) == (0, 0, ())
        assert ledger.project_days() == [("p1", "daily", T0 - DAY, 1), ("p1", "hourly", T0, 2)]

    def test_cost_counters_only_rise(self, ledger: Ledger) -> None:
        key, other = CounterKey("p1", "b1", "compute"), CounterKey("p1", "b1", "compute", "acme")
        first = ledger.advance(T0, {key: 10**13, other: 5})
        assert [first[key][:2], first[other][:2]] == [(10**13, 0), (5, 0)]
        assert first[key].series < first[other].series
        assert ledger.advance(T0, {key: 10**13, other: 5}) == first
        # A fall goes to the adjustments; what is not named costs nothing any more.
        assert ledger.advance(T0, {key: 10**13 - 4})[key][:2] == (10**13, 4)
        assert ledger.advance(T0, {key: 10**13})[other][:2] == (5, 5)
        assert ledger.advance(month_start(T0 - 1), {key: 7})[key] == Counted(10**13 + 4 + 7, 4, first[key].series)

    @given(readings)
    @settings(max_examples=15, suppress_health_check=_ALLOWED)
    def test_sums_tie_after_any_sequence_of_readings(self, fresh: object, batches: Batches) -> None:
        self._sums_tie(fresh, batches)

    @pytest.mark.deep
    @given(readings)
    @settings(max_examples=200, suppress_health_check=_ALLOWED)
    def test_sums_tie_after_many_more_of_them(self, fresh: object, batches: Batches) -> None:
        self._sums_tie(fresh, batches)

    @staticmethod
    def _sums_tie(fresh: object, batches: Batches) -> None:
        with fresh() as ledger:  # type: ignore[operator]
            for one in batches:
                ledger.put(facts_of(one))
            holdings = ledger.holdings()
            assert (holdings.mismatches, holdings.doubled) == (0, 0)
            held = list(ledger.stored())
            assert len({f[:7] for f in held}) == len(held) == sum(holdings.buckets.values())
            used = ledger.usage(0, EVER)
            again = [*held]
            ledger.put(again)
            assert list(ledger.stored()) == held
            assert {f.granularity for f in used} <= {f.granularity for f in held}
            assert sum(f.value for f in ledger.priceable(T0, next_month(T0))) == sum(f.value for f in used)
            assert sum(f.value for f in used) == _finest(held)
            before = price(ledger.priceable(T0, next_month(T0)), CARD)
            ledger.compact(T0 + 2 * DAY)
            assert price(ledger.priceable(T0, next_month(T0)), CARD) == before
            assert ledger.holdings().mismatches == 0

    def test_threads_share_a_ledger(self, ledger: Ledger) -> None:
        def write(branch: str) -> None:
            for hour in range(20):
                ledger.put([fact(1, T0 + DAY, start=T0 + hour * HOUR, branch=branch)])

        threads = [threading.Thread(target=write, args=(f"b{n}",)) for n in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(ledger.usage(T0, T0 + DAY)) == 80
        assert ledger.holdings().mismatches == 0


def _finest(held: list[UsageFact]) -> int:
    """By meter, the larger of the month and its days, each the larger of the day and its hours: said another way."""
    total = 0
    for meter in {(f.branch_id, f.metric) for f in held}:
        mine = [f for f in held if (f.branch_id, f.metric) == meter]

        def of(granularity: str, day: int | None, rows: list[UsageFact] = mine) -> int:
            return sum(
                f.value for f in rows if f.granularity == granularity and day in (None, f.start // DAY * DAY)
            )  # fmt: skip

        days = {f.start // DAY * DAY for f in mine}
        total += max(of("monthly", None), sum(max(of("hourly", day), of("daily", day)) for day in days))
    return total
