"""Cost as a feature: usage, prices, budgets, closed months, outlook and waste."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence
from functools import partial
from typing import ClassVar

from collectors.neon.inventory import Inventory
from exporter.core.command_line import Commands
from exporter.cost import quotas
from exporter.cost.allocation import costs as allocation
from exporter.cost.allocation.costs import Costs
from exporter.cost.allocation.weights import tenant_facts
from exporter.cost.closing import budget_collector
from exporter.cost.commands import add_commands
from exporter.cost.cost_round import CostRound, InventoryView
from exporter.cost.outlook import outlook
from exporter.cost.savings import kpis, waste
from exporter.cost.settings import CostTree
from exporter.cost.upkeep import Upkeep
from exporter.cost.usage_round import UsageRound
from exporter.cost.workspace import LEDGER_SCHEMAS, SCHEMAS, closed_months
from exporter.feature.feature import Feature, FeatureRun, Job, MetricGroup, Schemas
from exporter.feature.ports import SnapshotList
from exporter.feature.services import Services
from exporter.pricing import ratecard


class CostRun(FeatureRun):
    """One generation: reads usage and prices it by its own job, first right after the first inventory."""

    def __init__(self, services: Services, settings: CostTree, costs: Costs) -> None:
        self._services = services
        self._pace = settings.intervals.consumption_seconds
        self._budgets = bool(settings.budgets)
        closes = closed_months(services.ledger, services.store)
        money = CostRound(settings, costs, services.ledger, services.store, services.counters)
        upkeep = Upkeep(
            services.ledger,
            costs,
            keep_hourly_days=settings.ledger.keep_hourly_days,
            closed=lambda month: bool(closes.of(month)),
        )
        self._round = UsageRound(
            services,
            money,
            upkeep,
            pace=self._pace,
            storage_unit=settings.cost.said_unit,
            per_minute=settings.neon.consumption_per_minute,
        )
        self._inventory: Inventory | None = None
        self._one_at_a_time = asyncio.Lock()

    @property
    def jobs(self) -> Sequence[Job]:
        """The round of consumption."""
        return (Job("consumption", self._pace, self.consume, first_in=self._pace),)

    @property
    def switched_off(self) -> Sequence[str]:
        """The budgets, where the settings name none."""
        return () if self._budgets else ("cost/budgets",)

    async def recall(self, inventory: Inventory) -> None:
        """Price what is in the ledger, before Neon is asked for more.

        Raises:
            StoreError: the ledger cannot be used.
        """
        del inventory
        async with self._one_at_a_time:
            await self._round.price(InventoryView(), 0.0, upkeep=False)

    async def on_inventory(self, inventory: Inventory) -> None:
        """Remember what there is; the first time, read usage and price it at once."""
        first, self._inventory = self._inventory is None, inventory
        if first:
            await self.consume()

    async def consume(self) -> None:
        """Run the round with the newest inventory and list of snapshots.

        Raises:
            StoreError: the ledger or the file cannot be used; its status says so, and the next round tries again.
        """
        snapshots = self._services.find(SnapshotList)
        async with self._one_at_a_time:
            await self._round.run(InventoryView(self._inventory, snapshots.snapshots() if snapshots else {}))
        await self._read_quotas()

    async def _read_quotas(self) -> None:
        """Show the limits of the projects that have any."""
        services, inventory = self._services, self._inventory
        if inventory is None:
            return
        inventory = inventory.of_account
        now = services.clock() + inventory.skew
        found = [entry async for entry in quotas.read_quotas(services.client, inventory, now)]
        observations = quotas.observe(found, inventory, now, services.clock())
        await services.state.show_made("cost/quotas", partial(iter, observations), interval=self._pace)

    def notes(self) -> Iterable[str]:
        """What of Neon's consumption API is degraded, and how far a long reading is."""
        return (*self._round.feeds.notes(), *self._round.backlog.notes())


class CostFeature(Feature[CostTree]):
    """Declares what cost brings: its tables, metrics, problems and its run."""

    name = "cost"
    schemas: ClassVar[Schemas] = SCHEMAS
    ledger_schemas: ClassVar[Schemas] = LEDGER_SCHEMAS
    metrics = (
        MetricGroup(
            "Cost",
            "Neon API: consumption v2, the dated rate card, statements for the tenants' shares",
            allocation.METRICS,
        ),
        MetricGroup(
            "Budgets and closed months",
            "the settings, Neon's spending limit, the ledger and the closed months",
            budget_collector.METRICS,
        ),
        MetricGroup(
            "Quotas", "Neon API: settings and counters of projects; the Free plan's allowances", quotas.METRICS
        ),
        MetricGroup("Outlook", "the days of the ledger: forecasts and anomalies of cost", outlook.METRICS),
        MetricGroup("Waste", "the rules of docs/waste.md, over inventory, ledger and visits", waste.METRICS),
        MetricGroup("Key figures", "the shares of the month, the ledger, the inventory", kpis.METRICS),
    )

    def add_commands(self, commands: Commands) -> None:
        """Declare the commands of cost."""
        add_commands(commands)

    def start(self, services: Services, settings: CostTree) -> CostRun | None:
        """Begin a generation; None where another shard prices the account.

        Raises:
            RateCardError: the rate card cannot be used.
            WeightsFileError: the file of declared weights cannot be used.
        """
        if not services.shard.owns_account:
            return None
        card = ratecard.load(settings.cost.rate_card)
        facts = tenant_facts(settings, services.counters, services.tenancy, services.rules)
        return CostRun(services, settings, Costs(services.ledger, facts, card, plan=settings.cost.plan))
