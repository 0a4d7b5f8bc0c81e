"""Costs, budgets, outlook and waste, worked out one after the other from what is in the ledger.

They share the priced days, so they run in one thread at a time. What one of them cannot do is reported under its own
name, and the others are shown all the same.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from fractions import Fraction

from collectors.base import Observation
from collectors.neon.client import NeonClient
from collectors.neon.inventory import Inventory
from collectors.neon.snapshots import Snapshots
from exporter.cost.allocation.costs import Costs
from exporter.cost.closing.budget_collector import BudgetCollector
from exporter.cost.domain.kpi import Tagged
from exporter.cost.outlook.daily import Daily
from exporter.cost.outlook.outlook import Outlook
from exporter.cost.outlook.store import ForecastStore
from exporter.cost.savings.kpis import Others
from exporter.cost.savings.savings import Savings
from exporter.cost.settings import CostTree
from exporter.cost.tags import Tagging
from exporter.cost.workspace import closed_months
from exporter.feature.workspace import names_of
from exporter.pricing.domain.calendar import month_start
from exporter.sampling.counters.statements import DurableCounters
from exporter.storage.ledger.ledger import Ledger
from exporter.storage.store import Store
from exporter.storage.writer import WriterThread


@dataclass(frozen=True, slots=True)
class InventoryView:
    """What Neon has, as last read: waste and unit costs are worked out from it."""

    inventory: Inventory | None = None
    snapshots: Snapshots = field(default_factory=dict)


class CostRound:
    """Works everything out that is in dollars. One round at a time."""

    def __init__(
        self, settings: CostTree, costs: Costs, ledger: Ledger, store: Store, counters: DurableCounters
    ) -> None:
        plan = settings.cost.plan
        daily = Daily(ledger, costs.card, plan=plan)
        self._now = 0.0
        self._costs = costs
        self._budgets = BudgetCollector(settings, costs, closed_months(ledger, store), store, daily=daily)
        self._forecasts = ForecastStore(store)
        self._outlook = Outlook(
            ledger,
            costs.card,
            plan=plan,
            forecasts=self._forecasts,
            policy=settings.anomalies.policy(),
            daily=daily,
            measured=costs.tenant_hours,
        )
        others = Others(_tagged(settings, store), self._forecast_accuracy, self._anomaly_usd)
        self._savings = Savings(settings, store, costs, counters, others)

    async def read_limit(self, client: NeonClient, disk: WriterThread, org_id: str, now: float) -> None:
        """Read Neon's own spending limit, at most once an hour.

        Raises:
            NeonError: Neon did not answer.
            StoreError: the disk is full or the file damaged.
        """
        await self._budgets.read_limit(client, disk, org_id, now)

    async def round(self, view: InventoryView, now: float) -> tuple[dict[str, list[Observation]], dict[str, Exception]]:
        """What each part has to show, by its name, and why another part has nothing new.

        ``now`` is Neon's clock: it decides which month is this one, whatever the system's clock was set to.

        Raises:
            StoreError: the costs themselves cannot be worked out.
        """
        self._now = now
        shown = {"cost": await asyncio.to_thread(self._costs.observe, now)}
        problems: dict[str, Exception] = {}
        parts: dict[str, Callable[[], list[Observation]]] = {
            "budgets": lambda: self._budgets.observe(now),
            "outlook": lambda: self._outlook.observe(now),
        }
        if (inventory := view.inventory) is not None:
            parts["waste"] = lambda: self._savings.observe(inventory, view.snapshots, now)
        for name, part in parts.items():
            try:
                shown[name] = await asyncio.to_thread(part)
            except Exception as problem:  # reported by who asked: one part costs no other part its figures
                problems[name] = problem
        return shown, problems

    def _forecast_accuracy(self, org_id: str) -> Fraction | None:
        """1 less the error of the first forecast of the last whole month; None when there was none."""
        this = self._costs.month(self._now, self._now).month
        last = self._costs.month(this - 1, self._now)
        first = self._forecasts.first(last.month).get(org_id)
        actual = sum((share.cost for share in last.shares if share.line.org_id == org_id), Fraction())
        if first is None or not actual:
            return None
        return max(Fraction(), 1 - abs(first.p50 - actual) / actual)

    def _anomaly_usd(self, org_id: str) -> Fraction | None:
        """What was unusual in this month, in dollars."""
        month = month_start(int(self._now))
        own = (anomaly.usd for anomaly in self._outlook.unusual if anomaly.org_id == org_id and anomaly.start >= month)
        return sum(own, Fraction())


def _tagged(settings: CostTree, store: Store) -> Callable[[], Tagged] | None:
    """Who answers, by the names at that moment, whether a branch has every required tag; None when none are."""
    required = set(settings.report.required_tags)
    if not required:
        return None

    def answers() -> Tagged:
        tagging = Tagging(settings.report.tags, names_of(store))
        return lambda project_id, branch_id: required <= tagging.of(project_id, branch_id).keys()

    return answers
