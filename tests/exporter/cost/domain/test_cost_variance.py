"""The bridge between two months: its parts are the whole difference, to the last digit."""

from __future__ import annotations

from fractions import Fraction

from hypothesis import given
from hypothesis import strategies as st

from exporter.cost.domain.cost_variance import variances
from exporter.pricing.domain.components import Component
from exporter.pricing.domain.price import CostLine, PricePeriod
from exporter.pricing.domain.rates import Rate, Source
from exporter.pricing.domain.usage import PROJECT_LEVEL

SOURCE = Source("a list", "2026-03-20")


def line(branch: str, quantity: Fraction | int, rate: str, component: Component = Component.COMPUTE) -> CostLine:
    price = Rate("launch_v3", component, Fraction(rate), 0, SOURCE)
    cost = quantity * price.amount
    return CostLine("o", "p", branch, component, "launch_v3", PricePeriod(0, 0), 1, Fraction(quantity), price, cost)


def test_a_price_and_a_volume_effect() -> None:
    (move,) = variances([line("b", 10, "0.14")], [line("b", 12, "0.106")]).moves
    assert move.price == 12 * (Fraction("0.106") - Fraction("0.14"))
    assert move.volume == Fraction("0.14") * 2
    assert move.price + move.volume == move.change == Fraction("1.272") - Fraction("1.4")


def test_branches_come_and_go() -> None:
    found = variances([line("old", 1, "1"), line("stays", 2, "1")], [line("new", 3, "1"), line("stays", 2, "1")])
    assert found.effects == {"price": 0, "volume": 0, "new": 3, "gone": -1}


def test_a_component_that_begins_on_a_branch_that_was_there_is_usage() -> None:
    storage = line("b", 5, "0.35", Component.ROOT_STORAGE)
    found = variances([line("b", 1, "1")], [line("b", 1, "1"), storage])
    assert found.effects == {"price": 0, "volume": Fraction("1.75"), "new": 0, "gone": 0}


def test_a_charge_of_the_project_is_not_a_new_branch() -> None:
    extra = line(PROJECT_LEVEL, 2, "1.5", Component.EXTRA_BRANCHES)
    found = variances([line("b", 1, "1"), line(PROJECT_LEVEL, 1, "1.5", Component.SNAPSHOT_STORAGE)],
                   [line("b", 1, "1"), line(PROJECT_LEVEL, 1, "1.5", Component.SNAPSHOT_STORAGE), extra])  # fmt: skip
    assert found.effects["volume"] == 3
    assert found.effects["new"] == 0


def test_a_free_thing_that_gets_a_price_is_a_price_effect() -> None:
    found = variances([line("b", 4, "0")], [line("b", 4, "0.09")])
    assert found.effects["price"] == Fraction("0.36")


LINES = st.lists(
    st.builds(
        line,
        st.sampled_from(["b1", "b2", "b3", PROJECT_LEVEL]),
        st.fractions(min_value=0, max_value=100),
        st.sampled_from(["0", "0.106", "0.222", "1.5"]),
        st.sampled_from([Component.COMPUTE, Component.ROOT_STORAGE, Component.EXTRA_BRANCHES]),
    ),
    max_size=12,
)


@given(LINES, LINES)
def test_the_effects_are_the_difference_exactly(before: list[CostLine], after: list[CostLine]) -> None:
    found = variances(before, after)
    difference = sum((cost_line.cost for cost_line in after), Fraction()) - sum(
        (entry.cost for entry in before), Fraction()
    )
    assert sum(found.effects.values()) == difference == found.after - found.before
    for move in found.moves:
        assert move.price + move.volume + move.new + move.gone == move.change
