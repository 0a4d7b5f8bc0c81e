"""The tables beside the breakdown: unit costs, budgets, anomalies, waste, allowances, reconciliation, data quality."""

from __future__ import annotations

from fractions import Fraction

from exporter.compute.rates import Component, day_text
from exporter.report.facts import NOT_TENANTS, Month, ReviewFacts
from exporter.report.tables import Cell, Column, Kind, Table, ratio, total_row

_STORAGE = (
    Component.ROOT_STORAGE,
    Component.CHILD_STORAGE,
    Component.INSTANT_RESTORE,
    Component.SNAPSHOT_STORAGE,
)
_ZERO = Fraction()


def unit_costs(facts: ReviewFacts) -> Table:
    """Cost per tenant, per thousand statements, per GB and per active hour, this month and the last."""
    this = _units(facts.this)
    last = _units(facts.last) if facts.last else {}
    columns = [Column("unit", "Per"), Column("usd", "This month", Kind.PRICE)]
    if facts.last:
        columns.append(Column("last", "Last month", Kind.PRICE))
    columns.append(Column("how", "How it is worked out"))
    rows: list[tuple[Cell, ...]] = []
    for unit, (price, how) in this.items():
        if price is not None:
            rows.append((unit, price, *((last[unit][0],) if facts.last else ()), how))
    return Table("unit-costs", "Unit costs", tuple(columns), tuple(rows))


def _units(month: Month) -> dict[str, tuple[Fraction | None, str]]:
    total = month.total
    tenants = {leaf.tenant for leaf in month.leaves if leaf.tenant not in NOT_TENANTS}
    storage = sum((leaf.cost for leaf in month.leaves if leaf.item in _STORAGE), _ZERO)
    compute = sum((leaf.cost for leaf in month.leaves if leaf.item == Component.COMPUTE), _ZERO)
    counted = {key for key, calls in month.use.calls.items() if calls}
    queried = sum(
        (
            leaf.cost
            for leaf in month.leaves
            if leaf.item == Component.COMPUTE and (leaf.project_id, leaf.branch_id) in counted
        ),
        _ZERO,
    )
    thousands = Fraction(sum(month.use.calls.values()), 1000)
    awake = month.use.awake_hours
    return {
        "tenant": (ratio(total, Fraction(len(tenants))), f"everything, over {len(tenants):,} tenants with own cost"),
        "1,000 statements": (
            ratio(queried, thousands),
            f"compute where statements were counted, over {_big(thousands)}",
        ),
        "GB stored": (
            ratio(storage, month.use.stored_gb),
            f"storage, restore history and snapshots, over {float(month.use.stored_gb):,.1f} GB on average",
        ),
        "active hour": (ratio(compute, Fraction(awake)), f"compute, over {awake:,} branch-hours with a compute awake"),
    }


def _big(thousands: Fraction) -> str:
    return f"{float(thousands / 1000):,.2f} million of them"


def budgets(facts: ReviewFacts) -> Table | None:
    """Each budget against what was spent."""
    if not facts.budgets:
        return None
    columns = (
        Column("name", "Budget"),
        Column("scope", "Of"),
        Column("budget", "Budget", Kind.USD),
        Column("usd", "Spent", Kind.USD),
        Column("left", "Left", Kind.CHANGE, ("budget", "usd")),
        Column("used", "Used", Kind.SHARE),
        Column("forecast", "Forecast", Kind.USD),
    )
    rows = tuple(
        (row.name, row.scope, row.budget, row.spent, None, ratio(row.spent, row.budget), row.forecast)
        for row in facts.budgets
    )
    return Table("budgets", "Budgets", columns, rows)


def anomalies(facts: ReviewFacts) -> Table | None:
    """What was unusual, and its dollars."""
    if not facts.anomalies:
        return None
    columns = (
        Column("from", "From"),
        Column("to", "To"),
        Column("project", "Project"),
        Column("branch", "Branch"),
        Column("what", "What"),
        Column("usd", "Beyond the usual", Kind.USD),
        Column("why", "Cause"),
    )
    rows: list[tuple[Cell, ...]] = [
        (
            day_text(row.start),
            day_text(max(row.start, row.end - 1)),
            facts.name(row.project_id),
            facts.name(row.branch_id),
            facts.name(row.item),
            row.usd,
            row.why,
        )
        for row in sorted(facts.anomalies, key=lambda row: (-row.usd, row.start, row.project_id, row.branch_id))
    ]
    return Table("anomalies", "Unusual cost", columns, tuple(rows), total_row(columns, rows))


def waste(facts: ReviewFacts) -> Table | None:
    """What nobody would miss, in dollars a month, and what ends it."""
    if not facts.waste:
        return None
    columns = (
        Column("project", "Project"),
        Column("branch", "Branch"),
        Column("usd", "A month", Kind.USD),
        Column("evidence", "Why"),
        Column("action", "What ends it"),
        Column("command", "Command or setting"),
        Column("confidence", "Confidence"),
    )
    rows: list[tuple[Cell, ...]] = [
        (
            facts.name(row.project_id),
            facts.name(row.branch_id),
            row.usd_per_month,
            row.evidence,
            row.action,
            row.command,
            row.confidence,
        )
        for row in sorted(facts.waste, key=lambda r: (-r.usd_per_month, r.rule, r.project_id, r.branch_id))
    ]
    return Table("waste", "What can be saved", columns, tuple(rows), total_row(columns, rows))


def headroom(facts: ReviewFacts) -> Table | None:
    """How far the allowances go, and what the next unit costs."""
    if not facts.headroom:
        return None
    columns = (
        Column("of", "Of"),
        Column("item", "What"),
        Column("used", "Used", Kind.NUMBER),
        Column("free", "Free", Kind.NUMBER),
        Column("unit", "Unit"),
        Column("part", "Used up", Kind.SHARE),
        Column("next", "The next one costs", Kind.PRICE),
    )
    rows: list[tuple[Cell, ...]] = [
        (
            facts.name(row.project_id or row.org_id),
            facts.name(row.item),
            row.used,
            row.allowance,
            row.unit,
            ratio(row.used, row.allowance),
            row.next_usd,
        )
        for row in facts.headroom
    ]
    return Table("allowances", "Allowances", columns, tuple(rows))


def reconciliation(facts: ReviewFacts) -> Table | None:
    """Our lines against those of the invoice that was entered."""
    if not facts.reconciliation:
        return None
    columns = (
        Column("line", "Line"),
        Column("usd", "Ours", Kind.USD),
        Column("invoice", "Invoice", Kind.USD),
        Column("variance", "Invoice minus ours", Kind.CHANGE, ("invoice", "usd")),
        Column("cause", "Likely cause"),
    )
    rows: list[tuple[Cell, ...]] = [(row.line, row.ours, row.invoice, None, row.cause) for row in facts.reconciliation]
    return Table("reconciliation", "Against the invoice", columns, tuple(rows), total_row(columns, rows))


def quality(facts: ReviewFacts) -> Table:
    """What the data is worth."""
    columns = (Column("level", "State"), Column("what", "What"), Column("action", "What to do"))
    return Table("quality", "Data quality", columns, tuple((row.level, row.what, row.action) for row in facts.findings))


def kpis(facts: ReviewFacts) -> Table | None:
    """Key figures against their targets."""
    if not facts.kpis:
        return None
    columns = (
        Column("name", "Key figure"),
        Column("value", "Value"),
        Column("target", "Target"),
        Column("met", "Met"),
        Column("why", "What it means"),
    )
    met = {True: "yes", False: "no", None: ""}
    rows = tuple((row.name, row.value, row.target, met[row.met], row.why) for row in facts.kpis)
    return Table("key-figures", "Key figures", columns, rows)
