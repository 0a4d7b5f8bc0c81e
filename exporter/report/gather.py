"""Gathers the facts of a review from the ledger: this month, the one before, the trend, and what the data is worth.

Nothing here reads the clock. A review is as of its ledger's data-through, so the same ledger gives the same review.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from fractions import Fraction

from exporter.cost.allocation.costs import SETTLED, Costs, MonthCosts
from exporter.cost.closing.close import ClosedMonth, closed
from exporter.cost.domain.close import USAGE, Booking, Path
from exporter.cost.domain.cost_variance import variances
from exporter.cost.domain.extra import MeteredCosts, extra_shares
from exporter.feature.workspace import unmetered_in
from exporter.pricing.domain.calendar import DAY, day_text, month_start, next_month
from exporter.pricing.domain.components import Component
from exporter.pricing.domain.price import price
from exporter.pricing.domain.rates import RateCard
from exporter.report.facts import CORRECTION, AllocationRow, Month, ReviewFacts, TrendMonth, Use
from exporter.report.quality import findings
from exporter.report.sources import Counting, ReviewSources
from exporter.storage.ledger.ledger import Ledger

TREND_MONTHS = 12
Calls = Mapping[tuple[int, str, str], int]
"""Statements by (month, project, branch)."""


Part = Callable[[ReviewSources, Costs, ReviewFacts], ReviewFacts]
"""Adds what it knows to the facts, as ``dataclasses.replace`` does."""


def gather(sources: ReviewSources, at: int, parts: Iterable[Part] = ()) -> ReviewFacts:
    """The review of the calendar month that holds ``at``, as of the ledger's data-through.

    Raises:
        StoreError: the ledger's file cannot be read.
    """
    counting = Counting(sources.weights)
    costs = Costs(sources.ledger, counting, sources.card, plan=sources.plan)
    this = month_of(sources, costs, counting.calls, at)
    before = month_of(sources, costs, counting.calls, this.start - 1)
    last = before if before.rows else None
    facts = ReviewFacts(
        company=sources.company,
        this=this,
        last=last,
        variances=variances(last.costs.pricing.lines, this.costs.pricing.lines) if last else None,
        trend=_trend(sources, (this, *([last] if last else []))),
        names=sources.names,
        tagging=sources.tagging,
        required_tags=tuple(sources.required_tags),
        rates=_rates(sources.card, this),
        findings=findings(
            this,
            sources.ledger,
            sources.tagging,
            tuple(sources.required_tags),
            unmetered_in(sources.store) if sources.store is not None else {},
        ),
    )
    for part in parts:
        facts = part(sources, costs, facts)
    return facts


def month_of(sources: ReviewSources, costs: Costs, calls: Calls, at: int) -> Month:
    """One month's costs and use; ``calls`` is filled while the costs are worked out."""
    start, end = month_start(at), next_month(at)
    through = min(sources.ledger.through().orgs.values(), default=0)
    worked = costs.month(start, end + SETTLED if through >= end else through)
    booked = closed(sources.closings, start) if sources.closings is not None else None
    carried = sources.closings.booked_in(start) if sources.closings is not None else ()
    rows, problems = _rows(sources, worked, booked)
    counted = {(project, branch): n for (month, project, branch), n in calls.items() if month == start}
    use = Use(_awake_hours(sources.ledger, start, end), counted)
    return Month(start, end, min(through, end), worked, (*rows, *_corrections(carried)), use, booked, carried, problems)


def _rows(
    sources: ReviewSources, worked: MonthCosts, booked: ClosedMonth | None
) -> tuple[tuple[AllocationRow, ...], tuple[str, ...]]:
    """The parts of a month's cost, declared lines too; of a closed month as they were closed."""
    if booked is not None:
        own = [
            AllocationRow(
                line.key.org_id,
                *part.path,
                line.key.kind,
                line.key.component,
                Fraction(part.cents, 100),
                part.confidence,
            )
            for line in booked.lines
            for part in line.allocations
            if part.cents
        ]
        return tuple(own), ()
    metered = [
        AllocationRow(
            share.line.org_id,
            share.line.project_id,
            share.branch_id,
            share.tenant,
            USAGE,
            share.line.component,
            share.cost,
            share.confidence,
        )
        for share in worked.shares
        if share.cost
    ]
    basis = MeteredCosts((row.org_id, Path(row.project_id, row.branch_id, row.tenant), row.cost) for row in metered)
    shares, problems = extra_shares(sources.extra, worked.month, basis)
    declared = [
        AllocationRow(share.key.org_id, *share.path, share.key.kind, share.key.component, share.cost, share.confidence)
        for share in shares
        if share.cost
    ]
    return (*metered, *declared), problems


def _corrections(carried: Iterable[Booking]) -> Iterator[AllocationRow]:
    for booking in carried:
        for line in booking.lines:
            for part in line.allocations:
                if part.cents:
                    item = f"{line.key.component} {day_text(booking.month)[:7]}"
                    cost = Fraction(part.cents, 100)
                    yield AllocationRow(line.key.org_id, *part.path, CORRECTION, item, cost, part.confidence)


def _awake_hours(ledger: Ledger, start: int, end: int) -> int:
    days = range(start, end, DAY)
    return sum(
        1
        for day in days
        for fact in ledger.hours(Component.COMPUTE.spec.metric, day, day + DAY)
        if fact.branch_id and fact.value
    )


def _trend(sources: ReviewSources, known: Iterable[Month]) -> tuple[TrendMonth, ...]:
    found: dict[int, dict[str, Fraction]] = {}
    for month in known:
        sums = found[month.start] = {}
        for row in month.rows:
            name = row.item if row.kind == USAGE else row.kind
            sums[name] = sums.get(name, Fraction()) + row.cost
    start = max(found)
    for _ in range(TREND_MONTHS - 1):
        start = month_start(start - 1)
        if start not in found and (costs := _cheap_month(sources, start)):
            found[start] = costs
    return tuple(TrendMonth(start, found[start]) for start in sorted(found))


def _cheap_month(sources: ReviewSources, start: int) -> dict[str, Fraction]:
    """A month by component without its tenants: as it was closed, or priced."""
    booked = closed(sources.closings, start) if sources.closings is not None else None
    sums: dict[str, Fraction] = {}
    if booked is not None:
        for line in booked.lines:
            name = line.key.component if line.key.kind == USAGE else line.key.kind
            sums[name] = sums.get(name, Fraction()) + Fraction(line.cents, 100)
        for row in _corrections(booked.carried):
            sums[row.kind] = sums.get(row.kind, Fraction()) + row.cost
        return sums
    facts = sources.ledger.priceable(start, next_month(start), sources.card.boundaries)
    metered = []
    for cost in price(facts, sources.card, plan=sources.plan).lines:
        sums[cost.component] = sums.get(cost.component, Fraction()) + cost.cost
        metered.append((cost.org_id, Path(cost.project_id, cost.branch_id, ""), cost.cost))
    for share in extra_shares(sources.extra, start, MeteredCosts(metered))[0] if metered else ():
        sums[share.key.kind] = sums.get(share.key.kind, Fraction()) + share.cost
    return sums


def _rates(card: RateCard, month: Month) -> str:
    rates = [line.rate for line in month.costs.pricing.lines if line.rate]
    if not rates:
        return ""
    newest = max(rates, key=lambda rate: (rate.valid_from, rate.source.date))
    plans = sorted({card.plans[rate.plan].label or rate.plan for rate in rates if rate.plan in card.plans})
    kind = "Contract and list prices" if any(rate.listed is not None for rate in rates) else "List prices"
    return (
        f"{kind} in USD of the plans {', '.join(plans)}, last changed {day_text(newest.valid_from)}; "
        f"source: {newest.source.name}, read {max(rate.source.date for rate in rates)}"
    )
