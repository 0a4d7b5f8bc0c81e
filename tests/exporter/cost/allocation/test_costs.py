"""Costs from a real ledger file: series, counters that never fall, and rows that tie."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from decimal import Decimal
from fractions import Fraction
from pathlib import Path

import pytest

from collectors.base import Observation, Status
from collectors.metric import Metric, Scope, catalogue
from exporter.core.state import State
from exporter.cost.allocation import costs as costs_module
from exporter.cost.allocation import series as cost_series
from exporter.cost.allocation.costs import Costs
from exporter.cost.allocation.rows import CostReport
from exporter.cost.domain.allocate import AGENT, IDLE, SHARED
from exporter.pricing.domain.rates import to_decimal
from exporter.pricing.domain.usage import PROJECT_LEVEL, UNATTRIBUTED, UsageFact
from exporter.pricing.ratecard import load
from exporter.storage.ledger.sqlite import SqliteLedger
from exporter.storage.ledger.sqlite_sql import LEDGER_SCHEMA
from exporter.storage.store import Store
from tests.byte_hours import byte_hours

HOUR, DAY, GB = 3600, 86400, 10**9
NOVEMBER = int(datetime(2026, 11, 1, tzinfo=UTC).timestamp())
NOW = NOVEMBER + 10 * DAY
CARD = load()


@dataclass(frozen=True)
class Hour:
    project_id: str
    branch_id: str
    tenant: str
    hour: int
    busy_us: int


@dataclass
class Busy:
    """Tenant hours as the durable side answers them."""

    hours: list[Hour] = field(default_factory=list)
    asked: list[int] = field(default_factory=list)

    def __call__(self, start: int, end: int) -> Iterable[Hour]:
        self.asked.append(start)
        return [h for h in self.hours if start <= h.hour < end]


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    opened = Store.open(tmp_path / "neonmeter.db", {"ledger": LEDGER_SCHEMA})
    yield opened
    opened.close()


def fact(metric: str, value: int, start: int, *, branch: str = "b1", plan: str = "launch_v3", at: int = 0) -> UsageFact:
    return UsageFact(
        "org-1", "p1", branch, start, "hourly", plan, metric, value, at or start + HOUR, byte_hours(metric)
    )


def series(observations: list[Observation], metric: Metric) -> dict[tuple[str, ...], Decimal]:
    found: dict[tuple[str, ...], Decimal] = {}
    for observation in observations:
        for labels, value in observation.families.get(metric).items():
            assert not isinstance(value, float) or metric is cost_series.COVERAGE
            found[(*observation.target.labels, *labels)] = value if isinstance(value, Decimal) else Decimal(value)
    return found


def a_day(ledger: SqliteLedger) -> Busy:
    facts = []
    busy = Busy()
    for hour in range(NOVEMBER, NOVEMBER + DAY, HOUR):
        facts += [
            fact("compute_unit_seconds", 3600, hour),
            fact("compute_unit_seconds", 1800, hour, branch="b2"),
            fact("compute_unit_seconds", 5500, hour, branch=""),
            fact("root_branch_bytes_month", 10 * GB, hour),
            fact("extra_branches_month", 12, hour, branch=""),
            fact("snapshot_storage_bytes_month", 5 * GB, hour, branch=""),
        ]
        busy.hours += [
            Hour("p1", "b1", "acme", hour, 900 * 10**6),
            Hour("p1", "b1", "globex", hour, 600 * 10**6),
            Hour("p1", "b1", AGENT, hour, 7),
        ]
    ledger.put(facts)
    return busy


def test_the_catalogue_declares_every_metric_once() -> None:
    assert len(catalogue(cost_series.METRICS)) == len(cost_series.METRICS)


def test_a_branch_costs_what_its_tenants_cost(store: Store) -> None:
    ledger = SqliteLedger(store)
    observations = Costs(ledger, a_day(ledger), CARD).observe(NOW)
    assert {o.status for o in observations} == {Status.OK}
    month = series(observations, cost_series.MONTH)
    assert month["p1", "b1", "compute"] == Decimal("0.106") * 24
    exact = {UNATTRIBUTED: Fraction("0.106") * 24 * 100 / 3600, PROJECT_LEVEL: Fraction(3 * 24, 744) * Fraction("1.5")}
    assert month["p1", UNATTRIBUTED, "compute"] == to_decimal(exact[UNATTRIBUTED])
    assert month["p1", PROJECT_LEVEL, "extra_branches"] == to_decimal(exact[PROJECT_LEVEL])
    tenants = series(observations, cost_series.TENANT_MONTH)
    assert tenants["p1", "b1", "acme", "compute"] == Decimal("0.106") * 24 * 900 / 3600
    assert tenants["p1", "b1", SHARED, "root_storage"] == month["p1", "b1", "root_storage"]
    assert tenants["p1", "b2", UNATTRIBUTED, "compute"] == month["p1", "b2", "compute"]
    for (project, branch, component), cost in month.items():
        parts = [v for (p, b, _, c), v in tenants.items() if (p, b, c) == (project, branch, component)]
        assert abs(sum(parts) - cost) < Decimal("1e-25")


def test_two_projects_do_not_share_the_key_of_their_own_rows(store: Store) -> None:
    ledger = SqliteLedger(store)
    usage = fact("snapshot_storage_bytes_month", GB, NOVEMBER, branch="")
    ledger.put([usage, usage._replace(project_id="p2")])
    keys = [o.target.key for o in Costs(ledger, Busy(), CARD).observe(NOW)]
    assert len(set(keys)) == len(keys)
    assert {"branch:p1/__project__", "branch:p2/__project__"} <= set(keys)


def test_coverage_run_rate_and_owners(store: Store) -> None:
    ledger = SqliteLedger(store)
    observations = Costs(ledger, a_day(ledger), CARD).observe(NOW)
    coverage = series(observations, cost_series.COVERAGE)
    assert coverage["p1", "b1"] == Decimal((1500 * 10**6 + 7) / (3600 * 10**6))
    assert coverage["p1", "b2"] == 0
    assert series(observations, cost_series.THROUGH) == {("org-1",): Decimal(NOVEMBER + DAY)}
    run_rate = series(observations, cost_series.RUN_RATE)
    assert run_rate["p1", "b2"] == Decimal("0.106") / 2
    info = series(observations, cost_series.RATE_CARD)
    assert [labels[:2] for labels in info] == [("launch_v3", "2026-05-01")]
    assert series(observations, cost_series.RATE_CARD_AGE)["launch_v3",] > 0


def test_usage_without_a_price_is_a_series(store: Store) -> None:
    ledger = SqliteLedger(store)
    ledger.put([fact("compute_unit_seconds", 10, NOVEMBER, plan="business")])
    observations = Costs(ledger, Busy(), CARD).observe(NOW)
    assert series(observations, cost_series.UNKNOWN) == {("p1", "business", "compute"): Decimal(1)}
    assert series(observations, cost_series.MONTH) == {("p1", "b1", "compute"): Decimal(0)}


def test_what_is_settled_leaves_the_state(store: Store) -> None:
    ledger = SqliteLedger(store)
    ledger.put([fact("compute_unit_seconds", 10, NOVEMBER, plan="business")])
    costs, state = Costs(ledger, Busy(), CARD), State()
    state.show("cost", costs.observe(NOW), interval=900, forever=True)
    (unknown,) = [entry for _, target, entry in state.entries() if target.scope is Scope.PROJECT]
    assert len(unknown.last.families) == 1
    ledger.put([fact("compute_unit_seconds", 10, NOVEMBER, plan="scale_v3", at=NOW)])
    state.show("cost", costs.observe(NOW), interval=900, forever=True)
    assert not [target for _, target, _ in state.entries() if target.scope is Scope.PROJECT]


def test_counters_never_fall_and_net_is_the_cost(store: Store) -> None:
    ledger = SqliteLedger(store)
    seen: dict[tuple[str, ...], Decimal] = {}
    readings = [3600, 7200, 5400, 5400, 9000]
    for number, value in enumerate(readings):
        ledger.put([fact("compute_unit_seconds", value, NOVEMBER, at=NOVEMBER + HOUR + number)])
        # A new Costs each time: a restart of the agent.
        observations = Costs(ledger, Busy(), CARD).observe(NOW)
        counted = series(observations, cost_series.COST)
        taken_back = series(observations, cost_series.ADJUSTMENTS)
        assert counted["p1", "b1", "compute"] >= seen.get(("p1", "b1", "compute"), 0)
        net = counted["p1", "b1", "compute"] - taken_back["p1", "b1", "compute", "down"]
        assert net == Decimal("0.106") * value / 3600
        seen = counted
    assert seen["p1", "b1", "compute"] == Decimal("0.106") * (7200 + 3600) / 3600
    assert series(observations, cost_series.CORRECTIONS) == {(): Decimal(1)}


def test_counters_go_on_over_the_turn_of_the_month(store: Store) -> None:
    ledger = SqliteLedger(store)
    book = Costs(ledger, Busy(), CARD)
    last_hour = NOVEMBER - HOUR
    ledger.put([fact("compute_unit_seconds", 3600, last_hour)])
    before = series(book.observe(NOVEMBER - 10), cost_series.COST)
    ledger.put([fact("compute_unit_seconds", 3600, NOVEMBER)])
    after = book.observe(NOVEMBER + HOUR)
    assert before["p1", "b1", "compute"] == Decimal("0.106")
    assert series(after, cost_series.COST)["p1", "b1", "compute"] == Decimal("0.212")
    assert series(after, cost_series.MONTH)["p1", "b1", "compute"] == Decimal("0.106")
    # A correction of the month before still arrives.
    ledger.put([fact("compute_unit_seconds", 7200, last_hour, at=NOVEMBER + 2 * HOUR)])
    assert series(book.observe(NOVEMBER + 3 * HOUR), cost_series.COST)["p1", "b1", "compute"] == Decimal("0.318")


def test_an_open_hour_counts_its_tenants_but_not_yet_its_idle_time(store: Store) -> None:
    ledger = SqliteLedger(store)
    hour = NOVEMBER + DAY
    ledger.put([fact("compute_unit_seconds", 3600, hour)])
    busy = Busy([Hour("p1", "b1", "acme", hour, 900 * 10**6)])
    book = Costs(ledger, busy, CARD)
    during = book.observe(hour + 1800)
    assert series(during, cost_series.TENANT_MONTH)["p1", "b1", IDLE, "compute"] == Decimal("0.0795")
    counted = series(during, cost_series.TENANT_COST)
    assert counted["p1", "b1", "acme", "compute"] == Decimal("0.0265")
    assert counted["p1", "b1", IDLE, "compute"] == 0
    busy.hours.append(Hour("p1", "b1", "acme", hour, 900 * 10**6))
    after = book.observe(hour + HOUR + costs_module.LAG + 1)
    counted = series(after, cost_series.TENANT_COST)
    assert counted["p1", "b1", "acme", "compute"] == counted["p1", "b1", IDLE, "compute"] == Decimal("0.053")
    assert not series(after, cost_series.TENANT_ADJUSTMENTS)


def test_a_closed_day_is_split_once_until_its_usage_moves(store: Store) -> None:
    ledger = SqliteLedger(store)
    busy = a_day(ledger)
    book = Costs(ledger, busy, CARD)
    first = book.observe(NOW)
    book.observe(NOW + 900)
    assert busy.asked == [NOVEMBER]
    ledger.put([fact("compute_unit_seconds", 7200, NOVEMBER, at=NOW)])
    again = book.observe(NOW + 1800)
    assert busy.asked == [NOVEMBER, NOVEMBER]
    assert series(again, cost_series.MONTH) != series(first, cost_series.MONTH)
    assert series(again, cost_series.MONTH) == series(Costs(ledger, busy, CARD).observe(NOW), cost_series.MONTH)


def test_the_report_ties_at_every_level(store: Store) -> None:
    ledger = SqliteLedger(store)
    report = CostReport(Costs(ledger, a_day(ledger), CARD).month(NOW, NOW))
    assert report.problems() == []
    tree = json.loads(json.dumps(report.as_dict()))
    assert tree["month"] == "2026-11"
    assert Decimal(tree["total"]) == report.total
    (org,) = tree["orgs"]
    (project,) = org["projects"]
    assert org["cost"] == project["cost"] == tree["total"]
    assert sum(Decimal(branch["cost"]) for branch in project["branches"]) == Decimal(project["cost"])
    for branch in project["branches"]:
        assert sum(Decimal(tenant["cost"]) for tenant in branch["tenants"]) == Decimal(branch["cost"])
        assert sum(Decimal(cost) for cost in branch["components"].values()) == Decimal(branch["cost"])
    assert sum(Decimal(tenant["cost"]) for tenant in tree["tenants"]) == Decimal(tree["total"])
    names = [row.tenant for row in report.group("tenant")]
    assert names == ["acme", "globex", IDLE, SHARED, UNATTRIBUTED, AGENT]
    by_tenant = {row.tenant: row for row in report.group("tenant")}
    assert by_tenant["acme"].cost == Decimal("0.636")
    assert by_tenant["acme"].confidence == "measured"
    assert by_tenant[SHARED].confidence == "exact"
    assert sum(report.cents(report.group("tenant"))) == round(report.total, 2)


def test_the_report_notices_what_does_not_tie(store: Store) -> None:
    ledger = SqliteLedger(store)
    costs = Costs(ledger, a_day(ledger), CARD).month(NOW, NOW)
    broken = CostReport(dataclasses.replace(costs, shares=costs.shares[1:]))
    assert not broken.ties()
    assert any("do not sum" in problem for problem in broken.problems())


def test_an_empty_ledger_has_an_empty_report(store: Store) -> None:
    report = CostReport(Costs(SqliteLedger(store), Busy(), CARD).month(NOW, NOW))
    assert report.ties()
    assert report.as_dict()["orgs"] == []
    assert report.total == 0
    assert Fraction(report.total) == 0


def test_many_tenants_are_bounded_and_still_sum(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(costs_module, "TENANTS_SHOWN", 3)
    ledger = SqliteLedger(store)
    ledger.put([fact("compute_unit_seconds", 3600, NOVEMBER)])
    busy = Busy([Hour("p1", "b1", f"t{n}", NOVEMBER, 100 * 10**6) for n in range(5)])
    book = Costs(ledger, busy, CARD)
    before = series(book.observe(NOW), cost_series.TENANT_COST)
    assert sorted(tenant for _, _, tenant, _ in before) == [IDLE, costs_module.OTHER, "t0", "t1", "t2"]
    # A newcomer with a name that sorts first joins the others, and pushes nobody out.
    ledger.put([fact("compute_unit_seconds", 3600, NOVEMBER + HOUR)])
    busy.hours.append(Hour("p1", "b1", "aaa", NOVEMBER + HOUR, 3600 * 10**6))
    observations = Costs(ledger, busy, CARD).observe(NOW)
    after = series(observations, cost_series.TENANT_COST)
    assert after.keys() == before.keys()
    assert all(after[key] >= before[key] for key in before)
    assert Decimal("0.212") - sum(after.values()) < Decimal("1e-11")
    month = series(observations, cost_series.TENANT_MONTH)
    assert month.keys() == after.keys()
    assert abs(sum(month.values()) - Decimal("0.212")) < Decimal("1e-25")
