"""Key figures: parts of one whole, and unknown where they cannot be worked out."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction

from hypothesis import given
from hypothesis import strategies as st

from exporter.cost.domain.kpi import Beside, Counts, Kpi, ratios, unit_costs
from exporter.pricing.domain.components import Component
from exporter.tenancy.domain.rules import AGENT, IDLE, SHARED, UNATTRIBUTED


@dataclass(frozen=True)
class Line:
    cost: Fraction
    component: Component = Component.COMPUTE
    quantity: Fraction = Fraction(1)
    org_id: str = "org"
    project_id: str = "p1"


@dataclass(frozen=True)
class Share:
    tenant: str
    cost: Fraction
    line: Line
    branch_id: str = "b1"


def split(**parts: int) -> list[Share]:
    names = {"idle": IDLE, "shared": SHARED, "unattributed": UNATTRIBUTED, "agent": AGENT}
    line = Line(Fraction(sum(parts.values())))
    return [Share(names.get(name, name), Fraction(usd), line) for name, usd in parts.items()]


def by_name(kpis: tuple[Kpi, ...]) -> dict[str, Fraction | None]:
    return {kpi.name: kpi.value for kpi in kpis}


def test_what_is_shared_or_unseen_is_not_allocated_and_idle_is() -> None:
    found = ratios(split(acme=50, birch=20, idle=16, shared=8, unattributed=4, agent=2), Beside())
    values = by_name(found)
    assert values["allocated"] == Fraction(88, 100)
    assert values["unallocated"] == Fraction(12, 100)
    assert values["idle"] == Fraction(16, 100)
    assert values["agent_cost"] == Fraction(2, 100)
    met = {kpi.name: kpi.met for kpi in found}
    assert (met["allocated"], met["unallocated"], met["agent_cost"], met["idle"]) == (False, False, False, None)


def test_what_nobody_knows_is_unknown() -> None:
    values = by_name(ratios(split(acme=1), Beside()))
    assert {name for name, value in values.items() if value is None} == {
        "tag_compliance", "forecast_accuracy", "anomaly_cost", "waste",
    }  # fmt: skip
    assert set(by_name(ratios([], Beside(tagged=lambda _p, _b: True))).values()) == {None}


def test_what_other_parts_know_is_taken() -> None:
    shares = [*split(acme=30), Share("acme", Fraction(70), Line(Fraction(70), project_id="p2"))]
    beside = Beside(lambda project, _: project == "p1", Fraction(9, 10), Fraction(25), Fraction(1, 5))
    values = by_name(ratios(shares, beside))
    assert values["tag_compliance"] == Fraction(30, 100)
    assert values["forecast_accuracy"] == Fraction(9, 10)
    assert values["anomaly_cost"] == Fraction(1, 4)
    assert values["waste"] == Fraction(1, 5)


def test_a_target_is_met_or_not_or_there_is_nothing_to_say() -> None:
    kpis = {kpi.name: kpi for kpi in ratios(split(acme=95, shared=5), Beside())}
    assert (kpis["allocated"].title, kpis["allocated"].value, kpis["allocated"].met) == (
        "Allocated", Fraction(95, 100), True,
    )  # fmt: skip
    assert (kpis["waste"].value, kpis["waste"].target, kpis["waste"].met) == (None, None, None)


def test_unit_costs_divide_the_whole_cost() -> None:
    storage = Line(Fraction(10), Component.ROOT_STORAGE, Fraction(20))
    shares = [*split(acme=50, birch=30, idle=10), Share(SHARED, Fraction(10), storage)]
    assert unit_costs(shares, Counts(2_000_000, 40)) == {
        "tenant": 50,
        "thousand_queries": Fraction(1, 20),
        "stored_gb_month": 5,
        "active_hour": Fraction(5, 2),
    }
    assert set(unit_costs(split(idle=1), Counts())) == set()


@given(
    st.dictionaries(
        st.sampled_from(["acme", "idle", "shared", "unattributed", "agent"]), st.integers(1, 10**6), min_size=1
    )
)
def test_allocated_and_unallocated_are_the_whole(parts: dict[str, int]) -> None:
    values = by_name(ratios(split(**parts), Beside()))
    assert (values["allocated"] or 0) + (values["unallocated"] or 0) == 1
    assert all(value is None or 0 <= value <= 1 for value in values.values())
