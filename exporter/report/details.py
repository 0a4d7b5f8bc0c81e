"""The tables beside the breakdown: unit costs, budgets, anomalies, waste, allowances, reconciliation, data quality."""

from __future__ import annotations

from fractions import Fraction

from exporter.cost.domain.kpi import Counts
from exporter.cost.domain.kpi import unit_costs as compute_units
from exporter.documents.tables import Cell, Column, Kind, Table, ratio, total_row
from exporter.documents.text import percent
from exporter.pricing.domain.calendar import day_text
from exporter.pricing.domain.components import STORAGE, STORED, Component
from exporter.report.changes import PLAIN
from exporter.report.facts import NOT_TENANTS, Month, ReviewFacts

_ZERO = Fraction()


def unit_costs(facts: ReviewFacts) -> Table:
    """What one tenant, thousand queries, GB stored and active hour cost: all cost over it, and its own part over it."""
    this = _units(facts.this)
    last = _units(facts.last) if facts.last else {}
    columns = [Column("unit", "Per"), Column("usd", "All cost", Kind.PRICE)]
    if facts.last:
        columns.append(Column("last", "Last month", Kind.PRICE))
    columns += [Column("own", "Its own part", Kind.PRICE), Column("how", "What they are")]
    rows: list[tuple[Cell, ...]] = []
    for unit, (price, own, how) in this.items():
        if price is not None:
            before: tuple[Cell, ...] = (last[unit][0] if unit in last else None,) if facts.last else ()
            rows.append((unit, price, *before, own, how))
    note = "All cost: the metered cost of the month over the units. Its own part: only what directly belongs to them."
    return Table("unit-costs", "Unit costs", tuple(columns), tuple(rows), note=note)


def _units(month: Month) -> dict[str, tuple[Fraction | None, Fraction | None, str]]:
    use, shares = month.use, month.costs.shares
    calls = sum(use.calls.values())
    found = compute_units(shares, Counts(calls or None, use.awake_hours or None))
    tenants = {share.tenant for share in shares if share.cost and share.tenant not in NOT_TENANTS}
    stored = sum((line.quantity for line in month.costs.pricing.lines if line.component in STORAGE), _ZERO)
    storage = sum((share.cost for share in shares if share.line.component in STORED), _ZERO)
    compute = sum((share.cost for share in shares if share.line.component is Component.COMPUTE), _ZERO)
    direct = sum((share.cost for share in shares if share.tenant not in NOT_TENANTS), _ZERO)
    counted = sum(
        (
            share.cost
            for share in shares
            if share.line.component is Component.COMPUTE and (share.line.project_id, share.branch_id) in use.calls
        ),
        _ZERO,
    )
    return {
        "tenant": (
            found.get("tenant"),
            ratio(direct, Fraction(len(tenants))),
            f"{len(tenants):,} with cost of their own",
        ),
        "1,000 queries": (
            found.get("thousand_queries"),
            ratio(counted, Fraction(calls, 1000)),
            f"{calls:,} counted; own part: compute of the branches they ran on",
        ),
        "GB-month stored": (
            found.get("stored_gb_month"),
            ratio(storage, stored),
            f"{float(stored):,.1f}; own part: storage, restore history, snapshots",
        ),
        "active hour": (
            found.get("active_hour"),
            ratio(compute, Fraction(use.awake_hours)),
            f"{use.awake_hours:,} hours with a compute awake; own part: compute",
        ),
    }


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
        Column("from", "From", Kind.DAY),
        Column("to", "To", Kind.DAY),
        Column("project", "Project"),
        Column("branch", "Branch"),
        Column("what", "What"),
        Column("kind", "How"),
        Column("usd", "Beyond the usual", Kind.USD),
        Column("why", "Cause"),
    )
    rows: list[tuple[Cell, ...]] = [
        (
            day_text(row.start),
            day_text(max(row.start, row.end - 1)),
            facts.name(row.project_id),
            facts.name(row.branch_id),
            PLAIN.get(row.item, row.item),
            row.kind.replace("_", " "),
            row.usd,
            row.why,
        )
        for row in sorted(facts.anomalies, key=lambda row: row.order)
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
        Column("command", "Command or setting", Kind.CODE),
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
        for row in sorted(facts.waste, key=lambda row: row.order)
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
            "Child branches" if row.item == Component.EXTRA_BRANCHES else facts.name(row.item),
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
    columns = (Column("level", "State", Kind.LEVEL), Column("what", "What"), Column("action", "What to do"))
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
    rows: list[tuple[Cell, ...]] = []
    for kpi in facts.kpis:
        value = percent(kpi.value) if kpi.value is not None else "not known"
        edge = "" if kpi.target is None else f"at {'least' if kpi.more_is_better else 'most'} {percent(kpi.target)}"
        rows.append((kpi.title, value, edge, met[kpi.met], kpi.why))
    return Table("key-figures", "Key figures", columns, tuple(rows))
