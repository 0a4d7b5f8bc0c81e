"""The review put together: every table once, in the order of the page, with what stands on page one.

HTML, spreadsheet, CSV and Markdown are made from this one object, so they cannot disagree.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from fractions import Fraction

from exporter.cost.domain.close import USAGE
from exporter.documents.tables import Table
from exporter.documents.text import cents, instant, money, month_name, percent
from exporter.report import breakdown, changes, details
from exporter.report.changes import CostChange
from exporter.report.facts import NOT_TENANTS, ReviewFacts


@dataclass(frozen=True, slots=True)
class Tile:
    """One figure on top of page one."""

    title: str
    figure: str
    sub: str


@dataclass(frozen=True, slots=True)
class Todo:
    """One thing to do, with its dollars a month or the state that asks for it."""

    what: str
    sub: str = ""
    usd: str = ""
    level: str = ""


@dataclass(frozen=True, slots=True)
class Review:
    """A month's review, worked out."""

    facts: ReviewFacts
    headline: str
    why: str
    tiles: tuple[Tile, ...]
    movers: tuple[CostChange, ...]
    todo: tuple[Todo, ...]
    tables: dict[str, Table]
    """By key, in the order of the page."""
    pivots: tuple[Table, ...]
    """By component: for spreadsheets and CSV."""

    @property
    def as_of(self) -> str:
        """How far the figures go and what they are worth, in one line."""
        this = self.facts.this
        if this.closed:
            return f"Closed: these figures no longer change. Usage up to {instant(this.through)}."
        return f"Estimated at {this.costs.prices} from usage up to {instant(this.through)}; the invoice may differ."


def review_of(facts: ReviewFacts) -> Review:
    """Work out the review."""
    frame = breakdown.frame_of(facts)
    components = breakdown.by_component(facts, frame)
    projects = breakdown.by_project(facts, frame)
    tables = [components, changes.variance_table(facts, components)]
    if len({row.org_id for row in facts.this.rows}) > 1:
        tables.append(breakdown.by_org(facts, frame))
    tables += [projects, *(breakdown.by_tag(facts, frame, tag) for tag in _tags(facts))]
    tables += [breakdown.by_tenant(facts, frame), changes.branch_movers(facts), details.unit_costs(facts)]
    tables += [details.kpis(facts), details.budgets(facts), details.anomalies(facts), details.waste(facts)]
    tables += [details.headroom(facts), details.reconciliation(facts), details.quality(facts)]
    movers = changes.project_movers(facts, projects)
    pivots = [breakdown.by_branch(facts, frame)]
    for key, title, head in (
        ("project", "Project by component", "Project"),
        ("tenant", "Tenant by component", "Tenant"),
    ):
        pivots.append(breakdown.pivot(facts, frame, key, title, head))
    return Review(
        facts,
        changes.headline(facts),
        changes.why(facts, movers),
        _filled(list(_tiles(facts))),
        tuple(movers[:5]),
        tuple(_todo(facts)),
        _by_key(table for table in tables if table is not None and table.rows),
        tuple(pivots),
    )


def _by_key(tables: Iterable[Table]) -> dict[str, Table]:
    """Two tags whose file names would be one, also where case does not count, get a number."""
    found: dict[str, Table] = {}
    taken: set[str] = set()
    for table in tables:
        key, number = table.key, 2
        while key.lower() in taken:
            key, number = f"{table.key}-{number}", number + 1
        taken.add(key.lower())
        found[key] = replace(table, key=key)
    return found


def _filled(tiles: list[Tile]) -> tuple[Tile, ...]:
    """As many as fill their rows: the last ones matter least."""
    return tuple(tiles[:-1] if len(tiles) in (5, 7) else tiles[:8])


def _tags(facts: ReviewFacts) -> list[str]:
    known = [tag for tag in ("team", "env", "cost_center") if tag in facts.tagging.keys]
    return [*known, *(tag for tag in facts.tagging.keys if tag not in known)]


def _tiles(facts: ReviewFacts) -> Iterator[Tile]:
    total = cents(facts.this.total)
    state = "closed" if facts.this.closed else "estimated" if facts.this.complete else "so far"
    change = ""
    if facts.last and (before := cents(facts.last.total)):
        change = f"{percent(Fraction(total - before, before), sign=True)} on last month, "
    yield Tile("Total", money(total), f"{change}{state}")
    yield from _budget(facts)
    yield from _forecasts(facts, total)
    yield from _placed(facts)


def _budget(facts: ReviewFacts) -> Iterator[Tile]:
    whole = [row for row in facts.budgets if row.budget]
    if whole:
        budget, spent = sum(row.budget for row in whole), sum(row.spent for row in whole)
        if len(whole) > 1 or not whole[0].whole:
            over = [row for row in whole if row.spent > row.budget]
            yield Tile("Budgets", f"{len(over)} of {len(whole)} exceeded" if over else "all kept", "see the list below")
        else:
            left = cents(Fraction(budget - spent))
            rest = f"{money(left)} left" if left >= 0 else f"{money(-left)} over"
            yield Tile("Budget", money(cents(Fraction(budget))), f"{percent(Fraction(spent) / budget)} used, {rest}")


def _forecasts(facts: ReviewFacts, total: int) -> Iterator[Tile]:
    if facts.day_one and facts.day_one.p50:
        guess = cents(facts.day_one.p50)
        off = percent(Fraction(total - guess, guess), sign=True)
        yield Tile("Forecast on day 1", money(guess), f"actual {off}" if facts.this.complete else "for the whole month")
    ahead = facts.next_month or facts.month_end
    if ahead:
        low, high = money(cents(ahead.p10)), money(cents(ahead.p90))
        title = f"Forecast, {month_name(ahead.month)}"
        yield Tile(title, money(cents(ahead.p50)), f"80 % sure: {low} to {high}")


def _placed(facts: ReviewFacts) -> Iterator[Tile]:
    if facts.waste:
        saved = sum((row.usd_per_month for row in facts.waste), Fraction())
        yield Tile("Can be saved", money(cents(saved)), f"a month, {len(facts.waste)} places")
    total = facts.this.total
    tenants = {row.tenant for row in facts.this.rows if row.tenant not in NOT_TENANTS}
    if total > 0:
        placed = sum((row.cost for row in facts.this.rows if row.tenant not in NOT_TENANTS), Fraction())
        yield Tile("Placed with tenants", percent(placed / total), f"{len(tenants):,} tenants; the rest is shown apart")
    branches = {(row.project_id, row.branch_id) for row in facts.this.rows if not row.branch_id.startswith("__")}
    projects = {row.project_id for row in facts.this.rows if row.kind == USAGE}
    yield Tile("Databases", f"{len(branches):,}", f"branches with cost, in {len(projects):,} projects")


def _todo(facts: ReviewFacts) -> Iterator[Todo]:
    for row in sorted(facts.waste, key=lambda row: row.order)[:4]:
        where = facts.name(row.project_id) + (f" / {facts.name(row.branch_id)}" if row.branch_id else "")
        yield Todo(row.action, f"{where}: {row.evidence}", money(cents(row.usd_per_month)))
    for anomaly in sorted(facts.anomalies, key=lambda anomaly: anomaly.order)[:2]:
        where = f"{facts.name(anomaly.project_id)} / {facts.name(anomaly.branch_id)}"
        yield Todo(
            f"{money(cents(anomaly.usd))} beyond the usual: {anomaly.kind.replace('_', ' ')}",
            f"{where}: {anomaly.why}",
            level="warn",
        )
    for finding in facts.findings:
        if finding.level != "good":
            yield Todo(finding.what, finding.action, level=finding.level)
    good = [finding for finding in facts.findings if finding.level == "good"]
    for finding in good[:3]:
        yield Todo(finding.what, level="good")
