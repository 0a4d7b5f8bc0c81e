"""The cost of a month for the terminal: who caused it, and how every level adds up to the one above."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from decimal import Decimal

from exporter.commands.table import table
from exporter.finops.cost_rows import CostReport, CostRow

MEANING = {
    "__idle__": "awake, and no tenant worked",
    "__shared__": "belongs to all: storage, restore history, transfer",
    "__unattributed__": "no rule matched, or nothing was measured",
    "__agent__": "neonmeter itself",
}
Names = Mapping[str, str]
"""Id -> name, for projects and branches."""


def money(amount: Decimal) -> str:
    """Dollars with as many decimals as are needed to see anything."""
    if amount == 0:
        return "$0"
    return (
        f"${amount:,.2f}" if abs(amount) >= 1 else f"${amount:.6f}" if abs(amount) >= Decimal("1e-6") else "<$0.000001"
    )


def summary(report: CostReport, names: Names) -> str:
    """By tenant over all branches, then by branch."""
    tenants = report.group("tenant")
    rows = [(row.tenant, money(row.cost), _share(row, report.total), MEANING.get(row.tenant, "")) for row in tenants]
    text = (
        _head(report) + "\n" + table(("tenant", "cost", "share", ""), [*rows, ("total", money(report.total), "", "")])
    )
    branches = [(_branch(row, names), money(row.cost), row.confidence.value) for row in report.group("branch")]
    text += "\n" + table(("branch", "cost", "confidence"), branches)
    return text + _unpriced(report)


def explain(report: CostReport, names: Names) -> str:
    """The tree on one screen: each level's rows sum to the one above, to the last digit."""
    children: dict[tuple[str, str], list[CostRow]] = {}
    for leaf in report.tenants_by_branch():
        children.setdefault((leaf.project_id, leaf.branch_id), []).append(leaf)
    rows: list[tuple[object, ...]] = []
    for project in report.group("project"):
        rows.append((names.get(project.project_id, project.project_id), _exact(project.cost), "", ""))
        for branch in report.group("branch"):
            if branch.project_id != project.project_id:
                continue
            rows.append(("  " + names.get(branch.branch_id, branch.branch_id), _exact(branch.cost), "", ""))
            for leaf in children[branch.project_id, branch.branch_id]:
                parts = ", ".join(sorted(component.value for component in leaf.components))
                rows.append(("    " + leaf.tenant, _exact(leaf.cost), leaf.confidence.value, parts))
    rows.append(("total", _exact(report.total), "", ""))
    verdict = "Every level sums exactly to the one above." if report.ties() else "The levels do NOT add up."
    return (
        _head(report) + "\n" + table(("", "USD", "confidence", "components"), rows) + verdict + "\n" + _unpriced(report)
    )


def _exact(amount: Decimal) -> str:
    return f"{amount:.12f}"


def _head(report: CostReport) -> str:
    month = time.strftime("%B %Y", time.gmtime(report.costs.month))
    through = report.costs.through
    if not through:
        return f"{month}: no consumption has been read yet.\n"
    until = time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime(through))
    return f"{month}, list prices, estimated; data through {until}; the invoice may differ.\n"


def _share(row: CostRow, total: Decimal) -> str:
    return f"{row.cost / total:.1%}" if total else "-"


def _branch(row: CostRow, names: Names) -> str:
    return f"{names.get(row.project_id, row.project_id)}/{names.get(row.branch_id, row.branch_id)}"


def _unpriced(report: CostReport) -> str:
    unknown: Iterable[str] = sorted({f"{each.plan}: {each.component}" for each in report.costs.pricing.unknown})
    return "".join(f"not priced: {each}; see docs/billing.md\n" for each in unknown)
