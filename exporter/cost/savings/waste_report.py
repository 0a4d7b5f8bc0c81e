"""What is paid for and of no use, in dollars a month, most expensive first, with what ends it: as text and as JSON."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

from collectors.neon.inventory import Inventory, refresh
from collectors.neon.snapshots import Snapshots, snapshots_of
from exporter.cost.domain.waste.rules import find
from exporter.cost.domain.waste.waste import Account, Findings, Unknown, Waste
from exporter.cost.domain.waste.words import span
from exporter.cost.savings.savings import sources_of
from exporter.cost.savings.waste_facts import gather
from exporter.cost.settings import CostTree
from exporter.cost.workspace import open_workspace
from exporter.documents.terminal import counted, dollars, table
from exporter.feature.workspace import neon_client
from exporter.pricing.domain.rates import decimal_text, to_decimal

_PENNY = Fraction(1, 100)
_SHOWN = 30
"""Findings in the table; the JSON has all."""


@dataclass(frozen=True, slots=True)
class WasteReport:
    """What the rules were given and what they found, with names by id."""

    account: Account
    findings: Findings
    names: Mapping[str, str]

    def text(self) -> str:
        """For a person: a table by dollars, how to end each, and what is not known."""
        account, findings, names = self.account, self.findings, self.names
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
        return text + _small(findings, dear) + _not_known(findings.unknown, names)

    def as_dict(self) -> dict[str, Any]:
        """Everything; amounts are decimal strings."""
        return {
            "currency": "USD",
            "as_of": self.account.now,
            "window_seconds": self.account.window,
            "cost_per_month": decimal_text(self.findings.cost),
            "waste_per_month": decimal_text(self.findings.total),
            "findings": [
                {
                    "rule": waste.rule,
                    "project_id": waste.project_id,
                    "branch_id": waste.branch_id or None,
                    "name": _place(waste, self.names),
                    "subject": waste.subject or None,
                    "usd_per_month": decimal_text(waste.usd_per_month),
                    "evidence": waste.evidence,
                    "action": waste.action,
                    "command": waste.command or None,
                    "confidence": waste.confidence.value,
                }
                for waste in self.findings.found
            ],
            "unknown": [
                {"rule": unknown.rule, "project_id": unknown.project_id, "why": unknown.why}
                for unknown in self.findings.unknown
            ],
        }


def read_waste(settings: CostTree) -> WasteReport:
    """Look at Neon, read the ledger, and apply the rules.

    Raises:
        NeonError: Neon did not answer.
        StoreError: the ledger's file cannot be read.
        RateCardError: the rate card cannot be used.
    """
    inventory, snapshots = asyncio.run(_look(settings))
    with open_workspace(settings) as workspace:
        sources = sources_of(settings, workspace.store, workspace.costs, workspace.counters)
        account = gather(sources, inventory, snapshots, int(inventory.server_now))
    findings = find(account, settings.waste.policy(settings.neon.api_url))
    return WasteReport(account, findings, inventory_names(inventory))


async def _look(settings: CostTree) -> tuple[Inventory, Snapshots]:
    async with neon_client(settings) as client:
        neon = settings.neon
        inventory = await refresh(client, None, org_id=neon.org_id, include=neon.include, exclude=neon.exclude)
        return inventory, await snapshots_of(client, inventory.projects)


def inventory_names(inventory: Inventory) -> dict[str, str]:
    """Names of projects and branches, by id."""
    names = {key: project.name for key, project in inventory.projects.items()}
    return names | {key: branch.name for key, branch in inventory.branches.items()}


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


def _not_known(unknown: tuple[Unknown, ...], names: Mapping[str, str]) -> str:
    if not unknown:
        return ""
    reasons: dict[str, list[str]] = {}
    for gap in unknown:
        project = names.get(gap.project_id, gap.project_id)
        reasons.setdefault(gap.rule, []).append(f"{project}: {gap.why}")
    lines = []
    for rule, sentences in reasons.items():
        more = f" (and {counted(len(sentences) - 1, 'more')[:-1]})" if len(sentences) > 1 else ""
        lines.append((rule, sentences[0] + more))
    return "\nUnknown, not 0:\n\n" + table(("rule", "why"), lines)


def _place(waste: Waste, names: Mapping[str, str]) -> str:
    project = names.get(waste.project_id, waste.project_id)
    return f"{project}/{names.get(waste.branch_id, waste.branch_id)}" if waste.branch_id else project


def usd_text(amount: Fraction) -> str:
    """Dollars to the cent; with more digits where cents show nothing."""
    return f"${to_decimal(amount):,.2f}" if amount >= _PENNY else dollars(to_decimal(amount))
