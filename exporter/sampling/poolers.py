"""Reads self-run PgBouncers; an instance that is gone (a pod that was replaced) leaves the exposition."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import replace

from collectors.base import Status
from collectors.pgbouncer import console
from collectors.pgbouncer.console import PoolerTarget
from exporter.core import tracing
from exporter.core.state import State
from exporter.settings import PoolerSettings
from exporter.settings.dsn import pooler_conninfo

_OWNER = "pgbouncer:"


class Poolers:
    """The PgBouncers of the settings. Lives on the event loop."""

    def __init__(
        self,
        poolers: Sequence[PoolerSettings],
        state: State,
        *,
        deadline_seconds: float,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """``deadline_seconds`` bound the session with each instance."""
        self._poolers = tuple(poolers)
        self._state = state
        self._deadline_seconds = deadline_seconds
        self._clock = clock

    async def read(self, pooler: PoolerSettings) -> None:
        """Read every instance behind the name of one PgBouncer.

        An instance that was not met is gone once another one answers; until then nobody knows which there are.
        """
        target = PoolerTarget(pooler.name, lambda: pooler_conninfo(pooler))
        began = self._clock()
        with tracing.span("pgbouncer", pooler=pooler.name):
            read = await console.observe(target, deadline_seconds=self._deadline_seconds)
        observations = [replace(observation, at=began) for observation in read]
        answered = any(observation.status is Status.OK for observation in observations)
        self._state.show(
            _OWNER + pooler.name, observations, interval=pooler.interval_seconds, complete=answered
        )  # fmt: skip

    def forget_others(self) -> None:
        """After a reload: drop the PgBouncers that the settings no longer name."""
        named = {_OWNER + pooler.name for pooler in self._poolers}
        for owner in self._state.owners() - named:
            if owner.startswith(_OWNER):
                self._state.retire(owner)
