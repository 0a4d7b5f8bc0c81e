"""`neonmeter waste` and `whatif`: what could be saved. Nothing is changed, here or at Neon.

They read the ledger beside a running agent, and ask Neon (GET only, nothing wakes) for what the ledger does not hold.
"""

from __future__ import annotations

import argparse
import json
from typing import TYPE_CHECKING

from collectors.errors import OK

if TYPE_CHECKING:
    from exporter.core.command_line import Commands
    from exporter.cost.settings import CostTree


def add(commands: Commands) -> None:
    """Declare them, in the order of the help."""
    commands.add("waste", waste_command, "what is paid for and of no use, and what ends it", json=True)
    what_if = commands.add("whatif", whatif_command, "a month of the ledger under other settings", json=True)
    what_if.add_argument("--month", metavar="YYYY-MM", help="a month of the ledger (default: the present one)")
    what_if.add_argument("--project", metavar="GLOB", default="*", help="projects to change, by id or name")
    what_if.add_argument("--plan", metavar="PLAN", help="launch, scale or agent; allowances and rates of that plan")
    what_if.add_argument(
        "--suspend-timeout", metavar="SECONDS", help="suspend after so many seconds (60 to 604800; never)"
    )
    what_if.add_argument("--history", metavar="AGE", help="history window, such as 1d or 6h")
    what_if.add_argument("--min-cu", metavar="CU", help="autoscaling minimum, such as 0.25")
    what_if.add_argument("--branch-ttl", metavar="AGE", help="child branches are gone at that age, such as 7d")


def waste_command(options: argparse.Namespace, settings: CostTree) -> int:
    """Print what is paid for and of no use, in dollars a month, the dearest first, with what ends it."""
    from exporter.cost.savings.waste_report import read_waste
    from exporter.feature.workspace import require

    require(settings, "neon.", store=True)
    report = read_waste(settings)
    print(json.dumps(report.as_dict(), indent=2) + "\n" if options.json else report.text(), end="")
    return OK


def whatif_command(options: argparse.Namespace, settings: CostTree) -> int:
    """Print what a month of the ledger would have cost under other settings."""
    from exporter.cost.commands.months import month_named
    from exporter.cost.savings.whatif_report import changes_of, read_whatif
    from exporter.feature.workspace import require
    from exporter.pricing.domain.calendar import month_start

    month, changes = month_start(int(month_named(options.month))), changes_of(options)
    require(settings, "neon.", store=True)
    report = read_whatif(settings, month, changes, options.project)
    print(json.dumps(report.as_dict(), indent=2) + "\n" if options.json else report.text(), end="")
    return OK
