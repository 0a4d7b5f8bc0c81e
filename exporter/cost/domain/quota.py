"""Limits that stop a project when they are used up, how much of each is used, and when it will be.

Sources: ``settings.quota`` of a project, the Free plan's allowances, and the counters of ``GET /projects/{id}`` since
the billing period began. The forecast is the mean pace of the period so far, carried on: no more can be said from two
numbers, and less than a day of them says nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from exporter.pricing.domain.calendar import DAY

SETTINGS, PLAN = "settings", "plan"
RESETTING = frozenset({"active_time_seconds", "compute_time_seconds", "written_data_bytes", "data_transfer_bytes"})
"""They count from the start of a billing period; used up, all computes of the project are suspended until the next."""
LARGEST = "logical_size_bytes"
"""It holds for each branch: the largest is what counts."""


@dataclass(frozen=True, slots=True)
class Quota:
    """One limit of a project in the unit of its name; ``used`` is None when Neon does not tell."""

    name: str
    source: str
    limit: int
    used: int | None

    @property
    def reached(self) -> bool:
        """Whether it is used up."""
        return self.used is not None and self.used >= self.limit

    @property
    def suspends(self) -> bool:
        """Whether the project's computes are suspended when it is used up."""
        return self.name in RESETTING


@dataclass(frozen=True, slots=True)
class BillingPeriod:
    """Of a project, unix seconds; ``active_at``: when a compute of it was last awake. None is not told."""

    begin: float | None
    end: float | None
    active_at: float | None = None

    @property
    def was_active(self) -> bool:
        """Whether a compute was awake in it."""
        return self.active_at is not None and (self.begin is None or self.active_at >= self.begin)


def counted(total: int | None, parts: Iterable[int | None], period: BillingPeriod) -> int | None:
    """What was used since the period began, by the project's counter or else those of its branches.

    None when all are 0 although a compute was awake: then Neon does not fill them in.
    """
    used = total or sum(part or 0 for part in parts)
    return used if used or not period.was_active else None


def stored(sizes: Sequence[tuple[int | None, bool]], *, largest: bool) -> int | None:
    """Bytes of data from (size, is a root) of each branch: the largest branch, or all of the roots.

    What a child changed against its parent is not told, so the sum is a lower bound. None when no size is known.
    """
    known = [size for size, root in sizes if size is not None and (largest or root)]
    return (max(known) if largest else sum(known)) if known else None


def runs_out(quota: Quota, period: BillingPeriod, now: float) -> float | None:
    """When the quota will be used up, unix seconds; None when not in this period, or nothing can be said.

    ``now`` is by Neon's clock. What is used up already runs out now.
    """
    begin, end = period.begin, period.end
    if quota.reached:
        return now
    if not quota.suspends or not quota.used or begin is None or now - begin < DAY:
        return None
    at = now + (quota.limit - quota.used) * (now - begin) / quota.used
    return at if end is None or at < end else None


def suspended_by(quotas: Sequence[Quota]) -> Iterator[Quota]:
    """Those that keep the project's computes suspended."""
    return (quota for quota in quotas if quota.suspends and quota.reached)
