"""Budgets: what is spent of them, how fast, where the month will end, and when the money is gone.

A budget is for a calendar month (UTC). Burn is spending in a window against what the budget allows for as long a
window: 1 is exactly the budget, 2 spends it in half the month. The end of the month comes from a forecast where there
is one; without, what remains of the month is taken to cost as the last days did, and that is said.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from fractions import Fraction

from exporter.pricing.domain.calendar import DAY, HOUR, next_month

WINDOWS: Mapping[str, int] = {"6h": 6 * HOUR, "24h": 24 * HOUR, "3d": 3 * DAY}
"""The windows of the burn rate, in seconds: an alert wants a short and a long one to agree."""


class Scope(StrEnum):
    """What a budget is for."""

    ORG = "org"
    PROJECT = "project"
    BRANCH = "branch"
    TENANT = "tenant"
    TAG = "tag"


class Source(StrEnum):
    """Who set it."""

    SETTINGS = "settings"
    NEON = "neon"


@dataclass(frozen=True, slots=True)
class Budget:
    """USD for each calendar month. ``match`` is a glob over ids or names of what the scope says."""

    name: str
    amount: Fraction
    scope: Scope = Scope.ORG
    match: str = "*"
    source: Source = Source.SETTINGS
    alerts: tuple[Fraction, ...] = (Fraction(1, 2), Fraction(4, 5), Fraction(1))


@dataclass(frozen=True, slots=True)
class Projection:
    """Where the month will end, in USD, and how that was worked out."""

    usd: Fraction
    method: str


@dataclass(frozen=True, slots=True)
class Spending:
    """What a budget's scope has cost: the month so far, and the newest windows that the data covers."""

    month: int
    """First instant of the month."""
    through: int
    """Up to when the data goes."""
    spent: Fraction
    recent: Mapping[str, Fraction] = field(default_factory=dict)
    """USD by window (a key of ``WINDOWS``); a window that the data does not cover is absent."""


@dataclass(frozen=True, slots=True)
class BudgetState:
    """One budget at one moment. All amounts in USD, unrounded."""

    budget: Budget
    spent: Fraction
    used: Fraction
    """Spent over budget."""
    elapsed: Fraction
    """Share of the month that the data covers."""
    expected: Fraction
    """What would be spent by now at an even pace."""
    burn: Mapping[str, Fraction]
    """By window; 1 is exactly the budget."""
    projected: Projection | None
    exhausted_at: int | None
    """When the budget will be, or was found, used up, in unix seconds; None when it lasts the month."""

    @property
    def reached(self) -> Fraction | None:
        """The highest alert that spending has reached."""
        return max((alert for alert in self.budget.alerts if self.used >= alert), default=None)

    @property
    def verdict(self) -> str:
        """``over``, ``will be over``, ``ahead of pace`` (yet to end within it), or ``within``."""
        if self.spent >= self.budget.amount:
            return "over"
        if self.projected is not None and self.projected.usd > self.budget.amount:
            return "will be over"
        return "ahead of pace" if self.spent > self.expected else "within"


def state(budget: Budget, spending: Spending, forecast: Projection | None = None) -> BudgetState:
    """The state of one budget. Without a forecast the rest of the month costs as the longest window did.

    Raises:
        ValueError: the budget is not above 0.
    """
    if budget.amount <= 0:
        raise ValueError(f"budget {budget.name!r} must be above 0")
    end = next_month(spending.month)
    length = end - spending.month
    through = min(max(spending.through, spending.month), end)
    elapsed = Fraction(through - spending.month, length)
    burn = {window: Fraction(usd, WINDOWS[window]) * length / budget.amount for window, usd in spending.recent.items()}
    projected = forecast or _run_rate(spending, through, end)
    return BudgetState(
        budget=budget,
        spent=spending.spent,
        used=spending.spent / budget.amount,
        elapsed=elapsed,
        expected=budget.amount * elapsed,
        burn=burn,
        projected=projected,
        exhausted_at=_exhausted_at(budget, spending.spent, projected, (through, end)),
    )


def _run_rate(spending: Spending, through: int, end: int) -> Projection | None:
    for window in sorted(spending.recent, key=WINDOWS.__getitem__, reverse=True):
        pace = spending.recent[window] / WINDOWS[window]
        return Projection(spending.spent + pace * (end - through), f"run-rate of {window}")
    if through <= spending.month:
        return None
    return Projection(spending.spent * (end - spending.month) / (through - spending.month), "run-rate of the month")


def _exhausted_at(budget: Budget, spent: Fraction, projected: Projection | None, span: tuple[int, int]) -> int | None:
    through, end = span
    if spent >= budget.amount:
        return through
    if projected is None or projected.usd <= budget.amount or end <= through:
        return None
    pace = (projected.usd - spent) / (end - through)
    return through + int((budget.amount - spent) / pace)
