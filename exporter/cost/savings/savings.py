"""The agent's passes over waste and key figures: what the commands and the review show, as series.

One pass after each pricing is enough: everything here moves with the ledger. It is plain computation over rows from the
disk; run it in a thread, after the costs, never beside them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from collectors.base import Observation
from collectors.neon.inventory import Inventory
from collectors.neon.snapshots import Snapshots
from exporter.cost.allocation.costs import Costs
from exporter.cost.domain.waste.rules import find
from exporter.cost.savings import kpis, waste
from exporter.cost.savings.kpis import Figures, Others, WasteAssessment
from exporter.cost.savings.store import WasteStore
from exporter.cost.savings.waste_facts import WasteSources, gather
from exporter.sampling.awake_store import read_windows
from exporter.sampling.counters.statements import DurableCounters
from exporter.storage.store import Store
from exporter.storage.tables import KeyValueStore

if TYPE_CHECKING:
    from exporter.cost.settings import CostTree


def sources_of(settings: CostTree, store: Store, costs: Costs, counters: DurableCounters) -> WasteSources:
    """What the rules of waste read. Each call reads anew who keeps computes awake.

    Raises:
        StoreError: the ledger's file cannot be read.
    """
    return WasteSources(
        costs.ledger,
        costs.card,
        counters.tenant_hours,
        read_windows(store),
        settings.cost.plan,
        round(settings.waste.window_days * 86400),
    )


class Savings:
    """Finds waste and works out the key figures. One caller at a time, the same as for its ``Costs``."""

    def __init__(
        self, settings: CostTree, store: Store, costs: Costs, counters: DurableCounters, others: Others | None = None
    ) -> None:
        """Open nothing yet."""
        self._settings, self._store, self._costs, self._counters = settings, store, costs, counters
        self._others = others or Others()
        self._stored = WasteStore(KeyValueStore(store))

    def assess(self, inventory: Inventory, snapshots: Snapshots, now: float) -> WasteAssessment:
        """Apply the rules to what is known now.

        Raises:
            StoreError: the ledger's file cannot be read.
        """
        sources = sources_of(self._settings, self._store, self._costs, self._counters)
        account = gather(sources, inventory, snapshots, int(now))
        policy = self._settings.waste.policy(self._settings.neon.api_url)
        return WasteAssessment(inventory.org_id, account, find(account, policy))

    def figures(self, assessment: WasteAssessment | None, now: float, at: float | None = None) -> tuple[Figures, ...]:
        """The key figures of the month that holds ``at`` (default: now).

        Raises:
            StoreError: the ledger's file cannot be read.
        """
        costs = self._costs.month(now if at is None else at, now)
        counts = kpis.counts_of(self._costs.ledger, self._counters.tenant_hours, costs)
        return kpis.figures(costs, counts, assessment, self._others)

    def observe(self, inventory: Inventory, snapshots: Snapshots, now: float) -> list[Observation]:
        """The series of waste and of the key figures; what was found is stored for the review of the month.

        Raises:
            StoreError: the ledger's file cannot be read, or the findings not be stored.
        """
        assessment = self.assess(inventory, snapshots, now)
        self._stored.save(assessment.findings, now)
        figures = self.figures(assessment, now)
        return [*waste.observe(assessment.findings, now), *kpis.observe(figures, assessment, now)]
