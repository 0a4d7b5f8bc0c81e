"""The views of a PostgreSQL ledger: the report's figures to the last digit, and a role that reads nothing else."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from decimal import Decimal
from pathlib import Path
from typing import Any

import psycopg
import pytest

from exporter.cost.allocation.costs import Costs
from exporter.cost.allocation.rows import CostReport
from exporter.cost.upkeep import Upkeep, publish
from exporter.demo.postgres import Cluster
from exporter.pricing.domain.calendar import next_month
from exporter.pricing.domain.usage import UsageFact
from exporter.pricing.ratecard import load
from exporter.storage.ledger.postgres import PostgresLedger
from exporter.storage.ledger.views import VIEW_NAMES
from tests.exporter.cost.allocation.test_costs import Busy, Hour
from tests.exporter.storage.ledger.ledger_contract import DAY, HOUR, T0, fact
from tests.exporter.storage.ledger.test_ledger_postgres import maker

READER = Path(__file__).parents[4] / "docs" / "ledger-reader.sql"
NOW = T0 + 3 * DAY
MONTH = "2026-11-01"


def seeded(ledger: PostgresLedger) -> Costs:
    """Two projects with tenants, idle time, usage that no branch has, branches past the allowance, a change of plan."""
    facts, busy = [], Busy()
    for number in range(48):
        at = T0 + number * HOUR
        for project, branch, value in (("p1", "b1", 3600), ("p1", "b2", 1801), ("p2", "b3", 777), ("p1", "", 5507)):
            row = fact(value, at + HOUR, start=at, branch=branch, plan="launch_v3" if number < 24 else "scale_v3")
            facts.append(row._replace(project_id=project))
        facts += [
            UsageFact(
                "org", "p1", "b1", at, "hourly", "launch_v3", "root_branch_bytes_month", 10**10 + 7, at, "byte-hour"
            ),
            UsageFact("org", "p1", "", at, "hourly", "launch_v3", "extra_branches_month", 13, at),
            UsageFact(
                "org",
                "p1",
                "",
                at,
                "hourly",
                "launch_v3",
                "snapshot_storage_bytes_month",
                5 * 10**9 + 1,
                at,
                "byte-hour",
            ),
        ]
        for tenant, micros in (("acme", 900_000_001), ("globex", 600_000_000)):
            busy.hours.append(Hour("p1", "b1", tenant, at, micros))
        busy.hours.append(Hour("p1", "b2", "acme", at, 7))
    ledger.put(facts, read_through={"org": NOW})
    return Costs(ledger, busy, load())


@pytest.fixture
def ledger(postgres18: Cluster) -> Iterator[PostgresLedger]:
    with maker(postgres18)() as made:
        yield made


@pytest.fixture
def reader(ledger: PostgresLedger, postgres18: Cluster) -> Iterator[psycopg.Connection[Any]]:
    ledger.through()
    with psycopg.connect(postgres18.conninfo(), autocommit=True) as owner:
        with suppress(psycopg.Error):
            owner.execute("DROP OWNED BY neonmeter_finops_reader")
            owner.execute("DROP ROLE neonmeter_finops_reader")
        owner.execute(READER.read_text())
    conninfo = postgres18.conninfo(user="neonmeter_finops_reader").replace("not-a-secret", "choose-one")
    with psycopg.connect(conninfo, autocommit=True) as connection:
        yield connection


def rows(reader: psycopg.Connection[Any], view: str, *columns: str) -> dict[tuple[str, ...], Decimal]:
    query = f"SELECT {', '.join(columns)}, cost FROM {view} WHERE month = '{MONTH}'"
    return {row[:-1]: row[-1] for row in reader.execute(query)}


def test_the_views_are_the_report_to_the_last_digit(ledger: PostgresLedger, reader: psycopg.Connection[Any]) -> None:
    costs = seeded(ledger)
    month = costs.month(NOW, NOW)
    report = CostReport(month)
    names = {"p1": "shop", "b1": "main"}
    for _ in range(2):  # A month is rewritten, not added to.
        assert publish(ledger.link, month, NOW, names=names) == len(month.pricing.lines) + len(month.shares)
    expected = {
        "finops_cost_by_org_month": ("org", ("org_id",)),
        "finops_cost_by_project_month": ("project", ("org_id", "project_id")),
        "finops_cost_by_branch_month": ("branch", ("org_id", "project_id", "branch_id")),
        "finops_cost_by_tenant_month": ("tenant", ("org_id", "tenant")),
    }
    for view, (level, columns) in expected.items():
        told = {tuple(getattr(row, name) for name in columns): row.cost for row in report.group(level)}
        assert rows(reader, view, *columns) == told, view
        assert len(told) > 0
    allocations = {(r.project_id, r.branch_id, r.tenant): r.cost for r in report.tenants_by_branch()}
    by_leaf = rows(reader, "finops_cost_by_tenant_branch_month", "project_id", "branch_id", "tenant")
    assert by_leaf == allocations
    total = sum(allocations.values())
    assert reader.execute("SELECT total, closed FROM finops_month").fetchall() == [(total, False)]
    for query in ("SELECT sum(cost) FROM finops_cost_lines", "SELECT sum(cost) FROM finops_cost_shares",
                  "SELECT sum(cost) FROM finops_cost_by_component_month"):  # fmt: skip
        assert reader.execute(query).fetchone() == (total,)
    idle = {key: cost for key, cost in allocations.items() if key[2] == "__idle__"}
    assert rows(reader, "finops_idle_month", "project_id", "branch_id") == {key[:2]: v for key, v in idle.items()}
    assert idle
    lost = sum(cost for key, cost in allocations.items() if "__unattributed__" in key)
    assert sum(rows(reader, "finops_unattributed_month", "branch_id", "component").values()) == lost > 0
    named = reader.execute("SELECT DISTINCT project, branch FROM finops_cost_lines WHERE branch_id = 'b1'").fetchall()
    assert named == [("shop", "main")]
    # quantity x rate is the cost, to the digits that are kept.
    query = "SELECT max(abs(quantity * rate - cost)) < 1e-18 FROM finops_cost_lines"
    assert reader.execute(query).fetchone() == (True,)


def test_usage_by_day_and_month_takes_the_finest(ledger: PostgresLedger, reader: psycopg.Connection[Any]) -> None:
    late = next_month(T0)
    ledger.put([fact(10, late, start=T0 + n * HOUR) for n in range(14, 24)], read_through={"org": late})
    ledger.put([fact(340, late, granularity="daily"), fact(1000, late, granularity="monthly")])
    days = reader.execute("SELECT day::text, value, from_hours FROM finops_usage_daily").fetchall()
    assert days == [(MONTH, 340, 100)]
    months = reader.execute("SELECT month::text, value, from_days FROM finops_usage_month").fetchall()
    assert months == [(MONTH, 1000, 340)]
    assert sum(f.value for f in ledger.priceable(T0, late)) == 1000
    through = "SELECT extract(epoch FROM data_through)::bigint FROM finops_data_through WHERE project_id IS NULL"
    assert reader.execute(through).fetchall() == [(late,)]


def test_every_view_is_documented_and_granted() -> None:
    page = (READER.parent / "ledger.md").read_text()
    for view in VIEW_NAMES:
        assert f"`{view}`" in page
        assert f"neonmeter.{view}" in READER.read_text()


def test_the_reader_sees_views_only_and_writes_nothing(ledger: PostgresLedger, reader: psycopg.Connection[Any]) -> None:
    for view in VIEW_NAMES:
        reader.execute(f"SELECT * FROM {view}")
        with pytest.raises(psycopg.errors.Error):
            reader.execute(f"DELETE FROM {view}")
    for table in ("usage", "series", "cost_line", "cost_share", "cost_series", "name", "room"):
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            reader.execute(f"SELECT * FROM {table}")
    reader.execute("SET default_transaction_read_only = off")
    for query in ("DELETE FROM finops_month", "UPDATE finops_month SET total = 0", "CREATE TABLE neonmeter.x (a int)"):
        with pytest.raises(psycopg.errors.Error, match=r"permission denied|not automatically updatable|cannot"):
            reader.execute(query)


def test_months_are_published_when_they_are_due(ledger: PostgresLedger, reader: psycopg.Connection[Any]) -> None:
    costs = seeded(ledger)
    for months_ago in (70, 100, 400):
        ledger.put([fact(5000, T0, start=(T0 - months_ago * DAY) // HOUR * HOUR)])
    closed = {T0}
    upkeep = Upkeep(ledger, costs, keep_hourly_days=62, closed=closed.__contains__)

    def published() -> list[tuple[str, bool]]:
        upkeep.run(at, {})
        return reader.execute("SELECT month::text, closed FROM finops_month ORDER BY 1 DESC").fetchall()

    at = float(NOW)
    assert [month for month, _ in published()] == [MONTH, "2026-08-01"]
    assert [month for month, _ in published()] == [MONTH, "2026-08-01", "2026-07-01"]
    assert len(published()) == 4
    first = reader.execute(f"SELECT computed_at FROM finops_month WHERE month = '{MONTH}'").fetchone()
    at += 1800
    published()
    assert reader.execute(f"SELECT computed_at FROM finops_month WHERE month = '{MONTH}'").fetchone() == first
    at += 1801
    assert published()[0] == (MONTH, True)
    assert reader.execute(f"SELECT computed_at FROM finops_month WHERE month = '{MONTH}'").fetchone() != first
