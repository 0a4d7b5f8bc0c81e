"""Raw usage as the consumption API reports it: one fact per bucket, metric and branch.

Two readings of the same usage exist, by project and by branch. What a project used beyond its branches is a row of the
branch ``__unattributed__``; what the API reports by project only is a row of the branch ``__project__``.
"""

from __future__ import annotations

from typing import NamedTuple

from exporter.pricing.domain.calendar import HOUR, next_month

UNATTRIBUTED = "__unattributed__"
PROJECT_LEVEL = "__project__"
HOURLY, DAILY, MONTHLY = "hourly", "daily", "monthly"


class UsageFact(NamedTuple):
    """One bucket of one metric as the consumption API gave it; ``branch_id`` empty means the whole project."""

    org_id: str
    project_id: str
    branch_id: str
    start: int
    """Begin of the bucket in unix seconds."""
    granularity: str
    """``hourly``, ``daily`` or ``monthly``."""
    plan: str
    """The subscription type of the period, as the API gave it."""
    metric: str
    value: int
    """In the raw unit of the metric: CU-seconds, byte-hours or byte-months, branch-hours, bytes."""
    observed_at: int = 0
    """When it was read, in unix seconds."""
    unit: str = ""
    """Of stored bytes: ``byte-hour`` or ``byte-month``; empty where nothing has told, then the rate card's dates do."""


def bucket_hours(start: int, granularity: str) -> int:
    """Hours in a bucket: what the hourly branch allowance is multiplied with.

    Raises:
        ValueError: the granularity is not hourly, daily or monthly.
    """
    if granularity == HOURLY:
        return 1
    if granularity == DAILY:
        return 24
    if granularity == MONTHLY:
        return (next_month(start) - start) // HOUR
    raise ValueError(f"granularity {granularity!r}: the API has hourly, daily and monthly")
