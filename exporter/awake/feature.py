"""Who keeps computes awake, as a feature: the control plane says how long, the evidence of visits says who."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from fractions import Fraction
from typing import ClassVar

from collectors.neon.inventory import Inventory
from collectors.postgres.evidence import APPLICATION_NAME, Evidence
from collectors.wake.state import WakeState
from exporter.awake import series
from exporter.awake.accounts import Awake
from exporter.awake.commands import add_commands
from exporter.awake.holders import sightings
from exporter.core import selfmetrics
from exporter.core.command_line import Commands
from exporter.core.state import Batch
from exporter.feature.feature import Feature, FeatureRun, MetricGroup, Schemas
from exporter.feature.services import Services
from exporter.pricing import ratecard
from exporter.sampling.awake_store import SCHEMAS
from exporter.sampling.computes import Compute, computes
from exporter.sampling.domain.awake_shares import NOBODY, UNCOVERED, AwakeHolder, Part
from exporter.settings.tree import CoreSettings
from exporter.tenancy.domain.rules import AGENT, IDLE
from exporter.tenancy.store import Tenancy

OWNER = "awake"
PACE_SECONDS = 60.0


class TenantsOfHolders:
    """Adds the awake time that somebody held to the samples that costs are split by."""

    def __init__(self, tenancy: Tenancy) -> None:
        self._tenancy = tenancy

    def add(self, cursor: sqlite3.Cursor, branch: tuple[str, str], parts: Sequence[Part]) -> None:
        """Take in awake time of a (project, branch) in a transaction of the caller's, on the writer's thread."""
        rows = [(part.hour, self.tenant(branch, part.holder), part.amount) for part in parts]
        self._tenancy.add_kept(cursor, branch, rows)

    def tenant(self, branch: tuple[str, str], holder: AwakeHolder) -> str:
        """Whose the time is: ``__idle__`` when nobody held the compute, or nobody that a visit found."""
        if holder in (NOBODY, UNCOVERED):
            return IDLE
        if holder.application == APPLICATION_NAME:
            return AGENT
        return self._tenancy.tenant_of_session(self._tenancy.branch_ref(*branch), holder.user, holder.application)


class AwakeRun(FeatureRun):
    """Lives on the event loop; awake time is added up on the writer's thread."""

    def __init__(self, services: Services, awake: Awake) -> None:
        self._services = services
        self._awake = awake

    async def recall(self, inventory: Inventory) -> None:
        """Show the awake time on the disk: of unread computes none is added."""
        await self.before_visits(inventory)

    async def before_visits(self, inventory: Inventory) -> None:
        """Take in how long each compute was awake.

        Raises:
            StoreError: the disk is full or the file damaged.
        """
        services, wake_states = self._services, self._services.wake_states
        now = services.clock() + inventory.skew  # Neon's clock says which day's rate is in force.
        unknown = inventory.unknown_project_ids

        def added(endpoint_id: str) -> float:
            state = wake_states.get(endpoint_id)
            return state.added_seconds if state is not None else 0.0

        def absorb() -> tuple[Batch, Fraction]:
            present = computes(inventory)
            changed = self._awake.look(present, inventory.plan, added, now, unknown)
            unchanged = ((series.COLLECTOR, compute.target) for compute in present)
            # Amounts and money stay; they are as fresh as the inventory and the visits are.
            batch = Batch.of(changed, interval=PACE_SECONDS, forever=True, unchanged=unchanged)
            return batch, self._awake.added_usd()

        batch, added_usd = await services.writer.run(absorb)
        services.metrics.set(selfmetrics.ADDED_AWAKE_USD, added_usd)
        services.state.show_batch(OWNER, batch, complete=inventory.complete)

    async def on_evidence(
        self, compute: Compute, evidence: Evidence, before: WakeState, after: WakeState, at: float
    ) -> None:
        """Take in who held a compute.

        Raises:
            StoreError: the disk is full or the file damaged.
        """
        found = sightings(
            evidence, previous_end=before.server_end, reasons=after.reasons, at=round(at * 1_000_000)
        )  # fmt: skip
        if found is None:
            return
        now = self._services.clock()
        observation = await self._services.writer.run(lambda: self._awake.sample(compute, found, at, now), patient=True)
        if observation is not None:
            self._services.state.put(observation, interval=PACE_SECONDS, forever=True)


class AwakeFeature(Feature[CoreSettings]):
    """Declares what awake brings. Awake time that was added up outlives a reload."""

    name = "awake"
    schemas: ClassVar[Schemas] = SCHEMAS
    metrics = (
        MetricGroup(
            "Who keeps a compute awake",
            "Neon API: endpoints (how long); the evidence of our visits (who)",
            series.METRICS,
        ),
    )

    def __init__(self) -> None:
        self._awake: Awake | None = None

    def add_commands(self, commands: Commands) -> None:
        """Declare `awake` and `verify-wake`."""
        add_commands(commands)

    def start(self, services: Services, settings: CoreSettings) -> AwakeRun:
        """Begin a generation.

        Raises:
            RateCardError: the rate card cannot be used.
            StoreError: the file cannot be read.
        """
        card = ratecard.load(settings.cost.rate_card)
        if self._awake is None:
            self._awake = Awake(services.store)
        self._awake.on_parts = TenantsOfHolders(services.tenancy).add
        self._awake.use(card, services.ledger, settings.cost.plan)
        return AwakeRun(services, self._awake)
