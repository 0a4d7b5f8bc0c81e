"""Allocation: whatever the weights, nothing is lost, nothing invented, and nothing negative."""

from __future__ import annotations

import random
from dataclasses import dataclass
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.cost.domain.allocate import (
    IDLE,
    MICRO,
    SHARED,
    Confidence,
    Use,
    UseKey,
    allocate,
    largest_remainder,
    round_rows,
    split_hour,
    split_hours,
)
from exporter.pricing.domain.calendar import month_start
from exporter.pricing.domain.components import Component
from exporter.pricing.domain.price import CostLine, PricePeriod, price
from exporter.pricing.domain.usage import PROJECT_LEVEL, UNATTRIBUTED, UsageFact
from exporter.pricing.ratecard import load
from tests.byte_hours import byte_hours

CARD = load()
JULY = month_start(1783000000)
STRETCH = PricePeriod(JULY, CARD.period(JULY))


@dataclass(frozen=True)
class Hour:
    project_id: str
    branch_id: str
    tenant: str
    hour: int
    busy_us: int


def line(metric: str, value: int, branch: str = "b1") -> CostLine:
    fact = UsageFact("org", "p1", branch, JULY, "hourly", "scale_v3", metric, value, unit=byte_hours(metric))
    return price([fact], CARD).lines[0]


@pytest.mark.parametrize(
    ("total", "weights", "parts"),
    [
        (3083, [1, 1, 1], [1028, 1028, 1027]),
        (10001, [50, 30, 15, 5], [5001, 3000, 1500, 500]),
        (1, [0, 1, 1], [0, 1, 0]),
        (0, [1, 2], [0, 0]),
        (0, [0, 0], [0, 0]),
    ],
)
def test_largest_remainder(total: int, weights: list[int], parts: list[int]) -> None:
    names = "abcdefgh"
    assert largest_remainder(total, dict(zip(names, weights, strict=False))) == dict(zip(names, parts, strict=False))


@pytest.mark.parametrize(("total", "weights"), [(-1, {"a": 1}), (1, {"a": -1}), (1, {"a": 0}), (1, {})])
def test_largest_remainder_refuses_what_it_cannot_split(total: int, weights: dict[str, int]) -> None:
    with pytest.raises(ValueError, match=r"split|weights"):
        largest_remainder(total, weights)


weights_strategy = st.dictionaries(
    st.text("abcdef", min_size=1, max_size=3), st.integers(0, 10**15), min_size=1
).filter(lambda weights: any(weights.values()))


@given(st.integers(0, 10**12), weights_strategy, st.integers(1, 10**6), st.randoms())
def test_largest_remainder_properties(total: int, weights: dict[str, int], scale: int, shuffler: random.Random) -> None:
    parts = largest_remainder(total, weights)
    everything = sum(weights.values())
    assert sum(parts.values()) == total
    assert all(abs(parts[k] - Fraction(total * w, everything)) < 1 and parts[k] >= 0 for k, w in weights.items())
    assert all(parts[k] == 0 for k, w in weights.items() if not w)
    items = list(weights.items())
    shuffler.shuffle(items)
    assert largest_remainder(total, dict(items)) == parts
    assert largest_remainder(total, {k: w * scale for k, w in items}) == parts
    assert {k: v for k, v in largest_remainder(total, {**weights, "zero": 0}).items() if k != "zero"} == parts


@given(st.lists(st.fractions(0, 1000), max_size=20), st.integers(0, 8))
def test_rounded_rows_sum_to_the_rounded_total(amounts: list[Fraction], places: int) -> None:
    rows = round_rows(amounts, places)
    total = sum(amounts, Fraction()) * 10**places
    assert sum(rows) == int(total + Fraction(1, 2))
    assert all(abs(row - amount * 10**places) < 1 for row, amount in zip(rows, amounts, strict=True))


def test_rounded_rows_of_three_equal_parts() -> None:
    assert round_rows([Fraction(3083, 300)] * 3, 2) == [1028, 1028, 1027]
    with pytest.raises(ValueError, match="at least 0"):
        round_rows([Fraction(-1)], 2)


@pytest.mark.parametrize(
    ("awake", "busy", "parts"),
    [
        (1000, {"a": 300, "b": 100}, {"a": 300, "b": 100, IDLE: 600}),
        (1000, {"a": 1000}, {"a": 1000}),
        (1000, {"a": 3000, "b": 1000}, {"a": 750, "b": 250}),
        (1000, {}, {UNATTRIBUTED: 1000}),
        (1000, {"a": 0}, {"a": 0, IDLE: 1000}),
        (0, {"a": 10}, {"a": 0}),
        (0, {}, {}),
    ],
)
def test_an_hour(awake: int, busy: dict[str, int], parts: dict[str, int]) -> None:
    assert split_hour(awake, busy) == parts


@given(st.integers(0, 10**12), st.dictionaries(st.sampled_from("abcdef"), st.integers(0, 10**12)))
def test_hours_conserve(awake: int, busy: dict[str, int]) -> None:
    parts = split_hour(awake, busy)
    assert sum(parts.values()) == awake
    assert all(part >= 0 for part in parts.values())
    without = split_hour(awake, {**busy, "zero": 0}) if busy else {**parts, "zero": 0}
    assert {k: v for k, v in without.items() if k != "zero"} == parts


@given(st.integers(1, 10**12), st.dictionaries(st.sampled_from("abc"), st.integers(0, 10**12)), st.integers(0, 10**12))
def test_a_tenant_that_does_more_never_pays_less(awake: int, busy: dict[str, int], more: int) -> None:
    before = split_hour(awake, {"a": 0, **busy})
    after = split_hour(awake, {"a": 0, **busy, **{"a": busy.get("a", 0) + more}})
    assert after["a"] >= before["a"]


def test_hours_of_many_branches_are_summed_by_branch() -> None:
    compute = [("p1", "b1", "launch_v3", 0, 10), ("p1", "b1", "launch_v3", 3600, 10), ("p1", "b2", "launch_v3", 0, 5)]
    busy = [Hour("p1", "b1", "a", 0, 4 * MICRO), Hour("p1", "b1", "a", 0, MICRO), Hour("p1", "b9", "a", 0, MICRO)]
    uses = split_hours(compute, busy, open_from=3600)
    assert uses["p1", "b1", "launch_v3"].tenants == {"a": 5 * MICRO, IDLE: 5 * MICRO, UNATTRIBUTED: 10 * MICRO}
    assert uses["p1", "b1", "launch_v3"].pending == {UNATTRIBUTED: 10 * MICRO}
    assert uses["p1", "b1", "launch_v3"].coverage == Fraction(1, 4)
    assert uses["p1", "b2", "launch_v3"].tenants == {UNATTRIBUTED: 5 * MICRO}
    assert ("p1", "b9", "launch_v3") not in uses


def test_compute_goes_by_busy_time_and_the_rest_is_idle() -> None:
    compute = line("compute_unit_seconds", 100)
    use = Use(100 * MICRO, 40 * MICRO, {"a": 30 * MICRO, "b": 10 * MICRO, IDLE: 60 * MICRO})
    shares = allocate([compute], {UseKey("p1", "b1", "scale_v3", STRETCH): use})
    assert {s.tenant: s.cost / compute.cost for s in shares} == {
        "a": Fraction(3, 10),
        "b": Fraction(1, 10),
        IDLE: Fraction(6, 10),
    }
    assert {(s.confidence, s.coverage) for s in shares} == {(Confidence.MEASURED, Fraction(2, 5))}


def test_compute_without_hours_is_unattributed() -> None:
    compute = line("compute_unit_seconds", 100)
    (share,) = allocate([compute], {})
    assert (share.tenant, share.cost, share.coverage) == (UNATTRIBUTED, compute.cost, Fraction())
    use = Use(60 * MICRO, 0, {UNATTRIBUTED: 60 * MICRO})
    assert {s.confidence for s in allocate([compute], {UseKey("p1", "b1", "scale_v3", STRETCH): use})} == {
        Confidence.EXACT
    }


def test_a_line_without_a_use_is_shared() -> None:
    storage = line("root_branch_bytes_month", 10**12)
    (share,) = allocate([storage], {})
    assert (share.tenant, share.cost, share.confidence) == (SHARED, storage.cost, Confidence.EXACT)


def test_parts_of_one_tenant_keep_how_they_were_come_by_and_what_is_beyond_them_is_shared() -> None:
    storage = line("root_branch_bytes_month", 100)
    use = Use(80, 0, {"a": 50, "b": 30}, {("a", Confidence.SAMPLED): 20}, {"a": 5})
    key = UseKey("p1", "b1", "scale_v3", STRETCH, Component.ROOT_STORAGE)
    shares = allocate([storage], {key: use})
    assert [(s.tenant, s.cost / storage.cost * 100, s.confidence.value) for s in shares] == [
        ("a", Fraction(30), "measured"),
        ("a", Fraction(20), "sampled"),
        ("b", Fraction(30), "measured"),
        (SHARED, Fraction(20), "exact"),
    ]
    assert sum(s.pending for s in shares) == storage.cost * Fraction(5, 100)


def test_a_charge_of_the_project_goes_to_the_branches_behind_it() -> None:
    extra = line("extra_branches_month", 40, branch="")
    (share,) = allocate([extra], {})
    assert (share.branch_id, share.tenant, share.cost) == (PROJECT_LEVEL, SHARED, extra.cost)
    billed = int(extra.quantity * 744 * MICRO)
    uses = {
        UseKey("p1", branch, "scale_v3", STRETCH, Component.EXTRA_BRANCHES): Use(part, 0, {SHARED: part})
        for branch, part in (("b1", billed * 3 // 4), ("b2", billed // 4))
    }
    assert [(s.branch_id, s.tenant, s.cost) for s in allocate([extra], uses)] == [
        ("b1", SHARED, extra.cost * 3 / 4),
        ("b2", SHARED, extra.cost / 4),
    ]


def test_an_owner_gets_all_of_a_branch_whatever_was_measured() -> None:
    compute = line("compute_unit_seconds", 100)
    use = Use(50 * MICRO, 20 * MICRO, {"a": 20 * MICRO, IDLE: 30 * MICRO}, pending={IDLE: 30 * MICRO})
    uses = {UseKey("p1", "b1", "scale_v3", STRETCH): use}
    lines = [compute, line("root_branch_bytes_month", 100), line("snapshot_storage_bytes_month", 100, branch="")]
    shares = allocate(lines, uses, owner=lambda project, branch: "acme" if branch == "b1" else None)
    assert [(s.tenant, s.cost, s.confidence, s.pending) for s in shares[:2]] == [
        ("acme", one.cost, Confidence.EXACT, Fraction()) for one in lines[:2]
    ]
    assert shares[0].coverage == Fraction(1, 5)
    assert shares[2].tenant == SHARED


@given(
    st.lists(
        st.tuples(st.sampled_from(["b1", "b2"]), st.integers(0, 5), st.sampled_from("abc"), st.integers(0, 10**10)),
        max_size=20,
    ),
    st.lists(st.tuples(st.sampled_from(["", "b1", "b2"]), st.integers(0, 5), st.integers(0, 7200)), max_size=20),
)
def test_every_line_is_split_exactly(busy: list[tuple[str, int, str, int]], used: list[tuple[str, int, int]]) -> None:
    facts = {
        (branch, hour): UsageFact(
            "o", "p1", branch, JULY + 3600 * hour, "hourly", "scale_v3", "compute_unit_seconds", v
        )
        for branch, hour, v in used
    }
    lines = price(facts.values(), CARD).lines
    split = split_hours(
        [(f.project_id, f.branch_id, f.plan, f.start, f.value) for f in facts.values() if f.branch_id],
        [Hour("p1", branch, tenant, JULY + 3600 * hour, us) for branch, hour, tenant, us in busy],
    )
    uses = {UseKey(*key, STRETCH): use for key, use in split.items()}
    shares = allocate(lines, uses)
    assert all(share.cost >= 0 and 0 <= (share.coverage or 0) <= 1 for share in shares)
    for one in lines:
        assert sum(share.cost for share in shares if share.line is one) == one.cost
