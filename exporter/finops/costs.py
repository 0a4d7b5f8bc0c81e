"""Costs by month: the ledger's usage, priced, split by tenant, and turned into series.

The work follows what changed. A month is priced from sums per day; the hours of a day are split by tenant once and
kept for as long as neither its usage nor its tenant hours can move. The first pass after a start does all days of the
month, the ones after it only today's. Run it in a thread: it is plain computation over rows from SQLite.

A billing month is the UTC calendar month. All figures are estimates up to the data-through instant.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from fractions import Fraction

from collectors.base import Observation, Status, Target
from collectors.metric import Families, Metric, Scope
from exporter.compute.allocate import (
    MICRO,
    BranchWeights,
    ComputeUse,
    Share,
    TenantHour,
    TenantWeights,
    UseKey,
    allocate,
    split_hours,
)
from exporter.compute.cost import Pricing, Stretches, price
from exporter.compute.rates import (
    DAY,
    HOUR,
    Component,
    RateCard,
    day_seconds,
    day_text,
    month_start,
    next_month,
    to_decimal,
)
from exporter.finops.cost_counters import PICO, Counted, CounterKey, pico
from exporter.finops.cost_metrics import (
    ADJUSTMENTS,
    CORRECTIONS,
    COST,
    COVERAGE,
    METRICS,
    MONTH,
    RATE_CARD,
    RATE_CARD_AGE,
    RUN_RATE,
    TENANT_ADJUSTMENTS,
    TENANT_COST,
    TENANT_MONTH,
    THROUGH,
    UNKNOWN,
)
from exporter.finops.ledger import Ledger

__all__ = ["METRICS", "Costs", "MonthCosts", "TenantHours", "observe"]

COLLECTOR = "cost"
LAG = 20 * 60
"""An hour stays open this long after its end: the API refreshes its usage every 15 minutes, and visits come later."""
SETTLED = 6 * HOUR
"""This long after its end a day is closed, and its hours are not split again unless their usage is corrected."""

TENANTS_SHOWN = 300
"""Tenants with series of their own on one branch: those first seen. The rest is summed as one; a report shows all."""
OTHER = "__other__"

TenantHours = Callable[[int, int], Iterable[TenantHour]]
"""Answers the tenant hours with ``start`` <= hour < ``end``."""


@dataclass(frozen=True, slots=True)
class MonthCosts:
    """One calendar month, worked out: cost lines, the compute behind them by tenant, and every line's shares."""

    month: int
    pricing: Pricing
    uses: Mapping[UseKey, ComputeUse]
    shares: tuple[Share, ...]
    through: int
    """The earliest data-through instant of the organisations (unix seconds); 0 without data."""

    def pending(self, share: Share) -> Fraction:
        """The part of a share that is idle or unattributed only so far: the counters wait for its hour to close."""
        line = share.line
        use = self.uses.get(UseKey(line.project_id, share.branch_id, line.plan, line.stretch))
        if line.component is not Component.COMPUTE or use is None or share.tenant not in use.pending:
            return Fraction()
        return line.cost * Fraction(use.pending[share.tenant], max(line.usage * MICRO, use.awake_us))


@dataclass(frozen=True, slots=True)
class _Day:
    revision: int
    uses: Mapping[tuple[str, str, str], ComputeUse]


class Costs:
    """Works out months and keeps what cannot change any more. One caller at a time."""

    def __init__(
        self,
        ledger: Ledger,
        tenant_hours: TenantHours,
        card: RateCard,
        *,
        plan: str | None = None,
        tenant_weights: TenantWeights | None = None,
        branch_weights: BranchWeights | None = None,
    ) -> None:
        """Join the sources; ``plan`` overrides the API's (``cost.plan``), the weights refine the allocation."""
        self.ledger = ledger
        self.card = card
        self._tenant_hours = tenant_hours
        self._plan = plan
        self._tenant_weights = tenant_weights
        self._branch_weights = branch_weights
        self._stretches = Stretches(card)
        self._shown: set[Target] = set()
        self._days: dict[int, _Day] = {}
        self._settled: dict[int, tuple[object, dict[UseKey, ComputeUse]]] = {}
        self._months: dict[int, tuple[object, MonthCosts]] = {}
        self._counted: dict[int, tuple[object, dict[CounterKey, Counted]]] = {}

    def month(self, at: float, now: float) -> MonthCosts:
        """The costs of the calendar month that holds ``at``, from what is in the ledger.

        Raises:
            StoreError: the ledger's file cannot be read.
        """
        start, end = month_start(int(at)), next_month(int(at))
        through = min(self.ledger.through().orgs.values(), default=0)
        # The revisions come first: usage that is written meanwhile is then worked out again next time.
        revisions = self.ledger.revisions(start, end)
        held = self._months.get(start)
        if held is not None and now >= end + SETTLED and held[0] == revisions:
            return replace(held[1], through=through)
        facts = self.ledger.priceable(start, end, self.card.boundaries)
        pricing = price(facts, self.card, plan=self._plan)
        uses = self._uses(start, revisions, now)
        shares = allocate(pricing.lines, uses, tenant_weights=self._tenant_weights, branch_weights=self._branch_weights)
        costs = MonthCosts(start, pricing, uses, tuple(shares), through)
        if now >= end + SETTLED:
            self._months[start] = (revisions, costs)
        return costs

    def _uses(self, month: int, revisions: Mapping[int, int], now: float) -> dict[UseKey, ComputeUse]:
        """Sum the days: those that are closed once, the open ones each time."""
        closed = {day: revision for day, revision in revisions.items() if now >= day + DAY + SETTLED}
        held = self._settled.get(month)
        if held is None or held[0] != closed:
            held = self._settled[month] = (closed, {})
            for day, revision in sorted(closed.items()):
                kept = self._days.get(day)
                if kept is None or kept.revision != revision:
                    kept = self._days[day] = _Day(revision, self._split(day, now))
                self._add(held[1], day, kept.uses)
        total: dict[UseKey, ComputeUse] = {}
        for key, use in held[1].items():
            total[key] = ComputeUse(use.awake_us, use.busy_us, dict(use.tenants), dict(use.pending))
        for day in sorted(revisions.keys() - closed.keys()):
            self._add(total, day, self._split(day, now))
        return total

    def _add(self, total: dict[UseKey, ComputeUse], day: int, uses: Mapping[tuple[str, str, str], ComputeUse]) -> None:
        stretch = self._stretches[day]
        for (project, branch, plan), use in uses.items():
            key = UseKey(project, branch, plan, stretch)
            total.setdefault(key, ComputeUse()).add(use)

    def _split(self, day: int, now: float) -> dict[tuple[str, str, str], ComputeUse]:
        compute = (
            (f.project_id, f.branch_id, self._plan or f.plan, f.start // HOUR * HOUR, f.value)
            for f in self.ledger.hours("compute_unit_seconds", day, day + DAY)
            if f.branch_id
        )
        return split_hours(compute, self._tenant_hours(day, day + DAY), open_from=now - HOUR - LAG)

    def counters(self, months: Iterable[MonthCosts]) -> dict[CounterKey, Counted]:
        """Move the durable counters to these months (oldest first) and answer all of their series."""
        counters: dict[CounterKey, Counted] = {}
        for costs in months:
            priced: dict[CounterKey, Fraction] = {}
            for share in costs.shares:
                branch = CounterKey(share.line.project_id, share.branch_id, share.line.component.value)
                tenant = branch._replace(tenant=share.tenant)
                priced[branch] = priced.get(branch, Fraction()) + share.cost
                priced[tenant] = priced.get(tenant, Fraction()) + share.cost - costs.pending(share)
            whole = {key: pico(cost) for key, cost in priced.items()}
            held = self._counted.get(costs.month)
            if held is None or held[0] != whole:
                held = self._counted[costs.month] = (whole, self.ledger.advance(costs.month, whole))
            counters.update(held[1])
        return counters

    def forget(self, before: int) -> None:
        """Drop what is kept of days before an instant."""
        self._days = {day: kept for day, kept in self._days.items() if day >= before}
        for held in (self._settled, self._months, self._counted):
            for month in [month for month in held if month < before]:
                del held[month]

    def observe(self, now: float) -> list[Observation]:
        """The series of every branch with cost in this or the last calendar month, and of their owners.

        The counters are on the disk before this returns.

        Raises:
            StoreError: the ledger's file cannot be read or written.
        """
        this = self.month(now, now)
        last = self.month(this.month - 1, now)
        self.forget(last.month)
        by_target: dict[Target, Families] = {}
        counters = self.counters([last, this])
        folded = _folded(counters)
        _counter_series(by_target, counters, folded)
        _month_series(by_target, this, folded)
        self._run_rate(by_target, now)
        self._owners(by_target, this, now)
        # Who has nothing to show any more says so once: the state keeps what it is not told to forget.
        shown = set(by_target)
        for gone in self._shown - shown:
            by_target[gone] = Families()
        self._shown = shown
        return [
            Observation(COLLECTOR, target, Status.OK, now, families=families, rows=len(families))
            for target, families in by_target.items()
        ]

    def _run_rate(self, by_target: dict[Target, Families], now: float) -> None:
        through = max(self.ledger.through().orgs.values(), default=0)
        end = min(int(now), through) // HOUR * HOUR
        pricing = (
            price(self.ledger.window(end - DAY, end), self.card, plan=self._plan) if end > DAY else Pricing((), ())
        )
        for line in pricing.lines:
            if line.component is not Component.PUBLIC_TRANSFER and line.rate:
                families = by_target.setdefault(_branch(line.project_id, line.branch_id), Families())
                families.add(RUN_RATE, (), to_decimal(line.cost / 24))

    def _owners(self, by_target: dict[Target, Families], this: MonthCosts, now: float) -> None:
        for org, through in sorted(self.ledger.through().orgs.items()):
            by_target.setdefault(Target(Scope.ORG, (org,)), Families()).set(THROUGH, (), through)
        for unknown in this.pricing.unknown:
            families = by_target.setdefault(Target(Scope.PROJECT, (unknown.project_id,)), Families())
            families.set(UNKNOWN, (unknown.plan, unknown.component), 1)
        agent = by_target.setdefault(Target(Scope.AGENT, ()), Families())
        agent.set(CORRECTIONS, (), self.ledger.tally()["corrections"])
        for plan in sorted({line.plan for line in this.pricing.lines}):
            rate = self.card.newest(plan, int(now))
            if rate is not None:
                agent.set(RATE_CARD, (plan, day_text(rate.valid_from), rate.source.name), 1)
                agent.set(RATE_CARD_AGE, (plan,), max(0, int(now) - day_seconds(rate.source.date)))


def observe(ledger: Ledger, tenant_hours: TenantHours, card: RateCard, now: float) -> list[Observation]:
    """One pass without keeping anything; a long-running caller keeps a :class:`Costs`."""
    return Costs(ledger, tenant_hours, card).observe(now)


def _branch(project_id: str, branch_id: str) -> Target:
    return Target(Scope.BRANCH, (project_id, branch_id))


def _folded(counters: Mapping[CounterKey, Counted]) -> set[tuple[str, str, str]]:
    """(project, branch, tenant) of those without series of their own. Who is shown once is shown for good."""
    first: dict[tuple[str, str], dict[str, int]] = {}
    for key, counted in counters.items():
        if key.tenant and not key.tenant.startswith("__"):
            tenants = first.setdefault(key[:2], {})
            tenants[key.tenant] = min(counted.series, tenants.get(key.tenant, counted.series))
    folded = set()
    for (project, branch), tenants in first.items():
        for tenant in sorted(tenants, key=tenants.__getitem__)[TENANTS_SHOWN:]:
            folded.add((project, branch, tenant))
    return folded


def _counter_series(
    by_target: dict[Target, Families], counters: Mapping[CounterKey, Counted], folded: set[tuple[str, str, str]]
) -> None:
    sums: dict[CounterKey, Counted] = {}
    for key, counted in sorted(counters.items()):
        name = key._replace(tenant=OTHER) if (key.project_id, key.branch_id, key.tenant) in folded else key
        held = sums.get(name, Counted(0, 0))
        sums[name] = Counted(held.counted + counted.counted, held.adjusted + counted.adjusted)
    for key, total in sums.items():
        families = by_target.setdefault(_branch(key.project_id, key.branch_id), Families())
        labels: tuple[str, ...] = (key.tenant, key.component) if key.tenant else (key.component,)
        families.set(TENANT_COST if key.tenant else COST, labels, to_decimal(Fraction(total.counted, PICO)))
        if total.adjusted or not key.tenant:
            metric = TENANT_ADJUSTMENTS if key.tenant else ADJUSTMENTS
            families.set(metric, (*labels, "down"), to_decimal(Fraction(total.adjusted, PICO)))


def _month_series(by_target: dict[Target, Families], this: MonthCosts, folded: set[tuple[str, str, str]]) -> None:
    sums: dict[tuple[Target, Metric, tuple[str, ...]], Fraction] = {}
    for share in this.shares:
        project, branch, component = share.line.project_id, share.branch_id, share.line.component.value
        target = _branch(project, branch)
        tenant = OTHER if (project, branch, share.tenant) in folded else share.tenant
        for name in ((target, MONTH, (component,)), (target, TENANT_MONTH, (tenant, component))):
            sums[name] = sums.get(name, Fraction()) + share.cost
    awake: dict[Target, ComputeUse] = {}
    for key, use in this.uses.items():
        awake.setdefault(_branch(key.project_id, key.branch_id), ComputeUse()).add(use)
    for (target, metric, labels), cost in sums.items():
        by_target.setdefault(target, Families()).set(metric, labels, to_decimal(cost))
    for target, use in awake.items():
        by_target.setdefault(target, Families()).set(COVERAGE, (), float(use.coverage))
