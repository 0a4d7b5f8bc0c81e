"""The cost of a month for the terminal: who caused it and where, and (`Explanation`) how every level adds up.

Every figure of an explanation is a sum of the same shares, which were rounded together once: whoever adds the digits
that are shown finds the sums that are shown. The proof itself is made on the exact amounts (`CostReport.problems`).
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction

from exporter.cost.allocation.rows import NOT_TENANTS, CostReport, CostRow
from exporter.cost.domain.allocate import AGENT, IDLE, SHARED, Confidence, Share, round_rows
from exporter.documents.terminal import counted, seconds, table
from exporter.documents.terminal import dollars as money
from exporter.pricing.domain.calendar import day_text
from exporter.pricing.domain.components import Group
from exporter.pricing.domain.rates import to_decimal
from exporter.pricing.domain.usage import PROJECT_LEVEL, UNATTRIBUTED

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
        name
        for name in sorted(parts, key=lambda confidence: (-parts[confidence], confidence))
        if parts[name] or len(parts) == 1
    ]
    if not total or len(ranked) == 1:
        return ranked[0].value if ranked else "-"
    return ", ".join(f"{name.value} {_percent(Fraction(parts[name]) / total)}" for name in ranked)


def _percent(part: Fraction) -> str:
    whole = round(part * 100)
    return "<1%" if whole < 1 else ">99%" if whole > 99 else f"{whole}%"


def head(report: CostReport) -> str:
    """Which month, and what kind of figures these are."""
    month = unpriced_first(report) + time.strftime("%B %Y", time.gmtime(report.costs.month))
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
    unpriced_usage = sorted({f"{usage.plan}: {usage.component}" for usage in report.costs.pricing.unknown})
    return "".join(f"not priced: {usage}; see docs/billing.md\n" for usage in unpriced_usage)


def not_metered(services: Mapping[str, int]) -> str:
    """A line for each service that is in use and has no metric, by name; on how many branches it is used."""
    return "".join(
        f"not metered by the API: {service}, used on {counted(branches, 'branch')}; its cost is not in here\n"
        for service, branches in services.items()
    )


def unpriced_first(report: CostReport) -> str:
    """The first line where something has no price: what the figures lack; else nothing."""
    unknown = report.costs.pricing.unknown
    if not unknown:
        return ""
    what = ", ".join(sorted({f"{usage.component} on plan {usage.plan}" for usage in unknown}))
    projects = counted(len({usage.project_id for usage in unknown}), "project")
    return f"NOT PRICED, so the figures below lack it: {what}, of {projects}; `neonmeter check` says what to do.\n"


def storage_units(report: CostReport) -> str:
    """In what the API counted stored bytes, a line for each organisation and unit."""
    lines = []
    for span in report.costs.units:
        days = day_text(span.first) + ("" if span.first == span.last else f" to {day_text(span.last)}")
        told = f"counted in {span.unit}s by Neon" if span.unit else "in a unit that is not known: taken by date"
        lines.append(f"Storage of {span.org_id}, {days}: {told}.\n")
    return "".join(lines)


LEAST_DIGITS = 6
"""Significant digits of the total; what is smaller than the last of them is shown as 0."""
OWN_ROWS = {PROJECT_LEVEL: "(the project's own)", UNATTRIBUTED: "(in no branch)"}


@dataclass(frozen=True, slots=True)
class OwnUse:
    """What watching added: seconds of awake time at most, over all computes ever seen."""

    added_seconds: float


class Explanation:
    """The screen of one month."""

    def __init__(self, report: CostReport, names: Names) -> None:
        """Round the shares to the digits of the screen."""
        self._report = report
        self._names = names
        self.places = _places(report.total)
        shares = report.costs.shares
        costly = {share.line.component.spec.group for share in shares if share.cost}
        self._columns = [group for group in Group if group in costly]
        self._shares = list(zip(shares, round_rows([share.cost for share in shares], self.places), strict=True))

    def text(self, own: OwnUse | None = None) -> str:
        """All of it; ends in a newline."""
        return "\n".join((head(self._report), self._branches(), self._tenants(), self._api(), self._verdict(own)))

    def _money(self, units: int) -> str:
        return f"{Decimal(units).scaleb(-self.places):,.{self.places}f}" if units else "0"

    def _branches(self) -> str:
        columns = ("", *NOT_TENANTS)
        rows: list[tuple[str, ...]] = []
        whole = dict.fromkeys(columns, 0)
        for project in sorted({share.line.project_id for share, _ in self._shares}, key=self._name):
            mine = [(share, units) for share, units in self._shares if share.line.project_id == project]
            rows.append((self._name(project), *[""] * 6))
            total = dict.fromkeys(columns, 0)
            for branch in sorted({share.branch_id for share, _ in mine}, key=self._branch_order):
                sums = dict.fromkeys(columns, 0)
                for share, units in mine:
                    if share.branch_id == branch:
                        sums[share.tenant if share.tenant in NOT_TENANTS else ""] += units
                name = OWN_ROWS.get(branch) or self._name(branch)
                rows.append((f"  {name}", *map(self._money, sums.values()), self._money(sum(sums.values()))))
                total = {column: total[column] + sums[column] for column in columns}
            rows.append(("  = project", *map(self._money, total.values()), self._money(sum(total.values()))))
            whole = {column: whole[column] + total[column] for column in columns}
        rows.append(("total", *map(self._money, whole.values()), self._money(sum(whole.values()))))
        return table(("USD", "tenants", "+ idle", "+ shared", "+ unattributed", "+ agent", "= branch"), rows)

    def _branch_order(self, branch: str) -> tuple[bool, str]:
        return (branch in OWN_ROWS, self._name(branch))

    def _tenants(self) -> str:
        by_tenant: dict[str, list[tuple[Share, int]]] = {}
        for share, units in self._shares:
            by_tenant.setdefault(share.tenant, []).append((share, units))
        rows = []
        for tenant in sorted(by_tenant, key=lambda name: (name in NOT_TENANTS and NOT_TENANTS.index(name) + 1, name)):
            mine = by_tenant[tenant]
            rows.append((tenant, *self._by_group(mine), self._money(sum(units for _, units in mine)), _how(mine)))
        everything = self._shares
        rows.append(("total", *self._by_group(everything), self._money(sum(units for _, units in everything)), ""))
        return table(("tenant", *self._columns, "= tenant", "how it is known"), rows)

    def _by_group(self, shares: Sequence[tuple[Share, int]]) -> list[str]:
        return [
            self._money(sum(units for share, units in shares if share.line.component.spec.group is group))
            for group in self._columns
        ]

    def _api(self) -> str:
        stated = self._report.stated
        if stated is None:
            return ""
        ours: dict[str, Fraction] = dict.fromkeys(stated, Fraction())
        shown: dict[str, int] = dict.fromkeys(stated, 0)
        for share, units in self._shares:
            project = share.line.project_id
            ours[project] = ours.get(project, Fraction()) + share.cost
            shown[project] = shown.get(project, 0) + units
        rows = [
            self._compared(self._name(project), shown[project], ours[project], stated.get(project))
            for project in sorted(ours, key=self._name)
        ]
        total, all_stated = sum(ours.values(), Fraction()), sum(stated.values(), Fraction())
        rows.append(self._compared("total", sum(shown.values()), total, all_stated))
        return table(("project", "rows above", "Neon's project figures, priced", "difference"), rows)

    def _compared(self, name: str, shown: int, ours: Fraction, stated: Fraction | None) -> tuple[str, ...]:
        gap = ours - (stated or 0)
        units = round(gap * 10**self.places)
        return (
            name,
            self._money(shown),
            self._money(shown - units),
            self._money(units) if not gap else f"{to_decimal(gap):+.2e}",
        )

    def _verdict(self, own: OwnUse | None) -> str:
        lines = []
        problems = self._report.problems()
        lines.append(
            "Everything adds up: tenants to branches, branches to projects, projects to the total, exactly."
            if not problems
            else "It does NOT add up: see the lines that begin with 'does not add up'."
        )
        growing = self._report.growing()
        if growing:
            lines.append("The newest hours still grow: their branches and projects were not read at one time.")
        if own is not None:
            spent = sum(units for share, units in self._shares if share.tenant == AGENT)
            lines.append(
                f"neonmeter itself: {AGENT} is what its statements used ({self._money(spent)} USD); at most "
                f"{seconds(own.added_seconds)} of awake time added, ever."
            )
        lines += [f"{name}: {MEANING[name]}." for name in (IDLE, SHARED, UNATTRIBUTED)]
        return "\n".join(lines) + "\n" + storage_units(self._report) + unpriced(self._report)

    def _name(self, key: str) -> str:
        return self._names.get(key, key)


def _places(total: Decimal) -> int:
    """Decimals: cents for real money, more where a total is so small that cents would hide it."""
    return max(2, min(12, LEAST_DIGITS - 1 - total.adjusted())) if total else 2


def _how(shares: Sequence[tuple[Share, int]]) -> str:
    parts: dict[Confidence, Fraction] = {}
    for share, _ in shares:
        parts[share.confidence] = parts.get(share.confidence, Fraction()) + share.cost
    return how_text(parts)
