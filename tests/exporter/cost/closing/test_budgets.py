"""Budgets over a real ledger: what is counted for whom, where the month ends, and the series."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction
from pathlib import Path

import pytest

from collectors.neon.client import NeonClient
from exporter.app.settings import Settings
from exporter.cost.allocation.costs import Costs
from exporter.cost.closing import budgets as module
from exporter.cost.closing.budget_collector import BudgetCollector
from exporter.cost.closing.budget_spending import projections
from exporter.cost.closing.budgets import budget_states, budgets_of, closed_months, limits_of, observe, remember_limit
from exporter.cost.closing.close import Closer
from exporter.cost.closing.store import CLOSE_SCHEMA, sqlite_closes
from exporter.cost.domain.budget import Budget, Scope, Source
from exporter.cost.outlook.daily import Daily
from exporter.cost.tags import Scoping, Tagging
from exporter.pricing.domain.calendar import DAY, HOUR, day_seconds
from exporter.pricing.domain.usage import UsageFact
from exporter.pricing.ratecard import load
from exporter.settings.report import TagRuleSettings
from exporter.storage.ledger.sqlite import SqliteLedger
from exporter.storage.ledger.sqlite_sql import LEDGER_SCHEMA
from exporter.storage.store import Store
from exporter.storage.tables import KEY_VALUE_SCHEMA, KeyValueStore
from exporter.storage.writer import WriterThread
from tests.fix_twin import Twin

OCTOBER, NOVEMBER = day_seconds("2026-10-01"), day_seconds("2026-11-01")
NOW = NOVEMBER + 10 * DAY + HOUR
NAMES = {"p1": "shop", "p2": "crm", "b1": "main", "b2": "dev", "b3": "main"}
TAGS = Tagging([TagRuleSettings(project="crm", tags={"team": "payments"})], NAMES)
SCOPING = Scoping(NAMES, TAGS)
CARD = load()


@dataclass(frozen=True)
class Hour:
    project_id: str
    branch_id: str
    tenant: str
    hour: int
    busy_us: int


def busy(start: int, end: int) -> Iterator[Hour]:
    """On p1/b1 acme works half of each hour, and globex a quarter."""
    for hour in range(start, end, HOUR):
        yield Hour("p1", "b1", "acme", hour, 500 * 10**6)
        yield Hour("p1", "b1", "globex", hour, 250 * 10**6)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    schemas = {"ledger": LEDGER_SCHEMA, "close": CLOSE_SCHEMA, "notebook": KEY_VALUE_SCHEMA}
    opened = Store.open(tmp_path / "neonmeter.db", schemas)
    yield opened
    opened.close()


@pytest.fixture
def costs(store: Store) -> Costs:
    """Hourly since October: 1000 CU-s on shop/main, 500 on shop/dev, 1500 on crm/main; twice that on the last day."""
    ledger = SqliteLedger(store)
    facts = []
    for hour in range(OCTOBER, NOVEMBER + 10 * DAY, HOUR):
        more = 2 if hour >= NOVEMBER + 9 * DAY else 1
        for project, branch, value in (("p1", "b1", 1000), ("p1", "b2", 500), ("p2", "b3", 1500)):
            facts.append(
                UsageFact(
                    "org-1", project, branch, hour, "hourly", "launch_v3", "compute_unit_seconds", value * more, hour
                )
            )
    ledger.put(facts, read_through={"org-1": NOVEMBER + 10 * DAY})
    return Costs(ledger, busy, CARD)


def hours(value: int, count: int) -> Fraction:
    return Fraction(value * count, 3600) * Fraction("0.106")


@pytest.mark.parametrize(
    ("scope", "match", "value"),
    [
        (Scope.ORG, "*", 3000),
        (Scope.ORG, "org-2", 0),
        (Scope.PROJECT, "shop", 1500),
        (Scope.PROJECT, "p*", 3000),
        (Scope.BRANCH, "main", 2500),
        (Scope.BRANCH, "shop/main", 1000),
        (Scope.BRANCH, "p1/b*", 1500),
        (Scope.TAG, "team=pay*", 1500),
        (Scope.TAG, "env=*", 0),
    ],
)
def test_what_a_budget_counts(costs: Costs, scope: Scope, match: str, value: int) -> None:
    budget = Budget("x", Fraction(100), scope, match)
    (found,) = budget_states([budget], costs, costs.month(NOW, NOW), SCOPING)
    assert found.spent == hours(value, 11 * 24)
    assert found.burn["24h"] == hours(2 * value, 24) / (Fraction(100) / 30)
    assert found.burn["6h"] == found.burn["24h"]
    assert found.burn["3d"] == hours(value, 4 * 24) / (Fraction(100) / 10)


def test_a_tenant_has_its_part_of_the_newest_hours(costs: Costs) -> None:
    (found,) = budget_states([Budget("x", Fraction(100), Scope.TENANT, "acme")], costs, costs.month(NOW, NOW), SCOPING)
    assert found.spent == hours(500, 10 * 24)
    day = hours(2000, 24) * Fraction(500 * 10, 1000 * 11)
    assert found.burn["24h"] == day / (Fraction(100) / 30)
    assert found.projected is not None
    assert found.projected.method == "run-rate of 3d"


def test_a_window_before_the_data_is_not_told(store: Store) -> None:
    ledger = SqliteLedger(store)
    start = NOVEMBER + 9 * DAY
    ledger.put(
        [UsageFact("o", "p", "b", hour, "hourly", "launch_v3", "compute_unit_seconds", 1, hour)
         for hour in range(start, start + DAY, HOUR)],
        read_through={"o": start + DAY},
    )  # fmt: skip
    costs = Costs(ledger, busy, CARD)
    (found,) = budget_states([Budget("x", Fraction(1))], costs, costs.month(NOW, NOW), SCOPING)
    assert sorted(found.burn) == ["24h", "6h"]


def test_the_end_of_the_month_is_forecast_from_the_days(costs: Costs) -> None:
    month = costs.month(NOW, NOW)
    daily = Daily(costs.ledger, CARD).costs(OCTOBER, month.through)
    budgets = [Budget("all", Fraction(80)), Budget("acme", Fraction(1), Scope.TENANT, "acme")]
    ends = projections(daily, month.month, month.through, budgets, SCOPING)
    everything, acme = budget_states(budgets, costs, month, SCOPING, ends=ends)
    assert everything.projected is not None
    assert everything.projected.method == "forecast (weekday)"
    even = hours(3000, 31 * 24)
    assert even * Fraction(9, 10) < everything.projected.usd < even * Fraction(3, 2)
    assert acme.projected is not None
    assert acme.projected.method == "run-rate of 3d"


def test_settings_and_neon_are_budgets_alike(store: Store) -> None:
    settings = Settings(
        budgets=[{"name": "all", "amount": 99.95}, {"name": "x", "scope": "tag", "match": "a=b", "amount": 1}]
    )  # type: ignore[list-item]
    remember_limit(KeyValueStore(store), "org-1", 12345, NOW)
    remember_limit(KeyValueStore(store), "org-2", None, NOW)
    limits = limits_of(KeyValueStore(store), ["org-1", "org-2", "org-3"])
    first, second, neon = budgets_of(settings.budgets, limits)
    assert (first.amount, first.scope, first.alerts[-1]) == (Fraction("99.95"), Scope.ORG, 1)
    assert (second.scope, second.match) == (Scope.TAG, "a=b")
    assert (neon.name, neon.amount, neon.match, neon.source) == (
        "Neon spending limit of org-1", Fraction("123.45"), "org-1", Source.NEON
    )  # fmt: skip


def test_closed_months_are_held_against_the_budget(store: Store, costs: Costs) -> None:
    book = sqlite_closes(store)
    assert closed_months([Budget("x", Fraction(40))], book, SCOPING) == {}
    Closer(book, costs).close(OCTOBER, NOW)
    found = closed_months([Budget("x", Fraction(40), Scope.PROJECT, "shop")], book, SCOPING)
    (state,) = found[OCTOBER]
    assert state.spent == Fraction(round(hours(1500, 744) * 100), 100)
    assert (state.elapsed, state.verdict) == (1, "within")


def test_the_series_are_those_of_the_catalogue(store: Store, costs: Costs) -> None:
    settings = Settings(budgets=[{"name": "all", "amount": 20}])  # type: ignore[list-item]
    ledger_writer = BudgetCollector(settings, costs, sqlite_closes(store), store)
    (seen,) = ledger_writer.observe(NOW)
    assert {metric for metric, _ in seen.families.items()} == set(module.METRICS)
    assert seen.families.get(module.BUDGET) == {("all",): Decimal(20)}
    assert seen.families.get(module.INFO) == {("all", "org", "settings"): 1}
    assert set(seen.families.get(module.BURN)) == {("all", "6h"), ("all", "24h"), ("all", "3d")}
    assert BudgetCollector(Settings(), costs, sqlite_closes(store), store).observe(NOW) == []


async def test_neons_limit_is_read_once_an_hour_and_remembered(store: Store, costs: Costs, twin_api: Twin) -> None:
    ledger_writer, disk = BudgetCollector(Settings(), costs, sqlite_closes(store), store), WriterThread()
    try:
        async with NeonClient(twin_api.url, lambda: twin_api.key) as client:
            for _ in range(3):
                await ledger_writer.read_limit(client, disk, twin_api.world.org_id, NOW)
            assert len(twin_api.api.requests) == 1
            await ledger_writer.read_limit(client, disk, twin_api.world.org_id, NOW + HOUR)
            assert len(twin_api.api.requests) == 2
    finally:
        disk.close()
    assert limits_of(KeyValueStore(store), [twin_api.world.org_id]) == {twin_api.world.org_id: 2500}


def test_labels_stay_bounded(costs: Costs) -> None:
    many = [Budget(f"b{number}", Fraction(1)) for number in range(150)]
    (seen,) = observe(budget_states(many, costs, costs.month(NOW, NOW), SCOPING), NOW)
    assert len(seen.families.get(module.BUDGET)) == 100
