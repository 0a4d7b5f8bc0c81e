"""Reads self-run PgBouncers; an instance that is gone (a pod that was replaced) leaves the exposition."""

from __future__ import annotations

from collections.abc import Sequence

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

    def __init__(self, poolers: Sequence[PoolerSettings], state: State, *, deadline_seconds: float) -> None:
        """``deadline_seconds`` bound the session with each instance."""
        self._poolers = tuple(poolers)
        self._state = state
        self._deadline_seconds = deadline_seconds

    async def read(self, pooler: PoolerSettings) -> None:
        """Read every instance behind the name of one PgBouncer.

        An instance that was not met is gone once another one answers; until then nobody knows which there are.
        """
        target = PoolerTarget(pooler.name, lambda: pooler_conninfo(pooler))
        with tracing.span("pgbouncer", pooler=pooler.name):
            observations = await console.observe(target, deadline_seconds=self._deadline_seconds)
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
