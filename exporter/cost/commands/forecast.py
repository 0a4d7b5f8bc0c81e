"""`neonmeter forecast`: what a month will have cost, with the range that past forecasts justify.

It reads the ledger beside a running agent. Of a month that is over it tells what its first forecast had said.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from datetime import UTC, datetime
from fractions import Fraction
from typing import TYPE_CHECKING, Any

from exporter.commands.main import OK, USAGE, load_settings, refuse
from exporter.documents.terminal import table

if TYPE_CHECKING:
    from collections.abc import Mapping

    from exporter.cost.domain.outlook.forecast import Forecast
    from exporter.cost.outlook.outlook import MonthOutlook
    from exporter.cost.outlook.store import StoredForecast
    from exporter.cost.settings import CostTree


def forecast_command(options: argparse.Namespace) -> int:
    """Print the table, or JSON."""
    from exporter.cost.allocation.declared_weights import WeightsFileError
    from exporter.pricing.ratecard import RateCardError
    from exporter.storage.store import StoreError

    settings = load_settings(options)
    if settings is None:
        return USAGE
    try:
        month = time.time() if options.month is None else _month(options.month)
    except ValueError:
        print(f"--month: {options.month} is no month; write YYYY-MM, as 2026-10", file=sys.stderr)
        return USAGE
    if settings.ledger.url is None and not settings.storage.path.exists():
        return refuse(f"storage.path: {settings.storage.path} is not there yet; `neonmeter run` fills it")
    try:
        outlook, first, names = _look(settings, int(month))
    except (StoreError, RateCardError, WeightsFileError) as problem:
        return refuse(*str(problem).splitlines())
    if outlook is None:
        return refuse("the ledger has no whole day of usage yet; `neonmeter run` fills it")
    if options.json:
        print(json.dumps(_as_dict(outlook, first, names), indent=2))
    else:
        print(_as_text(outlook, first, names, options.by), end="")
    return OK


def _month(text: str) -> float:
    return datetime.strptime(text, "%Y-%m").replace(tzinfo=UTC).timestamp()


def _look(settings: CostTree, month: int) -> tuple[MonthOutlook | None, dict[str, StoredForecast], dict[str, str]]:
    from exporter.app.wiring import SCHEMAS
    from exporter.cost.outlook.outlook import Outlook
    from exporter.cost.outlook.store import ForecastStore
    from exporter.cost.workspace import open_workspace
    from exporter.pricing.domain.calendar import month_start
    from exporter.tenancy.rules import rules_of

    with open_workspace(settings, SCHEMAS, rules_of(settings)) as workspace:
        outlook = Outlook(workspace.costs.ledger, workspace.costs.card, plan=settings.cost.plan)
        through = outlook.through()
        if not through:
            return None, {}, workspace.names
        first = ForecastStore(workspace.store).first(month_start(month))
        return outlook.month(month, through), first, workspace.names


def _as_text(outlook: MonthOutlook, first: Mapping[str, StoredForecast], names: Mapping[str, str], by: str) -> str:
    from exporter.pricing.domain.calendar import DAY, day_text, next_month

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
            "\nP10 to P90: 8 of 10 outcomes should lie between. Past error and in range: how forecasts over as many\n"
            "days did before, on this very usage.\n"
        )
    return text


def _rows(outlook: MonthOutlook, names: Mapping[str, str], by: str) -> list[tuple[str, str, Forecast]]:
    if by == "org":
        return [(org, names.get(org, org), forecast) for org, forecast in sorted(outlook.orgs.items()) if forecast.p90]
    ranked = sorted(outlook.projects.items(), key=lambda item: (-item[1].p50, item[0]))
    return [
        (f"{org}/{project}", names.get(project, project), forecast)
        for (org, project), forecast in ranked
        if forecast.p90
    ]


def _usd(amount: Fraction) -> str:
    from exporter.pricing.domain.rates import to_decimal

    return f"${to_decimal(amount):,.2f}"


def _as_dict(outlook: MonthOutlook, first: Mapping[str, StoredForecast], names: Mapping[str, str]) -> dict[str, Any]:
    from exporter.pricing.domain.calendar import day_text

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
            {"org_id": org, "name": names.get(org, org), **plain(org, entry)}
            for org, entry in sorted(outlook.orgs.items())
        ],
        "projects": [
            {
                "org_id": org,
                "project_id": project,
                "name": names.get(project, project),
                **plain(f"{org}/{project}", entry),
            }
            for (org, project), entry in sorted(outlook.projects.items())
        ],
    }


def _text(amount: Fraction | None) -> str | None:
    from exporter.pricing.domain.rates import decimal_text

    return None if amount is None else decimal_text(amount)
