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
    from exporter.settings import Settings

_DAYS = 30 * 86400


@dataclass(frozen=True, slots=True)
class Told:
    """What was found, newest first, each with the tenants behind it."""

    through: int
    found: Sequence[tuple[Anomaly, Sequence[Cause]]]
    names: Mapping[str, str]
    prices: str


def anomalies_command(options: argparse.Namespace) -> int:
    """Print the table, or JSON. Exit code 1 while something unusual goes on."""
    from exporter.cost.allocation.declared_weights import WeightsFileError
    from exporter.pricing.domain.rates import day_seconds
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
    if settings.ledger.url is None and not settings.ledger.path.exists():
        return refuse(f"ledger.path: {settings.ledger.path} is not there yet; `neonmeter run` fills it")
    try:
        told = _look(settings, since)
    except (StoreError, RateCardError, WeightsFileError) as problem:
        return refuse(*str(problem).splitlines())
    if told is None:
        return refuse("the ledger has no whole day of usage yet; `neonmeter run` fills it")
    print(json.dumps(_as_dict(told), indent=2) if options.json else _as_text(told, since), end="")
    if options.json:
        print()
    return FINDINGS if any(each.end is None for each, _ in told.found) else OK


def _look(settings: Settings, since: int | None) -> Told | None:
    from exporter.app.wiring import ROOMS, rules_of
    from exporter.cost.outlook.outlook import Outlook, tenants_behind
    from exporter.cost.workspace import open_desk
    from exporter.sampling.counters.statements import Durable

    rules = rules_of(settings)
    with open_desk(settings, ROOMS, rules) as desk:
        policy = settings.anomalies.policy()
        durable = Durable(desk.store, rules, settings.sampling.top_statements)
        costs = desk.costs
        outlook = Outlook(costs.ledger, costs.card, plan=costs.plan, policy=policy, measured=durable.tenant_hours)
        through = outlook.through()
        if not through:
            return None
        begin = through - _DAYS if since is None else since
        found = [each for each in outlook.anomalies(through) if each.end is None or each.end > begin]
        found.sort(key=lambda each: (-each.start, -each.usd))
        behind = [(each, tenants_behind(each, durable.tenant_hours)) for each in found]
        return Told(through, behind, desk.names, desk.costs.card.prices)


def _as_text(told: Told, since: int | None) -> str:
    from exporter.pricing.domain.rates import day_text

    through = day_text(told.through - 1)
    past = "in the last 30 days" if since is None else f"since {day_text(since)}"
    if not told.found:
        return f"Nothing unusual {past}; from whole days through {through}.\n"
    rows: list[tuple[object, ...]] = []
    for each, causes in told.found:
        where = f"{told.names.get(each.project_id, each.project_id)}/{told.names.get(each.branch_id, each.branch_id)}"
        until = "goes on" if each.end is None else day_text(each.end - 1)
        what = ", ".join((each.component, *each.also))
        rows.append((day_text(each.start), until, each.kind, where, what, _usd(each.usd), _words(each, causes)))
    total = sum((each.usd for each, _ in told.found), Fraction())
    head = ("from", "to", "kind", "branch", "of", "beyond usual", "why")
    lasting = sum(each.end is None for each, _ in told.found)
    return (
        f"{len(told.found)} unusual {past}, {lasting} going on; {_usd(total)} beyond the usual at today's "
        f"{told.prices}, from whole days through {through}.\n\n{table(head, rows)}"
    )


def _words(anomaly: Anomaly, causes: Sequence[Cause]) -> str:
    if not causes:
        return anomaly.why
    behind = ", ".join(f"{each.tenant} (+{round(each.more_seconds)} s busy a day)" for each in causes)
    return f"{anomaly.why}; busier: {behind}"


def _usd(amount: Fraction) -> str:
    from exporter.pricing.domain.rates import to_decimal

    return f"${to_decimal(amount):,.2f}"


def _as_dict(told: Told) -> dict[str, Any]:
    from exporter.pricing.domain.rates import decimal_text

    return {
        "currency": "USD",
        "through": told.through,
        "anomalies": [
            {
                "kind": each.kind,
                "org_id": each.org_id,
                "project_id": each.project_id,
                "project": told.names.get(each.project_id, each.project_id),
                "branch_id": each.branch_id,
                "branch": told.names.get(each.branch_id, each.branch_id),
                "component": each.component,
                "also": list(each.also),
                "start": each.start,
                "end": each.end,
                "detected": each.detected,
                "usd": decimal_text(each.usd),
                "usd_per_day": decimal_text(each.usd_per_day),
                "usual_usd_per_day": decimal_text(each.usual_per_day),
                "why": each.why,
                "tenants": [
                    {"tenant": cause.tenant, "more_busy_seconds_a_day": decimal_text(cause.more_seconds)}
                    for cause in causes
                ],
            }
            for each, causes in told.found
        ],
    }
