"""Costs by month: the ledger's usage, priced, split by tenant, and turned into series.

The work follows what changed. A month is priced from sums per day; the hours of a day are split by tenant once and
kept for as long as neither its usage nor its tenant hours can move. The first pass after a start does all days of the
month, the ones after it only today's. Run it in a thread: it is plain computation over rows from SQLite.

A billing month is the UTC calendar month. All figures are estimates up to the data-through instant.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from fractions import Fraction

from collectors.base import Observation, Status, Target
from collectors.metric import Families, Scope
from exporter.cost.allocation.series import (
    CORRECTIONS,
    METRICS,
    OTHER,
    RATE_CARD,
    RATE_CARD_AGE,
    RUN_RATE,
    THROUGH,
    UNKNOWN,
    branch_target,
    counter_series,
    folded_tenants,
    month_series,
)
from exporter.cost.allocation.weights import WeightSource
from exporter.cost.domain.allocate import Share, Use, UseKey, allocate
from exporter.cost.domain.day import DayKey, DayWeights, split_day
from exporter.cost.domain.use import TenantHours
from exporter.pricing.domain.calendar import DAY, HOUR, day_seconds, day_text, month_start, next_month
from exporter.pricing.domain.components import METRIC_COMPONENTS, Component, Group
from exporter.pricing.domain.price import PricePeriods, Pricing, price
from exporter.pricing.domain.rates import RateCard, to_decimal
from exporter.pricing.domain.units import BYTE_HOURS, STORED_METRICS
from exporter.pricing.domain.usage import HOURLY, UNATTRIBUTED, UsageFact
from exporter.storage.ledger.cost_counters import Counted, CounterKey, pico
from exporter.storage.ledger.ledger import Ledger, UnitSpan

__all__ = ["METRICS", "OTHER", "Costs", "MonthCosts"]

COLLECTOR = "cost"
LAG = 20 * 60
"""An hour stays open this long after its end: the API refreshes its usage every 15 minutes, and visits come later."""
SETTLED = 6 * HOUR
"""This long after its end a day is closed, and its hours are not split again unless their usage is corrected."""

_BYTE_MONTH_USD = Fraction(1, 10**9)
"""More than a byte-month of anything costs: a figure is rounded to one."""
GROWING = 3 * HOUR
"""The newest buckets still grow while they are read, those of projects a moment after those of their branches."""

TENANTS_SHOWN = 300
"""Tenants with series of their own on one branch: those first seen. The rest is summed as one; a report shows all."""


@dataclass(frozen=True, slots=True)
class MonthCosts:
    """One calendar month, worked out: cost lines, the usage behind them by tenant, and every line's shares."""

    month: int
    pricing: Pricing
    uses: Mapping[UseKey, Use]
    shares: tuple[Share, ...]
    through: int
    """The earliest data-through instant of the organisations (unix seconds); 0 without data."""
    prices: str = "list prices"
    """What the prices are, for a person."""
    units: tuple[UnitSpan, ...] = ()
    """In what the API counted stored bytes."""


@dataclass(frozen=True, slots=True)
class Stated:
    """What the API's figures of whole projects come to, to hold the rows of their branches against."""

    usd: Mapping[str, Fraction]
    """By project id."""
    settled: Mapping[str, tuple[Fraction, Fraction]]
    """By project id: the cost of the rows, and of the project's own figures, without the hours that still grow."""
    rounded: Mapping[str, Fraction] = field(default_factory=dict)
    """By project id: by how much the two may differ because Neon rounds each figure of byte-months for itself."""


@dataclass(frozen=True, slots=True)
class _Day:
    revision: int
    uses: Mapping[DayKey, Use]


class Costs:
    """Works out months and keeps what cannot change any more. One caller at a time."""

    def __init__(
        self,
        ledger: Ledger,
        tenant_hours: TenantHours | WeightSource,
        card: RateCard,
        *,
        plan: str | None = None,
    ) -> None:
        """Join the sources; ``plan`` overrides the API's (``cost.plan``).

        ``tenant_hours`` is what costs are split by: a `WeightSource`, or a function that knows busy time alone.
        """
        self.ledger = ledger
        self.card = card
        self._weights: WeightSource = WeightSource(tenant_hours) if callable(tenant_hours) else tenant_hours
        self.plan = plan
        self._periods = PricePeriods(card)
        self._days: dict[int, _Day] = {}
        self._settled: dict[int, tuple[object, dict[UseKey, Use]]] = {}
        self._months: dict[int, tuple[object, MonthCosts]] = {}
        self._counted: dict[int, tuple[object, dict[CounterKey, Counted]]] = {}

    @property
    def tenant_hours(self) -> TenantHours:
        """What tenants did, by the hour."""
        return self._weights.tenant_hours

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
        pricing = price(facts, self.card, plan=self.plan)
        uses = self._uses(start, revisions, now)
        shares = self._waiting(allocate(pricing.lines, uses, owner=self._weights.owner), through, end)
        units = tuple(self.ledger.units(start, end))
        costs = MonthCosts(start, pricing, uses, tuple(shares), through, self.card.prices, units)
        if now >= end + SETTLED:
            self._months[start] = (revisions, costs)
        return costs

    def _waiting(self, shares: list[Share], through: int, end: int) -> list[Share]:
        """With what waits: what a project has beyond its branches in hours that grow is theirs at the next reading."""
        since = through // HOUR * HOUR - GROWING
        if not any(share.branch_id == UNATTRIBUTED for share in shares) or since >= end:
            return shares
        growing: dict[tuple[str, Component], int] = {}
        for fact in self.ledger.usage(since, end):
            component = METRIC_COMPONENTS.get(fact.metric)
            if component is not None and fact.granularity == HOURLY:
                key = (fact.project_id, component)
                growing[key] = growing.get(key, 0) + (-fact.value if fact.branch_id else fact.value)
        return [
            replace(share, pending=share.cost * Fraction(min(share.line.usage, beyond), share.line.usage))
            if share.branch_id == UNATTRIBUTED
            and (beyond := growing.get((share.line.project_id, share.line.component), 0)) > 0
            else share
            for share in shares
        ]

    def stated(self, at: float) -> Stated:
        """The costs of a month by the API's project figures alone.

        Raises:
            StoreError: the ledger's file cannot be read.
        """
        start, end = month_start(int(at)), next_month(int(at))
        until = min(end, min(self.ledger.through().orgs.values(), default=0) // HOUR * HOUR - GROWING)
        whole = self.ledger.priceable(start, end, self.card.boundaries)
        settled = [fact for fact in self.ledger.usage(start, until) if fact.start < until] if until > start else []
        ours, theirs = self._by_project(settled), self._by_project(f for f in settled if not f.branch_id)
        return Stated(
            self._by_project(fact for fact in whole if not fact.branch_id),
            {project: (ours[project], theirs.get(project, Fraction())) for project in ours},
            self._rounded(settled),
        )

    def _rounded(self, facts: Iterable[UsageFact]) -> dict[str, Fraction]:
        months = {span.org_id for span in self.ledger.units(0, 2**40) if span.unit != BYTE_HOURS}
        rounded: dict[str, Fraction] = {}
        for fact in facts:
            if fact.metric in STORED_METRICS and fact.org_id in months:
                rounded[fact.project_id] = rounded.get(fact.project_id, Fraction()) + _BYTE_MONTH_USD
        return rounded

    def _by_project(self, facts: Iterable[UsageFact]) -> dict[str, Fraction]:
        costs: dict[str, Fraction] = {}
        for line in price(facts, self.card, plan=self.plan).lines:
            costs[line.project_id] = costs.get(line.project_id, Fraction()) + line.cost
        return costs

    def _uses(self, month: int, revisions: Mapping[int, int], now: float) -> dict[UseKey, Use]:
        """Sum the days: those that are closed once, the open ones each time."""
        closed = {day: revision for day, revision in revisions.items() if now >= day + DAY + SETTLED}
        held = self._settled.get(month)
        if held is None or held[0] != closed:
            held = self._settled[month] = (closed, {})
            for day, revision in sorted(closed.items()):
                day_split = self._days.get(day)
                if day_split is None or day_split.revision != revision:
                    day_split = self._days[day] = _Day(revision, self._split(day, now))
                self._add(held[1], day, day_split.uses)
        total = {key: use.copy() for key, use in held[1].items()}
        for day in sorted(revisions.keys() - closed.keys()):
            self._add(total, day, self._split(day, now))
        return total

    def _add(self, total: dict[UseKey, Use], day: int, uses: Mapping[DayKey, Use]) -> None:
        period = self._periods[day]
        for (project, branch, plan, component), use in uses.items():
            total.setdefault(UseKey(project, branch, plan, period, component), Use()).add(use)

    def _split(self, day: int, now: float) -> dict[DayKey, Use]:
        return split_day(
            self._planned(self.ledger.priceable(day, day + DAY)),
            self._planned(self.ledger.hours(Component.COMPUTE.spec.metric, day, day + DAY)),
            self._weights.tenant_hours(day, day + DAY),
            self._priced(self._weights.day(day)),
            policies=self._weights.policies,
            open_from=now - HOUR - LAG,
        )

    def _planned(self, facts: Iterable[UsageFact]) -> Iterator[UsageFact]:
        """Under the plan that they are priced by."""
        for fact in facts:
            plan = self.plan or self.card.plan_of(fact.plan, fact.org_id, fact.project_id, fact.start)
            yield fact if plan == fact.plan else fact._replace(plan=plan)

    def _priced(self, weights: DayWeights) -> DayWeights:
        """With what the rate card knows of the day."""
        rates: dict[tuple[str, Component], Fraction] = {}

        def free_children(plan: str) -> int:
            free = self.card.allowance(plan, Component.EXTRA_BRANCHES, weights.day)
            return free.quantity if free else 0

        def rate(plan: str, component: Component) -> Fraction:
            found = rates.get((plan, component))
            if found is None:
                spec = component.spec
                # Transfer is left out: what it costs depends on the rest of the month.
                known = None if spec.group is Group.TRANSFER else self.card.rate(plan, component, weights.day)
                per_use = spec.per_unit(weights.day) * spec.parts
                found = rates[plan, component] = known.amount / per_use if known else Fraction()
            return found

        return replace(weights, free_children=free_children, rate=rate)

    def counters(self, months: Iterable[MonthCosts]) -> dict[CounterKey, Counted]:
        """Move the durable counters to these months (oldest first) and answer all of their series."""
        counters: dict[CounterKey, Counted] = {}
        for costs in months:
            priced: dict[CounterKey, Fraction] = {}
            for share in costs.shares:
                branch = CounterKey(share.line.project_id, share.branch_id, share.line.component.value)
                tenant = branch._replace(tenant=share.tenant)
                counted = share.cost - share.pending
                whole_branch = counted if share.branch_id == UNATTRIBUTED else share.cost
                priced[branch] = priced.get(branch, Fraction()) + whole_branch
                priced[tenant] = priced.get(tenant, Fraction()) + counted
            whole = {key: pico(cost) for key, cost in priced.items()}
            held = self._counted.get(costs.month)
            if held is None or held[0] != whole:
                held = self._counted[costs.month] = (whole, self.ledger.advance(costs.month, whole))
            counters.update(held[1])
        return counters

    def forget_measures(self, before: int) -> None:
        """Drop from the disk what months before an instant were split by: they are closed, and never split again.

        Raises:
            StoreError: the disk is full or the file damaged.
        """
        self._weights.forget(before)

    def forget(self, before: int) -> None:
        """Drop what is kept of days before an instant."""
        self._days = {day: split for day, split in self._days.items() if day >= before}
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
        folded = folded_tenants(counters, TENANTS_SHOWN)
        counter_series(by_target, counters, folded)
        month_series(by_target, this.shares, this.uses, folded)
        self._run_rate(by_target, now)
        self._owners(by_target, this, now)
        return [
            Observation(COLLECTOR, target, Status.OK, now, families=families, rows=len(families))
            for target, families in by_target.items()
        ]

    def _run_rate(self, by_target: dict[Target, Families], now: float) -> None:
        through = max(self.ledger.through().orgs.values(), default=0)
        end = min(int(now), through) // HOUR * HOUR
        pricing = price(self.ledger.window(end - DAY, end), self.card, plan=self.plan) if end > DAY else Pricing((), ())
        for line in pricing.lines:
            if line.rate and not line.component.spec.monthly_allowance:
                families = by_target.setdefault(branch_target(line.project_id, line.branch_id), Families())
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
