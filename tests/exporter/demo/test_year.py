"""The synthetic year: the same each time, in order, and with everything in it that the money has to stand."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from exporter.app.features import SCHEMAS
from exporter.demo.year import Year
from exporter.demo.year_ledger import seed_ledger, seed_tenants, seed_world
from exporter.pricing.domain.calendar import DAY, HOUR, day_seconds
from exporter.pricing.domain.components import GB, METRIC_COMPONENTS
from exporter.sampling.counters import tables
from exporter.storage.ledger.sqlite import SqliteLedger
from exporter.storage.store import Store
from exporter.storage.tables import KeyValueStore

SMALL = Year(branches=60)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    opened = Store.open(tmp_path / "neonmeter.db", SCHEMAS)
    yield opened
    opened.close()


def test_any_span_is_the_same_whenever_it_is_asked_for() -> None:
    start = day_seconds("2026-05-30") + 5 * HOUR
    span = list(SMALL.facts(start, start + 3 * DAY))
    again = list(Year(branches=60).facts(start - 9 * DAY, start + 9 * DAY))
    assert span == [fact for fact in again if start <= fact.start < start + 3 * DAY]
    assert span != list(Year(seed=2, branches=60).facts(start, start + 3 * DAY))
    rows = list(SMALL.tenant_hours(start, start + DAY))
    assert rows == [row for row in Year(branches=60).tenant_hours() if start <= row.hour < start + DAY]


def test_facts_come_in_order_once_each_and_are_whole_numbers() -> None:
    facts = list(SMALL.facts(SMALL.plan_change - 3 * DAY, SMALL.plan_change + 3 * DAY))
    assert [fact.start for fact in facts] == sorted(fact.start for fact in facts)
    assert len({fact[:7] for fact in facts}) == len(facts)
    assert all(type(fact.value) is int and fact.value > 0 and fact.start % HOUR == 0 for fact in facts)


def test_branches_sum_to_their_project_but_for_what_was_gone_before_it_could_be_listed() -> None:
    sums: Counter[tuple[str, str, int]] = Counter()
    for fact in SMALL.facts(day_seconds("2026-06-01"), day_seconds("2026-06-03")):
        if fact.metric.startswith(("compute", "root", "child", "instant", "public")):
            sums[fact.project_id, fact.metric, fact.start] += -fact.value if fact.branch_id else fact.value
    rest = {metric for (_, metric, _), value in sums.items() if value}
    assert rest == {"child_branch_bytes_month"}
    assert min(sums.values()) >= 0


def test_the_year_has_what_the_money_must_stand() -> None:
    year = Year(branches=200)
    facts = list(year.facts(day_seconds("2026-04-27"), day_seconds("2026-06-06")))
    assert {fact.metric for fact in facts} == set(METRIC_COMPONENTS)
    assert {fact.plan for fact in facts} == {"launch_v3", "scale_v3"}
    assert any(fact.metric.startswith("snapshot") and fact.start < day_seconds("2026-05-01") for fact in facts)
    children = [fact.value for fact in facts if fact.metric == "extra_branches_month"]
    assert max(children) > 24
    assert min(children) < 9
    month = Counter[str]()
    for fact in facts:
        if fact.metric.startswith("public") and not fact.branch_id:
            month[fact.project_id] += fact.value
    assert max(month.values()) > 500 * GB > min(month.values())
    lengths = {(end - start) // DAY for start, end in zip(year.months, [*year.months[1:], year.end], strict=True)}
    assert lengths == {28, 30, 31}
    branches = [branch for project in year.projects for branch in project.branches]
    assert len(branches) == 200
    assert any(branch.created > year.start for branch in branches)
    assert any(branch.deleted < year.end for branch in branches)
    assert len({project.kind for project in year.projects}) == 7


def test_one_organisation_changes_its_plan_in_mid_month() -> None:
    org = SMALL.orgs[-1].id
    plans = {
        fact.start: fact.plan
        for fact in SMALL.facts(SMALL.plan_change - DAY, SMALL.plan_change + DAY)
        if fact.org_id == org
    }
    assert plans[SMALL.plan_change - HOUR] == "launch_v3"
    assert plans[SMALL.plan_change] == "scale_v3"
    assert SMALL.plan_change % DAY
    assert SMALL.plan_change not in SMALL.months


def test_faults_change_their_branch_and_nothing_else_and_their_dollars_are_told() -> None:
    healthy = Year(branches=60, faults=False)
    assert not healthy.faults
    assert {fault.kind for fault in SMALL.faults} == {"spike", "step", "slow_leak", "stuck_awake"}
    for fault in SMALL.faults:
        day = fault.start + (fault.end - fault.start) // DAY // 2 * DAY
        with_it = {fact[:7]: fact.value for fact in SMALL.facts(day, day + DAY)}
        without = {fact[:7]: fact.value for fact in healthy.facts(day, day + DAY)}
        changed = {key for key in with_it.keys() | without.keys() if with_it.get(key) != without.get(key)}
        others = {entry.project_id for entry in SMALL.faults if entry.start <= day and entry is not fault}
        assert fault.project_id in {key[1] for key in changed} <= others | {fault.project_id}
        assert {key[6] for key in changed if key[1] == fault.project_id} >= {fault.metric}
        assert fault.usd > 0
        assert SMALL.start + 45 * DAY <= fault.start < fault.end <= SMALL.end


def test_some_awake_hours_were_never_measured_and_now_and_then_there_is_more_work_than_time() -> None:
    start = day_seconds("2026-02-02")
    awake = {
        (fact.branch_id, fact.start): fact.value * 10**6
        for fact in SMALL.facts(start, start + 7 * DAY)
        if fact.metric == "compute_unit_seconds" and fact.branch_id
    }
    busy: Counter[tuple[str, int]] = Counter()
    for row in SMALL.tenant_hours(start, start + 7 * DAY):
        busy[row.branch_id, row.hour] += row.busy_us
    assert busy.keys() <= awake.keys()
    assert 0.5 < len(busy) / len(awake) < 1
    assert any(us > awake[key] for key, us in busy.items())


def test_a_seeded_store_reads_as_an_agents(store: Store) -> None:
    year = Year(branches=24, months=1)
    seen: list[int] = []
    ledger = SqliteLedger(store)
    start, end = year.start, year.start + 2 * DAY
    count = seed_ledger(ledger, year, seen.append, start=start, end=end)
    assert seen == [start + DAY, end]
    assert ledger.usage(start, end) != []
    assert count == len(ledger.usage(start, end)) == ledger.tally()["facts"]
    assert seed_ledger(ledger, year, start=start, end=end) == count
    assert ledger.tally()["facts"] == count
    assert set(ledger.through().orgs.values()) == {end}
    rows = seed_tenants(store, year, start=start, end=end)
    with store.snapshot() as cursor:
        assert {row[:10] for row in tables.tenant_hours(cursor, start, end)} == set(year.tenant_hours(start, end))
    assert rows > 0
    seed_world(store, year)
    assert KeyValueStore(store).read("names", "all") == year.names


def test_a_year_that_cannot_be() -> None:
    with pytest.raises(ValueError, match="at least one"):
        Year(months=0)
    with pytest.raises(ValueError, match="2025-13"):
        Year(first="2025-13")
