"""What old months were split by goes when they are closed, and not before; the money does not move."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from exporter.app.features import SCHEMAS
from exporter.cost.allocation.costs import Costs
from exporter.cost.allocation.weights import RESTORE_DAYS, TenantFacts
from exporter.cost.upkeep import Upkeep
from exporter.demo.year import Year
from exporter.pricing.domain.calendar import DAY, HOUR, next_month
from exporter.pricing.ratecard import load
from exporter.sampling.counters.statements import DurableCounters
from exporter.storage.ledger.sqlite import SqliteLedger
from exporter.storage.store import Store
from exporter.tenancy.domain.rules import TenantRules
from exporter.tenancy.store import BranchLife, Tenancy
from tests.exporter.report.seeded import seed_store


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    opened = Store.open(tmp_path / "neonmeter.db", SCHEMAS)
    yield opened
    opened.close()


def test_measures_of_closed_months_go_up_to_the_first_that_is_open(store: Store) -> None:
    year = Year(first="2026-04", months=3, branches=3, orgs=1, faults=False)
    seed_store(store, year)
    april, may, june = year.months[:3]
    rules = TenantRules(())
    durable, tenancy = DurableCounters(store, rules), Tenancy(store, rules)
    costs = Costs(SqliteLedger(store), TenantFacts(durable, tenancy, rules), load())
    before = costs.month(june, year.end).shares
    first = min(hour.hour for hour in durable.tenant_hours(0, year.end))
    closed: set[int] = set()
    upkeep = Upkeep(costs.ledger, costs, keep_hourly_days=20, closed=closed.__contains__)  # type: ignore[arg-type]

    def oldest(now: int) -> int:
        upkeep.run(now, {})
        return min(hour.hour for hour in durable.tenant_hours(0, year.end))

    assert oldest(year.end) == first
    closed |= {may}  # April is open: it may still be split.
    assert oldest(year.end + DAY) == first
    closed |= {april}
    assert oldest(year.end + DAY + HOUR) == first, "once a day"
    kept = june - (RESTORE_DAYS - 1) * DAY
    assert kept <= oldest(year.end + 2 * DAY) < kept + DAY
    fresh = Costs(SqliteLedger(store), TenantFacts(durable, tenancy, rules), load())
    assert fresh.month(june, year.end).shares == before


def test_branches_that_are_gone_are_forgotten_with_their_months(store: Store) -> None:
    tenancy, now = Tenancy(store, TenantRules(())), 20_000 * DAY
    lives = [BranchLife(name, "p", name, "P", True, now - 90 * DAY, now) for name in ("stays", "goes", "went")]
    tenancy.look(lives, now)
    tenancy.look(lives[:2], now + HOUR)
    tenancy.look(lives[:1], now + 40 * DAY)
    tenancy.forget_lives(next_month(now))
    tenancy.look(lives[:1], now + 41 * DAY)
    assert {life.branch_id for life in tenancy.lives()} == {"stays", "goes"}
    assert {life.branch_id for life in Tenancy(store, TenantRules(())).lives()} == {"stays", "goes"}
