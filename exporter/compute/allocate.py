"""Allocation: whose money it was, from branch to tenant, without ever losing or inventing a part of it.

Compute is split hour by hour. A tenant's share of an awake hour is the CU time its statements were busy; the rest of
the hour is ``__idle__``. When the statements were busier than the compute was awake (several run at once on one CU),
the awake time goes by busy share and nothing is idle. All of it is whole CU-microseconds, so hours add up exactly.
An awake hour in which nothing was measured is ``__unattributed__``: not seen is not the same as idle.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from fractions import Fraction
from math import inf
from typing import NamedTuple, Protocol

from exporter.compute.cost import PROJECT_LEVEL, UNATTRIBUTED, CostLine, Stretch
from exporter.compute.rates import Component

SHARED = "__shared__"
IDLE = "__idle__"
AGENT = "__agent__"
MICRO = 10**6


class Confidence(StrEnum):
    """How a figure came about, from the best to the weakest."""

    EXACT = "exact"
    """The API's own figure."""
    MEASURED = "measured"
    """Split by something that was measured in full."""
    SAMPLED = "sampled"
    DECLARED = "declared"
    """Split by weights that a person gave."""
    ESTIMATED = "estimated"


class TenantHour(Protocol):
    """How long the statements of one tenant were busy in one hour of one branch."""

    @property
    def project_id(self) -> str: ...  # noqa: D102 - the names say it
    @property
    def branch_id(self) -> str: ...  # noqa: D102
    @property
    def tenant(self) -> str: ...  # noqa: D102
    @property
    def hour(self) -> int:
        """Begin of the hour in unix seconds."""

    @property
    def busy_us(self) -> int:
        """Execution and planning time in microseconds."""


class UseKey(NamedTuple):
    """What a compute cost line and the hours behind it share."""

    project_id: str
    branch_id: str
    plan: str
    stretch: Stretch


@dataclass(slots=True)
class ComputeUse:
    """Compute of one branch over some hours, in CU-microseconds (``busy_us`` in busy microseconds)."""

    awake_us: int = 0
    busy_us: int = 0
    """Measured busy time, in each hour at most the awake time."""
    tenants: dict[str, int] = field(default_factory=dict)
    pending: dict[str, int] = field(default_factory=dict)
    """The part of ``tenants`` that is idle or unattributed only so far: its hour is still open."""

    def add(self, other: ComputeUse) -> None:
        """Sum hours or days."""
        self.awake_us += other.awake_us
        self.busy_us += other.busy_us
        for tenant, share in other.tenants.items():
            self.tenants[tenant] = self.tenants.get(tenant, 0) + share
        for tenant, share in other.pending.items():
            self.pending[tenant] = self.pending.get(tenant, 0) + share

    @property
    def coverage(self) -> Fraction:
        """Measured busy time over awake time, 0 to 1."""
        return Fraction(self.busy_us, self.awake_us) if self.awake_us else Fraction()


@dataclass(frozen=True, slots=True)
class Weights:
    """Relative sizes by tenant for one component of one branch, and how they were come by."""

    shares: Mapping[str, int]
    confidence: Confidence = Confidence.MEASURED


@dataclass(frozen=True, slots=True)
class Share:
    """A tenant's part of one cost line. Over all tenants of a line the costs sum to the line exactly."""

    line: CostLine
    branch_id: str
    """The line's branch, or the one that a project-level charge was split to."""
    tenant: str
    cost: Fraction
    confidence: Confidence
    coverage: Fraction | None = None
    """Measured busy over awake CU time, for compute; None where there is nothing to measure."""


TenantWeights = Mapping[tuple[str, str, Component], Weights]
"""(project id, branch id, component) -> sizes by tenant."""
BranchWeights = Mapping[tuple[str, Component], Weights]
"""(project id, component) -> sizes by branch id, for what the API charges by project (child-branch hours)."""


def largest_remainder(total: int, weights: Mapping[str, int | Fraction]) -> dict[str, int]:
    """Split a whole number (cents) by weight so that the parts sum to it; ties go to the smaller key.

    Raises:
        ValueError: a negative total or weight, or nothing to split a positive total over.
    """
    everything = sum(weights.values())
    if total < 0 or any(weight < 0 for weight in weights.values()):
        raise ValueError("a split needs a total and weights of at least 0")
    if not everything:
        if total:
            raise ValueError(f"cannot split {total} over weights that are all 0")
        return dict.fromkeys(weights, 0)
    parts: dict[str, int] = {}
    rests: list[tuple[Fraction | int, str]] = []
    for key, weight in weights.items():
        exact = total * weight
        whole = int(exact // everything)
        parts[key] = whole
        rests.append((whole * everything - exact, key))
    rests.sort()
    for _, key in rests[: total - sum(parts.values())]:
        parts[key] += 1
    return parts


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


def split_hour(awake_us: int, busy: Mapping[str, int]) -> dict[str, int]:
    """CU-microseconds of one awake hour by tenant; the rest is idle, or unattributed if nothing was measured."""
    if not busy:
        return {UNATTRIBUTED: awake_us} if awake_us else {}
    measured = sum(busy.values())
    if measured > awake_us:
        return largest_remainder(awake_us, busy)
    parts = dict(busy)
    if awake_us > measured:
        parts[IDLE] = parts.get(IDLE, 0) + awake_us - measured
    return parts


def split_hours(
    compute: Iterable[tuple[str, str, str, int, int]],
    tenant_hours: Iterable[TenantHour],
    *,
    open_from: float = inf,
) -> dict[tuple[str, str, str], ComputeUse]:
    """Split the awake hours of many branches by tenant.

    ``compute`` holds (project id, branch id, plan, hour, CU-seconds). Busy time in an hour without compute is dropped:
    there is no cost to share. Hours that begin at ``open_from`` or later may still be measured further, so what is idle
    or unattributed in them is also noted as pending. The answer is by (project id, branch id, plan).
    """
    busy: dict[tuple[str, str, int], dict[str, int]] = {}
    for row in tenant_hours:
        tenants = busy.setdefault((row.project_id, row.branch_id, row.hour), {})
        tenants[row.tenant] = tenants.get(row.tenant, 0) + row.busy_us
    uses: dict[tuple[str, str, str], ComputeUse] = {}
    for project, branch, plan, hour, cu_seconds in compute:
        use = uses.get((project, branch, plan))
        if use is None:
            use = uses[project, branch, plan] = ComputeUse()
        _add_hour(use, cu_seconds * MICRO, busy.get((project, branch, hour), {}), is_open=hour >= open_from)
    return uses


def _add_hour(use: ComputeUse, awake: int, seen: Mapping[str, int], *, is_open: bool) -> None:
    tenants = use.tenants
    measured = sum(seen.values())
    use.awake_us += awake
    use.busy_us += min(awake, measured)
    if measured <= awake:
        # The usual hour, in place: what the statements leave over is idle, or unattributed where none were seen.
        for tenant, part in seen.items():
            tenants[tenant] = tenants.get(tenant, 0) + part
        rest = IDLE if seen else UNATTRIBUTED
        tenants[rest] = tenants.get(rest, 0) + awake - measured
        if is_open:
            use.pending[rest] = use.pending.get(rest, 0) + awake - measured
    else:
        for tenant, part in split_hour(awake, seen).items():
            tenants[tenant] = tenants.get(tenant, 0) + part


def allocate(
    lines: Iterable[CostLine],
    uses: Mapping[UseKey, ComputeUse],
    *,
    tenant_weights: TenantWeights | None = None,
    branch_weights: BranchWeights | None = None,
) -> list[Share]:
    """Split every cost line by tenant; what has no measure goes to ``__shared__`` whole. Conserves exactly."""
    shares: list[Share] = []
    for line in lines:
        for branch, cost, confidence in _branches(line, branch_weights or {}):
            if line.component is Component.COMPUTE and branch != UNATTRIBUTED:
                key = UseKey(line.project_id, branch, line.plan, line.stretch)
                shares.extend(_compute_shares(line, cost, uses.get(key, ComputeUse())))
            elif branch == UNATTRIBUTED:
                shares.append(Share(line, branch, UNATTRIBUTED, cost, confidence))
            else:
                weights = (tenant_weights or {}).get((line.project_id, branch, line.component))
                shares.extend(_weighted_shares(line, branch, cost, confidence, weights))
    return shares


def _branches(line: CostLine, weights: BranchWeights) -> list[tuple[str, Fraction, Confidence]]:
    given = weights.get((line.project_id, line.component)) if line.branch_id == PROJECT_LEVEL else None
    total = sum(given.shares.values()) if given else 0
    if not given or not total:
        return [(line.branch_id, line.cost, Confidence.EXACT)]
    return [
        (branch, line.cost * Fraction(weight, total), given.confidence)
        for branch, weight in sorted(given.shares.items())
        if weight
    ]


def _compute_shares(line: CostLine, cost: Fraction, use: ComputeUse) -> Iterable[Share]:
    parts = dict(use.tenants)
    # Hours that are known only by day or month have no split; they belong to the line all the same.
    rest = line.usage * MICRO - use.awake_us
    if rest > 0:
        parts[UNATTRIBUTED] = parts.get(UNATTRIBUTED, 0) + rest
    total = sum(parts.values())
    coverage = Fraction(use.busy_us, total) if total else Fraction()
    for tenant, part in sorted(parts.items()):
        if part:
            confidence = Confidence.EXACT if part == total and tenant == UNATTRIBUTED else Confidence.MEASURED
            yield Share(line, line.branch_id, tenant, cost * Fraction(part, total), confidence, coverage)


def _weighted_shares(
    line: CostLine, branch: str, cost: Fraction, confidence: Confidence, weights: Weights | None
) -> Iterable[Share]:
    total = sum(weights.shares.values()) if weights else 0
    if not weights or not total:
        # Nothing was guessed: the amount is the API's, and no tenant is claimed for it.
        yield Share(line, branch, SHARED, cost, confidence)
        return
    for tenant, weight in sorted(weights.shares.items()):
        if weight:
            yield Share(line, branch, tenant, cost * Fraction(weight, total), weights.confidence)
