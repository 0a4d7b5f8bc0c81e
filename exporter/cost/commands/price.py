"""`neonmeter price`: what a dump of usage costs, with the code that the agent prices with."""

from __future__ import annotations

import argparse
import json
import sys
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING

from exporter.commands.main import FINDINGS, OK, USAGE, load_settings
from exporter.documents.terminal import counted, table

if TYPE_CHECKING:
    from exporter.pricing.domain.price import CostLine, Pricing
    from exporter.storage.ledger.usage_dump import Dump


def price_command(options: argparse.Namespace) -> int:
    """Price a file, or the standard input when it is ``-``. Nothing is printed of a dump that is not right."""
    from exporter.pricing import ratecard
    from exporter.pricing.domain.price import price
    from exporter.storage.ledger.usage_dump import DumpError

    settings = load_settings(options)
    if settings is None:
        return USAGE
    plan = options.plan or settings.cost.plan
    try:
        card = ratecard.load(settings.cost.rate_card)
        dump = _read(options.file, plan)
    except (ratecard.RateCardError, DumpError) as problem:
        where = "" if isinstance(problem, ratecard.RateCardError) else f"{_named(options.file)}: "
        print(f"{where}{problem}", file=sys.stderr)
        return USAGE
    except (OSError, UnicodeDecodeError) as problem:
        why = problem.strerror if isinstance(problem, OSError) else "it is not UTF-8 text"
        print(f"{_named(options.file)}: {why}; name a readable CSV or JSON lines file, or - for stdin", file=sys.stderr)
        return USAGE
    pricing = price(dump.facts, card, plan=plan)
    print(_json(pricing, card.currency) if options.json else _text(pricing), end="")
    for note in dump.notes:
        print(f"note: {note}", file=sys.stderr)
    for unknown in pricing.unknown:
        print(f"pricing_unknown: {unknown.project_id} {unknown.component}: {unknown.why}", file=sys.stderr)
    return FINDINGS if pricing.unknown else OK


def _named(file: str) -> str:
    return "stdin" if file == "-" else file


def _read(file: str, plan: str | None) -> Dump:
    from exporter.storage.ledger.usage_dump import read_dump

    if file == "-":
        return read_dump(sys.stdin, plan=plan)
    with Path(file).open(encoding="utf-8", newline="") as lines:
        return read_dump(lines, plan=plan)


def _json(pricing: Pricing, currency: str) -> str:
    from exporter.pricing.domain.rates import decimal_text

    lines = [
        {
            "project_id": line.project_id,
            "branch_id": line.branch_id,
            "component": line.component.value,
            "quantity": decimal_text(line.quantity),
            "unit": line.unit,
            "rate": line.rate.text if line.rate else None,
            "cost": decimal_text(line.cost),
        }
        for line in pricing.lines
    ]
    return json.dumps({"currency": currency, "total": decimal_text(pricing.total), "lines": lines}, indent=2) + "\n"


def _text(pricing: Pricing) -> str:
    from exporter.pricing.domain.rates import decimal_text

    rows = [
        (
            line.project_id,
            line.branch_id,
            line.component.value,
            line.plan,
            _shown(line.quantity),
            line.unit,
            line.rate.text if line.rate else "unknown",
            _shown(line.cost) if line.rate else "unknown",
        )
        for line in pricing.lines
    ]
    headers = ("project", "branch", "component", "plan", "quantity", "unit", "rate", "cost")
    text = table(headers, rows)
    text += f"\nTotal of {counted(len(rows), 'line')}: {decimal_text(pricing.total)} USD\n"
    return text + "".join(f"note: {remark}\n" for remark in _remarks(pricing.lines, bool(pricing.unknown)))


def _shown(amount: Fraction) -> str:
    """Six decimals for the eye, and a mark where that is not all."""
    from exporter.pricing.domain.rates import decimal_text

    exact = amount * 10**6
    rounded = Fraction(int(exact + Fraction(1, 2)), 10**6)
    return decimal_text(amount) if exact.denominator == 1 else f"~{decimal_text(rounded)}"


def _remarks(lines: tuple[CostLine, ...], unknown: bool) -> list[str]:
    found = []
    if any(line.lower_bound for line in lines):
        found.append(
            "extra_branches is a lower bound: the allowance is hourly, and a daily or monthly bucket hides busy hours"
        )
    if any(line.spread for line in lines):
        found.append("a monthly bucket reached over a change of price; its usage was spread evenly over its hours")
    if unknown:
        found.append("lines with an unknown rate are not in the total")
    return found
