"""Pricing: the golden cases to the last digit, and what must hold for any usage."""

from __future__ import annotations

import random
from datetime import UTC, datetime
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.pricing.domain.components import METRIC_COMPONENTS, Component
from exporter.pricing.domain.price import CostLine, price
from exporter.pricing.domain.rates import RateCard, decimal_text
from exporter.pricing.domain.usage import PROJECT_LEVEL, UNATTRIBUTED, UsageFact
from exporter.pricing.ratecard import load
from tests.byte_hours import byte_hours

CARD: RateCard = load()
HOUR, DAY = 3600, 86400
GB = 10**9
BRANCH_METRICS = [m for m in METRIC_COMPONENTS if m not in ("extra_branches_month", "snapshot_storage_bytes_month")]


def at(text: str) -> int:
    return int(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp())


def fact(
    metric: str,
    value: int,
    *,
    start: str | int = "2026-07-01",
    plan: str = "launch_v3",
    project: str = "p1",
    branch: str = "b1",
    granularity: str = "hourly",
    org: str = "org-1",
) -> UsageFact:
    begin = at(start) if isinstance(start, str) else start
    return UsageFact(org, project, branch, begin, granularity, plan, metric, value, unit=byte_hours(metric))


def total(*facts: UsageFact) -> Fraction:
    pricing = price(facts, CARD)
    assert not pricing.unknown
    return pricing.total


def test_compute_of_500000_cu_seconds_on_scale() -> None:
    cost = total(fact("compute_unit_seconds", 500_000, plan="scale_v3"))
    assert cost == Fraction(500_000, 3600) * Fraction("0.222")
    assert decimal_text(cost).startswith("30.8333333333333333")


def test_root_storage_of_2_5e12_byte_hours() -> None:
    (line,) = price([fact("root_branch_bytes_month", 25 * 10**11)], CARD).lines
    assert decimal_text(line.quantity).startswith("3.36021505376344")
    assert line.cost == Fraction(25 * 10**11, 744 * GB) * Fraction("0.35")
    assert decimal_text(line.cost).startswith("1.17607526881720")


@pytest.mark.parametrize(
    ("start", "cost"),
    [("2026-04-30T23:00", Fraction()), ("2026-05-01", Fraction(75 * 10**11, 744 * GB) * Fraction("0.09"))],
)
def test_snapshots_are_charged_from_may(start: str, cost: Fraction) -> None:
    pricing = price([fact("snapshot_storage_bytes_month", 75 * 10**11, branch="", start=start)], CARD)
    assert not pricing.unknown
    assert pricing.total == cost
    assert pricing.lines[0].branch_id == PROJECT_LEVEL
    if cost:
        assert decimal_text(cost).startswith("0.90725806451612")


@pytest.mark.parametrize(
    ("month", "days", "text"),
    [("2026-07-01", 31, "0.7"), ("2026-06-01", 30, "0.6774193548387"), ("2026-02-01", 28, "0.6322580645161")],
)
def test_two_gigabytes_through_a_month(month: str, days: int, text: str) -> None:
    first = at(month)
    facts = [fact("child_branch_bytes_month", 2 * GB, start=first + hour * HOUR) for hour in range(days * 24)]
    cost = total(*facts)
    assert decimal_text(cost).startswith(text)
    assert cost == Fraction(2 * 24 * days, 744) * Fraction("0.35")
    if days == 31:
        assert decimal_text(cost) == "0.7"


def test_288_branch_hours_in_a_day_on_launch() -> None:
    (line,) = price([fact("extra_branches_month", 288, branch="", granularity="daily")], CARD).lines
    assert line.quantity * 744 == 72
    assert decimal_text(line.cost).startswith("0.1451612903225")
    assert line.lower_bound


def test_twelve_children_for_31_days_on_launch() -> None:
    first = at("2026-07-01")
    facts = [fact("extra_branches_month", 12, branch="", start=first + hour * HOUR) for hour in range(744)]
    assert decimal_text(total(*facts)) == "4.5"


def test_the_branch_allowance_is_per_hour() -> None:
    first = at("2026-07-01")
    hours = [fact("extra_branches_month", 30, branch="", start=first + hour * HOUR) for hour in range(12)]
    (line,) = price(hours, CARD).lines
    assert line.quantity * 744 == 252
    (day,) = price([fact("extra_branches_month", 360, branch="", granularity="daily")], CARD).lines
    assert day.quantity * 744 == 144


@pytest.mark.parametrize(
    ("month", "gigabytes", "text"),
    [
        ("2026-06-01", [[400, 150]], "5"),
        ("2026-06-01", [[400], [400], [400], [400]], "0"),
        ("2026-05-01", [[400], [400], [400], [400]], "150"),
    ],
)
def test_public_transfer_past_its_allowance(month: str, gigabytes: list[list[int]], text: str) -> None:
    facts = [
        fact("public_network_transfer_bytes", size * GB, start=month, project=f"p{p}", branch=f"b{b}")
        for p, sizes in enumerate(gigabytes)
        for b, size in enumerate(sizes)
    ]
    assert decimal_text(total(*facts)) == text


@pytest.mark.parametrize(("plan", "text"), [("launch_v3", "19.716"), ("scale_v3", "41.292")])
def test_a_quarter_cu_awake_all_month(plan: str, text: str) -> None:
    first = at("2026-07-01")
    facts = [fact("compute_unit_seconds", 900, plan=plan, start=first + hour * HOUR) for hour in range(744)]
    assert decimal_text(total(*facts)) == text


@pytest.mark.parametrize(
    ("plan", "start", "rate"),
    [
        ("launch_v3", "2025-08-14", "0.14"),
        ("launch_v3", "2026-03-19T23:00", "0.14"),
        ("launch_v3", "2026-03-20", "0.106"),
        ("scale_v3", "2026-03-19T23:00", "0.26"),
        ("scale_v3", "2026-03-20", "0.222"),
    ],
)
def test_the_rate_of_the_day_holds(plan: str, start: str, rate: str) -> None:
    assert total(fact("compute_unit_seconds", 3600, plan=plan, start=start)) == Fraction(rate)


@pytest.mark.parametrize("beyond", [-1, 0, 1])
@pytest.mark.parametrize(("month", "allowance"), [("2026-06-01", 500), ("2026-05-01", 100)])
def test_one_byte_around_the_transfer_allowance(month: str, allowance: int, beyond: int) -> None:
    cost = total(fact("public_network_transfer_bytes", allowance * GB + beyond, start=month))
    assert cost == max(0, beyond) * Fraction(1, 10 * GB)


def test_a_month_with_a_price_change_shares_one_transfer_allowance() -> None:
    halves = [
        fact("public_network_transfer_bytes", 60 * GB, start=day, plan="scale_v3")
        for day in ("2026-03-10", "2026-03-25")
    ]
    assert total(*halves) == 2


def test_a_change_of_plan_prices_each_part_by_its_own_plan() -> None:
    parts = [
        fact("compute_unit_seconds", 3600, plan="launch_v3", start="2026-07-10"),
        fact("compute_unit_seconds", 3600, plan="scale_v3", start="2026-07-11"),
    ]
    assert total(*parts) == Fraction("0.328")


def test_a_change_of_plan_shares_the_hour_in_which_it_was() -> None:
    """12 children all hour, the plan changed at a quarter past: 9 are free for a quarter, 24 for the rest."""
    parts = [
        fact("extra_branches_month", 3, branch="", plan="launch_v3"),
        fact("extra_branches_month", 9, branch="", plan="scale_v3"),
    ]
    launch, scale = price(parts, CARD).lines
    assert launch.quantity * 744 == Fraction(12 - 9, 4)
    assert scale.quantity == 0


def test_a_change_of_plan_does_not_begin_the_transfer_allowance_anew() -> None:
    parts = [
        fact("public_network_transfer_bytes", 400 * GB, plan="launch_v3", start="2026-07-03"),
        fact("public_network_transfer_bytes", 200 * GB, plan="scale_v3", start="2026-07-20"),
    ]
    launch, scale = price(parts, CARD).lines
    assert launch.cost + scale.cost == 10
    assert launch.cost == 2 * scale.cost


@pytest.mark.parametrize(("month", "uneven"), [("2026-03-01", True), ("2026-04-01", False)])
def test_a_monthly_bucket_over_a_change_of_price_is_spread_over_its_hours(month: str, uneven: bool) -> None:
    whole = fact("compute_unit_seconds", 3600 * 24 * 31, start=month, granularity="monthly")
    pricing = price([whole], CARD)
    if uneven:
        assert pricing.total == 24 * (19 * Fraction("0.14") + 12 * Fraction("0.106"))
        assert [line.spread for line in pricing.lines] == [True, True]
    else:
        assert pricing.total == 24 * 31 * Fraction("0.106")
        assert not any(line.spread for line in pricing.lines)
    assert sum(line.usage for line in pricing.lines) == whole.value


def test_a_monthly_count_of_branches_is_a_lower_bound() -> None:
    (line,) = price([fact("extra_branches_month", 12 * 744, branch="", granularity="monthly")], CARD).lines
    assert decimal_text(line.cost) == "4.5"
    assert line.lower_bound


@given(st.lists(st.integers(0, 60), min_size=24, max_size=24), st.sampled_from(["launch_v3", "scale_v3"]))
def test_a_day_never_costs_more_branches_than_its_hours(children: list[int], plan: str) -> None:
    first = at("2026-07-01")
    hours = [
        fact("extra_branches_month", count, branch="", plan=plan, start=first + hour * HOUR)
        for hour, count in enumerate(children)
    ]
    day = fact("extra_branches_month", sum(children), branch="", plan=plan, granularity="daily")
    assert total(day) <= total(*hours)


@pytest.mark.parametrize("plan", ["business", "vercel_pg_legacy", "direct_sales_v3", "UNKNOWN", "never_heard_of"])
def test_what_has_no_price_is_said_and_keeps_its_quantity(plan: str) -> None:
    pricing = price([fact("compute_unit_seconds", 7200, plan=plan)], CARD)
    (line,) = pricing.lines
    assert (line.rate, line.cost, line.quantity) == (None, 0, 2)
    (unknown,) = pricing.unknown
    assert unknown.plan == plan
    assert "cost.rate_card" in unknown.why


def test_an_override_of_the_plan_prices_it() -> None:
    pricing = price([fact("compute_unit_seconds", 3600, plan="scale")], CARD, plan="scale_v3")
    assert not pricing.unknown
    assert pricing.total == Fraction("0.222")


def test_a_metric_that_the_api_added_is_reported() -> None:
    pricing = price([fact("quantum_seconds", 5)], CARD)
    assert [u.component for u in pricing.unknown] == ["quantum_seconds"]
    assert not pricing.lines


def test_what_the_branches_do_not_explain_is_a_row_of_its_own() -> None:
    pricing = price(
        [
            fact("compute_unit_seconds", 10_000, branch=""),
            fact("compute_unit_seconds", 7_000, branch="b1"),
            fact("compute_unit_seconds", 2_000, branch="b2"),
        ],
        CARD,
    )
    assert {line.branch_id: line.usage for line in pricing.lines} == {"b1": 7000, "b2": 2000, UNATTRIBUTED: 1000}
    assert pricing.total == Fraction(10_000, 3600) * Fraction("0.106")


def test_branches_read_after_their_project_make_no_negative_row() -> None:
    pricing = price([fact("compute_unit_seconds", 60, branch=""), fact("compute_unit_seconds", 90)], CARD)
    assert [(line.branch_id, line.usage) for line in pricing.lines] == [("b1", 90)]


def test_negative_usage_is_refused() -> None:
    with pytest.raises(ValueError, match="never negative"):
        price([fact("compute_unit_seconds", -1)], CARD)


facts_strategy = st.lists(
    st.builds(
        fact,
        metric=st.sampled_from(BRANCH_METRICS),
        value=st.integers(0, 10**15),
        start=st.integers(at("2025-12-01") // HOUR, at("2026-08-01") // HOUR).map(lambda hour: hour * HOUR),
        plan=st.sampled_from(["launch_v3", "scale_v3", "scale"]),
        project=st.sampled_from(["p1", "p2", "p3"]),
        branch=st.sampled_from(["", "b1", "b2"]),
    )
    | st.builds(
        fact,
        metric=st.sampled_from(["extra_branches_month", "snapshot_storage_bytes_month"]),
        value=st.integers(0, 100),
        start=st.integers(at("2026-04-01") // HOUR, at("2026-08-01") // HOUR).map(lambda hour: hour * HOUR),
        plan=st.sampled_from(["launch_v3", "scale_v3"]),
        project=st.sampled_from(["p1", "p2"]),
        branch=st.just(""),
    ),
    max_size=40,
)


@given(facts_strategy)
def test_nothing_is_negative_and_lines_sum_to_the_total(facts: list[UsageFact]) -> None:
    pricing = price(facts, CARD)
    assert all(line.cost >= 0 and line.quantity >= 0 and line.usage >= 0 for line in pricing.lines)
    assert sum(line.cost for line in pricing.lines) == pricing.total
    assert all(line.rate is None or line.cost == line.quantity * line.rate.amount for line in pricing.lines)


@given(facts_strategy, st.randoms())
def test_the_order_of_the_facts_does_not_matter(facts: list[UsageFact], shuffler: random.Random) -> None:
    shuffled = list(facts)
    shuffler.shuffle(shuffled)
    assert price(shuffled, CARD) == price(facts, CARD)


@given(facts_strategy)
def test_a_missing_metric_is_a_zero(facts: list[UsageFact]) -> None:
    assert price([f for f in facts if f.value], CARD) == price(facts, CARD)


@given(facts_strategy)
def test_projects_conserve(facts: list[UsageFact]) -> None:
    """Per metric, branches + unattributed = the larger of the project's figure and the sum of its branches."""
    pricing = price(facts, CARD)
    for project in {f.project_id for f in facts}:
        for metric, component in METRIC_COMPONENTS.items():
            mine = [f for f in facts if f.project_id == project and f.metric == metric]
            lines = [x for x in pricing.lines if x.project_id == project and x.component == component]
            groups = {(f.plan, CARD.period(f.start), f.start) for f in mine}
            whole = sum(f.value for f in mine if not f.branch_id)
            below = sum(f.value for f in mine if f.branch_id)
            used = sum(line.usage for line in lines)
            assert max(whole, below) <= used <= whole + below
            if len(groups) <= 1:
                assert used == max(whole, below)


@given(facts_strategy, facts_strategy)
def test_projects_add_up_where_no_organisation_shares_an_allowance(a: list[UsageFact], b: list[UsageFact]) -> None:
    left = [f._replace(org_id="org-a", project_id="a" + f.project_id) for f in a]
    right = [f._replace(org_id="org-b", project_id="b" + f.project_id) for f in b]
    assert price(left + right, CARD).total == price(left, CARD).total + price(right, CARD).total


@given(facts_strategy, st.integers(1, 10**12))
def test_more_use_never_costs_less(facts: list[UsageFact], more: int) -> None:
    """Own use grows: neither the total nor any row falls, so a month-to-date counter can only rise."""
    grown = [f._replace(value=f.value + more) if f.branch_id == "b1" else f for f in facts]
    named = {_name(line): line.cost for line in price(grown, CARD).lines}
    for line in price(facts, CARD).lines:
        if line.branch_id == "b1":
            assert named[_name(line)] >= line.cost
    assert price(grown, CARD).total >= price(facts, CARD).total


def _name(line: CostLine) -> tuple[str, str, Component, str, int, int]:
    return (line.project_id, line.branch_id, line.component, line.plan, *line.period)
