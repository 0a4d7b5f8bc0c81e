"""Allocation: whose money it was, from branch to tenant, without ever losing or inventing a part of it.

Usage was split before, by the hour or by the day, in whole numbers (`compute.use`, `compute.day`). Here each cost line
goes by the parts of the usage behind it. What a line has beyond them (usage that is known only by month, or without a
measure) belongs to it all the same: compute to ``__unattributed__``, the rest to ``__shared__``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction

from exporter.cost.domain.use import TenantHour, Use, UseKey, split_hour, split_hours
from exporter.cost.domain.weights import Confidence, Weights, largest_remainder
from exporter.pricing.domain.components import MICRO, Component, Level
from exporter.pricing.domain.price import CostLine
from exporter.pricing.domain.usage import PROJECT_LEVEL, UNATTRIBUTED
from exporter.tenancy.domain.rules import AGENT, IDLE, SHARED

__all__ = [
    "AGENT",
    "IDLE",
    "SHARED",
    "Confidence",
    "Share",
    "TenantHour",
    "Use",
    "UseKey",
    "Weights",
    "allocate",
    "largest_remainder",
    "round_rows",
    "split_hour",
    "split_hours",
]


@dataclass(frozen=True, slots=True)
class Share:
    """A tenant's part of one cost line. Over all shares of a line the costs sum to the line exactly."""

    line: CostLine
    branch_id: str
    """The line's branch, or the one that a project-level charge was split to."""
    tenant: str
    cost: Fraction
    confidence: Confidence
    coverage: Fraction | None = None
    """Measured busy over awake CU time, for compute; None where there is nothing to measure."""
    pending: Fraction = Fraction()
    """The part that may still move to somebody else, because its hour or day is open: the counters wait for it."""


def round_rows(amounts: Sequence[Fraction], places: int) -> list[int]:
    """Exact amounts in whole units of 10^-places that sum to their rounded total (half up); ties go to the earlier row.

    Raises:
        ValueError: a negative amount.
    """
    if any(amount < 0 for amount in amounts):
        raise ValueError("rows are rounded from amounts of at least 0")
    scale = 10**places
    total = sum(amounts, Fraction()) * scale
    rows: list[int] = []
    rests: list[tuple[Fraction, int]] = []
    for number, amount in enumerate(amounts):
        whole, rest = divmod(amount.numerator * scale, amount.denominator)
        rows.append(whole)
        if rest:
            rests.append((-Fraction(rest, amount.denominator), number))
    rests.sort()
    for _, number in rests[: int(total + Fraction(1, 2)) - sum(rows)]:
        rows[number] += 1
    return rows


def allocate(
    lines: Iterable[CostLine],
    uses: Mapping[UseKey, Use],
    *,
    owner: Callable[[str, str], str | None] | None = None,
) -> list[Share]:
    """Split every cost line by the use behind it. Conserves exactly.

    ``owner`` answers, by project and branch id (empty for the project), the one tenant whose all of it is: to it goes
    the whole line, also what no use stands behind.
    """
    by_project: dict[UseKey, list[tuple[str, Use]]] = {}
    for name, known in uses.items():
        if name.component.spec.level is Level.PROJECT:
            by_project.setdefault(name._replace(branch_id=PROJECT_LEVEL), []).append((name.branch_id, known))
    shares: list[Share] = []
    for line in lines:
        key = UseKey(line.project_id, line.branch_id, line.plan, line.period, line.component)
        use = uses.get(key)
        level = line.branch_id in (PROJECT_LEVEL, UNATTRIBUTED)
        tenant = owner(line.project_id, "" if level else line.branch_id) if owner else None
        if tenant is not None:
            coverage = _coverage(line, use)
            shares.append(Share(line, line.branch_id, tenant, line.cost, Confidence.EXACT, coverage))
        elif line.branch_id == UNATTRIBUTED:
            shares.append(Share(line, line.branch_id, UNATTRIBUTED, line.cost, Confidence.EXACT))
        elif line.branch_id == PROJECT_LEVEL:
            shares.extend(_line_shares(line, sorted(by_project.get(key, ()), key=_name)))
        else:
            shares.extend(_line_shares(line, [(line.branch_id, use)] if use else []))
    return shares


def _name(branch: tuple[str, Use]) -> str:
    return branch[0]


def _coverage(line: CostLine, use: Use | None) -> Fraction | None:
    if line.component is not Component.COMPUTE:
        return None
    return Fraction(use.measured, max(use.total, line.usage * MICRO)) if use and use.total else Fraction()


def _units(line: CostLine) -> int:
    """What was billed, in the unit of its uses."""
    spec = line.component.spec
    if spec.hourly_allowance:  # Its uses are what is past the allowance.
        return int(line.quantity * spec.per_unit(line.period.month) * spec.parts)
    return line.usage * spec.parts


def _line_shares(line: CostLine, branches: Sequence[tuple[str, Use]]) -> Iterator[Share]:
    """The shares of one line, over one branch, or over several that a charge of the project was split to."""
    known = sum(use.total for _, use in branches)
    rest = max(0, _units(line) - known)
    total = known + rest
    coverage = _coverage(line, branches[0][1] if branches else None)
    nobody = UNATTRIBUTED if line.component is Component.COMPUTE else SHARED
    if not total or not known:
        yield Share(line, line.branch_id, nobody, line.cost, Confidence.EXACT, coverage)
        return
    unit = line.cost / total
    for branch, use in branches:
        yield from _use_shares(line, branch, use, unit, coverage)
    if rest:
        yield Share(line, line.branch_id, nobody, unit * rest, Confidence.EXACT, coverage)


def _use_shares(line: CostLine, branch: str, use: Use, unit: Fraction, coverage: Fraction | None) -> Iterator[Share]:
    soft: dict[str, list[tuple[Confidence, int]]] = {}
    for (tenant, confidence), part in sorted(use.soft.items()):
        soft.setdefault(tenant, []).append((confidence, part))
    for tenant, whole in sorted(use.tenants.items()):
        pending = unit * use.pending.get(tenant, 0)
        parts = soft.get(tenant, [])
        measured = whole - sum(part for _, part in parts)
        # Of a branch in which nothing was seen, nothing was split: the figure is the API's.
        first = Confidence.EXACT if tenant == UNATTRIBUTED and whole == use.total else Confidence.MEASURED
        for confidence, part in ((first, measured), *parts):
            if part:
                yield Share(line, branch, tenant, unit * part, confidence, coverage, pending)
                pending = Fraction()
