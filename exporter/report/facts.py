"""The facts of the monthly review: exact amounts, no layout. Every file of it is made from these.

Amounts are exact fractions of USD; whoever shows them rounds them with their total (``exporter.documents.text``).
A part that there is no ground for (no budget, no forecast yet) is empty, and then no page has a section for it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from typing import NamedTuple

from exporter.cost.allocation.costs import MonthCosts
from exporter.cost.closing.close import ClosedMonth
from exporter.cost.domain.allocate import AGENT, IDLE, SHARED, Confidence
from exporter.cost.domain.close import Booking
from exporter.cost.domain.cost_variance import CostVariances
from exporter.cost.domain.kpi import Kpi
from exporter.cost.savings.store import StoredWaste
from exporter.cost.tags import Tagging
from exporter.pricing.domain.components import Component
from exporter.pricing.domain.usage import UNATTRIBUTED

NOT_TENANTS = (IDLE, SHARED, UNATTRIBUTED, AGENT)
CORRECTION = "Correction"
"""The kind of a row that corrects a month that was closed before."""


class AllocationRow(NamedTuple):
    """The smallest part of a month's cost: one tenant's, of one component of one branch."""

    org_id: str
    project_id: str
    branch_id: str
    tenant: str
    kind: str
    """``Usage``, the category of a declared line (``Purchase``, ``Credit``, ``Tax``, ``Adjustment``), or
    ``Correction``."""
    item: str
    """The component, or the name of the declared line."""
    cost: Fraction
    confidence: Confidence


@dataclass(frozen=True, slots=True)
class Use:
    """What a month's cost is divided by for unit costs."""

    awake_hours: int
    """Branch-hours in which a compute was awake at all, hourly figures only."""
    calls: Mapping[tuple[str, str], int]
    """Statements of tenants by (project, branch), where they were counted."""


@dataclass(frozen=True, slots=True)
class Month:
    """One calendar month (UTC); ``end`` and ``through`` are exclusive, in unix seconds."""

    start: int
    end: int
    through: int
    costs: MonthCosts
    rows: tuple[AllocationRow, ...]
    """Everything that the month cost, as small as it gets."""
    use: Use
    booked: ClosedMonth | None = None
    """The month as it was closed; None while it is open."""
    carried: tuple[Booking, ...] = ()
    """Corrections of earlier months that this month's statement shows."""
    problems: tuple[str, ...] = ()
    """Declared lines that cannot be placed."""

    @property
    def closed(self) -> bool:
        """Whether the figures are locked."""
        return self.booked is not None

    @property
    def total(self) -> Fraction:
        """USD of everything."""
        return sum((row.cost for row in self.rows), Fraction())

    @property
    def complete(self) -> bool:
        """Whether the data covers the month to its end."""
        return self.through >= self.end


class TrendMonth(NamedTuple):
    """A month of the trend: USD by component or kind of declared line."""

    start: int
    costs: Mapping[str, Fraction]


class DataFinding(NamedTuple):
    """One thing about the data that a reader should know; ``level`` is ``good``, ``warn`` or ``bad``."""

    level: str
    what: str
    action: str = ""


class BudgetRow(NamedTuple):
    """One budget of the month in USD."""

    name: str
    scope: str
    budget: Fraction
    spent: Fraction
    forecast: Fraction | None = None
    whole: bool = False
    """Whether it is for everything that was metered."""


class Range(NamedTuple):
    """A forecast of a whole month in USD."""

    month: int
    p10: Fraction
    p50: Fraction
    p90: Fraction
    confidence: str
    why: str = ""


class AnomalyRow(NamedTuple):
    """A period of unusual cost, in unix seconds."""

    start: int
    end: int
    project_id: str
    branch_id: str
    item: str
    usd: Fraction
    """What it cost beyond the usual in the month."""
    why: str
    kind: str = ""
    """``spike``, ``step``, ``slow_leak``, ``stuck_awake``."""

    @property
    def order(self) -> tuple[object, ...]:
        """Sorts the most expensive first."""
        return (-self.usd, self.start, self.project_id, self.branch_id)


class Headroom(NamedTuple):
    """How much of an allowance is left, in its unit, and what the next unit costs in USD."""

    item: str
    org_id: str
    project_id: str
    used: Fraction
    allowance: Fraction
    unit: str
    next_usd: Fraction


class ReconciliationRow(NamedTuple):
    """A line of the invoice against ours, in USD."""

    line: str
    ours: Fraction
    invoice: Fraction | None
    cause: str


@dataclass(frozen=True, slots=True)
class ReviewFacts:
    """Everything that the review of a month says."""

    company: str
    this: Month
    last: Month | None
    variances: CostVariances | None
    trend: tuple[TrendMonth, ...]
    """Up to twelve months, oldest first, this one last."""
    names: Mapping[str, str]
    tagging: Tagging
    required_tags: tuple[str, ...]
    rates: str
    """One line on where the prices are from."""
    findings: tuple[DataFinding, ...] = ()
    budgets: tuple[BudgetRow, ...] = ()
    day_one: Range | None = None
    """The forecast of this month as its first day had it."""
    month_end: Range | None = None
    """Where this month will end, while it is not complete."""
    next_month: Range | None = None
    anomalies: tuple[AnomalyRow, ...] = ()
    waste: tuple[StoredWaste, ...] = ()
    """Cost that nobody would miss, and what ends it."""
    waste_cost: Fraction | None = None
    """The cost that waste was found in, a month at the pace of the time; None: waste was not looked for."""
    kpis: tuple[Kpi, ...] = ()
    headroom: tuple[Headroom, ...] = ()
    reconciliation: tuple[ReconciliationRow, ...] = ()
    notes: Mapping[str, str] = field(default_factory=dict)
    """One sentence on a part, by the part's name, such as why there is no forecast."""

    def name(self, thing: str) -> str:
        """What a person calls an organisation, project, branch or component."""
        return WORDS.get(thing) or self.names.get(thing, thing)


def tenant_name(tenant: str) -> str:
    """A tenant is called what it is called; only what belongs to no tenant has a name of ours."""
    return WORDS[tenant] if tenant in NOT_TENANTS else tenant


WORDS: Mapping[str, str] = {
    **{component: component.spec.title for component in Component},
    IDLE: "Awake, but idle",
    SHARED: "Shared by all",
    UNATTRIBUTED: "Not attributed",
    AGENT: "neonmeter itself",
    "__project__": "(whole project)",
    "__org__": "(whole organisation)",
}
"""The names that a reader who never saw Neon's understands."""
