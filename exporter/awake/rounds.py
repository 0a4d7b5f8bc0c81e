"""Feeds the awake books on the event loop: a look at the control plane a round, evidence a visit, then the state."""

from __future__ import annotations

import time
from collections.abc import Callable

from collectors.base import Observation
from collectors.neon.inventory import Inventory
from collectors.postgres.evidence import Evidence
from collectors.wake.policy import WakeState
from exporter.awake.awake import Awake
from exporter.awake.holders import sightings
from exporter.core import selfmetrics
from exporter.core.selfmetrics import SelfMetrics
from exporter.core.state import State
from exporter.sampling.computes import Compute, computes
from exporter.sampling.visits import WakeStates
from exporter.storage.writer import WriterThread

PACE_SECONDS = 60.0


class AwakeRounds:
    """Lives on the event loop; the books are kept on the disk's thread."""

    def __init__(
        self,
        awake: Awake,
        state: State,
        disk: WriterThread,
        wake_states: WakeStates,
        metrics: SelfMetrics,
        *,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._awake = awake
        self._state = state
        self._disk = disk
        self._wake_states = wake_states
        self._metrics = metrics
        self._clock = clock

    async def look(self, inventory: Inventory) -> None:
        """Take in a fresh inventory, before anyone is visited.

        Raises:
            StoreError: the disk is full or the file damaged.
        """
        seen, now = computes(inventory), self._clock()
        added = {state.endpoint_id: state.added_seconds for state in self._wake_states.all()}

        def absorb() -> float:
            told.extend(self._awake.look(seen, inventory.plan, lambda key: added.get(key, 0.0), now))
            return float(self._awake.added_usd())

        told: list[Observation] = []
        self._metrics.set(selfmetrics.ADDED_AWAKE_USD, await self._disk.run(absorb))
        for observation in told:
            self._put(observation)

    async def sample(
        self, compute: Compute, evidence: Evidence, before: WakeState, after: WakeState, at: float
    ) -> None:
        """Take in what a visit saw (`exporter.sampling.visits.OnEvidence`).

        Raises:
            StoreError: the disk is full or the file damaged.
        """
        found = sightings(
            evidence, previous_end=before.server_end, reasons=after.reasons, at=round(at * 1_000_000)
        )  # fmt: skip
        if found is None:
            return
        now = self._clock()
        observation = await self._disk.run(lambda: self._awake.sample(compute, found, at, now))
        if observation is not None:
            self._put(observation)

    def _put(self, observation: Observation) -> None:
        # Amounts and money stay; they are as fresh as the inventory and the visits are.
        self._state.put(observation, interval=PACE_SECONDS, forever=True)
