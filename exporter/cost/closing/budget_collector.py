"""Budgets and closed months of a running agent as series, at the pace at which costs are worked out.

The agent reads the closed months and never writes them: a person closes a month. Neon's spending limit is read
once an hour; where it cannot be read, the one that is known stays.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from collectors.base import Observation
from collectors.neon.account import read_spending_limit
from collectors.neon.client import NeonClient
from exporter.core.clock import is_recent
from exporter.cost.allocation.costs import Costs
from exporter.cost.closing import budgets as budget_series
from exporter.cost.closing import reconciliation
from exporter.cost.closing.budget_spending import projections
from exporter.cost.closing.budgets import budget_states, budgets_of, limits_of, remember_limit
from exporter.cost.closing.store import CloseStore
from exporter.cost.domain.budget import Budget, Projection
from exporter.cost.outlook.daily import Daily
from exporter.cost.tags import Scoping, Tagging
from exporter.feature.workspace import names_of
from exporter.pricing.domain.calendar import DAY, HOUR, month_start
from exporter.storage.store import Store
from exporter.storage.tables import KeyValueStore
from exporter.storage.writer import WriterThread

if TYPE_CHECKING:
    from exporter.cost.settings import CostTree

METRICS = (*budget_series.METRICS, *reconciliation.METRICS)
HISTORY = 92 * 24 * HOUR
"""So many seconds of days are forecast from."""


class BudgetCollector:
    """Budgets and closed months as series. ``observe`` runs in a thread, one call at a time."""

    def __init__(
        self,
        settings: CostTree,
        costs: Costs,
        closed_months: CloseStore,
        store: Store,
        *,
        daily: Daily | None = None,
    ) -> None:
        """``daily`` may be shared with other forecasts; without, the collector prices its own days."""
        self._settings = settings
        self._costs = costs
        self._closed_months = closed_months
        self._store = store
        self._key_values = KeyValueStore(store)
        self._daily = daily or Daily(costs.ledger, costs.card, plan=settings.cost.plan)
        self._asked: dict[str, float] = {}
        self._forecast: tuple[object, Mapping[str, Projection]] | None = None

    async def read_limit(self, client: NeonClient, disk: WriterThread, org_id: str, now: float) -> None:
        """Read Neon's spending limit and remember it, at most once an hour.

        Raises:
            NeonError: Neon did not answer.
            StoreError: the disk is full or the file damaged.
        """
        if is_recent(self._asked.get(org_id, 0.0), now, HOUR):
            return
        cents = await read_spending_limit(client, org_id)
        self._asked[org_id] = now
        await disk.run(lambda: remember_limit(self._key_values, org_id, cents, now))

    def observe(self, now: float) -> list[Observation]:
        """The series of the budgets and of the closed months.

        Raises:
            StoreError: the ledger or the closed months cannot be read.
        """
        return [*self._budgets(now), *reconciliation.observe(self._closed_months, now)]

    def _budgets(self, now: float) -> list[Observation]:
        limits = limits_of(self._key_values, self._costs.ledger.through().orgs)
        budgets = budgets_of(self._settings.budgets, limits)
        if not budgets:
            return []
        names = names_of(self._store)
        scoping = Scoping(names, Tagging(self._settings.report.tags, names))
        month = self._costs.month(now, now)
        end = min(month.through, int(now))
        ends = self._ends(budgets, scoping, (month.month, end // DAY * DAY))
        states = budget_states(budgets, self._costs, month, scoping, ends=ends, plan=self._settings.cost.plan)
        return budget_series.observe(states, now)

    def _ends(self, budgets: tuple[Budget, ...], scoping: Scoping, at: tuple[int, int]) -> Mapping[str, Projection]:
        """Forecasts are of whole days: they are made again when a day is over, or one before changed."""
        month, end = at
        start = max(0, end - HISTORY)
        key = (budgets, at, self._costs.ledger.revisions(month_start(start), end))
        if self._forecast is None or self._forecast[0] != key:
            daily = self._daily.costs(start, end)
            self._forecast = (key, projections(daily, month, end, budgets, scoping))
        return self._forecast[1]
