"""The cost of a month for the terminal: who caused it, and where."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from decimal import Decimal
from fractions import Fraction

from exporter.cost.allocation.rows import CostReport, CostRow
from exporter.cost.domain.allocate import Confidence
from exporter.documents.terminal import dollars as money
from exporter.documents.terminal import table

MEANING = {
    "__idle__": "awake, and no tenant worked",
    "__shared__": "belongs to all: storage, restore history, transfer",
    "__unattributed__": "no rule matched, or nothing was measured",
    "__agent__": "neonmeter itself",
}
Names = Mapping[str, str]
"""Id -> name, for projects and branches."""


def summary(report: CostReport, names: Names) -> str:
    """By tenant over all branches, then by branch."""
    tenants = report.group("tenant")
    rows = [(row.tenant, money(row.cost), _share(row, report.total), MEANING.get(row.tenant, "")) for row in tenants]
    text = head(report) + "\n" + table(("tenant", "cost", "share", ""), [*rows, ("total", money(report.total), "", "")])
    branches = [
        (_branch(row, names), money(row.cost), _covered(row.coverage), how_text(row.how))
        for row in report.group("branch")
    ]
    text += "\n" + table(("branch", "cost", "busy", "how its tenants are known"), branches)
    return text + unpriced(report)


def how_text(parts: Mapping[Confidence, Fraction] | Mapping[Confidence, int]) -> str:
    """What part of the money is known how, the largest first: ``measured`` or ``exact 80%, measured 20%``."""
    total = sum(parts.values())
    ranked = [
        name for name in sorted(parts, key=lambda entry: (-parts[entry], entry)) if parts[name] or len(parts) == 1
    ]
    if not total or len(ranked) == 1:
        return ranked[0].value if ranked else "-"
    return ", ".join(f"{name.value} {_percent(Fraction(parts[name]) / total)}" for name in ranked)


def _percent(part: Fraction) -> str:
    whole = round(part * 100)
    return "<1%" if whole < 1 else ">99%" if whole > 99 else f"{whole}%"


def head(report: CostReport) -> str:
    """Which month, and what kind of figures these are."""
    month = time.strftime("%B %Y", time.gmtime(report.costs.month))
    through = report.costs.through
    if not through:
        return f"{month}: no consumption has been read yet.\n"
    until = time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime(through))
    return f"{month}, {report.costs.prices}, estimated; data through {until}; the invoice may differ.\n"


def _share(row: CostRow, total: Decimal) -> str:
    return f"{row.cost / total:.1%}" if total else "-"


def _covered(coverage: Fraction | None) -> str | None:
    return None if coverage is None else f"{float(coverage):.1%}"


def _branch(row: CostRow, names: Names) -> str:
    return f"{names.get(row.project_id, row.project_id)}/{names.get(row.branch_id, row.branch_id)}"


def unpriced(report: CostReport) -> str:
    """A line for each plan and component that has no price."""
    unknown: Iterable[str] = sorted({f"{entry.plan}: {entry.component}" for entry in report.costs.pricing.unknown})
    return "".join(f"not priced: {entry}; see docs/billing.md\n" for entry in unknown)
