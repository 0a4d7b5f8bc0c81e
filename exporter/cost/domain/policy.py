"""Policies: who pays for what nobody used, when a person wants that nothing is left over.

Idle time and shared costs stay rows of their own unless the settings say otherwise. Whatever is moved is moved whole:
no policy changes a sum. What a policy finds nobody for stays where it was.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from fractions import Fraction

from exporter.cost.domain.use import Use
from exporter.cost.domain.weights import Confidence
from exporter.tenancy.domain.rules import AGENT, IDLE, SHARED, UNATTRIBUTED

Shares = Mapping[str, int | Fraction]


class IdlePolicy(StrEnum):
    """``cost.idle``: who pays for the time in which a compute was awake and no tenant worked."""

    SEPARATE = "separate"
    """Nobody: it is a row of its own."""
    PROPORTIONAL = "proportional"
    """Those who were busy that day on that branch, by how long."""
    EVEN = "even"
    """Those who were busy that day on that branch, in equal parts."""
    FIXED = "fixed"
    """By the declared weights."""
    WAKE = "wake"
    """Those whom visits found keeping the compute awake in that hour."""


class SharedPolicy(StrEnum):
    """``cost.shared``: who pays for what belongs to all."""

    SEPARATE = "separate"
    PROPORTIONAL = "proportional"
    """By their direct cost of that day on that branch (for costs of the project: in that project)."""
    EVEN = "even"
    FIXED = "fixed"


def is_tenant(name: str) -> bool:
    """Whether it is a tenant, and not one of the rows that are ours."""
    return not (name.startswith("__") and name.endswith("__"))


def move_idle(use: Use, policy: IdlePolicy, declared: Shares, *, settled: bool) -> None:
    """Apply the policy to one day of one branch's compute; ``wake`` has been applied by the hour.

    Proportional counts everyone who was busy, also ``__unattributed__`` (as far as that was busy): else a tenant would
    pay for the idle time after another's work. Not ``__agent__``: it comes only where somebody else is at work.
    """
    if policy is IdlePolicy.PROPORTIONAL:
        busy = {name: part for name, part in use.tenants.items() if name not in (IDLE, UNATTRIBUTED)}
        busy[UNATTRIBUTED] = max(0, use.measured - sum(busy.values()))
        busy.pop(AGENT, None)
        use.move(IDLE, busy, Confidence.DECLARED, settled=settled)
    elif policy is IdlePolicy.EVEN:
        use.move(IDLE, even(use.tenants) or even(declared), Confidence.DECLARED, settled=settled)
    elif policy is IdlePolicy.FIXED:
        use.move(IDLE, declared, Confidence.DECLARED)


def move_shared(use: Use, policy: SharedPolicy, direct: Shares, declared: Shares, *, settled: bool) -> None:
    """Apply the policy to one day of one component; ``direct`` is the direct cost of each tenant that day."""
    if policy is SharedPolicy.PROPORTIONAL:
        use.move(SHARED, direct, Confidence.DECLARED, settled=settled)
    elif policy is SharedPolicy.EVEN:
        use.move(SHARED, even(direct), Confidence.DECLARED, settled=settled)
    elif policy is SharedPolicy.FIXED:
        use.move(SHARED, declared, Confidence.DECLARED)


def even(seen: Shares) -> dict[str, int]:
    """One each for the tenants that have anything."""
    return {name: 1 for name, part in seen.items() if part and is_tenant(name)}
