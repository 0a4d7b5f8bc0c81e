"""`neonmeter waste`: what is paid for and of no use, in dollars a month, dearest first, with what ends it.

It looks at Neon as `neonmeter inventory` does (GET only, nothing wakes) and reads the ledger beside a running agent.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
from collections.abc import Mapping
from fractions import Fraction
from typing import TYPE_CHECKING, Any

from exporter.commands.main import OK, UPSTREAM, USAGE, load_settings, refuse
from exporter.cost.domain.waste.words import span
from exporter.documents.terminal import counted, table
from exporter.documents.terminal import dollars as money
from exporter.pricing.domain.rates import decimal_text, to_decimal

if TYPE_CHECKING:
    from collectors.neon.inventory import Inventory
    from collectors.neon.snapshots import Snapshots
    from exporter.cost.domain.waste.waste import Account, Findings, Unknown, Waste
    from exporter.cost.settings import CostTree

_PENNY = Fraction(1, 100)
_SHOWN = 30
"""Findings in the table; the JSON has all."""


def waste_command(options: argparse.Namespace) -> int:
    """Print the table, or JSON."""
    from collectors.neon.errors import NeonError
    from exporter.app.preflight import problems_of
    from exporter.cost.allocation.declared_weights import WeightsFileError
    from exporter.pricing.ratecard import RateCardError
    from exporter.storage.store import StoreError

    settings = load_settings(options)
    if settings is None:
        return USAGE
    problems = [name for name in problems_of(settings) if name.startswith("neon.")]
    if problems:
        return refuse(*problems)
    if not settings.storage.path.exists():
        return refuse(f"storage.path: {settings.storage.path} is not there yet; `neonmeter run` fills it")
    try:
        inventory, snapshots = asyncio.run(_look(settings))
        account, findings = judge(settings, inventory, snapshots)
    except NeonError as problem:
        print(problem.message, file=sys.stderr)
        return UPSTREAM
    except (StoreError, RateCardError, WeightsFileError) as problem:
        return refuse(str(problem))
    names = names_of(inventory)
    if options.json:
        print(json.dumps(as_json(account, findings, names), indent=2))
    else:
        print(as_text(account, findings, names), end="")
    return OK


async def _look(settings: CostTree) -> tuple[Inventory, Snapshots]:
    from collectors.neon.inventory import refresh
    from collectors.neon.snapshots import snapshots_of
    from exporter.feature.workspace import neon_client

    async with neon_client(settings) as client:
        neon = settings.neon
        found = await refresh(client, None, org_id=neon.org_id, include=neon.include, exclude=neon.exclude)
        return found, await snapshots_of(client, found.projects)


def judge(settings: CostTree, inventory: Inventory, snapshots: Snapshots) -> tuple[Account, Findings]:
    """Read the ledger and apply the rules.

    Raises:
        StoreError: the ledger's file cannot be read.
        RateCardError: the rate card cannot be used.
    """
    from exporter.app.wiring import SCHEMAS
    from exporter.cost.domain.waste.rules import find
    from exporter.cost.savings.savings import sources_of
    from exporter.cost.savings.waste_facts import gather
    from exporter.cost.workspace import open_workspace
    from exporter.tenancy.rules import rules_of

    with open_workspace(settings, SCHEMAS, rules_of(settings)) as workspace:
        sources = sources_of(settings, workspace.store, workspace.costs, rules_of(settings))
        account = gather(sources, inventory, snapshots, int(inventory.server_now))
        return account, find(account, settings.waste.policy(settings.neon.api_url))


def names_of(inventory: Inventory) -> dict[str, str]:
    """Ids and names of projects and branches."""
    names = {key: project.name for key, project in inventory.projects.items()}
    return names | {key: branch.name for key, branch in inventory.branches.items()}


def as_text(account: Account, findings: Findings, names: Mapping[str, str]) -> str:
    """For a person: a table by dollars, how to end each, and what could not be judged."""
    if not account.costs:
        return "No usage was read yet: `neonmeter run` fills the ledger.\n"
    part = f" ({float(findings.total / findings.cost):.0%})" if findings.cost else ""
    text = (
        f"{usd_text(findings.total)} of {usd_text(findings.cost)} a month{part} could be saved, "
        f"at the pace of the last {span(account.window)}; {account.prices}, estimated.\n"
    )
    dear = [waste for waste in findings.found if waste.usd_per_month >= _floor(findings)][:_SHOWN]
    rows = [(usd_text(waste.usd_per_month), waste.rule, _place(waste, names), waste.evidence) for waste in dear]
    if rows:
        text += "\n" + table(("$/month", "rule", "where", "evidence"), rows)
        text += "\nWhat ends it, in the same order:\n"
        for index, waste in enumerate(dear, 1):
            text += f"\n{index}. {_place(waste, names)}: {waste.action}\n"
            text += f"   {waste.command}\n" if waste.command else ""
    return text + _small(findings, dear) + _not_judged(findings.unknown, names)


def _floor(findings: Findings) -> Fraction:
    """Below a cent a finding is only counted, unless a cent is much here (the demo)."""
    return min(_PENNY, findings.total / 1000) or _PENNY


def _small(findings: Findings, shown: list[Waste]) -> str:
    rest: dict[str, int] = {}
    for waste in findings.found:
        if waste not in shown:
            rest[waste.rule] = rest.get(waste.rule, 0) + 1
    if not rest:
        return ""
    return "\nNot shown, as they cost next to nothing now (--json has them): " + ", ".join(
        f"{rule} {count}" for rule, count in sorted(rest.items())
    ) + ".\n"  # fmt: skip


def _not_judged(unknown: tuple[Unknown, ...], names: Mapping[str, str]) -> str:
    if not unknown:
        return ""
    reasons: dict[str, list[str]] = {}
    for entry in unknown:
        told = reasons.setdefault(entry.rule, [])
        told.append(f"{names.get(entry.project_id, entry.project_id)}: {entry.why}")
    lines = []
    for rule, told in reasons.items():
        more = f" (and {counted(len(told) - 1, 'more')[:-1]})" if len(told) > 1 else ""
        lines.append((rule, told[0] + more))
    return "\nUnknown, not 0:\n\n" + table(("rule", "why"), lines)


def _place(waste: Waste, names: Mapping[str, str]) -> str:
    project = names.get(waste.project_id, waste.project_id)
    return f"{project}/{names.get(waste.branch_id, waste.branch_id)}" if waste.branch_id else project


def usd_text(amount: Fraction) -> str:
    """Dollars to the cent; with more digits where cents show nothing."""
    return f"${to_decimal(amount):,.2f}" if amount >= _PENNY else money(to_decimal(amount))


def as_json(account: Account, findings: Findings, names: Mapping[str, str]) -> dict[str, Any]:
    """Everything; amounts are decimal strings."""
    return {
        "currency": "USD",
        "as_of": account.now,
        "window_seconds": account.window,
        "cost_per_month": decimal_text(findings.cost),
        "waste_per_month": decimal_text(findings.total),
        "findings": [
            {
                "rule": waste.rule,
                "project_id": waste.project_id,
                "branch_id": waste.branch_id or None,
                "name": _place(waste, names),
                "subject": waste.subject or None,
                "usd_per_month": decimal_text(waste.usd_per_month),
                "evidence": waste.evidence,
                "action": waste.action,
                "command": waste.command or None,
                "confidence": waste.confidence.value,
            }
            for waste in findings.found
        ],
        "unknown": [
            {"rule": unknown.rule, "project_id": unknown.project_id, "why": unknown.why} for unknown in findings.unknown
        ],
    }
