"""What the costs of a day are split by: sizes, WAL, samples, lives of branches, declared weights; read when needed.

Everything was gathered by readings that were made anyway. A day that is over does not change, so a day is asked for
once; the long-running caller keeps what came of it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from exporter.cost.allocation.declared_weights import load
from exporter.cost.domain.day import BranchSpan, DayWeights, Policies, SnapshotSpan
from exporter.cost.domain.policy import IdlePolicy, SharedPolicy, Shares
from exporter.cost.domain.use import Place, TenantHours
from exporter.cost.domain.weights import Confidence, DeclaredWeight, Weights, declared
from exporter.pricing.domain.calendar import DAY
from exporter.pricing.domain.components import Component
from exporter.sampling.counters.statements import DurableCounters
from exporter.tenancy.domain.rules import TenantRules
from exporter.tenancy.store import Tenancy

if TYPE_CHECKING:
    from exporter.cost.settings import CostTree

RESTORE_DAYS = 7
"""Restore history is split by the WAL of the day and the six before it. Neon keeps from 6 hours to 30 days of it."""


class WeightSource:
    """What `exporter.cost.allocation.costs.Costs` asks beside the ledger; this one knows nothing but busy time."""

    def __init__(self, hours: TenantHours, policies: Policies | None = None) -> None:
        """``hours`` answers what tenants did in the hours with ``start`` <= hour < ``end``."""
        self.tenant_hours = hours
        self.policies = policies or Policies()

    def day(self, day: int) -> DayWeights:
        """What is known of one UTC day (its first instant)."""
        return DayWeights(day)

    def owner(self, project_id: str, branch_id: str) -> str | None:
        """The one tenant whose all of a branch is; of the project's own charges for an empty branch id."""
        del project_id, branch_id
        return None

    def forget(self, before: int) -> None:
        """Drop what no split before an instant will ask for again."""


class TenantFacts(WeightSource):
    """The agent's own source: the durable tables, the rules, and the settings of the money.

    Raises:
        StoreError: from every answer: the file cannot be read.
    """

    def __init__(
        self,
        durable: DurableCounters,
        tenancy: Tenancy,
        rules: TenantRules,
        *,
        policies: Policies | None = None,
        declared_weights: Sequence[DeclaredWeight] = (),
        stale_days: int = 7,
    ) -> None:
        """``stale_days``: a size that is older than this is an estimate."""
        super().__init__(durable.tenant_hours, policies)
        self._durable = durable
        self._tenancy = tenancy
        self._rules = rules
        self._declared = declared_weights
        self._stale = stale_days * DAY
        self._owners: dict[tuple[tuple[str, ...], tuple[str, ...]], str | None] = {}

    def owner(self, project_id: str, branch_id: str) -> str | None:
        """See `WeightSource`."""
        names = self._names(project_id, branch_id)
        if names not in self._owners:
            self._owners[names] = self._rules.owner(names[0], names[1] if branch_id else ())
        return self._owners[names]

    def forget(self, before: int) -> None:
        """See `WeightSource`. The WAL of the days before is still asked for."""
        self._durable.forget_hours(before - (RESTORE_DAYS - 1) * DAY)
        self._tenancy.forget_lives(before)

    def day(self, day: int) -> DayWeights:
        """See `WeightSource`."""
        samples: dict[tuple[str, str, int], dict[str, int]] = {}
        holders: dict[tuple[str, str, int], dict[str, int]] = {}
        for found in self._tenancy.samples(day, day + DAY):
            for seconds, amount in ((samples, found.sessions), (holders, found.kept_us)):
                if amount:
                    seconds.setdefault((found.project_id, found.branch_id, found.hour), {})[found.tenant] = amount
        children: dict[str, list[BranchSpan]] = {}
        for life in self._tenancy.lives():
            if life.child and life.born < day + DAY and life.seen >= day:
                children.setdefault(life.project_id, []).append(BranchSpan(life.branch_id, life.born, life.seen))
        snapshots: dict[str, list[SnapshotSpan]] = {}
        for taken in self._tenancy.snapshots(day, day + DAY):
            held = SnapshotSpan(taken.branch_id, taken.born, taken.seen, taken.charged)
            snapshots.setdefault(taken.project_id, []).append(held)
        wal: dict[Place, dict[str, int]] = {}
        for project, branch, tenant, amount in self._durable.wal_bytes(day - (RESTORE_DAYS - 1) * DAY, day + DAY):
            wal.setdefault((project, branch), {})[tenant] = amount

        def declared_of(project: str, branch: str, component: Component) -> Shares:
            return declared(self._declared, *self._names(project, branch), component, day) if self._declared else {}

        return DayWeights(
            day,
            sizes=self._sizes(day),
            wal=wal,
            samples=samples,
            holders=holders,
            children=children,
            snapshots=snapshots,
            owner=self.owner,
            declared=declared_of,
        )

    def _sizes(self, day: int) -> Mapping[Place, Weights]:
        shares: dict[Place, dict[str, int]] = {}
        rough: set[Place] = set()
        for found in self._tenancy.sizes(day):
            place = (found.project_id, found.branch_id)
            shares.setdefault(place, {})[found.tenant] = found.bytes
            if found.rough or day - found.day > self._stale:
                rough.add(place)
        return {
            place: Weights(tenants, Confidence.ESTIMATED if place in rough else Confidence.MEASURED)
            for place, tenants in shares.items()
        }

    def _names(self, project_id: str, branch_id: str) -> tuple[tuple[str, ...], tuple[str, ...]]:
        branch_ref = self._tenancy.branch_ref(project_id, branch_id)
        return (project_id, branch_ref.project), (branch_id, branch_ref.branch)


def tenant_facts(settings: CostTree, durable: DurableCounters, tenancy: Tenancy, rules: TenantRules) -> TenantFacts:
    """The source that the settings ask for.

    Raises:
        WeightsFileError: the file of declared weights cannot be used.
    """
    cost = settings.cost
    return TenantFacts(
        durable,
        tenancy,
        rules,
        policies=Policies(IdlePolicy(cost.idle), SharedPolicy(cost.shared)),
        declared_weights=load(cost.weights_file),
        stale_days=cost.sizes_stale_days,
    )
