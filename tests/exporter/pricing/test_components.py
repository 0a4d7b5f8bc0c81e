"""The table of price components: each is one entry, and nothing else in the product has a table by component."""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path

import pytest

from exporter.pricing import ratecard
from exporter.pricing.domain.components import (
    GB,
    METRIC_COMPONENTS,
    MONTH_HOURS,
    STORAGE,
    STORED,
    USAGE_METRICS,
    Component,
    ComponentSpec,
    Level,
    RawUnit,
)

ROOT = Path(__file__).parents[3]
TABLE = ROOT / "exporter/pricing/domain/components.py"


def test_every_component_is_found_by_its_name_and_by_its_metric() -> None:
    for component in Component:
        assert Component(component.value) is component
        assert METRIC_COMPONENTS[component.spec.metric] is component
    assert len(METRIC_COMPONENTS) == len(Component)


def test_a_name_without_an_entry_is_no_component() -> None:
    with pytest.raises(ValueError, match="wishes"):
        Component("wishes")


def test_branches_are_asked_for_what_the_api_has_by_branch_and_projects_for_everything() -> None:
    by_branch = {component.spec.metric for component in Component if component.spec.level is Level.BRANCH}
    assert set(USAGE_METRICS["branches"]) == by_branch < set(USAGE_METRICS["projects"]) == set(METRIC_COMPONENTS)


def test_raw_units_are_dated_and_the_newest_before_an_instant_holds() -> None:
    spec = Component.ROOT_STORAGE.spec
    values = {field.name: getattr(spec, field.name) for field in fields(spec)}
    dated = ComponentSpec(**values | {"raw_units": (*spec.raw_units, RawUnit(1000, "byte-month", GB))})
    assert dated.per_unit(999) == spec.per_unit(999) == MONTH_HOURS * GB
    assert dated.per_unit(1000) == GB


@pytest.mark.parametrize("component", Component)
def test_raw_units_rise_from_the_first_day(component: Component) -> None:
    dates = [raw.valid_from for raw in component.spec.raw_units]
    assert dates[0] == 0 and dates == sorted(set(dates))


def test_patterns_of_invoices_have_different_turns_and_compile() -> None:
    words = [component.spec.invoice for component in Component]
    assert len({one.turn for one in words}) == len(words)
    assert all(re.compile(one.pattern) for one in words)


def test_groups_of_components() -> None:
    assert STORAGE[:2] == (Component.ROOT_STORAGE, Component.CHILD_STORAGE)
    assert {*STORAGE, Component.INSTANT_RESTORE, Component.SNAPSHOT_STORAGE} <= set(STORED)
    assert not set(STORED) & {Component.COMPUTE, Component.EXTRA_BRANCHES, Component.PUBLIC_TRANSFER}


def test_what_is_free_by_the_hour_and_by_the_month() -> None:
    branches, transfer, compute = (
        component.spec for component in (Component.EXTRA_BRANCHES, Component.PUBLIC_TRANSFER, Component.COMPUTE)
    )
    assert branches.hourly_allowance and not branches.monthly_allowance
    assert transfer.monthly_allowance and not transfer.hourly_allowance
    assert branches.needs_hours and compute.needs_hours and not transfer.needs_hours


def test_every_allowance_of_the_shipped_card_has_a_rule() -> None:
    for plan in ratecard.load().plans.values():
        assert all(component.spec.allowance for component in plan.allowances)


def _is_component(node: ast.expr | None, names: set[str]) -> bool:
    if isinstance(node, ast.Constant):
        return node.value in names
    return isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "Component"


def _tables(tree: ast.Module) -> Iterator[ast.expr]:
    """Literals by component: dicts keyed by two members or more (or by their names or metrics), sets and lists too."""
    names = {component.value for component in Component} | METRIC_COMPONENTS.keys()
    for node in ast.walk(tree):
        if isinstance(node, ast.Dict):
            elements = node.keys
        elif isinstance(node, ast.Set | ast.List | ast.Tuple):
            elements = list(node.elts)
        else:
            continue
        if sum(_is_component(element, names) for element in elements) > 1:
            yield node


# The twin speaks as Neon does and must not know how we price; the collector's own test holds it to Neon's document.
TWIN = {"exporter/demo/view.py", "exporter/demo/meter.py"}


def test_no_other_module_has_a_table_by_component() -> None:
    found = [
        f"{path.relative_to(ROOT)}:{table.lineno}: put it into {TABLE.relative_to(ROOT)}"
        for package in ("exporter", "collectors")
        for path in sorted((ROOT / package).rglob("*.py"))
        if path != TABLE and path.relative_to(ROOT).as_posix() not in TWIN
        for table in _tables(ast.parse(path.read_text()))
    ]
    assert not found, "\n".join(found)


def test_the_rule_sees_what_it_forbids() -> None:
    seen = (
        "{Component.COMPUTE: 1, Component.ROOT_STORAGE: 2}",
        "frozenset({Component.COMPUTE, Component.ROOT_STORAGE})",
        "('compute_unit_seconds', 'root_branch_bytes_month')",
        "{'root_storage': 1, 'child_storage': 2}",
    )
    assert all(list(_tables(ast.parse(text))) for text in seen)
    assert not list(_tables(ast.parse("{Component.COMPUTE: 1, 'other': 2}")))


def test_the_rate_card_knows_no_other_component() -> None:
    card = json.loads((ROOT / "exporter/pricing/neon.json").read_text())
    named = {name for plan in card["plans"].values() for name in plan.get("rates", {})}
    assert named == set(Component)
