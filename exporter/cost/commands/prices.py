"""`neonmeter price` and `neonmeter rates`: what a dump of usage costs, and the rates that it is priced by."""

from __future__ import annotations

import argparse
import json
import sys
import time
from typing import TYPE_CHECKING

from collectors.errors import FINDINGS, OK, UsageError

if TYPE_CHECKING:
    from exporter.core.command_line import Commands
    from exporter.cost.settings import CostTree
    from exporter.pricing.domain.rates import RateCard
    from exporter.storage.ledger.usage_dump import Dump

_PLAN = "price all usage as this plan, whatever the dump says (launch, scale, agent, or a type such as scale_v3)"


def add(commands: Commands) -> None:
    """Declare them, in the order of the help."""
    price = commands.add("price", price_command, "price a usage dump (CSV or JSON lines)", json=True)
    price.add_argument("file", metavar="FILE", help="the usage dump, or - for standard input")
    price.add_argument("--plan", metavar="P", help=_PLAN)
    rates = commands.group("rates", "show and check the rate card")
    show = rates.add("show", show_command, "the rates in force on a day", json=True)
    show.add_argument("--at", metavar="DATE", help="a day, such as 2026-05-01 (default: today)")
    show.add_argument("--plan", metavar="P", help="only this plan (launch, scale, agent, or a type such as scale_v3)")
    check = rates.add("check", check_command, "check that the rate card is consistent and up to date")
    check.add_argument("--at", metavar="DATE", help="check as of this day (default: today)")
    check.add_argument(
        "--max-age", type=int, default=180, metavar="DAYS", help="maximum age of a source (default: %(default)s)"
    )


def price_command(options: argparse.Namespace, settings: CostTree) -> int:
    """Price a file, or the standard input when it is ``-``. Nothing is printed of a dump that is not right."""
    from exporter.cost.price_text import pricing_json, pricing_text
    from exporter.pricing.domain.price import price

    plan = options.plan or settings.cost.plan
    card = _card(settings)
    dump = _dump(options.file, plan)
    pricing = price(dump.facts, card, plan=plan)
    print(pricing_json(pricing, card.currency) if options.json else pricing_text(pricing), end="")
    for note in dump.notes:
        print(f"note: {note}", file=sys.stderr)
    for unknown in pricing.unknown:
        print(f"pricing_unknown: {unknown.project_id} {unknown.component}: {unknown.why}", file=sys.stderr)
    return FINDINGS if pricing.unknown else OK


def _dump(file: str, plan: str | None) -> Dump:
    from pathlib import Path

    from exporter.storage.ledger.usage_dump import DumpError, read_dump

    try:
        if file == "-":
            return read_dump(sys.stdin, plan=plan)
        with Path(file).open(encoding="utf-8", newline="") as lines:
            return read_dump(lines, plan=plan)
    except (DumpError, OSError, UnicodeDecodeError) as problem:
        why = str(problem)
        if not isinstance(problem, DumpError):
            why = str(problem.strerror) if isinstance(problem, OSError) else "it is not UTF-8 text"
            why += "; name a readable CSV or JSON lines file, or - for stdin"
        raise UsageError(f"{'stdin' if file == '-' else file}: {why}") from None


def show_command(options: argparse.Namespace, settings: CostTree) -> int:
    """Print the rates and allowances in force on a day, with their sources."""
    from exporter.cost.price_text import rates_dict, rates_text
    from exporter.pricing.domain.calendar import day_text
    from exporter.pricing.domain.rates import plan_named

    card, now = _card(settings), _day(options.at)
    plans = [plan for plan in card.plans.values() if not plan.unpriced]
    if options.plan:
        chosen = card.plans.get(plan_named(options.plan))
        if chosen is None:
            raise UsageError(f"--plan: no such plan: {options.plan!r}; use one of {', '.join(card.plans)}")
        plans = [chosen]
    if options.json:
        print(json.dumps(rates_dict(card, plans, now), indent=2))
        return OK
    print(rates_text(card, plans, now), end="")
    if not options.plan:
        unpriced = ", ".join(plan.name for plan in card.plans.values() if plan.unpriced)
        print(f"\nWithout prices: {unpriced}.")
        print("Usage without a rate is reported as pricing unknown, never as free.")
        print("launch means launch_v3 and scale means scale_v3: on the command line, in cost.plan, and in what the API")
        print("says of usage from 2025-08-14 on.")
    for component, history in card.units.items():
        told = "; ".join(f"{entry.unit}s from {day_text(entry.valid_from)} ({entry.source.name})" for entry in history)
        print(f"Neon counts {component} in {told}; an account's own figures decide.")
    return OK


def check_command(options: argparse.Namespace, settings: CostTree) -> int:
    """Print what is wrong with the rate card, one line each. Exit code 1 when something is."""
    from exporter.documents.terminal import counted
    from exporter.pricing.check import findings
    from exporter.pricing.domain.calendar import day_text
    from exporter.pricing.ratecard import RateCardError, load

    now = _day(options.at)
    try:
        card = load(settings.cost.rate_card)
    except RateCardError as problem:
        print(problem)
        return FINDINGS
    found = findings(card, now, options.max_age)
    for finding in found:
        print(finding)
    if found:
        print(f"{counted(len(found), 'finding')} on {day_text(now)} in {card.origin}")
        return FINDINGS
    plans = [plan for plan in card.plans.values() if not plan.unpriced]
    rates = sum(len(history) for plan in plans for history in plan.rates.values())
    print(f"sound on {day_text(now)}: {counted(rates, 'rate')} of {counted(len(plans), 'plan')} in {card.origin}")
    return OK


def _card(settings: CostTree) -> RateCard:
    """The rate card; it names its file itself, so what is wrong needs no heading."""
    from exporter.pricing.ratecard import RateCardError, load

    try:
        return load(settings.cost.rate_card)
    except RateCardError as problem:
        raise UsageError(str(problem)) from None


def _day(text: str | None) -> int:
    from exporter.pricing.domain.calendar import day_seconds

    if text is None:
        return int(time.time())
    try:
        return day_seconds(text)
    except ValueError:
        raise UsageError(f"--at: {text} is not a day; write it like 2026-05-01") from None
