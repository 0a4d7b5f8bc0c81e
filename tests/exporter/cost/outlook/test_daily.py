"""Costs by day from a real ledger: they sum to the month, also past an allowance, and follow what is corrected."""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import pytest

from exporter.cost.outlook.daily import Daily, SeriesKey, awake_days
from exporter.demo.year import Year
from exporter.demo.year_ledger import seed_ledger
from exporter.pricing.domain.calendar import DAY, HOUR, day_seconds
from exporter.pricing.domain.components import GB, Component
from exporter.pricing.domain.price import price
from exporter.pricing.domain.usage import HOURLY, UsageFact
from exporter.pricing.ratecard import load
from exporter.storage.ledger.sqlite import SqliteLedger
from exporter.storage.ledger.sqlite_sql import LEDGER_SCHEMA
from exporter.storage.store import Store
from tests.byte_hours import byte_hours

CARD = load()
JUNE = day_seconds("2026-06-01")


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[SqliteLedger]:
    store = Store.open(tmp_path / "neonmeter.db", {"ledger": LEDGER_SCHEMA})
    yield SqliteLedger(store)
    store.close()


def fact(start: int, metric: str, value: int, plan: str = "launch_v3") -> UsageFact:
    return UsageFact("org", "p", "br", start, HOURLY, plan, metric, value, start + HOUR, byte_hours(metric))


@pytest.mark.parametrize("month", ["2026-05", "2026-06"], ids=["allowance by org", "allowance by project"])
def test_the_days_sum_to_the_month(ledger: SqliteLedger, month: str) -> None:
    # The second organisation changes its plan on the morning of 15 June.
    year = Year(seed=3, first="2026-03", months=5, branches=12, orgs=2)
    begin = day_seconds(f"{month}-01")
    end = begin + 16 * DAY
    seed_ledger(ledger, year, start=begin, end=end)
    by_component: dict[tuple[str, Component], Fraction] = {}
    for line in price(ledger.priceable(begin, end, CARD.boundaries), CARD).lines:
        name = (line.org_id, line.component)
        by_component[name] = by_component.get(name, Fraction()) + line.cost
    summed: dict[tuple[str, Component], Fraction] = {}
    for key, series in Daily(ledger, CARD).costs(begin, end).items():
        name = (key.org_id, key.component)
        summed[name] = summed.get(name, Fraction()) + sum(series.values(), Fraction())
    assert summed == by_component
    assert summed["org-year-1", Component.COMPUTE] > 0


def test_egress_costs_from_the_day_on_which_its_allowance_is_used_up(ledger: SqliteLedger) -> None:
    metric = "public_network_transfer_bytes"
    ledger.put([fact(JUNE + day * DAY, metric, 200 * GB) for day in range(4)])
    series = Daily(ledger, CARD).costs(JUNE, JUNE + 4 * DAY)[SeriesKey("org", "p", "br", Component.PUBLIC_TRANSFER)]
    assert [series[JUNE + day * DAY] for day in range(4)] == [0, 0, 10, 20]


def test_only_what_moved_is_priced_again_and_gaps_are_known(ledger: SqliteLedger) -> None:
    ledger.put([fact(JUNE + day * DAY, "compute_unit_seconds", 3600) for day in (0, 1, 4)])
    daily = Daily(ledger, CARD)
    key = SeriesKey("org", "p", "br", Component.COMPUTE)
    first = daily.costs(JUNE, JUNE + 6 * DAY + HOUR)
    rate = Fraction("0.106")
    assert list(first[key].values()) == [rate, rate, 0, 0, rate, 0]
    assert first.read == {JUNE, JUNE + DAY, JUNE + 4 * DAY}
    ledger.put([fact(JUNE + DAY, "compute_unit_seconds", 7200)._replace(observed_at=JUNE + 9 * DAY)])
    again = daily.costs(JUNE, JUNE + 6 * DAY)
    assert list(again[key].values()) == [rate, 2 * rate, 0, 0, rate, 0]


def test_a_day_is_priced_at_its_own_rates(ledger: SqliteLedger) -> None:
    change = day_seconds("2026-03-20")
    start = day_seconds("2026-03-01")
    ledger.put([fact(day, "compute_unit_seconds", 3600) for day in range(start, start + 31 * DAY, DAY)])
    series = Daily(ledger, CARD).costs(start, start + 31 * DAY)[SeriesKey("org", "p", "br", Component.COMPUTE)]
    assert series[change - DAY] != series[change] == Fraction("0.106")
    with pytest.raises(KeyError):
        series[start - DAY]


def test_how_a_compute_was_awake(ledger: SqliteLedger) -> None:
    hours = [fact(JUNE + hour * HOUR, "compute_unit_seconds", 900 if hour else 1800) for hour in range(5)]
    ledger.put(hours)
    ((branch, day),) = awake_days(ledger, JUNE).items()
    assert branch == ("p", "br")
    assert (day.hours, day.flat, day.cu_seconds) == (5, 4, 5400)
    assert awake_days(ledger, JUNE + DAY) == {}
