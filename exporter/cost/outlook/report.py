"""What a month will have cost at its end, and what is unusual: as text and as JSON.

Of a month that is over the forecast says what its first forecast was.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

from exporter.cost.domain.outlook.anomaly import Anomaly
from exporter.cost.domain.outlook.forecast import Forecast
from exporter.cost.outlook.outlook import Cause, MonthOutlook, Outlook, tenants_behind
from exporter.cost.outlook.store import ForecastStore, StoredForecast
from exporter.cost.settings import CostTree
from exporter.cost.workspace import open_workspace
from exporter.documents.terminal import table
from exporter.pricing.domain.calendar import DAY, day_text, month_start, next_month
from exporter.pricing.domain.rates import decimal_text, to_decimal
from exporter.storage.store import StoreError

_NO_DAYS = "the ledger has no whole day of usage yet; `neonmeter run` fills it"
_DAYS = 30 * DAY
"""Anomalies that ended before these days are shown only where they are asked for."""


@dataclass(frozen=True, slots=True)
class ForecastReport:
    """The forecast of a month, and what its first one was, by organisation id or org/project."""

    outlook: MonthOutlook
    first: Mapping[str, StoredForecast]
    names: Mapping[str, str]

    def text(self, by: str) -> str:
        """For a person; ``by`` is org or project."""
        outlook, first, names = self.outlook, self.first, self.names
        rows: list[tuple[object, ...]] = []
        for scope, name, forecast in _rows(outlook, names, by):
            made = first.get(scope)
            was = None if made is None else f"{_usd(made.p50)} on {day_text(made.made_at)}"
            error = None if forecast.wape is None else f"{float(forecast.wape):.1%}"
            held = None if forecast.coverage is None else f"{float(forecast.coverage):.0%}"
            money = (_usd(forecast.spent), _usd(forecast.p10), _usd(forecast.p50), _usd(forecast.p90))
            rows.append((name, *money, forecast.confidence, error, held, was))
        head = (by, "so far", "P10", "P50", "P90", "confidence", "past error", "in range", "first forecast")
        month = time.strftime("%B %Y", time.gmtime(outlook.month))
        through = day_text(outlook.through - 1)
        text = f"{month}, {outlook.prices}, estimated; from whole days through {through}.\n\n{table(head, rows)}"
        if by == "org" and len(outlook.orgs) == 1:
            (only,) = outlook.orgs.values()
            text += f"\n{only.why[0].upper()}{only.why[1:]}.\n"
        if not rows and outlook.month <= outlook.through - DAY:
            return f"{month}: nothing in the ledger costs anything in it, from whole days through {through}.\n"
        if not rows:
            return f"{month}: a forecast needs a whole day of usage, and the ledger has none of it yet.\n"
        if outlook.through < time.time() - 3 * DAY and outlook.through < next_month(outlook.month):
            text += f"\nThe usage ends with {through}, {int(time.time() - outlook.through) // DAY} days ago.\n"
        if any(forecast.confidence != "exact" for _, _, forecast in _rows(outlook, names, by)):
            text += (
                "\nP10 to P90: 8 of 10 outcomes should lie between. Past error and in range: how forecasts over as "
                "many\ndays did before, on this very usage.\n"
            )
        return text

    def as_dict(self) -> dict[str, Any]:
        """Organisations and projects; amounts are decimal strings."""
        outlook, first, names = self.outlook, self.first, self.names

        def plain(scope: str, forecast: Forecast) -> dict[str, Any]:
            made = first.get(scope)
            return {
                **{name: _text(getattr(forecast, name)) for name in ("spent", "p10", "p50", "p90")},
                "method": forecast.method,
                "confidence": forecast.confidence,
                "why": forecast.why,
                **{name: _text(getattr(forecast, name)) for name in ("wape", "bias", "coverage")},
                "past_forecasts": forecast.looks,
                "first_forecast": None
                if made is None
                else {"made_at": made.made_at, **{name: _text(getattr(made, name)) for name in ("p10", "p50", "p90")}},
            }

        return {
            "currency": "USD",
            "month": day_text(outlook.month)[:7],
            "through": outlook.through,
            "orgs": [
                {"org_id": org, "name": names.get(org, org), **plain(org, forecast)}
                for org, forecast in sorted(outlook.orgs.items())
            ],
            "projects": [
                {
                    "org_id": org,
                    "project_id": project,
                    "name": names.get(project, project),
                    **plain(f"{org}/{project}", forecast),
                }
                for (org, project), forecast in sorted(outlook.projects.items())
            ],
        }


@dataclass(frozen=True, slots=True)
class AnomalyReport:
    """What is unusual, newest first, each with the tenants behind it."""

    through: int
    since: int | None
    """The day from which on was asked for; None: the last 30 days."""
    found: Sequence[tuple[Anomaly, Sequence[Cause]]]
    names: Mapping[str, str]
    prices: str

    @property
    def lasting(self) -> int:
        """How many go on."""
        return sum(anomaly.end is None for anomaly, _ in self.found)

    def text(self) -> str:
        """For a person."""
        since = self.since
        through = day_text(self.through - 1)
        past = "in the last 30 days" if since is None else f"since {day_text(since)}"
        if not self.found:
            return f"Nothing unusual {past}; from whole days through {through}.\n"
        rows: list[tuple[object, ...]] = []
        for anomaly, causes in self.found:
            project, branch = (self.names.get(key, key) for key in (anomaly.project_id, anomaly.branch_id))
            where = f"{project}/{branch}"
            until = "goes on" if anomaly.end is None else day_text(anomaly.end - 1)
            what = ", ".join((anomaly.component, *anomaly.also))
            rows.append(
                (day_text(anomaly.start), until, anomaly.kind, where, what, _usd(anomaly.usd), _words(anomaly, causes))
            )
        total = sum((anomaly.usd for anomaly, _ in self.found), Fraction())
        head = ("from", "to", "kind", "branch", "of", "beyond usual", "why")
        return (
            f"{len(self.found)} unusual {past}, {self.lasting} going on; {_usd(total)} beyond the usual at today's "
            f"{self.prices}, from whole days through {through}.\n\n{table(head, rows)}"
        )

    def as_dict(self) -> dict[str, Any]:
        """The same as data; amounts are decimal strings."""
        return {
            "currency": "USD",
            "through": self.through,
            "anomalies": [
                {
                    "kind": anomaly.kind,
                    "org_id": anomaly.org_id,
                    "project_id": anomaly.project_id,
                    "project": self.names.get(anomaly.project_id, anomaly.project_id),
                    "branch_id": anomaly.branch_id,
                    "branch": self.names.get(anomaly.branch_id, anomaly.branch_id),
                    "component": anomaly.component,
                    "also": list(anomaly.also),
                    "start": anomaly.start,
                    "end": anomaly.end,
                    "detected": anomaly.detected,
                    "usd": decimal_text(anomaly.usd),
                    "usd_per_day": decimal_text(anomaly.usd_per_day),
                    "usual_usd_per_day": decimal_text(anomaly.usual_per_day),
                    "why": anomaly.why,
                    "tenants": [
                        {"tenant": cause.tenant, "more_busy_seconds_a_day": decimal_text(cause.more_seconds)}
                        for cause in causes
                    ],
                }
                for anomaly, causes in self.found
            ],
        }


def read_forecast(settings: CostTree, month: int) -> ForecastReport:
    """The forecast of the month that holds an instant (unix seconds), from the whole days of the ledger.

    Raises:
        StoreError: the store cannot be used, or has no whole day of usage.
        RateCardError: the rate card cannot be used.
    """
    with open_workspace(settings) as workspace:
        outlook = Outlook(workspace.costs.ledger, workspace.costs.card, plan=settings.cost.plan)
        through = outlook.through()
        if not through:
            raise StoreError(_NO_DAYS)
        first = ForecastStore(workspace.store).first(month_start(month))
        return ForecastReport(outlook.month(month, through), first, workspace.names)


def read_anomalies(settings: CostTree, since: int | None) -> AnomalyReport:
    """What was unusual at or after an instant (default: in the last 30 days), or goes on.

    Raises:
        StoreError: the store cannot be used, or has no whole day of usage.
        RateCardError: the rate card cannot be used.
    """
    with open_workspace(settings) as workspace:
        costs, hours, policy = workspace.costs, workspace.counters.tenant_hours, settings.anomalies.policy()
        outlook = Outlook(costs.ledger, costs.card, plan=costs.plan, policy=policy, measured=hours)
        through = outlook.through()
        if not through:
            raise StoreError(_NO_DAYS)
        begin = through - _DAYS if since is None else since
        found = [anomaly for anomaly in outlook.anomalies(through) if anomaly.end is None or anomaly.end > begin]
        found.sort(key=lambda anomaly: (-anomaly.start, -anomaly.usd))
        behind = [(anomaly, tenants_behind(anomaly, hours)) for anomaly in found]
        return AnomalyReport(through, since, behind, workspace.names, costs.card.prices)


def _rows(outlook: MonthOutlook, names: Mapping[str, str], by: str) -> list[tuple[str, str, Forecast]]:
    if by == "org":
        return [(org, names.get(org, org), forecast) for org, forecast in sorted(outlook.orgs.items()) if forecast.p90]
    ranked = sorted(outlook.projects.items(), key=lambda item: (-item[1].p50, item[0]))
    return [
        (f"{org}/{project}", names.get(project, project), forecast)
        for (org, project), forecast in ranked
        if forecast.p90
    ]


def _words(anomaly: Anomaly, causes: Sequence[Cause]) -> str:
    if not causes:
        return anomaly.why
    behind = ", ".join(f"{cause.tenant} (+{round(cause.more_seconds)} s busy a day)" for cause in causes)
    return f"{anomaly.why}; busier: {behind}"


def _usd(amount: Fraction) -> str:
    return f"${to_decimal(amount):,.2f}"


def _text(amount: Fraction | None) -> str | None:
    return None if amount is None else decimal_text(amount)
