"""The command `cost`: what the ledger says of a month."""

from __future__ import annotations

import argparse
import json
import sys
import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from exporter.commands.main import FINDINGS, OK, USAGE, load_settings, refuse

if TYPE_CHECKING:
    from exporter.app.settings import Settings
    from exporter.cost.allocation.explain import OwnUse
    from exporter.cost.allocation.rows import CostReport


def cost_command(options: argparse.Namespace) -> int:
    """What the ledger says of a month; works beside a running agent."""
    from exporter.cost.allocation.declared_weights import WeightsFileError
    from exporter.pricing.ratecard import RateCardError
    from exporter.storage.store import StoreError

    settings = load_settings(options)
    if settings is None:
        return USAGE
    try:
        at = _month(options.month)
    except ValueError:
        print(f"--month: {options.month} is no month; write YYYY-MM, as 2026-10", file=sys.stderr)
        return USAGE
    if not settings.storage.path.exists():
        return refuse(f"storage.path: {settings.storage.path} is not there yet; `neonmeter run` fills it")
    try:
        report, names, own = _report(settings, at)
    except (StoreError, RateCardError, WeightsFileError) as problem:
        return refuse(*str(problem).splitlines())
    from exporter.cost.closing.declared import declared, extra_lines

    problems = report.problems()
    extra = declared(extra_lines(settings.cost.extra_lines), report.costs)
    if options.json:
        print(json.dumps({**report.as_dict(), **extra.as_dict()}, indent=2))
    else:
        from exporter.cost.allocation.explain import Explanation
        from exporter.cost.allocation.text import summary

        print(Explanation(report, names).text(own) if options.explain else summary(report, names), end="")
        print(extra.text(), end="")
    for entry in problems:
        print(f"does not add up: {entry}", file=sys.stderr)
    return FINDINGS if problems else OK


def _month(text: str | None) -> float:
    if text is None:
        return time.time()
    return datetime.strptime(text, "%Y-%m").replace(tzinfo=UTC).timestamp()


def _report(settings: Settings, at: float) -> tuple[CostReport, dict[str, str], OwnUse]:
    from exporter.app.wiring import SCHEMAS
    from exporter.cost.allocation.explain import OwnUse
    from exporter.cost.allocation.rows import CostReport
    from exporter.cost.workspace import costs_of
    from exporter.feature.workspace import ledger_of, names_of
    from exporter.sampling.visits import WAKE_STATES
    from exporter.storage.store import Store
    from exporter.tenancy.rules import rules_of

    store = Store.open(settings.storage.path, SCHEMAS, read_only=True)
    try:
        ledger = ledger_of(settings, store, read_only=True)
        costs = costs_of(settings, store, ledger, rules_of(settings))
        added = sum(float(str(state.get("added_seconds", 0))) for state in WAKE_STATES.all(store).values())
        return CostReport(costs.month(at, time.time()), costs.stated(at)), names_of(store), OwnUse(added)
    finally:
        store.close()
