"""What Neon's Free plan allows on a given day: dated data with its sources, shipped beside the rates.

The data is in `free_plan.json`, with what is doubtful about it.

The Free plan has no bill: what is used up stops a project's computes, refuses writes, or cannot be made any more.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import lru_cache
from importlib.resources import files

from exporter.pricing.domain.calendar import day_seconds

FREE_PLANS = frozenset({"free", "free_v2", "free_v3"})
"""As ``Organization.plan`` and ``owner.subscription_type`` say it."""


@dataclass(frozen=True, slots=True)
class FreeLimit:
    """One limit of the plan: ``limit`` in the unit of its name, ``scope`` project or org, ``source`` with its day."""

    name: str
    limit: int
    scope: str
    valid_from: int
    source: str
    source_date: str


@lru_cache(maxsize=1)
def _history() -> tuple[FreeLimit, ...]:
    document = json.loads(files("exporter.pricing").joinpath("free_plan.json").read_text("utf-8"))
    return tuple(
        FreeLimit(
            name,
            entry["limit"],
            entry["scope"],
            day_seconds(entry["valid_from"]),
            entry["source"],
            entry["source_date"],
        )
        for name, entries in document["limits"].items()
        for entry in entries
    )


def limits_of(plan: str, at: float) -> dict[str, FreeLimit]:
    """The limits of a plan at an instant (unix seconds), by name; none on paid plans and where the plan is unknown."""
    return free_limits(at) if plan in FREE_PLANS else {}


def free_limits(at: float) -> dict[str, FreeLimit]:
    """The limits in force at an instant (unix seconds), by name; the oldest known before the first of them."""
    found: dict[str, FreeLimit] = {}
    for entry in sorted(_history(), key=lambda item: item.valid_from):
        if entry.name not in found or entry.valid_from <= at:
            found[entry.name] = entry
    return found
