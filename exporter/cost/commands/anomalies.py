"""`neonmeter anomalies`: what costs more than it usually does, since when, how many dollars, and who is behind it.

It reads the ledger beside a running agent, and asks nobody else.
"""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import dataclass
from fractions import Fraction
from typing import TYPE_CHECKING, Any

from exporter.commands.main import FINDINGS, OK, USAGE, load_settings, refuse
from exporter.documents.terminal import table

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from exporter.cost.domain.outlook.anomaly import Anomaly
    from exporter.cost.outlook.outlook import Cause
    from exporter.cost.settings import CostTree

_DAYS = 30 * 86400


@dataclass(frozen=True, slots=True)
class AnomalyReport:
    """What was found, newest first, each with the tenants behind it."""

    through: int
    found: Sequence[tuple[Anomaly, Sequence[Cause]]]
    names: Mapping[str, str]
    prices: str


def anomalies_command(options: argparse.Namespace) -> int:
    """Print the table, or JSON. Exit code 1 while something unusual goes on."""
    from exporter.cost.allocation.declared_weights import WeightsFileError
    from exporter.pricing.domain.calendar import day_seconds
    from exporter.pricing.ratecard import RateCardError
    from exporter.storage.store import StoreError

    settings = load_settings(options)
    if settings is None:
        return USAGE
    try:
        since = None if options.since is None else day_seconds(options.since)
    except ValueError:
        print(f"--since: {options.since} is no day; write YYYY-MM-DD, as 2026-10-01", file=sys.stderr)
        return USAGE
    if settings.ledger.url is None and not settings.storage.path.exists():
        return refuse(f"storage.path: {settings.storage.path} is not there yet; `neonmeter run` fills it")
    try:
        told = _look(settings, since)
    except (StoreError, RateCardError, WeightsFileError) as problem:
        return refuse(*str(problem).splitlines())
    if told is None:
        return refuse("the ledger has no whole day of usage yet; `neonmeter run` fills it")
    print(json.dumps(_as_dict(told), indent=2) if options.json else _as_text(told, since), end="")
    if options.json:
        print()
    return FINDINGS if any(anomaly.end is None for anomaly, _ in told.found) else OK


def _look(settings: CostTree, since: int | None) -> AnomalyReport | None:
    from exporter.app.wiring import SCHEMAS
    from exporter.cost.outlook.outlook import Outlook, tenants_behind
    from exporter.cost.workspace import open_workspace
    from exporter.sampling.counters.statements import DurableCounters
    from exporter.tenancy.rules import rules_of

    rules = rules_of(settings)
    with open_workspace(settings, SCHEMAS, rules) as workspace:
        policy = settings.anomalies.policy()
        durable = DurableCounters(workspace.store, rules, settings.sampling.top_statements)
        costs = workspace.costs
        outlook = Outlook(costs.ledger, costs.card, plan=costs.plan, policy=policy, measured=durable.tenant_hours)
        through = outlook.through()
        if not through:
            return None
        begin = through - _DAYS if since is None else since
        found = [anomaly for anomaly in outlook.anomalies(through) if anomaly.end is None or anomaly.end > begin]
        found.sort(key=lambda anomaly: (-anomaly.start, -anomaly.usd))
        behind = [(anomaly, tenants_behind(anomaly, durable.tenant_hours)) for anomaly in found]
        return AnomalyReport(through, behind, workspace.names, workspace.costs.card.prices)


def _as_text(told: AnomalyReport, since: int | None) -> str:
    from exporter.pricing.domain.calendar import day_text

    through = day_text(told.through - 1)
    past = "in the last 30 days" if since is None else f"since {day_text(since)}"
    if not told.found:
        return f"Nothing unusual {past}; from whole days through {through}.\n"
    rows: list[tuple[object, ...]] = []
    for anomaly, causes in told.found:
        project, branch = (told.names.get(key, key) for key in (anomaly.project_id, anomaly.branch_id))
        where = f"{project}/{branch}"
        until = "goes on" if anomaly.end is None else day_text(anomaly.end - 1)
        what = ", ".join((anomaly.component, *anomaly.also))
        rows.append(
            (day_text(anomaly.start), until, anomaly.kind, where, what, _usd(anomaly.usd), _words(anomaly, causes))
        )
    total = sum((anomaly.usd for anomaly, _ in told.found), Fraction())
    head = ("from", "to", "kind", "branch", "of", "beyond usual", "why")
    lasting = sum(anomaly.end is None for anomaly, _ in told.found)
    return (
        f"{len(told.found)} unusual {past}, {lasting} going on; {_usd(total)} beyond the usual at today's "
        f"{told.prices}, from whole days through {through}.\n\n{table(head, rows)}"
    )


def _words(anomaly: Anomaly, causes: Sequence[Cause]) -> str:
    if not causes:
        return anomaly.why
    behind = ", ".join(f"{caus.tenant} (+{round(caus.more_seconds)} s busy a day)" for caus in causes)
    return f"{anomaly.why}; busier: {behind}"


def _usd(amount: Fraction) -> str:
    from exporter.pricing.domain.rates import to_decimal

    return f"${to_decimal(amount):,.2f}"


def _as_dict(told: AnomalyReport) -> dict[str, Any]:
    from exporter.pricing.domain.rates import decimal_text

    return {
        "currency": "USD",
        "through": told.through,
        "anomalies": [
            {
                "kind": anomaly.kind,
                "org_id": anomaly.org_id,
                "project_id": anomaly.project_id,
                "project": told.names.get(anomaly.project_id, anomaly.project_id),
                "branch_id": anomaly.branch_id,
                "branch": told.names.get(anomaly.branch_id, anomaly.branch_id),
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
            for anomaly, causes in told.found
        ],
    }
