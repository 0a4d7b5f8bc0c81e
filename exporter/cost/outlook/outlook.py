"""The outlook: what the month will cost, by organisation and project, and what is unusual, from the ledger's days.

The series of days are priced once and remembered. Everything is worked out again when a day closes, and when a closed
day was corrected at most once an hour; in between the last answer stands. Run it in a thread: it is plain computation.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from fractions import Fraction

from collectors.base import Observation, Status, Target
from collectors.metric import Families, Kind, Metric, Scope, Unit
from exporter.core.clock import is_recent
from exporter.cost.domain.outlook.anomaly import Anomaly, AwakeDay, Policy, Watched, anomalies
from exporter.cost.domain.outlook.forecast import Forecast, Sight, combined, look
from exporter.cost.domain.use import TenantHours
from exporter.cost.outlook.daily import Daily, DailyCosts, awake_days
from exporter.cost.outlook.series_forecast import groups, series_forecasts
from exporter.cost.outlook.store import ForecastStore
from exporter.pricing.domain.calendar import DAY, HOUR, month_start
from exporter.pricing.domain.components import Component
from exporter.pricing.domain.rates import RateCard, to_decimal
from exporter.storage.ledger.ledger import Ledger

COLLECTOR = "outlook"
HISTORY = 183 * DAY
"""So much of the past is looked at."""
PROJECTS_SHOWN = 100
"""Projects of an organisation with series of their own: the most expensive. A command shows all."""
LEAST = 15
"""Days below which nothing can be unusual."""

# The label is ``percentile``, since ``quantile`` belongs to summaries.
FORECAST = Metric(
    "neon_cost_forecast_usd",
    Kind.GAUGE,
    Unit.USD,
    Scope.ORG,
    "Forecast of the cost of this calendar month (UTC): 8 of 10 outcomes lie between 10 and 90.",
    ("percentile",),
    worse="up",
    max_series=3,
)
PROJECT_FORECAST = Metric(
    "neon_project_cost_forecast_usd",
    Kind.GAUGE,
    Unit.USD,
    Scope.PROJECT,
    "As neon_cost_forecast_usd, for the most expensive projects; over all projects P50 sums to the organisation's.",
    ("percentile",),
    worse="up",
    max_series=3,
)
ERROR = Metric(
    "neon_cost_forecast_error_ratio",
    Kind.GAUGE,
    Unit.RATIO,
    Scope.ORG,
    "Error of past forecasts over as many days, relative to the outcome (WAPE); absent before one could be tested.",
    worse="up",
    max_series=1,
)
COVERAGE = Metric(
    "neon_cost_forecast_coverage_ratio",
    Kind.GAUGE,
    Unit.RATIO,
    Scope.ORG,
    "How often the outcome lay between the percentiles 10 and 90 of a past forecast; 0.8 is right.",
    max_series=1,
)
LOW_CONFIDENCE = Metric(
    "neon_cost_forecast_low_confidence",
    Kind.GAUGE,
    Unit.NONE,
    Scope.ORG,
    "1 while there are under 14 days of usage: the forecast is the run-rate.",
    worse="up",
    max_series=1,
)
ACTIVE = Metric(
    "neon_cost_anomaly_active",
    Kind.GAUGE,
    Unit.NONE,
    Scope.PROJECT,
    "Branches whose cost is unusual now, by kind (spike, step, slow_leak, stuck_awake) and component.",
    ("kind", "component"),
    worse="up",
    max_series=32,
)
IMPACT = Metric(
    "neon_cost_anomaly_impact_usd",
    Kind.GAUGE,
    Unit.USD,
    Scope.PROJECT,
    "Cost above the usual of the anomalies that are ongoing.",
    ("kind", "component"),
    worse="up",
    max_series=32,
)
METRICS: tuple[Metric, ...] = (FORECAST, PROJECT_FORECAST, ERROR, COVERAGE, LOW_CONFIDENCE, ACTIVE, IMPACT)


@dataclass(slots=True)
class MonthOutlook:
    """The forecast of one month, from the days before ``through``: by organisation, and by (organisation, project)."""

    month: int
    through: int
    orgs: dict[str, Forecast] = field(default_factory=dict)
    projects: dict[tuple[str, str], Forecast] = field(default_factory=dict)
    prices: str = "list prices"
    """What the prices are, for a person."""


class Outlook:
    """Works out forecasts and anomalies, and keeps what cannot change. One caller at a time."""

    def __init__(
        self,
        ledger: Ledger,
        card: RateCard,
        *,
        plan: str | None = None,
        forecasts: ForecastStore | None = None,
        policy: Policy | None = None,
        daily: Daily | None = None,
        measured: TenantHours | None = None,
    ) -> None:
        """``plan`` overrides the API's, ``forecasts`` stores each month's first forecast, ``policy`` is for anomalies.

        ``daily`` are days that are priced already, by the same card and plan; ``measured`` answers what statements did,
        without which a compute that works cannot be distinguished from one that is only held awake.
        """
        self._ledger = ledger
        self._card = card
        self._daily = daily or Daily(ledger, card, plan=plan)
        self._forecasts = forecasts
        self._policy = policy or Policy()
        self._measured = measured
        self._awake: dict[int, tuple[int, dict[tuple[str, str], AwakeDay]]] = {}
        self._last: tuple[object, int, list[Observation]] | None = None
        self.unusual: tuple[Anomaly, ...] = ()
        """What the last ``observe`` found."""

    def through(self) -> int:
        """The end of the last whole day (UTC) that every organisation was read to; 0 without data.

        Raises:
            StoreError: the ledger cannot be read.
        """
        return min(self._ledger.through().orgs.values(), default=0) // DAY * DAY

    def month(self, month: int, through: int) -> MonthOutlook:
        """The forecast of the month that holds an instant, from the days before ``through``.

        Raises:
            StoreError: the ledger cannot be read.
        """
        daily = self._days(through, month)
        sights: dict[tuple[str, str], list[Sight]] = {}
        for group, series in series_forecasts(groups(daily, through), self._card, month, through):
            sights.setdefault((group.org_id, group.project_id), []).append(look(series, month, through))
        outlook = MonthOutlook(month_start(month), through, prices=self._card.prices)
        orgs: dict[str, list[Sight]] = {}
        for (org, project), parts in sorted(sights.items()):
            outlook.projects[org, project] = combined(parts, month, through)
            orgs.setdefault(org, []).extend(parts)
        outlook.orgs = {org: combined(parts, month, through) for org, parts in orgs.items()}
        return outlook

    def anomalies(self, through: int) -> tuple[Anomaly, ...]:
        """What was unusual in the days before ``through``, as far back as the outlook looks.

        Raises:
            StoreError: the ledger cannot be read.
        """
        return self.anomalies_in(self._days(through, through - 1), through)

    def anomalies_in(self, daily: DailyCosts, through: int) -> tuple[Anomaly, ...]:
        """What was unusual in days that are at hand.

        Raises:
            StoreError: the ledger cannot be read.
        """
        return anomalies(self._watched(daily, through), self._policy)

    def _days(self, through: int, month: int) -> DailyCosts:
        start = min(through - HISTORY, month_start(month)) if month < through else through - HISTORY
        return self._daily.costs(max(0, start), through)

    def _watched(self, daily: DailyCosts, through: int) -> Iterator[Watched]:
        for key, series in daily.items():
            size = (through - series.first) // DAY
            # What egress costs depends on its month; its bytes are in the forecast.
            if size < LEAST or key.component.spec.monthly_allowance:
                continue
            unit = series.unit_price(series.plan(through - DAY), through - 1)
            if max(series.usage[:size]) * unit < self._policy.usd_per_day:
                continue
            days = [
                value if series.first + DAY * index in daily.read else None
                for index, value in enumerate(series.usage[:size])
            ]
            yield Watched(
                key.org_id,
                key.project_id,
                key.branch_id,
                key.component.value,
                series.first,
                days,
                unit,
                level=key.component.spec.stored,
                awake=self._awake_of(key.project_id, key.branch_id, series.first)
                if key.component is Component.COMPUTE
                else None,
            )

    def _awake_of(self, project: str, branch: str, first: int) -> Callable[[int, int], list[AwakeDay | None]]:
        def answer(start: int, stop: int) -> list[AwakeDay | None]:
            return [self._awake_day(first + DAY * index, (project, branch)) for index in range(start, stop)]

        return answer

    def _awake_day(self, day: int, branch: tuple[str, str]) -> AwakeDay | None:
        revision = self._ledger.revisions(day, day + DAY).get(day, 0)
        held = self._awake.get(day)
        if held is None or held[0] != revision:
            held = self._awake[day] = (revision, awake_days(self._ledger, day, self._measured))
        if not held[1]:
            return None
        return held[1].get(branch, AwakeDay(0, 0, 0))

    def observe(self, now: float) -> list[Observation]:
        """The series of the present month. The first forecast of it is stored before this returns.

        Raises:
            StoreError: the ledger cannot be read, or the forecast not be stored.
        """
        through = min(self.through(), int(now) // DAY * DAY)
        if through <= 0:
            return []
        # Of closed days only: the open one moves all the time and is in no forecast.
        state = (through, tuple(self._ledger.revisions(through - HISTORY, through).items()))
        if self._last is not None:
            held, at, observations = self._last
            if held == state or (held[0] == through and is_recent(at, now, HOUR)):  # type: ignore[index]
                return observations
        month = self.month(int(now), through)
        if self._forecasts is not None:
            self._forecasts.add(month.month, _scopes(month), made_at=int(now), through=through)
        self.unusual = self.anomalies(through)
        observations = self._series(month, self.unusual, now)
        self._last = (state, int(now), observations)
        self._awake = {day: held for day, held in self._awake.items() if day >= through - HISTORY}
        return observations

    def _series(self, month: MonthOutlook, anomalies: Iterable[Anomaly], now: float) -> list[Observation]:
        by_target: dict[Target, Families] = {}
        _forecast_series(by_target, month)
        for anomaly in anomalies:
            if anomaly.end is None:
                families = by_target.setdefault(Target(Scope.PROJECT, (anomaly.project_id,)), Families())
                families.add(ACTIVE, (anomaly.kind, anomaly.component), 1)
                families.add(IMPACT, (anomaly.kind, anomaly.component), to_decimal(anomaly.usd))
        return [
            Observation(COLLECTOR, target, Status.OK, now, families=families, rows=len(families))
            for target, families in by_target.items()
        ]


def _forecast_series(by_target: dict[Target, Families], month: MonthOutlook) -> None:
    for org, forecast in month.orgs.items():
        families = by_target.setdefault(Target(Scope.ORG, (org,)), Families())
        for percentile, amount in _percentiles(forecast):
            families.set(FORECAST, (percentile,), to_decimal(amount))
        families.set(LOW_CONFIDENCE, (), int(forecast.confidence == "low"))
        if forecast.wape is not None:
            families.set(ERROR, (), float(forecast.wape))
        if forecast.coverage is not None:
            families.set(COVERAGE, (), float(forecast.coverage))
        own = [(project, part) for (owner, project), part in month.projects.items() if owner == org]
        for project, part in sorted(own, key=lambda item: -item[1].p50)[:PROJECTS_SHOWN]:
            families = by_target.setdefault(Target(Scope.PROJECT, (project,)), Families())
            for percentile, amount in _percentiles(part):
                families.set(PROJECT_FORECAST, (percentile,), to_decimal(amount))


def _percentiles(forecast: Forecast) -> tuple[tuple[str, Fraction], ...]:
    return (("10", forecast.p10), ("50", forecast.p50), ("90", forecast.p90))


def _scopes(month: MonthOutlook) -> Mapping[str, Forecast]:
    return {**month.orgs, **{f"{org}/{project}": forecast for (org, project), forecast in month.projects.items()}}


@dataclass(frozen=True, slots=True)
class Cause:
    """A tenant and how much more of the compute's time it was busy than a week before the anomaly, in seconds a day."""

    tenant: str
    more_seconds: Fraction


def tenants_behind(anomaly: Anomaly, tenant_hours: TenantHours, most: int = 3) -> list[Cause]:
    """Whose busy time grew most on the branch: the newest day of an anomaly against the same weekday before it."""
    if anomaly.component != Component.COMPUTE:
        return []
    newest = (anomaly.end or anomaly.detected) - DAY
    weeks = (newest - anomaly.start) // (7 * DAY) + 1
    more: dict[str, int] = {}
    for day, sign in ((newest, 1), (newest - weeks * 7 * DAY, -1)):
        for hour in tenant_hours(day, day + DAY):
            if (hour.project_id, hour.branch_id) == (anomaly.project_id, anomaly.branch_id):
                more[hour.tenant] = more.get(hour.tenant, 0) + sign * hour.busy_us
    least = max(10**6, sum(grown for grown in more.values() if grown > 0) // 20)
    ranked = sorted(((grown, tenant) for tenant, grown in more.items() if grown >= least), reverse=True)
    return [Cause(tenant, Fraction(grown, 10**6)) for grown, tenant in ranked[:most]]
