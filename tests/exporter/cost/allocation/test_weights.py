"""The five tenancy models and the policies, from a real server's sizes and WAL to dollars that add up."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from decimal import Decimal
from fractions import Fraction
from pathlib import Path

import psycopg
import pytest

from collectors.base import Reading
from collectors.postgres.cluster.sizes import SIZE, SizesCollector
from collectors.postgres.cluster.statements import STATEMENT_FIELDS, StatementSample, StatementsCollector
from collectors.postgres.database.schemas import SIZE as SCHEMA_SIZE
from collectors.postgres.database.schemas import SchemaFacts, SchemasCollector
from exporter.cost.allocation import series as cost_series
from exporter.cost.allocation.costs import Costs, MonthCosts
from exporter.cost.allocation.rows import CostReport
from exporter.cost.allocation.text import Explanation, OwnUse
from exporter.cost.allocation.weights import TenantFacts
from exporter.cost.domain.allocate import AGENT, IDLE, SHARED, Confidence
from exporter.cost.domain.day import Policies
from exporter.cost.domain.policy import IdlePolicy, SharedPolicy
from exporter.cost.domain.weights import DeclaredWeight
from exporter.demo.postgres import Cluster
from exporter.pricing.domain.calendar import DAY, HOUR
from exporter.pricing.domain.usage import PROJECT_LEVEL, UNATTRIBUTED, UsageFact
from exporter.pricing.ratecard import load
from exporter.sampling.counters.statements import SCHEMAS as STATEMENT_ROOMS
from exporter.sampling.counters.statements import DurableCounters
from exporter.storage.ledger.sqlite import SqliteLedger
from exporter.storage.ledger.sqlite_sql import LEDGER_SCHEMA
from exporter.storage.store import Store
from exporter.tenancy.domain.rules import TenantRule, TenantRules
from exporter.tenancy.store import SCHEMAS, BranchLife, BranchRef, SchemaSize, Tenancy
from tests.byte_hours import byte_hours
from tests.collectors.reading import admin, read
from tests.exporter.cost.allocation.test_costs import series

CARD = load()
NOVEMBER = 1_793_491_200  # 2026-11-01
GB = 10**9
ROLES = ("web", "cedar_app", "dune_app")
CUSTOMERS = ("customer_acme", "customer_birch")


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    opened = Store.open(tmp_path / "neonmeter.db", {**STATEMENT_ROOMS, **SCHEMAS, "ledger": LEDGER_SCHEMA})
    yield opened
    opened.close()


def fact(metric: str, value: int, branch: str, hour: int, project: str = "p1") -> UsageFact:
    return UsageFact(
        "org", project, branch, hour, "hourly", "launch_v3", metric, value, hour + HOUR, byte_hours(metric)
    )


def usage(hour: int, branches: Sequence[str] = ("b1",), project: str = "p1") -> list[UsageFact]:
    metrics = {"compute_unit_seconds": 3600, "root_branch_bytes_month": 50 * GB, "instant_restore_bytes_month": 9 * GB}
    facts = [fact(name, value, branch, hour, project) for name, value in metrics.items() for branch in branches]
    facts += [fact(name, value * len(branches), "", hour, project) for name, value in metrics.items()]
    return [*facts, fact("snapshot_storage_bytes_month", 3 * GB, "", hour, project)]


def month(store: Store, facts: TenantFacts, at: float) -> MonthCosts:
    costs = Costs(SqliteLedger(store), facts, CARD)
    worked = costs.month(at, at)
    report = CostReport(worked, costs.stated(at))
    assert report.problems() == []
    assert all(share.cost >= 0 for share in worked.shares)
    assert "Everything adds up" in Explanation(report, {}).text(OwnUse(1.5))
    return worked


def parts(worked: MonthCosts, component: str, branch: str = "b1") -> dict[str, Fraction]:
    lines = [share for share in worked.shares if (share.line.component, share.branch_id) == (component, branch)]
    total = sum(share.cost for share in lines)
    found: dict[str, Fraction] = {}
    for share in lines:
        found[share.tenant] = found.get(share.tenant, Fraction()) + share.cost / total
    return found


def how(worked: MonthCosts, tenant: str) -> set[Confidence]:
    return {share.confidence for share in worked.shares if share.tenant == tenant}


def work(server: Cluster) -> None:
    """Two databases of customers, and one with a schema and a role for each of two more."""
    with admin(server) as connection:
        connection.execute("SELECT pg_stat_statements_reset()")
        for name in ROLES:
            connection.execute(f"CREATE ROLE {name} LOGIN PASSWORD '{server.password}'")
        for name in (*CUSTOMERS, "shop"):
            connection.execute(f"CREATE DATABASE {name} OWNER web")
    for name, rows in zip(CUSTOMERS, (20_000, 200), strict=True):
        with psycopg.connect(server.conninfo(name, "web"), autocommit=True) as connection:
            connection.execute("CREATE SCHEMA own CREATE TABLE orders (n int, note text)")
            connection.execute(f"INSERT INTO own.orders SELECT n, repeat('x', 200) FROM generate_series(1, {rows}) n")
    with admin(server, "shop") as connection:
        connection.execute("CREATE SCHEMA t_cedar AUTHORIZATION cedar_app; CREATE SCHEMA own AUTHORIZATION dune_app")
    for role, schema, rows in (("cedar_app", "t_cedar", 4000), ("dune_app", "own", 8000)):
        with psycopg.connect(server.conninfo("shop", role), autocommit=True) as connection:
            connection.execute(f"CREATE TABLE {schema}.notes (n int, note text)")
            connection.execute(
                f"INSERT INTO {schema}.notes SELECT n, repeat('y', 300) FROM generate_series(1, {rows}) n"
            )
            connection.execute(f"VACUUM ANALYZE {schema}.notes")


def clean(server: Cluster) -> None:
    with admin(server) as connection:
        for name in (*CUSTOMERS, "shop"):
            connection.execute(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")
        for name in ROLES:
            connection.execute(f"DROP ROLE IF EXISTS {name}")


def schemas(reading: Reading) -> dict[str, SchemaSize]:
    assert isinstance(reading.facts, SchemaFacts)
    roles = {schema: role for role, names in reading.facts.schemas.items() for schema in names}
    return {
        labels[1]: SchemaSize(int(size), (roles[labels[1]],) if labels[1] in roles else ())
        for labels, size in reading.families.get(SCHEMA_SIZE).items()
    }


RULES = TenantRules(
    [
        TenantRule(database="customer_(?P<tenant>.+)"),
        TenantRule(schema="t_(?P<tenant>.+)"),
        TenantRule(role="(?P<tenant>.+)_app"),
        TenantRule(role="postgres", database="shop|postgres", tenant=SHARED),
    ],
    own_roles=["monitor"],
)


async def test_sizes_and_wal_of_a_real_server_split_its_storage_and_history(postgres: Cluster, store: Store) -> None:
    durable, tenancy = DurableCounters(store, RULES), Tenancy(store, RULES)
    branch_ref = BranchRef("p1", "b1", "shop", "main")
    try:
        work(postgres)
        statements = (await read(postgres, StatementsCollector())).facts
        assert isinstance(statements, StatementSample)
        sizes = {
            labels[0]: int(size) for labels, size in (await read(postgres, SizesCollector())).families.get(SIZE).items()
        }
        inside = schemas(await read(postgres, SchemasCollector("shop"), dbname="shop"))
    finally:
        clean(postgres)
    now = statements.epoch.server_clock
    hour = int(now) // HOUR * HOUR
    durable.set_role_schemas("ep1", {("shop", "cedar_app"): ("t_cedar",), ("shop", "dune_app"): ("own",)})
    durable.absorb(("p1", "b1", "ep1"), ("shop", "main"), statements)
    mine = {name: sizes[name] for name in (*CUSTOMERS, "shop")}
    tenancy.absorb_databases(branch_ref, mine, now)
    tenancy.absorb_schemas(branch_ref, "shop", inside, now)
    SqliteLedger(store).put(usage(hour))
    worked = month(store, TenantFacts(durable, tenancy, RULES), now)

    whole = sum(mine.values())
    catalogue = sizes["shop"] - inside["t_cedar"].bytes - inside["own"].bytes
    storage = parts(worked, "root_storage")
    wanted = {
        "acme": Fraction(mine["customer_acme"], whole),
        "birch": Fraction(mine["customer_birch"], whole),
        "cedar": Fraction(inside["t_cedar"].bytes, whole),
        "dune": Fraction(inside["own"].bytes, whole),
        SHARED: Fraction(catalogue, whole),
    }
    assert storage.keys() == wanted.keys()
    # To the byte-hour.
    assert all(abs(storage[tenant] - wanted[tenant]) < Fraction(1, 50 * GB) for tenant in wanted)
    assert inside["own"].bytes > inside["t_cedar"].bytes > 10**6
    wal: dict[tuple[str, str], int] = {}
    index = STATEMENT_FIELDS.index("wal_bytes")
    for row in statements.rows:
        wal[row.datname, row.user] = wal.get((row.datname, row.user), 0) + row.counters[index]
    restore = parts(worked, "instant_restore")
    written = [sum(n for (name, _), n in wal.items() if name == customer) for customer in CUSTOMERS]
    true = Fraction(wal["shop", "cedar_app"], wal["shop", "dune_app"])
    assert float(restore["cedar"] / restore["dune"]) == pytest.approx(float(true), rel=1e-6)
    assert float(restore["acme"] / restore["birch"]) == pytest.approx(written[0] / written[1], rel=1e-6)
    # Our own statements are a row of their own.
    assert parts(worked, "compute")[AGENT] > 0
    assert parts(worked, "snapshot_storage", PROJECT_LEVEL) == {SHARED: 1}
    assert how(worked, "cedar") == {Confidence.MEASURED}


def facts_of(
    store: Store, rules: TenantRules, *, declared: Sequence[DeclaredWeight] = (), policies: Policies | None = None
) -> TenantFacts:
    tenancy = Tenancy(store, rules)
    names = {"b1": "t-acme", "b2": "main"}
    lives = [BranchLife(branch, "p1", name, "customer-birch", branch == "b1", NOVEMBER, NOVEMBER + DAY)
             for branch, name in names.items()]  # fmt: skip
    tenancy.look(lives, NOVEMBER + DAY)
    return TenantFacts(DurableCounters(store, rules), tenancy, rules, policies=policies, declared_weights=declared)


def test_a_branch_or_a_project_of_one_tenant_is_its_whole(store: Store) -> None:
    for hour in range(NOVEMBER, NOVEMBER + 3 * HOUR, HOUR):
        SqliteLedger(store).put(usage(hour, ("b1", "b2")))
    at = NOVEMBER + 5 * DAY
    branch = facts_of(store, TenantRules([TenantRule(branch="t-(?P<tenant>.+)")]))
    worked = month(store, branch, at)
    for component in ("compute", "root_storage", "instant_restore"):
        assert parts(worked, component, "b1") == {"acme": 1}
    assert parts(worked, "compute", "b2") == {UNATTRIBUTED: 1}
    assert how(worked, "acme") == {Confidence.EXACT}
    project = facts_of(store, TenantRules([TenantRule(project="customer-(?P<tenant>.+)")]))
    worked = month(store, project, at)
    assert {share.tenant for share in worked.shares} == {"birch"}
    assert how(worked, "birch") == {Confidence.EXACT}
    # A rule above it that gives a part of the branch to somebody else: then it is measured like any other.
    mixed = [TenantRule(role="postgres", tenant=SHARED), TenantRule(branch="t-(?P<tenant>.+)")]
    worked = month(store, facts_of(store, TenantRules(mixed)), at)
    assert parts(worked, "compute", "b1") == {UNATTRIBUTED: 1}


def test_declared_weights_place_what_no_rule_does_and_pay_for_idle_and_shared(store: Store) -> None:
    SqliteLedger(store).put(usage(NOVEMBER))
    rows = [DeclaredWeight("customer-*", "*", tenant, Fraction(weight)) for tenant, weight in (("a", 1), ("b", 3))]
    rules = TenantRules([TenantRule(role="(?P<tenant>.+)_app")])
    fixed = Policies(IdlePolicy.FIXED, SharedPolicy.FIXED)
    for policies in (None, fixed):
        worked = month(store, facts_of(store, rules, declared=rows, policies=policies), NOVEMBER + 5 * DAY)
        for component, branch in (("compute", "b1"), ("root_storage", "b1"), ("snapshot_storage", PROJECT_LEVEL)):
            assert parts(worked, component, branch) == {"a": Fraction(1, 4), "b": Fraction(3, 4)}
        assert how(worked, "a") == {Confidence.DECLARED}


@pytest.mark.parametrize(("idle", "shared"), list(zip(IdlePolicy, [*SharedPolicy, SharedPolicy.EVEN], strict=True)))
def test_counters_never_fall_whatever_the_policies(store: Store, idle: IdlePolicy, shared: SharedPolicy) -> None:
    """A day goes by: tenants come, idle time is given away; nothing that was counted for a tenant is taken back."""
    rules = TenantRules([TenantRule(role="(?P<tenant>.+)_app")])
    rows = [DeclaredWeight("*", "*", "acme", Fraction(1))]
    facts = facts_of(store, rules, declared=rows, policies=Policies(idle, shared))
    with store.transaction() as cursor:
        cursor.execute("INSERT INTO place VALUES (1, 'p1', 'b1', 'ep1', 1, 1, 1, 0, 0)")
    ledger = SqliteLedger(store)
    book = Costs(ledger, facts, CARD)
    before: Mapping[tuple[str, ...], Decimal] = {}
    for number, tenant in enumerate(("acme", "birch", "acme", "cedar", "birch")):
        hour = NOVEMBER + number * HOUR
        for busy in (600, 900):
            ledger.put(usage(hour))
            with store.transaction() as cursor:
                cursor.execute("DELETE FROM tenant_hour WHERE hour = ?", (hour,))
                cursor.execute(
                    f"INSERT INTO tenant_hour VALUES (?, 1, ?, ?{', 0' * len(STATEMENT_FIELDS)})",
                    (hour, tenant, busy * 10**6),
                )
            observed = book.observe(hour + busy)
            counted = series(observed, cost_series.TENANT_COST)
            assert all(counted[name] >= value for name, value in before.items())
            before = counted
    observed = book.observe(NOVEMBER + 3 * DAY)
    counted, taken = series(observed, cost_series.TENANT_COST), series(observed, cost_series.TENANT_ADJUSTMENTS)
    month_to_date = series(observed, cost_series.TENANT_MONTH)
    assert not [name for name in taken if not name[2].startswith("__")]
    assert {name: round(value, 9) for name, value in counted.items() if value} == {
        name: round(value, 9) for name, value in month_to_date.items() if value
    }
    assert bool([name for name in counted if name[2] == IDLE and counted[name]]) is (
        idle in (IdlePolicy.SEPARATE, IdlePolicy.WAKE)
    )


def test_confidence_is_a_share_of_the_money(store: Store) -> None:
    SqliteLedger(store).put(usage(NOVEMBER))
    observed = Costs(SqliteLedger(store), facts_of(store, RULES), CARD).observe(NOVEMBER + 3 * DAY)
    sure = {
        (*observation.target.labels, *labels): float(value)
        for observation in observed
        for labels, value in observation.families.get(cost_series.CONFIDENCE).items()
    }
    assert sum(value for labels, value in sure.items() if labels[:2] == ("p1", "b1")) == pytest.approx(1)
    assert set(sure) == {("p1", "b1", "exact"), ("p1", PROJECT_LEVEL, "exact")}
