"""`neonmeter cost`, `forecast`, `anomalies`, `budget`, `waste` and `whatif`: what a month costs, will, and could.

They read the ledger beside a running agent. The last two also ask Neon (GET only, nothing wakes) for what the ledger
does not hold; nothing is changed, here or at Neon.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from collectors.errors import FINDINGS, OK, UsageError

if TYPE_CHECKING:
    from exporter.core.command_line import Commands
    from exporter.cost.settings import CostTree


def add_cost(commands: Commands) -> None:
    """Declare `cost`."""
    cost = commands.add("cost", cost_command, "what each branch and tenant cost this month", json=True)
    cost.add_argument("--month", metavar="YYYY-MM", help="a month of the ledger (default: the current one)")
    cost.add_argument("--explain", action="store_true", help="show how every level adds up to the one above")


def add_outlook(commands: Commands) -> None:
    """Declare `forecast` and `anomalies`."""
    forecast = commands.add("forecast", forecast_command, "what a month will cost in total", json=True)
    forecast.add_argument("--month", metavar="YYYY-MM", help="the current or a future month (default: the current one)")
    forecast.add_argument("--by", choices=("org", "project"), default="org", help="group rows by (default: org)")
    anomalies = commands.add("anomalies", anomalies_command, "unusual costs, and why", json=True)
    anomalies.add_argument(
        "--since", metavar="YYYY-MM-DD", help="anomalies active on or after this day (default: the last 30 days)"
    )


def add_budget(commands: Commands) -> None:
    """Declare `budget`."""
    budget = commands.add("budget", budget_command, "how much of each budget is spent, and will be", json=True)
    budget.add_argument("--months", action="store_true", help="compare the closed months with their budgets instead")


def add_savings(commands: Commands) -> None:
    """Declare `waste` and `whatif`."""
    commands.add("waste", waste_command, "what is paid for but not used, and how to stop it", json=True)
    what_if = commands.add("whatif", whatif_command, "price a month of the ledger under other settings", json=True)
    what_if.add_argument("--month", metavar="YYYY-MM", help="a month of the ledger (default: the current one)")
    what_if.add_argument("--project", metavar="GLOB", default="*", help="projects to change, by id or name")
    what_if.add_argument("--plan", metavar="PLAN", help="launch, scale or agent; allowances and rates of that plan")
    what_if.add_argument("--suspend-timeout", metavar="SECONDS", help="suspend timeout (60 to 604800, or never)")
    what_if.add_argument("--history", metavar="AGE", help="history window, such as 1d or 6h")
    what_if.add_argument("--min-cu", metavar="CU", help="autoscaling minimum, such as 0.25")
    what_if.add_argument("--branch-ttl", metavar="AGE", help="delete child branches at this age, such as 7d")


def month_named(text: str | None) -> float:
    """The first instant of a month written YYYY-MM, in unix seconds; without one, now.

    Raises:
        UsageError: the text is no month.
    """
    if text is None:
        return time.time()
    try:
        return datetime.strptime(text, "%Y-%m").replace(tzinfo=UTC).timestamp()
    except ValueError:
        raise UsageError(f"--month: {text} is not a month; write YYYY-MM, such as 2026-10") from None


def cost_command(options: argparse.Namespace, settings: CostTree) -> int:
    """Print what the ledger says of a month. Exit code 1 when a level does not add up to the one above."""
    at = month_named(options.month)
    from exporter.cost.allocation.rows import CostReport
    from exporter.cost.allocation.text import Explanation, OwnUse, not_metered, summary
    from exporter.cost.closing.declared import declared, extra_lines
    from exporter.cost.workspace import open_workspace
    from exporter.sampling.wake_states import WAKE_STATES

    with open_workspace(settings) as workspace:
        costs, names, unmetered = workspace.costs, workspace.names, workspace.unmetered
        added = sum(float(str(state.get("added_seconds", 0))) for state in WAKE_STATES.all(workspace.store).values())
        report = CostReport(costs.month(at, time.time()), costs.stated(at))
    problems = report.problems()
    extra = declared(extra_lines(settings.cost.extra_lines), report.costs)
    if options.json:
        print(json.dumps({**report.as_dict(), **extra.as_dict(), "not_metered_by_api": unmetered}, indent=2))
    else:
        print(
            Explanation(report, names).text(OwnUse(added)) if options.explain else summary(report, names),
            extra.text(),
            not_metered(unmetered),
            sep="",
            end="",
        )
    for problem in problems:
        print(f"does not add up: {problem}", file=sys.stderr)
    return FINDINGS if problems else OK


def forecast_command(options: argparse.Namespace, settings: CostTree) -> int:
    """Print what a month will have cost at its end."""
    month = int(month_named(options.month))
    from exporter.cost.outlook.report import read_forecast

    report = read_forecast(settings, month)
    print(json.dumps(report.as_dict(), indent=2) + "\n" if options.json else report.text(options.by), end="")
    return OK


def anomalies_command(options: argparse.Namespace, settings: CostTree) -> int:
    """Print unusual costs. Exit code 1 while one goes on."""
    from exporter.cost.outlook.report import read_anomalies
    from exporter.pricing.domain.calendar import day_seconds

    try:
        since = None if options.since is None else day_seconds(options.since)
    except ValueError:
        raise UsageError(f"--since: {options.since} is not a day; write YYYY-MM-DD, such as 2026-10-01") from None
    report = read_anomalies(settings, since)
    print(json.dumps(report.as_dict(), indent=2) + "\n" if options.json else report.text(), end="")
    return FINDINGS if report.lasting else OK


def budget_command(options: argparse.Namespace, settings: CostTree) -> int:
    """Print every budget. Exit code 1 when one is over, or will be."""
    from exporter.cost.closing.budget_report import read_closed_months, read_present_month

    report = read_closed_months(settings) if options.months else read_present_month(settings)
    print(json.dumps(report.as_list(), indent=2) + "\n" if options.json else report.text(), end="")
    return FINDINGS if report.over else OK


def waste_command(options: argparse.Namespace, settings: CostTree) -> int:
    """Print what is paid for and of no use, in dollars a month, the most expensive first, with what ends it."""
    from exporter.cost.savings.waste_report import read_waste
    from exporter.feature.workspace import require

    require(settings, "neon.", store=True)
    report = read_waste(settings)
    print(json.dumps(report.as_dict(), indent=2) + "\n" if options.json else report.text(), end="")
    return OK


def whatif_command(options: argparse.Namespace, settings: CostTree) -> int:
    """Print what a month of the ledger would have cost under other settings."""
    from exporter.cost.savings.whatif_report import changes_of, read_whatif
    from exporter.feature.workspace import require
    from exporter.pricing.domain.calendar import month_start

    month, changes = month_start(int(month_named(options.month))), changes_of(options)
    require(settings, "neon.", store=True)
    report = read_whatif(settings, month, changes, options.project)
    print(json.dumps(report.as_dict(), indent=2) + "\n" if options.json else report.text(), end="")
    return OK
